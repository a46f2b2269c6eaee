import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PacketBatch } from '../base/packet-pool.js'
import { SlotRing } from '../base/slot-ring.js'
import { NEVER, SECOND } from '../base/time.js'
import { EQUALISER_SPREAD_US_MAX, Equaliser } from './equaliser.js'

function drained(ring: SlotRing): number[] {
  const batch = new PacketBatch(64)
  ring.drainTo(batch)
  return [...batch.slots.subarray(0, batch.count)]
}

test('lets each go when it is due', () => {
  const equaliser = new Equaliser(4)
  const out = new SlotRing(4)
  expect(equaliser.nextTimeout()).toBe(NEVER)
  equaliser.push(7, 100, 0)
  equaliser.push(8, 200, 0)
  expect(equaliser.nextTimeout()).toBe(100)
  equaliser.release(out, 99)
  expect(drained(out)).toEqual([])
  equaliser.release(out, 100)
  expect(drained(out)).toEqual([7])
  expect(equaliser.nextTimeout()).toBe(200)
})

test('a time that cannot be stops nothing for longer than the greatest spread', () => {
  const equaliser = new Equaliser(4)
  const out = new SlotRing(4)
  equaliser.push(1, 5_000 * SECOND, 0)
  equaliser.push(2, 50, 0)
  expect(equaliser.nextTimeout()).toBe(EQUALISER_SPREAD_US_MAX)
  equaliser.release(out, EQUALISER_SPREAD_US_MAX)
  expect(drained(out)).toEqual([1, 2])
})

test('keeps the order, loses nothing and is never late', () => {
  const step = fc.record({ waitUs: fc.nat(50_000), dueInUs: fc.integer({ min: -10_000, max: 600_000 }) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const equaliser = new Equaliser(64)
      const out = new SlotRing(64)
      const got: number[] = []
      let now = 0
      for (const [slot, { waitUs, dueInUs }] of steps.entries()) {
        now += waitUs
        equaliser.push(slot, now + dueInUs, now)
        equaliser.release(out, now)
        got.push(...drained(out))
        expect(equaliser.nextTimeout()).toBeGreaterThan(now)
      }
      now += EQUALISER_SPREAD_US_MAX
      equaliser.release(out, now)
      got.push(...drained(out))
      expect(got).toEqual(steps.map((_, slot) => slot))
    }),
  )
})
