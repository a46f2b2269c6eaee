import { describe, expect, it } from 'vitest'
import { SECOND } from '../base/time.js'
import { RttEstimator } from './rtt.js'

describe('RttEstimator', () => {
  it('knows nothing before the first sample', () => {
    const rtt = new RttEstimator()
    expect([rtt.smoothedUs, rtt.variationUs, rtt.minUs, rtt.latestUs]).toEqual([NaN, NaN, NaN, NaN])
  })

  it('follows RFC 6298', () => {
    const rtt = new RttEstimator()
    rtt.update(80_000, 0)
    expect([rtt.smoothedUs, rtt.variationUs]).toEqual([80_000, 40_000])
    rtt.update(160_000, 1)
    expect([rtt.smoothedUs, rtt.variationUs]).toEqual([90_000, 50_000])
    expect([rtt.latestUs, rtt.minUs, rtt.samples]).toEqual([160_000, 80_000, 2])
    for (let i = 0; i < 200; i++) rtt.update(10_000, 2 + i)
    expect(rtt.smoothedUs).toBeCloseTo(10_000, 0)
    expect(rtt.variationUs).toBeLessThan(1)
  })

  it('forgets a minimum after 10 s', () => {
    const rtt = new RttEstimator()
    rtt.update(10_000, 0)
    for (let now = SECOND; now <= 12 * SECOND; now += SECOND) rtt.update(50_000, now)
    expect(rtt.minUs).toBe(50_000)
  })

  it('ignores what cannot be, and starts anew after a reset', () => {
    const rtt = new RttEstimator()
    rtt.update(-1, 0)
    rtt.update(Number.NaN, 0)
    expect(rtt.samples).toBe(0)
    rtt.update(5, 1)
    rtt.reset()
    expect(rtt.samples).toBe(0)
    expect(rtt.minUs).toBeNaN()
    rtt.update(7, 2)
    expect(rtt.smoothedUs).toBe(7)
  })
})
