import fc from 'fast-check'
import { beforeEach, expect, test } from 'vitest'
import { SlotRing } from '../base/slot-ring.js'
import { type Instant, NEVER, SECOND } from '../base/time.js'
import { EQUALISER_SPREAD_US_MAX, Equaliser } from './equaliser.js'

const SLOTS = 64
/** Packets leave together that are due within so long. */
const TICK_US = 250
let out: SlotRing
let equaliser: Equaliser

beforeEach(() => {
  out = new SlotRing(SLOTS)
  equaliser = new Equaliser(SLOTS, out)
})

function releasedAt(now: Instant): number[] {
  equaliser.release(now)
  const slots: number[] = []
  for (let slot = out.shift(); slot >= 0; slot = out.shift()) slots.push(slot)
  return slots
}

test('lets each go when it is due, whatever came before it', () => {
  expect(equaliser.nextTimeout()).toBe(NEVER)
  equaliser.push(7, 2000, 0)
  equaliser.push(8, 1000, 0)
  equaliser.push(9, 1000, 0)
  expect(equaliser.nextTimeout()).toBe(1000)
  expect(releasedAt(999)).toEqual([])
  expect(releasedAt(1000)).toEqual([8, 9])
  expect(equaliser.nextTimeout()).toBe(2000)
  expect(releasedAt(2000)).toEqual([7])
  expect(equaliser.nextTimeout()).toBe(NEVER)
})

test('knows what may still be there', () => {
  const dueAt = equaliser.push(7, 1000, 0)
  expect(equaliser.mayHold(dueAt)).toBe(true)
  releasedAt(1000)
  equaliser.push(8, 5000, 1000)
  expect(equaliser.mayHold(dueAt)).toBe(false)
})

test('a time that cannot be stops nothing for longer than the greatest spread', () => {
  equaliser.push(1, 5_000 * SECOND, 0)
  equaliser.push(2, 50, 0)
  expect(releasedAt(TICK_US)).toEqual([2])
  expect(equaliser.nextTimeout()).toBe(EQUALISER_SPREAD_US_MAX)
  expect(releasedAt(EQUALISER_SPREAD_US_MAX)).toEqual([1])
})

test('is on time again after everything was let go early', () => {
  equaliser.push(1, 300_000, 0)
  equaliser.releaseAll()
  expect(releasedAt(0)).toEqual([1])
  equaliser.push(2, 1000, 0)
  expect(releasedAt(1000)).toEqual([2])
})

test('goes on after a pause of any length', () => {
  equaliser.push(1, 1000, 0)
  const now = 3600 * SECOND
  const dueAt = equaliser.push(2, now + 10_000, now)
  expect(releasedAt(now)).toEqual([1])
  expect(releasedAt(dueAt)).toEqual([2])
})

test('loses nothing, lets nothing go early, and late by less than a tick; flows keep their order', () => {
  const step = fc.record({
    waitUs: fc.oneof(fc.nat(5_000), fc.nat(900_000)),
    dueInUs: fc.integer({ min: -10_000, max: 600_000 }),
    flow: fc.nat(3),
    releases: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: SLOTS }), (steps) => {
      out = new SlotRing(SLOTS)
      equaliser = new Equaliser(SLOTS, out)
      const flows: number[][] = [[], [], [], []]
      const left: number[] = []
      const flowDueAt = [0, 0, 0, 0]
      const earliest: number[] = []
      const pushedAt: number[] = []
      let now = 0
      let lookedAt = 0
      const take = (at: Instant): void => {
        for (const slot of releasedAt(at)) {
          expect(earliest[slot]).toBeLessThanOrEqual(at)
          expect(Math.max(earliest[slot]!, pushedAt[slot]!)).toBeGreaterThan(lookedAt - TICK_US)
          left.push(slot)
        }
        lookedAt = at
      }
      for (const [slot, { waitUs, dueInUs, flow, releases }] of steps.entries()) {
        now += waitUs
        if (releases) take(now)
        const wanted = Math.max(now + dueInUs, flowDueAt[flow]!)
        earliest[slot] = Math.min(wanted, now + EQUALISER_SPREAD_US_MAX)
        pushedAt[slot] = now
        flowDueAt[flow] = equaliser.push(slot, wanted, now)
        flows[flow]!.push(slot)
      }
      while (equaliser.nextTimeout() !== NEVER) take(Math.max(equaliser.nextTimeout(), now))
      expect(left).toHaveLength(steps.length)
      for (const flow of flows) expect(left.filter((slot) => flow.includes(slot))).toEqual(flow)
    }),
  )
})
