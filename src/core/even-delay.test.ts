import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { EvenDelay } from './even-delay.js'

const BUCKET = 5
const STEP_US = 250
const SPREAD_US = 280 * MILLISECOND

/** A packet each {@link STEP_US}; returns the delay of each. */
function run(delay: EvenDelay, isEven: boolean, from: Instant, forUs: number): number[] {
  const delays: number[] = []
  for (let t = 0; t < forUs; t += STEP_US) delays.push(delay.next(BUCKET, isEven, SPREAD_US, from + t))
  return delays
}

it('rises to the delay of the slowest path so gradually that packets come at half their pace', () => {
  const delays = run(new EvenDelay(), true, SECOND, 350 * MILLISECOND)
  const half = delays[(140 * MILLISECOND) / STEP_US]!
  expect(half).toBeGreaterThan(120 * MILLISECOND)
  expect(half).toBeLessThanOrEqual(165 * MILLISECOND)
  expect(delays.at(-1)).toBe(SPREAD_US)
})

it('stays while a sender has but a few packets under way for a moment', () => {
  const delay = new EvenDelay()
  run(delay, true, SECOND, 1 * SECOND)
  for (let t = 0; t < 500 * MILLISECOND; t += 80 * MILLISECOND) {
    expect(delay.next(BUCKET, true, SPREAD_US, 2 * SECOND + t)).toBe(SPREAD_US)
  }
})

it('goes gradually when it is not asked for any more', () => {
  const delay = new EvenDelay()
  run(delay, true, SECOND, 1 * SECOND)
  const delays = run(delay, false, 2 * SECOND, 3 * SECOND)
  expect(delays[(0.5 * SECOND) / STEP_US]).toBeGreaterThan(150 * MILLISECOND)
  expect(delays.at(-1)).toBe(0)
  expect(delay.remains(BUCKET)).toBe(false)
})

it('is gone when the next packet comes long after', () => {
  const delay = new EvenDelay()
  run(delay, true, SECOND, 1 * SECOND)
  expect(delay.next(BUCKET, false, SPREAD_US, 5 * SECOND)).toBe(0)
})

it('is none for a flow that is not to be even, and never more than the slowest path has', () => {
  const packet = fc.record({
    afterUs: fc.nat(200_000),
    bucket: fc.nat(1),
    spreadUs: fc.nat(400_000),
  })
  fc.assert(
    fc.property(fc.array(packet), (packets) => {
      const delay = new EvenDelay()
      let now = 0
      for (const { afterUs, bucket, spreadUs } of packets) {
        now += afterUs
        const delayUs = delay.next(bucket, bucket === 1, spreadUs, now)
        expect(delayUs).toBeGreaterThanOrEqual(0)
        expect(delayUs).toBeLessThanOrEqual(bucket === 1 ? spreadUs : 0)
      }
    }),
  )
})
