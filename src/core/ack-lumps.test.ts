import { beforeEach, describe, expect, it } from 'vitest'
import { type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { PacketFlag } from '../wire/message.js'
import { AckLumps } from './ack-lumps.js'
import type { Path } from './path.js'

const BUCKET = 7
const STEP_US = 10 * MILLISECOND
const MEGABIT = 125_000

interface Line {
  path: Path
  carries: number
}

/** Of a path, what is looked at. `rttMs` by itself, there and back; rates in Mbit/s. */
function line(rate: number, rttMs: number, carries = rate): Line {
  const path = {
    rate: {
      rateBytesPerSec: rate * MEGABIT,
      baseUs: (rttMs / 2) * MILLISECOND,
      rttUsMin: rttMs * MILLISECOND,
    },
    bytesOut: 0,
    leftOut: false,
  } as unknown as Path
  return { path, carries }
}

let busy: Set<number>
let flags: Uint8Array<ArrayBuffer>
let tcp: boolean
let lines: Line[]
let lumps: AckLumps
let now: Instant

beforeEach(() => {
  busy = new Set([BUCKET])
  flags = new Uint8Array(1024)
  tcp = true
  lines = [line(20, 10), line(50, 50, 5)]
  lumps = new AckLumps()
  now = 1000 * SECOND
})

function pass(seconds: number): void {
  const transfers = { flags, isBusy: (bucket: number): boolean => busy.has(bucket) }
  const end = now + seconds * SECOND
  for (; now < end; now += STEP_US) {
    for (const { path, carries } of lines) path.bytesOut += (carries * MEGABIT * STEP_US) / SECOND
    lumps.watch(
      transfers,
      { isTcp: () => tcp },
      lines.map(({ path }) => path),
      now,
    )
  }
}

/** How long acknowledgements of a second are held back, those that are; in milliseconds. */
function holds(bucket = BUCKET): number[] {
  const held: number[] = []
  const end = now + SECOND
  for (; now < end; now += MILLISECOND) {
    const dueAt = lumps.dueAt(bucket, now)
    if (dueAt > now) held.push((dueAt - now) / MILLISECOND)
  }
  return held
}

describe('a transfer that fills the near path and leaves the far one empty', () => {
  it('has its acknowledgements come in lumps of 40 ms before it has gone on for a second, and goes on to', () => {
    pass(0.9)
    expect(lumps.count).toBe(1)
    const held = holds()
    // Four times the 50 ms of the far path: five lumps.
    expect(held.filter((ms) => ms === 40)).toHaveLength(5)
    expect(held).toHaveLength(5 * 40)
    lines[1]!.carries = 50
    pass(5)
    expect(holds()).not.toEqual([])
  })

  it('lets what acknowledges other flows go at once', () => {
    pass(2)
    expect(holds(BUCKET + 1)).toEqual([])
  })

  it.each([
    { what: 'it is over', change: () => busy.clear() },
    { what: 'it is evened', change: () => flags.fill(PacketFlag.Even) },
    { what: 'a path is left out', change: () => ((lines[1]!.path as { leftOut: boolean }).leftOut = true) },
    { what: 'the far path is gone', change: () => lines.pop() },
    { what: 'its bucket has another flow, of UDP', change: () => (tcp = false) },
  ])('has none held back any more when $what', ({ change }) => {
    pass(2)
    expect(lumps.count).toBe(1)
    change()
    pass(0.2)
    expect(lumps.count).toBe(0)
    expect(holds()).toEqual([])
  })
})

it.each([
  { what: 'fills all paths', links: () => [line(20, 10), line(50, 50, 46)] },
  { what: 'does not fill the near path', links: () => [line(20, 10, 10), line(50, 50, 5)] },
  { what: 'has paths less than twice as far', links: () => [line(20, 30), line(50, 60, 5)] },
  { what: 'has only a path that is too far', links: () => [line(20, 10), line(50, 150, 5)] },
  { what: 'has a satellite', links: () => [line(20, 40), line(20, 600, 0)] },
  { what: 'has no other path', links: () => [line(20, 10)] },
  { what: 'has no path at all', links: () => [] },
])('leaves a transfer alone that $what', ({ links }) => {
  lines = links()
  pass(5)
  expect(lumps.count).toBe(0)
})

it('leaves a window alone that still grows', () => {
  lines[1]!.carries = 10
  for (let i = 0; i < 20; i++) {
    pass(0.1)
    lines[1]!.carries = Math.min(50, lines[1]!.carries * 1.3)
  }
  expect(lumps.count).toBe(0)
})

it('makes lumps for the farthest path that is in reach, not for one beyond', () => {
  lines = [line(20, 10), line(50, 50, 5), line(20, 600, 0)]
  pass(2)
  expect(holds().filter((ms) => ms === 40)).toHaveLength(5)
})
