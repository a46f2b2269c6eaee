import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { COUNTER_LIMIT, REPLAY_WINDOW_WIDTH, ReplayWindow, reconstructCounter } from './replay-window.js'

/** The obvious way: remembers every counter. */
class OracleWindow {
  readonly seen = new Set<number>()
  newest = -1
  accept(counter: number): boolean {
    if (counter < 0 || counter >= COUNTER_LIMIT || this.seen.has(counter)) return false
    if (this.newest - counter >= REPLAY_WINDOW_WIDTH) return false
    this.seen.add(counter)
    this.newest = Math.max(this.newest, counter)
    return true
  }
}

describe('ReplayWindow', () => {
  it('is at least 8192 wide', () => {
    expect(REPLAY_WINDOW_WIDTH).toBeGreaterThanOrEqual(8192)
  })

  // The table of WireGuard's selftest/counter.c, with T_LIM its window.
  const L = REPLAY_WINDOW_WIDTH + 1
  const cases: [string, [number, boolean][]][] = [
    [
      'the edges of the window',
      [
        [0, true],
        [1, true],
        [1, false],
        [9, true],
        [8, true],
        [7, true],
        [7, false],
        [L, true],
        [L - 1, true],
        [L - 1, false],
        [L - 2, true],
        [2, true],
        [2, false],
        [L + 16, true],
        [3, false],
        [L + 16, false],
        [L * 4, true],
        [L * 4 - (L - 1), false],
        [10, false],
        [L * 4 - L, false],
        [L * 4 - (L + 1), false],
        [L * 4 - (L - 2), true],
        [L * 4 + 1 - L, false],
        [0, false],
      ],
    ],
    [
      'the end of the counters',
      [
        [COUNTER_LIMIT, false],
        [COUNTER_LIMIT - 1, true],
        [COUNTER_LIMIT, false],
        [COUNTER_LIMIT - 1, false],
        [COUNTER_LIMIT - 2, true],
        [COUNTER_LIMIT + 1, false],
        [COUNTER_LIMIT + 2, false],
        [COUNTER_LIMIT - 2, false],
        [COUNTER_LIMIT - 3, true],
        [0, false],
      ],
    ],
    ['0 last', [...Array.from({ length: L - 1 }, (_, i): [number, boolean] => [i + 1, true]), [0, false]]],
    [
      '0 just in time',
      [...Array.from({ length: L - 2 }, (_, i): [number, boolean] => [i + 1, true]), [0, true]],
    ],
    ['downwards', Array.from({ length: L }, (_, i): [number, boolean] => [L - 1 - i, i < L - 1])],
    [
      'around 2^32',
      [2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 32 - 2].map((counter): [number, boolean] => [counter, true]),
    ],
    [
      'a leap of almost a ring that ends in the same word',
      [
        [5, true],
        [31, true],
        [31 + 16_383, true],
        [5 + 16_384, true],
        [5 + 16_384, false],
        [63, true],
        [62, false],
      ],
    ],
    [
      'below 0',
      [
        [-1, false],
        [5, true],
        [-1, false],
      ],
    ],
  ]
  it.each(cases)('%s', (_, steps) => {
    const window = new ReplayWindow()
    for (const [counter, accepted] of steps) {
      expect([counter, window.check(counter)]).toEqual([counter, accepted])
      expect([counter, window.accept(counter)]).toEqual([counter, accepted])
    }
  })

  it('agrees with a set, over any order, copies and leaps', () => {
    const leap = fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: -40, max: 40 }) },
      { weight: 3, arbitrary: fc.integer({ min: -REPLAY_WINDOW_WIDTH - 70, max: REPLAY_WINDOW_WIDTH + 70 }) },
      { weight: 1, arbitrary: fc.integer({ min: -(2 ** 33), max: 2 ** 33 }) },
    )
    fc.assert(
      fc.property(fc.nat(2 ** 40), fc.array(leap, { maxLength: 300 }), (start, leaps) => {
        const window = new ReplayWindow()
        const oracle = new OracleWindow()
        for (const step of [start, ...leaps]) {
          const counter = step === start ? start : oracle.newest + step
          const accepted = oracle.accept(counter)
          expect(window.check(counter)).toBe(accepted)
          expect(window.accept(counter)).toBe(accepted)
          expect(window.newest).toBe(oracle.newest)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('agrees with a set over a shuffled run with copies', () => {
    const run = fc.shuffledSubarray(Array.from({ length: 400 }, (_, i) => i * 97))
    fc.assert(
      fc.property(run, run, (first, second) => {
        const window = new ReplayWindow()
        const oracle = new OracleWindow()
        for (const counter of [...first, ...second]) {
          expect(window.accept(counter)).toBe(oracle.accept(counter))
        }
      }),
      { numRuns: 50 },
    )
  })

  it('starts anew after a reset', () => {
    const window = new ReplayWindow()
    window.accept(100_000)
    window.reset()
    expect(window.newest).toBe(-1)
    expect(window.accept(100_000)).toBe(true)
    expect(window.accept(99_999)).toBe(true)
  })
})

describe('reconstructCounter', () => {
  it.each([
    [0, -1, 0],
    [5, -1, 5],
    [0xffffffff, -1, 0xffffffff],
    [0, 0xffffffff, 2 ** 32],
    [0xffffffff, 2 ** 32, 0xffffffff],
    [0xffffffff, 5, 0xffffffff],
    [7, 2 ** 45 + 3, 2 ** 45 + 7],
  ])('of low bits %i after %i is %i', (low32, newest, counter) => {
    expect(reconstructCounter(low32, newest)).toBe(counter)
  })

  it('gives back any counter within 2^31 of the newest', () => {
    fc.assert(
      fc.property(
        fc.nat(2 ** 47),
        fc.integer({ min: -(2 ** 31) + 1, max: 2 ** 31 - 1 }),
        (newest, distance) => {
          const counter = newest + distance
          fc.pre(counter >= 0)
          expect(reconstructCounter(counter % 2 ** 32, newest)).toBe(counter)
        },
      ),
    )
  })
})
