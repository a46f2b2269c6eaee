import { expect, it } from 'vitest'
import { MILLISECOND, SECOND } from '../src/base/time.js'
import { RoundTrip } from './round-trip.js'

const WINDOW = 100

/** So many rounds of a window each, acknowledged one by one. */
function rounds(roundTrip: RoundTrip, from: number, count: number, rttUs: number): number {
  const end = from + count * WINDOW
  for (let una = from + 1; una <= end; una++) roundTrip.add(rttUs, una, una + WINDOW)
  return end
}

it('waits for a second at first, and then for at least 200 ms more than the round trip', () => {
  const roundTrip = new RoundTrip()
  expect(roundTrip.timeoutUs).toBe(SECOND)
  rounds(roundTrip, 0, 20, 40 * MILLISECOND)
  expect(roundTrip.smoothedUs).toBeCloseTo(40 * MILLISECOND, 3)
  expect(roundTrip.timeoutUs).toBeCloseTo(240 * MILLISECOND, 3)
})

it('remembers for some rounds what came late, however many acknowledgements a round has', () => {
  const roundTrip = new RoundTrip()
  const una = rounds(roundTrip, 0, 20, 40 * MILLISECOND)
  roundTrip.add(600 * MILLISECOND, una + 1, una + 1 + WINDOW)
  rounds(roundTrip, una + 1, 1, 40 * MILLISECOND)
  expect(roundTrip.timeoutUs).toBeGreaterThan(450 * MILLISECOND)
  rounds(roundTrip, una + 1 + WINDOW, 30, 40 * MILLISECOND)
  expect(roundTrip.timeoutUs).toBeLessThan(250 * MILLISECOND)
})
