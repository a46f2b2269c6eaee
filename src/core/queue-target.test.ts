import { describe, expect, it } from 'vitest'
import { MILLISECOND, SECOND } from '../base/time.js'
import { type QueuePaths, QueueTarget } from './queue-target.js'

const QUARTER = SECOND / 4
const MBIT = 125_000

function paths(roundTripMs: number, mbit: number, waitMs = 0): QueuePaths {
  return {
    roundTripUs: roundTripMs * MILLISECOND,
    bytesPerSec: mbit * MBIT,
    capacityBytesPerSec: mbit * MBIT,
    waitUs: waitMs * MILLISECOND,
  }
}

/** What comes out at the end, in ms, of reviews four times a second: each stretch is [seconds, Mbit/s]. */
function after(roundTripMs: number, ...stretches: [number, number][]): number {
  const target = new QueueTarget()
  let now = 0
  let targetUs = 0
  for (const [seconds, rate] of stretches) {
    for (const end = now + seconds * SECOND; now < end; now += QUARTER)
      targetUs = target.review(paths(roundTripMs, rate), now)
  }
  return targetUs / MILLISECOND
}

describe('QueueTarget', () => {
  it('is 50 ms on steady paths, and more on long ones', () => {
    expect(after(20, [10, 100])).toBe(50)
    expect(after(20, [10, 0])).toBe(50)
    expect(after(320, [10, 100])).toBe(128)
    expect(after(2000, [10, 100])).toBe(200)
  })

  it('is longer than bulk waits for a near path', () => {
    const review = (waitMs: number): number =>
      new QueueTarget().review(paths(40, 20, waitMs), 0) / MILLISECOND
    expect(review(0)).toBe(50)
    expect(review(280)).toBe(330)
  })

  it('leaves room for the window of the faster paths once they have become slower', () => {
    // What stood in the queue and was under way at 100 Mbit/s takes 2.5 times as long at 40.
    expect(after(60, [10, 100], [QUARTER / SECOND, 40])).toBeCloseTo(2.5 * (50 + 60) - 60, -1)
    expect(after(60, [10, 100], [1, 5])).toBe(250)
  })

  it('forgets by and by', () => {
    const ten = after(60, [10, 100], [10, 40])
    expect(ten).toBeGreaterThan(120)
    expect(ten).toBeLessThan(180)
    expect(after(60, [10, 100], [90, 40])).toBeCloseTo(50, -1)
  })

  it('is short again at once when the rate is back, and when paths are faster than ever', () => {
    expect(after(60, [10, 100], [2, 40], [1, 100])).toBeLessThan(65)
    expect(after(60, [10, 100], [2, 40], [1, 200])).toBe(50)
  })
})
