import fc from 'fast-check'
import { expect, test } from 'vitest'
import { GapList } from './gap-list.js'

/** Every missing counter by itself, with the time at which it was found missing. */
class Oracle {
  readonly missing = new Map<number, number>()
  skip(from: number, to: number, now: number): void {
    for (let counter = from; counter <= to; counter++) this.missing.set(counter, now)
  }
  fill(counter: number): void {
    this.missing.delete(counter)
  }
}

function listed(gaps: GapList): number[] {
  const counters: number[] = []
  for (let i = 0; i < gaps.count; i++) {
    for (let counter = gaps.first(i); counter <= gaps.last(i); counter++) counters.push(counter)
  }
  return counters
}

const operation = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('skip' as const), a: fc.nat(4), b: fc.nat(3) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('fill' as const), a: fc.nat(200), b: fc.nat(0) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('expire' as const), a: fc.nat(60), b: fc.nat(0) }) },
)

test('lists what is missing from completeFrom up, over any losses, late arrivals and expiries', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 400 }), (operations) => {
      const gaps = new GapList()
      const oracle = new Oracle()
      let newest = 0
      for (const [now, { kind, a, b }] of operations.entries()) {
        if (kind === 'skip') {
          gaps.add(newest + 1, newest + 1 + a, now)
          oracle.skip(newest + 1, newest + 1 + a, now)
          newest += 2 + a + b
        } else if (kind === 'fill') {
          gaps.fill(newest - a)
          oracle.fill(newest - a)
        } else {
          gaps.expire(a, now)
        }
        const told = [...oracle.missing.keys()].filter((counter) => counter >= gaps.completeFrom)
        expect(listed(gaps)).toEqual(told)
        expect(gaps.count).toBeLessThanOrEqual(64)
        // Only expiry or want of room makes it say nothing of a counter.
        if (!operations.some((each) => each.kind === 'expire') && oracle.missing.size < 32)
          expect(told.length).toBe(oracle.missing.size)
      }
    }),
    { numRuns: 300 },
  )
})

test('forgets by age, the oldest first', () => {
  const gaps = new GapList()
  gaps.add(1, 3, 0)
  gaps.add(7, 7, 100)
  gaps.expire(100, 100)
  expect(gaps.count).toBe(2)
  gaps.expire(100, 101)
  expect([gaps.count, gaps.completeFrom, gaps.first(0)]).toEqual([1, 4, 7])
})

test('with no room left gives up the oldest gap for a new one, also when one is split', () => {
  const gaps = new GapList()
  for (let i = 0; i < 64; i++) gaps.add(i * 10, i * 10 + 4, 0)
  gaps.fill(632)
  expect([gaps.count, gaps.completeFrom]).toEqual([64, 5])
  expect([gaps.first(63), gaps.last(63), gaps.last(62)]).toEqual([633, 634, 631])
  gaps.fill(12)
  expect([gaps.count, gaps.completeFrom]).toEqual([63, 15])
  gaps.add(700, 700, 1)
  gaps.add(702, 702, 1)
  expect([gaps.count, gaps.completeFrom]).toEqual([64, 25])
})
