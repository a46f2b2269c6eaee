import { describe, expect, it } from 'vitest'
import { MILLISECOND, SECOND } from '../base/time.js'
import { FarPaths } from './far-paths.js'
import type { Path } from './path.js'

const STEP_US = SECOND / 4
const MEGABIT = 125_000

/** Of a path, what the rule looks at and sets. */
function path(megabits: number, delayMs: number): Path {
  return {
    rate: { rateBytesPerSec: megabits * MEGABIT, baseUs: delayMs * MILLISECOND, startup: false },
    rateOutBytesPerSec: 0,
    leftOut: false,
  } as unknown as Path
}

/** A sender that fills the near path, or with the far one in use gets `withFar` of the two, in Mbit/s. */
class Transfer {
  readonly near = path(20, 20)
  readonly far = path(20, 300)
  readonly rule = new FarPaths()
  now = 0
  /** When the far path was left out or taken in, in seconds. */
  readonly changes: number[] = []

  constructor(public withFar: [near: number, far: number]) {}

  run(seconds: number, near?: number): void {
    for (const end = this.now + seconds * SECOND; this.now < end; this.now += STEP_US) {
      const { leftOut } = this.far
      const [nearWith, farWith] = this.withFar
      this.near.rateOutBytesPerSec = (near ?? (leftOut ? 20 : nearWith)) * MEGABIT
      this.far.rateOutBytesPerSec = near !== undefined || leftOut ? 0 : farWith * MEGABIT
      this.rule.review([this.near, this.far], this.now)
      if (leftOut !== this.far.leftOut) this.changes.push(this.now / SECOND)
    }
  }
}

describe('a thin line beside a thick one that is far', () => {
  it('is left out where it sets the pace, and not where the sum is near what there is', () => {
    for (const [sum, out] of [
      [10, true],
      [45, false],
    ] as const) {
      const thin = path(7.5, 4)
      const thick = path(44, 40)
      const rule = new FarPaths()
      thin.rateOutBytesPerSec = 6 * MEGABIT
      thick.rateOutBytesPerSec = (sum - 6) * MEGABIT
      for (let now = 0; now < 30 * SECOND; now += STEP_US) rule.review([thin, thick], now)
      expect(thin.leftOut).toBe(out)
      expect(thick.leftOut).toBe(false)
    }
  })
})

describe('a path of much longer delay', () => {
  it('stays in use while the sum with it is more than the near path carries', () => {
    const transfer = new Transfer([19.5, 18])
    transfer.run(60)
    expect(transfer.changes).toEqual([])
  })

  it('stays in use for a sender that takes a while to find it', () => {
    const transfer = new Transfer([9, 5])
    transfer.run(10)
    transfer.withFar = [19.5, 12]
    transfer.run(60)
    expect(transfer.changes).toEqual([])
  })

  it('is left out where the sum with it is less, and tried again ever more rarely', () => {
    const transfer = new Transfer([13, 3])
    transfer.run(600)
    expect(transfer.far.leftOut).toBe(true)
    const spans = transfer.changes.slice(1).map((at, i) => at - transfer.changes[i]!)
    const out = spans.filter((_, i) => i % 2 === 0)
    const inUse = spans.filter((_, i) => i % 2 === 1)
    expect(out.length).toBeGreaterThanOrEqual(3)
    for (let i = 1; i < out.length; i++) expect(out[i]).toBeGreaterThan(out[i - 1]! * 1.4)
    for (const span of inUse) expect(span).toBeLessThanOrEqual(17)
    expect(transfer.near.leftOut).toBe(false)
  })

  it('is not tried again while the near path is not full', () => {
    const transfer = new Transfer([13, 3])
    transfer.run(20)
    expect(transfer.far.leftOut).toBe(true)
    transfer.run(300, 10)
    expect(transfer.far.leftOut).toBe(true)
  })

  it('is in use for the next transfer, whatever the last one was like', () => {
    const transfer = new Transfer([13, 3])
    transfer.run(200)
    transfer.run(20, 0)
    expect(transfer.far.leftOut).toBe(false)
    transfer.changes.length = 0
    transfer.run(100)
    // As patient as at first: left out after two windows, and tried again after a minute.
    expect(transfer.changes.length).toBe(3)
  })

  it('is in use as soon as the paths change, since the near one may be gone', () => {
    const transfer = new Transfer([13, 3])
    transfer.run(20)
    expect(transfer.far.leftOut).toBe(true)
    transfer.rule.useAll([transfer.near, transfer.far])
    expect(transfer.far.leftOut).toBe(false)
  })

  it('is never left out for little traffic, nor while the near path is still being measured', () => {
    const little = new Transfer([2, 0.5])
    little.run(60)
    expect(little.changes).toEqual([])
    const young = new Transfer([13, 3])
    ;(young.near.rate as { startup: boolean }).startup = true
    young.run(60)
    expect(young.changes).toEqual([])
  })
})

it('counts as far only beyond what waits in the tunnel anyway', () => {
  const near = path(80, 5)
  const other = path(20, 30)
  const rule = new FarPaths()
  near.rateOutBytesPerSec = 50 * MEGABIT
  other.rateOutBytesPerSec = 10 * MEGABIT
  for (let now = 0; now < 60 * SECOND; now += STEP_US) rule.review([near, other], now)
  expect(other.leftOut).toBe(false)
})
