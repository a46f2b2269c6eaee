import { beforeEach, describe, expect, it } from 'vitest'
import { type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { PacketFlag } from '../wire/message.js'
import { LongTransfers } from './long-transfers.js'
import type { Path } from './path.js'

const BUCKET = 7
const STEP_US = 10 * MILLISECOND
const MEGABIT = 125_000
/** 10 Mbit/s. */
const PACKETS_PER_STEP = 9

/** Of a path, what is looked at. */
function path(megabits: number, delayMs: number, carries = megabits): Path {
  return {
    rate: { rateBytesPerSec: megabits * MEGABIT, baseUs: delayMs * MILLISECOND },
    rateOutBytesPerSec: carries * MEGABIT,
    leftOut: false,
  } as unknown as Path
}

/** By bucket: packets so far, and what they are. */
let sequences: Map<number, number>
let tcp: boolean
const flows = {
  sequenceOf: (bucket: number): number => sequences.get(bucket) ?? 0,
  isTcp: (): boolean => tcp,
}
let transfers: LongTransfers
let paths: Path[]
let now: Instant

beforeEach(() => {
  sequences = new Map()
  tcp = true
  transfers = new LongTransfers()
  paths = [path(80, 5), path(20, 30)]
  now = 1000 * SECOND
})

/** So many packets each 10 ms. Returns when a transfer last began or ceased to be evened, in seconds from here on. */
function send(seconds: number, packetsPerStep = PACKETS_PER_STEP, bucket = BUCKET): number | undefined {
  let changed: number | undefined
  const from = now
  for (; now < from + seconds * SECOND; now += STEP_US) {
    sequences.set(bucket, flows.sequenceOf(bucket) + packetsPerStep)
    if (transfers.watch(flows, paths, now)) changed = (now - from) / SECOND
  }
  return changed
}

describe('a long transfer over paths of different delay', () => {
  it('is evened as another is when the other end restarts in between', () => {
    send(3)
    sequences.set(BUCKET, 0)
    send(8)
    expect(transfers.flags[BUCKET]).toBe(PacketFlag.Even)
    // It is judged by what it had before, which was no packets by the million.
    expect(send(20)).toBeUndefined()
    expect(transfers.flags[BUCKET]).toBe(PacketFlag.Even)
  })

  it('is evened shortly before ten seconds are over, and stays so while it pauses for a moment', () => {
    const begun = send(15)
    expect(begun).toBeGreaterThan(8)
    expect(begun).toBeLessThan(9.5)
    expect(transfers.flags[BUCKET]).toBe(PacketFlag.Even)
    send(1, 0)
    expect(send(20)).toBeUndefined()
    expect(transfers.flags[BUCKET]).toBe(PacketFlag.Even)
  })

  it('is another transfer after some seconds without, and young again', () => {
    send(12)
    send(3, 0)
    expect(transfers.flags[BUCKET]).toBe(0)
    expect(send(8)).toBeUndefined()
    expect(send(2)).toBeDefined()
  })

  it('that fares worse then, and has not looked, is soon let go and tried again as long after its delay was gone', () => {
    send(9.5)
    const letGo = send(5, PACKETS_PER_STEP / 3)!
    expect(letGo).toBeGreaterThan(1.5)
    expect(letGo).toBeLessThan(2)
    // For 0.1 s its round trip falls.
    const again = send(10)! + 5 - letGo
    expect(again).toBeGreaterThan(9)
    expect(again).toBeLessThan(9.4)
  })

  it('... and is given a second more then, as when BBR looks is known less well', () => {
    send(9.5)
    send(5, PACKETS_PER_STEP / 3)
    expect(send(7)).toBeDefined()
    const letGo = send(5, PACKETS_PER_STEP / 3)!
    expect(letGo).toBeGreaterThan(1.5)
    expect(letGo).toBeLessThan(2)
    expect(transfers.flags[BUCKET]).toBe(0)
  })

  it('that fares worse although it has looked is judged later', () => {
    send(9.5)
    send(1, PACKETS_PER_STEP / 3)
    send(0.4, 0)
    expect(send(2, PACKETS_PER_STEP / 3)).toBeUndefined()
    expect(send(2, PACKETS_PER_STEP / 3)).toBeDefined()
    expect(transfers.flags[BUCKET]).toBe(0)
  })

  it('... or as long after it was quiet, if that is later, and is left alone the third time', () => {
    send(9.5)
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(transfers.flags[BUCKET]).toBe(PacketFlag.Even)
      const letGo = send(4, PACKETS_PER_STEP / 3)
      expect(letGo).toBeGreaterThan(1)
      expect(letGo).toBeLessThan(3)
      expect(transfers.flags[BUCKET]).toBe(0)
      expect(send(4)).toBeUndefined()
      send(0.3, 0)
      const again = send(9.5)
      if (attempt < 2) expect(again).toBeGreaterThan(8)
      else expect(again).toBeUndefined()
    }
    expect(send(30)).toBeUndefined()
    // The next one by the same ports is another one.
    send(3, 0)
    expect(send(12)).toBeDefined()
  })

  it('... but not as long after each pause: only the first may be a look', () => {
    send(9.5)
    send(5, PACKETS_PER_STEP / 3)
    expect(transfers.flags[BUCKET]).toBe(0)
    let again = 0
    for (let seconds = 0; seconds < 20 && again === 0; seconds += 4) {
      send(0.15, 0)
      const changed = send(3.85)
      if (changed !== undefined) again = seconds + changed
    }
    expect(again).toBeGreaterThan(8.5)
    expect(again).toBeLessThan(9.5)
  })

  it('is tried again although nothing is known of a path when it is let go', () => {
    send(9.5)
    paths.push(path(5, Number.POSITIVE_INFINITY))
    send(5, PACKETS_PER_STEP / 3)
    expect(transfers.flags[BUCKET]).toBe(0)
    paths.pop()
    expect(send(7)).toBeDefined()
    for (let i = 0; i < 2; i++) paths[i] = path([80, 20][i]!, Number.POSITIVE_INFINITY)
    send(5, PACKETS_PER_STEP / 3)
    expect(transfers.flags[BUCKET]).toBe(0)
    paths = [path(80, 5), path(20, 30)]
    expect(send(12)).toBeDefined()
  })

  it('that stood still at two seconds is judged once BBR has looked, ten seconds after that', () => {
    send(2)
    send(0.3, 0)
    expect(send(8)).toBeDefined()
    // Evened at 9 s and less ever since: without the pause it would have been let go at 11.
    expect(send(2, PACKETS_PER_STEP / 3)).toBeUndefined()
    send(0.4, 0)
    expect(send(5, PACKETS_PER_STEP / 3)).toBeUndefined()
    expect(send(2, PACKETS_PER_STEP / 3)).toBeDefined()
    expect(transfers.flags[BUCKET]).toBe(0)
  })

  it('that stood still at five seconds is let go if BBR has not looked, and evened again in time for when it does', () => {
    send(5)
    send(0.3, 0)
    expect(send(5)).toBeDefined()
    const letGo = send(3, PACKETS_PER_STEP / 3)
    expect(letGo).toBeGreaterThan(0.5)
    expect(letGo).toBeLessThan(1.5)
    expect(transfers.flags[BUCKET]).toBe(0)
    // Its round trip falls for 0.1 s, and 9 s later the next look is near.
    const again = send(10)
    expect(again! + 3 - letGo!).toBeGreaterThan(9)
    expect(again! + 3 - letGo!).toBeLessThan(9.3)
  })

  it('... but not if BBR has looked, or it has as much as before', () => {
    for (const { quietS, packets } of [
      { quietS: 0.4, packets: PACKETS_PER_STEP / 3 },
      { quietS: 0, packets: PACKETS_PER_STEP },
    ]) {
      send(5)
      send(0.3, 0)
      send(4.7)
      send(quietS, 0)
      expect(send(3, packets)).toBeUndefined()
      expect(transfers.flags[BUCKET]).toBe(PacketFlag.Even)
      send(3, 0)
    }
  })

  it('that fares worse by half may be recovering, but not for long', () => {
    send(9.5)
    const judged = send(12, PACKETS_PER_STEP / 2)
    expect(judged).toBeGreaterThan(9)
    expect(judged).toBeLessThan(11)
    expect(transfers.flags[BUCKET]).toBe(0)
  })

  it('is not judged for ever: what has less much later has other reasons', () => {
    send(20)
    expect(send(20, PACKETS_PER_STEP / 3)).toBeUndefined()
    expect(transfers.flags[BUCKET]).toBe(PacketFlag.Even)
  })

  it('whose chance has passed has another one as long after it was quiet', () => {
    const far = paths.pop()!
    send(15)
    paths.push(far)
    expect(send(20)).toBeUndefined()
    send(0.3, 0)
    const begun = send(12)
    expect(begun).toBeGreaterThan(8)
    expect(begun).toBeLessThan(10)
  })

  it('is not even while a path is left out', () => {
    send(12)
    paths[1]!.leftOut = true
    send(0.2)
    expect(transfers.flags[BUCKET]).toBe(0)
  })
})

it('leaves alone what is short, slow, or goes by paths that are alike', () => {
  expect(send(8)).toBeUndefined()
  send(3, 0)
  // 10 packets in a second: a keyboard, or a game.
  for (let i = 0; i < 20 * 10; i++) {
    expect(send(0.01, 1, 8) ?? send(0.09, 0, 8)).toBeUndefined()
  }
  paths = [path(50, 10), path(50, 11)]
  expect(send(20, PACKETS_PER_STEP, 9)).toBeUndefined()
})

it('leaves UDP alone, which may be a call with pictures', () => {
  tcp = false
  expect(send(20)).toBeUndefined()
})

it.each([
  ['is evened with a satellite that can carry as much', path(20, 20), path(20, 300), true],
  ['is not for one that can carry next to nothing', path(100, 20), path(5, 300), false],
  ['is not if the near path has room for all of it', path(100, 20, 40), path(100, 40, 0), false],
])('a transfer %s', (_, near, far, evened) => {
  paths = [near, far]
  expect(send(12) !== undefined).toBe(evened)
})
