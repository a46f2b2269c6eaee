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
      startup: false,
    },
    bytesOut: 0,
    leftOut: false,
  } as unknown as Path
  return { path, carries }
}

function startingLine(): Line {
  const starting = line(20, 10)
  ;(starting.path.rate as { startup: boolean }).startup = true
  return starting
}

/** By bucket: packets that a transfer has in a tenth of a second. */
let packets: Map<number, number>
let flags: Uint8Array<ArrayBuffer>
let tcp: boolean
let lines: Line[]
let lumps: AckLumps
let now: Instant

beforeEach(() => {
  packets = new Map([[BUCKET, 200]])
  flags = new Uint8Array(1024)
  tcp = true
  lines = [line(20, 10), line(50, 50, 5)]
  lumps = new AckLumps()
  now = 1000 * SECOND
})

function pass(seconds: number): void {
  const transfers = { flags, packetsOf: (bucket: number): number => packets.get(bucket) ?? 0 }
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
    const dueAt = lumps.mayHold(now) ? lumps.dueAt(bucket, now) : now
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

  it('has them go on as they came, closer together, while no more is carried than by the near path', () => {
    lines[1]!.carries = 2
    pass(0.9)
    const begin = now
    expect(lumps.dueAt(BUCKET, begin)).toBe(begin + 40 * MILLISECOND)
    expect(lumps.dueAt(BUCKET, begin + 20 * MILLISECOND)).toBeCloseTo(begin + 46 * MILLISECOND)
    expect(lumps.dueAt(BUCKET, begin + 57 * MILLISECOND)).toBeCloseTo(begin + 57.1 * MILLISECOND)
    expect(lumps.mayHold(begin + 57 * MILLISECOND)).toBe(true)
    expect(lumps.dueAt(BUCKET, begin + 58 * MILLISECOND)).toBeLessThan(begin + 58 * MILLISECOND)
  })

  it('lets what acknowledges other flows go at once', () => {
    pass(2)
    expect(holds(BUCKET + 1)).toEqual([])
  })

  it.each([
    { what: 'it is over', change: () => packets.clear() },
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

  it('has them come no more, until it is over, if it was slower by them and is faster while there are none', () => {
    pass(1)
    lines[1]!.carries = 2
    pass(1.8)
    expect(holds()).toEqual([])
    now -= SECOND
    lines[1]!.carries = 6
    pass(0.3)
    expect(lumps.count).toBe(1)
    pass(0.5)
    expect(lumps.count).toBe(0)
    pass(20)
    expect(lumps.count).toBe(0)
    packets.clear()
    pass(0.2)
    packets.set(BUCKET, 200)
    pass(0.5)
    expect(lumps.count).toBe(1)
  })

  it('has them again if it is no faster without', () => {
    pass(1)
    lines[1]!.carries = 2
    pass(1.8)
    expect(holds()).toEqual([])
    now -= SECOND
    pass(1)
    expect(holds()).not.toEqual([])
  })

  it('has them come no more once six seconds of them have brought nothing', () => {
    pass(6)
    expect(lumps.count).toBe(1)
    pass(1)
    expect(lumps.count).toBe(0)
  })

  it.each([
    { what: 'more is carried', carries: 8 },
    { what: 'all paths are full', carries: 50 },
  ])('goes on with them if $what', ({ carries }) => {
    pass(1)
    lines[1]!.carries = carries
    pass(20)
    expect(lumps.count).toBe(1)
  })

  it('keeps the order of a lump that was begun when there will be no more', () => {
    pass(1)
    const end = lumps.dueAt(BUCKET, now)
    packets.clear()
    pass(0.02)
    lumps.watch({ flags, packetsOf: () => 0 }, { isTcp: () => tcp }, [], now + SECOND)
    expect(lumps.count).toBe(0)
    expect(lumps.mayHold(end - 1)).toBe(true)
    expect(lumps.dueAt(BUCKET, end - 1)).toBe(end)
    expect(lumps.mayHold(end)).toBe(false)
  })

  it('has lumps while the least round trip seems greater for some seconds', () => {
    pass(1)
    lines[1]!.carries = 50
    ;(lines[0]!.path.rate as { rttUsMin: number }).rttUsMin = 40 * MILLISECOND
    pass(1)
    expect(lumps.count).toBe(1)
    ;(lines[0]!.path.rate as { rttUsMin: number }).rttUsMin = 60 * MILLISECOND
    pass(1)
    expect(lumps.count).toBe(0)
  })
})

it.each([
  { what: 'fills all paths', links: () => [line(20, 10), line(50, 50, 46)] },
  { what: 'does not fill the near path', links: () => [line(20, 10, 10), line(50, 50, 5)] },
  { what: 'has paths less than twice as far', links: () => [line(20, 30), line(50, 60, 5)] },
  { what: 'has only a path that is too far', links: () => [line(20, 10), line(50, 150, 5)] },
  { what: 'has a satellite', links: () => [line(20, 40), line(20, 600, 0)] },
  { what: 'has no other path', links: () => [line(20, 10)] },
  { what: 'has a path that is hardly further', links: () => [line(40, 5), line(40, 19, 5)] },
  {
    what: 'has a near path of unknown rate',
    links: () => [{ ...startingLine(), carries: 20 }, line(50, 50, 5)],
  },
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

it('leaves a small transfer alone that goes on beside the one that fills the paths', () => {
  packets.set(BUCKET + 1, 15)
  pass(1)
  expect(lumps.count).toBe(1)
  expect(holds(BUCKET + 1)).toEqual([])
  expect(holds(BUCKET)).not.toEqual([])
})

it('holds acknowledgements back for a quarter of the time at most', () => {
  lines = [line(20, 2), line(50, 20, 5)]
  pass(1)
  const held = holds()
  expect(held.length).toBeGreaterThan(200)
  expect(held.length).toBeLessThanOrEqual(280)
})
