import { beforeEach, describe, expect, it } from 'vitest'
import { type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { AckSpacing } from './ack-spacing.js'
import type { Path } from './path.js'

const MEGABIT = 125_000
const START: Instant = 1000 * SECOND

/** Of a path, what is looked at: there and back `rttMs`, with so many bytes under way, idle for so long. */
function line(mbit: number, rttMs: number, inFlightBytes: number, idleMs: number): Path {
  return {
    rate: {
      rateBytesPerSec: mbit * MEGABIT,
      baseUs: (rttMs / 2) * MILLISECOND,
      rttUsMin: rttMs * MILLISECOND,
    },
    pacer: { nextAt: START - idleMs * MILLISECOND },
    inFlightBytes,
    leftOut: false,
    onlySooner: false,
  } as unknown as Path
}

/** 20 Mbit/s at 20 ms: 50 kB are a round trip. */
const near = (inFlightBytes: number): Path => line(20, 20, inFlightBytes, 0)
const far = (inFlightBytes: number, idleMs = 1000): Path => line(50, 180, inFlightBytes, idleMs)

let spacing: AckSpacing
beforeEach(() => {
  spacing = new AckSpacing()
})

const ms = (paths: Path[], bulkBytes = 0, now = START, ageUs = SECOND): number =>
  spacing.spacingUs(paths, ageUs, bulkBytes, now) / MILLISECOND

describe('acknowledgements of what has just begun', () => {
  it('come as they do until the near path is soon full, and then with gaps', () => {
    expect(ms([near(19_000), far(0)])).toBe(0)
    expect(ms([near(21_000), far(0)])).toBe(2.5)
  })

  it('come as far apart as the wait is long, in the link and in the tunnel, within limits', () => {
    expect(ms([near(65_000), far(0)])).toBeCloseTo(6)
    expect(ms([near(50_000), far(0)], 10_000)).toBeCloseTo(4)
    expect(ms([near(50_000), near(50_000), far(0)], 20_000)).toBeCloseTo(4)
    expect(ms([near(50_000), far(0)], 100_000)).toBe(12)
  })

  it('are less than nine in a round trip', () => {
    expect(ms([near(50_000), far(0)], 250_000)).toBeCloseTo((20 + 100) / 8)
    const slow = line(20, 40, 50_000, 0)
    expect(ms([slow, far(0)])).toBe(40 / 8)
    // ... and never longer than this.
    expect(ms([near(50_000), far(0)], 2_500_000)).toBe(40)
  })

  it('are less than nine in a round trip of the far path when that is in use', () => {
    expect(ms([near(10_000), far(5_000)])).toBe((20 + 80) / 8)
    expect(ms([near(50_000), far(5_000)], 5_000)).toBe((20 + 80) / 8)
    expect(ms([near(50_000), far(5_000)], 250_000)).toBeCloseTo((20 + 100) / 8)
    // What a feedback frame or a copy has under way is no use of it.
    expect(ms([near(10_000), far(1_500)])).toBe(0)
  })

  it('come as they do once all paths have been full for a while', () => {
    const idle = far(0)
    const busy = far(100_000, 0)
    expect(ms([near(50_000), busy], 30_000)).toBe(0)
    expect(ms([near(50_000), idle], 30_000)).toBeCloseTo(12)
    expect(ms([near(50_000), busy], 30_000, START + MILLISECOND)).toBeGreaterThan(0)
    expect(ms([near(50_000), busy], 30_000, START + 2 * MILLISECOND)).toBeGreaterThan(0)
    const nearLater = line(20, 20, 50_000, -40)
    const busyLater = line(50, 180, 100_000, -40)
    expect(ms([nearLater, busyLater], 30_000, START + 31 * MILLISECOND)).toBe(0)
  })

  it('come as they do after two seconds', () => {
    expect(ms([near(50_000), far(0)], 30_000, START, 2 * SECOND)).toBe(12)
    expect(ms([near(50_000), far(0)], 30_000, START, 2 * SECOND + 1)).toBe(0)
  })

  it.each([
    ['that is not far', line(20, 60, 0, 1000)],
    ['that is left out', Object.assign(far(0), { leftOut: true })],
    ['that takes only what it brings sooner', Object.assign(far(0), { onlySooner: true })],
    ['that has not been measured', line(20, Number.POSITIVE_INFINITY, 0, 1000)],
  ])('come as they do beside a path %s', (_, other) => {
    expect(ms([near(50_000), other], 30_000)).toBe(0)
  })

  it('come as they do where the nearest path is left out', () => {
    expect(ms([Object.assign(near(0), { leftOut: true }), far(50_000), far(50_000)], 30_000)).toBe(0)
  })
})
