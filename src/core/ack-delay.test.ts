import fc from 'fast-check'
import { beforeEach, expect, it } from 'vitest'
import { type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { PacketFlag } from '../wire/message.js'
import { AckDelay } from './ack-delay.js'

const BUCKET = 7
const FAR_US = 280 * MILLISECOND
const NEAR_US = 25 * MILLISECOND

let flags: Uint8Array<ArrayBuffer>
let still: Uint8Array<ArrayBuffer>
let delay: AckDelay
let now: Instant

beforeEach(() => {
  flags = new Uint8Array(1024)
  still = new Uint8Array(1024)
  delay = new AckDelay()
  now = 1000 * SECOND
})

/** An acknowledgement each millisecond; returns how long each waits, in milliseconds. */
function pass(seconds: number, spreadUs = FAR_US, bucket = BUCKET): number[] {
  const waits: number[] = []
  for (let i = 0; i < seconds * 1_000; i++, now += MILLISECOND) {
    if (i % 100 === 0) delay.watch({ flags, still }, spreadUs, now)
    const dueAt = delay.mayHold(now) ? delay.dueAt(bucket, now) : now
    waits.push(Math.max(0, dueAt - now) / MILLISECOND)
  }
  return waits
}

/** Evened, and then measured by BBR, which takes half a second. */
function beMeasured(): void {
  flags[BUCKET] = PacketFlag.Even
  pass(1)
  standStill()
}

function standStill(): void {
  still[BUCKET] = 1
  delay.watch({ flags, still }, FAR_US, now)
  still[BUCKET] = 0
  now += SECOND / 2
}

it('rises for a transfer that is evened before BBR measures its round trip, by a quarter as fast as time passes', () => {
  flags[BUCKET] = PacketFlag.Even
  const waits = pass(0.8)
  expect(waits[0]).toBeLessThanOrEqual(5)
  expect(waits[80]).toBeCloseTo(waits[0]! + 20)
  expect(waits.at(-1)).toBe(40)
})

it('shrinks from when BBR has measured, first by what stands in queues, and then little by little to none', () => {
  beMeasured()
  const waits = pass(49)
  expect(waits[7_000]).toBeCloseTo(20, 0)
  expect(waits[17_000]).toBeCloseTo(15, 0)
  expect(waits[46_000]).toBeLessThan(1)
  // No rate seems greater by more than a percent.
  const falls = waits.slice(1, 46_000).map((ms, i) => waits[i]! - ms)
  expect(Math.max(...falls)).toBeLessThan(0.01)
  // ... and is whole again for when BBR measures.
  expect(waits.at(-1)).toBe(40)
  expect(pass(9).at(-1)).toBe(40)
})

it('goes on from what it was if BBR measures sooner, or is whole again if that was too little', () => {
  beMeasured()
  pass(4)
  standStill()
  const waits = pass(8)
  expect(waits[0]).toBeGreaterThan(24)
  expect(waits.at(-1)).toBeLessThan(10)
  standStill()
  expect(pass(9).at(-1)).toBe(40)
  standStill()
  expect(pass(7).at(-1)).toBeCloseTo(20, 0)
})

it('is gone for what has not stood still after 3.5 s, as CUBIC does not', () => {
  flags[BUCKET] = PacketFlag.Even
  expect(pass(3.4).at(-1)).toBe(40)
  pass(0.5)
  expect(Math.max(...pass(30))).toBe(0)
})

it('is gone gradually when the transfer is no longer evened', () => {
  beMeasured()
  pass(1)
  flags[BUCKET] = 0
  const waits = pass(0.4)
  expect(waits[80]).toBeCloseTo(waits[0]! - 20)
  expect(waits.at(-1)).toBe(0)
  expect(delay.mayHold(now)).toBe(false)
})

it('is none for other flows, nor where no path is far', () => {
  flags[BUCKET] = PacketFlag.Even
  expect(Math.max(...pass(2, FAR_US, BUCKET + 1))).toBe(0)
  expect(Math.max(...pass(2, NEAR_US))).toBe(0)
})

it('lets none overtake another, and none wait for more than 40 ms', () => {
  const step = fc.record({ afterUs: fc.nat(100_000), even: fc.boolean(), isStill: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      delay = new AckDelay()
      let last = Number.NEGATIVE_INFINITY
      for (const { afterUs, even, isStill } of steps) {
        now += afterUs
        flags[BUCKET] = even ? PacketFlag.Even : 0
        still[BUCKET] = isStill ? 1 : 0
        delay.watch({ flags, still }, FAR_US, now)
        if (!delay.mayHold(now)) continue
        const dueAt = Math.max(now, delay.dueAt(BUCKET, now))
        expect(dueAt).toBeGreaterThanOrEqual(last)
        expect(dueAt - now).toBeLessThanOrEqual(40 * MILLISECOND)
        last = dueAt
      }
    }),
  )
})
