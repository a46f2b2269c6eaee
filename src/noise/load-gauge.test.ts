import { describe, expect, it } from 'vitest'
import { MILLISECOND, SECOND } from '../base/time.js'
import { LoadGauge } from './load-gauge.js'

describe('LoadGauge', () => {
  it('sees more than 100 handshakes in any second, and no fewer', () => {
    const atRate = (perSecond: number, count: number) => {
      const gauge = new LoadGauge()
      let loaded = false
      for (let i = 0; i < count; i++) {
        const now = 5 * SECOND + (i * SECOND) / perSecond
        gauge.countHandshake(now)
        loaded ||= gauge.underLoad(now)
      }
      return loaded
    }
    expect(atRate(100, 1000)).toBe(false)
    expect(atRate(101, 1000)).toBe(true)
    expect(atRate(1e6, 100)).toBe(false)
    expect(atRate(1e6, 101)).toBe(true)
  })

  it('stays under load for a second after the last sign, and goes back', () => {
    const gauge = new LoadGauge()
    for (let i = 0; i < 101; i++) gauge.countHandshake(0)
    expect(gauge.underLoad(SECOND - 1)).toBe(true)
    expect(gauge.underLoad(SECOND)).toBe(false)
    gauge.countHandshake(3 * SECOND)
    expect(gauge.underLoad(3 * SECOND)).toBe(false)
  })

  it('takes a large share of a long wake-up as load, and a few handshakes not, however slow', () => {
    const loaded = (handshakeUs: number, wakeUpUs: number, messages = 5, over = 0.9 * SECOND) => {
      const gauge = new LoadGauge()
      for (let i = 0; i < 200; i++) gauge.countHandshake((i - 300) * SECOND)
      for (let i = 0; i < messages; i++) gauge.countHandshake(-over + (over * i) / messages)
      gauge.noteWork(handshakeUs, wakeUpUs, 0)
      return gauge.underLoad(0)
    }
    expect(loaded(1 * MILLISECOND, 1 * MILLISECOND)).toBe(false)
    expect(loaded(10 * MILLISECOND, 10 * MILLISECOND)).toBe(true)
    expect(loaded(11 * MILLISECOND, 100 * MILLISECOND)).toBe(true)
    expect(loaded(10 * MILLISECOND, 100 * MILLISECOND)).toBe(false)
    expect(loaded(900 * MILLISECOND, 900 * MILLISECOND, 4)).toBe(false)
    expect(loaded(900 * MILLISECOND, 900 * MILLISECOND, 0)).toBe(false)
    expect(loaded(900 * MILLISECOND, 900 * MILLISECOND, 5, 2 * SECOND)).toBe(false)
  })
})
