import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { DelayFloor } from './delay-floor.js'

const BUCKET = 5
const BYTES = 1_400
const STEP_US = 250
const SPREAD_US = 25 * MILLISECOND

/** A flow of 45 Mbit/s for so many seconds; `delayAt` says how late each packet is. Returns the floor at the end. */
function run(
  floor: DelayFloor,
  seconds: number,
  delayAt: (packet: number) => number,
  from: Instant = 0,
): number {
  let floorUs = 0
  for (let i = 0; i * STEP_US < seconds * SECOND; i++) {
    floorUs = floor.observe(BUCKET, BYTES, delayAt(i), SPREAD_US, from + i * STEP_US)
  }
  return floorUs
}

describe('delay floor', () => {
  it('comes to what three in four packets have at most', () => {
    // Evenly spread over 0 to 20 ms.
    const floorUs = run(new DelayFloor(), 60, (i) => ((i * 7) % 100) * 200)
    expect(floorUs / MILLISECOND).toBeCloseTo(15, 0)
  })

  it('stays at none where most packets come by the fastest path', () => {
    const floorUs = run(new DelayFloor(), 60, (i) => (i % 5 === 0 ? 20 * MILLISECOND : 0))
    expect(floorUs).toBeLessThan(0.01 * MILLISECOND)
  })

  it('leaves the first second alone, and rises slowly then', () => {
    const floor = new DelayFloor()
    expect(run(floor, 1, () => 20 * MILLISECOND)).toBe(0)
    const floorUs = run(floor, 4, () => 20 * MILLISECOND, 1 * SECOND)
    expect(floorUs).toBeGreaterThan(7 * MILLISECOND)
    expect(floorUs).toBeLessThan(10 * MILLISECOND)
  })

  it('is kept while a sender has but a few packets under way for a moment', () => {
    const floor = new DelayFloor()
    const before = run(floor, 20, () => 20 * MILLISECOND)
    for (let t = 0; t < 200 * MILLISECOND; t += 5 * MILLISECOND) {
      const floorUs = floor.observe(BUCKET, BYTES, 0, SPREAD_US, 20 * SECOND + t)
      expect(floorUs).toBeGreaterThan(0.99 * before)
    }
  })

  it('is gone when the transfer is over, and none for a flow that never was one', () => {
    const floor = new DelayFloor()
    run(floor, 20, () => 20 * MILLISECOND)
    expect(floor.observe(BUCKET, BYTES, 0, SPREAD_US, 26 * SECOND)).toBe(0)
    // Ten packets a second.
    for (let i = 0; i < 600; i++) {
      expect(floor.observe(9, BYTES, 20 * MILLISECOND, SPREAD_US, i * 100 * MILLISECOND)).toBe(0)
    }
  })

  it('is never more than the slowest path has, nor less than nothing, whatever comes', () => {
    const packet = fc.record({
      afterUs: fc.nat(200_000),
      bytes: fc.integer({ min: 20, max: 65_535 }),
      delayUs: fc.integer({ min: -50_000, max: 500_000 }),
      spreadUs: fc.nat(400_000),
    })
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 200 }), (packets) => {
        const floor = new DelayFloor()
        let now = 0
        for (const { afterUs, bytes, delayUs, spreadUs } of packets) {
          now += afterUs
          const floorUs = floor.observe(BUCKET, bytes, delayUs, spreadUs, now)
          expect(floorUs).toBeGreaterThanOrEqual(0)
          expect(floorUs).toBeLessThanOrEqual(spreadUs)
        }
      }),
    )
  })
})
