import fc from 'fast-check'
import { beforeEach, describe, expect, it, test } from 'vitest'
import { PacketPool, SLOT_BYTES } from '../base/packet-pool.js'
import { SlotRing } from '../base/slot-ring.js'
import { type Instant, MILLISECOND, NEVER } from '../base/time.js'
import { SpacedAcks } from './spaced-acks.js'
import { type Ack, PLAIN, read, write } from './testing/pure-acks.js'

const SLOTS = 1024
const SPACING_US = 10 * MILLISECOND

let pool: PacketPool
let output: SlotRing
let acks: SpacedAcks
let now: Instant

beforeEach(() => {
  pool = new PacketPool(SLOTS * SLOT_BYTES)
  output = new SlotRing(SLOTS)
  acks = new SpacedAcks(pool, output)
  now = 0
})

/** Comes in after `ms`. */
function receive(
  ms: number,
  acknowledgement: number,
  change: Partial<Ack> = {},
  spacingUs = SPACING_US,
): void {
  now += ms * MILLISECOND
  const slot = pool.take()
  write(pool, slot, { ...PLAIN, ...change, acknowledgement })
  acks.receive(slot, spacingUs, now)
}

/** What has come out since it was last asked: flow and acknowledgement. */
function delivered(): [flow: number, acknowledgement: number][] {
  const all: [number, number][] = []
  for (let slot = output.shift(); slot >= 0; slot = output.shift()) {
    const { flow, acknowledgement } = read(pool, slot)
    all.push([flow, acknowledgement])
    pool.release(slot)
  }
  return all
}

describe('acknowledgements that are to come apart', () => {
  it('has the first go on at once, and the newest of those after it when the time is over', () => {
    receive(0, 1)
    expect(delivered()).toEqual([[1, 1]])
    receive(1, 2)
    receive(1, 3)
    receive(1, 4)
    expect(delivered()).toEqual([])
    expect(acks.isWaiting).toBe(true)
    expect(acks.dueAt).toBe(SPACING_US)
    acks.release(acks.dueAt)
    expect(delivered()).toEqual([[1, 4]])
    expect(acks.thinned).toBe(2)
    expect(acks.isWaiting).toBe(false)
    expect(acks.dueAt).toBe(NEVER)
    expect(pool.freeCount).toBe(SLOTS)
  })

  it('has one that comes later than that go on at once', () => {
    receive(0, 1)
    receive(10, 2)
    expect(delivered()).toEqual([
      [1, 1],
      [1, 2],
    ])
    expect(acks.thinned).toBe(0)
  })

  it('keeps one of each flow, and what a newer one does not tell', () => {
    receive(0, 1)
    receive(1, 5, { flow: 2 })
    receive(1, 2)
    // As far as before: a duplicate, of which TCP counts three.
    receive(1, 5, { flow: 2 })
    receive(1, 3)
    acks.release(acks.dueAt)
    expect(delivered()).toEqual([
      [1, 1],
      [2, 5],
      [1, 3],
      [2, 5],
    ])
  })

  it('has none overtake those that wait when they need come apart no longer', () => {
    receive(0, 1)
    receive(1, 2)
    receive(1, 2, {}, 0)
    expect(delivered()).toEqual([[1, 1]])
    acks.release(acks.dueAt)
    expect(delivered()).toEqual([
      [1, 2],
      [1, 2],
    ])
  })

  it('holds no more than 256', () => {
    receive(0, 1)
    for (let i = 0; i < 257; i++) receive(0, 5)
    expect(delivered()).toHaveLength(257)
    expect(pool.freeCount).toBe(SLOTS - 1)
    acks.release(acks.dueAt)
    expect(delivered()).toHaveLength(1)
    expect(pool.freeCount).toBe(SLOTS)
  })
})

test('whatever comes, the newest of each flow is there within its time, in order, and no slot is lost', () => {
  const step = fc.record({
    ms: fc.nat({ max: 6 }),
    flow: fc.nat({ max: 3 }),
    more: fc.nat({ max: 2 }),
    spacingMs: fc.constantFrom(0, 3, 10),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const ring = new SlotRing(SLOTS)
      const memory = new PacketPool(SLOTS * SLOT_BYTES)
      const spaced = new SpacedAcks(memory, ring)
      const newest = [0, 0, 0, 0]
      const seen = [0, 0, 0, 0]
      let at = 0
      let out = 0
      const look = (): void => {
        for (let slot = ring.shift(); slot >= 0; slot = ring.shift()) {
          const { flow, acknowledgement } = read(memory, slot)
          expect(acknowledgement).toBeGreaterThanOrEqual(seen[flow]!)
          seen[flow] = acknowledgement
          memory.release(slot)
          out++
        }
      }
      for (const { ms, flow, more, spacingMs } of steps) {
        at += ms * MILLISECOND
        if (spaced.dueAt <= at) spaced.release(spaced.dueAt)
        const slot = memory.take()
        newest[flow]! += more
        write(memory, slot, { ...PLAIN, flow, acknowledgement: newest[flow]! })
        spaced.receive(slot, spacingMs * MILLISECOND, at)
        expect(spaced.isWaiting ? spaced.dueAt - at : 0).toBeLessThanOrEqual(10 * MILLISECOND)
        look()
        if (!spaced.isWaiting) expect(seen).toEqual(newest)
      }
      spaced.release(at)
      look()
      expect(seen).toEqual(newest)
      expect(out + spaced.thinned).toBe(steps.length)
      expect(memory.freeCount).toBe(SLOTS)
    }),
  )
})
