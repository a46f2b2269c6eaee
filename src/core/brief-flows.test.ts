import { expect, test } from 'vitest'
import { MILLISECOND } from '../base/time.js'
import { BUCKETS, SEQUENCE_MASK } from '../wire/message.js'
import { BriefFlows } from './brief-flows.js'

const BYTES_PER_SEC = 5_000_000
/** 5 % of that for 100 ms are 17 packets, and half a second of it is more than the 700 that count as brief. */
const SILENT = 17
const LASTING = 701

/** Flows that send packets in steps of 100 ms. */
class Flows {
  readonly brief = new BriefFlows()
  private readonly sequences = new Uint32Array(BUCKETS)
  private now = 0

  constructor(private readonly bytesPerSec = BYTES_PER_SEC) {
    this.step([])
  }

  step(packets: readonly (readonly [bucket: number, packets: number])[], times = 1): void {
    for (let i = 0; i < times; i++) {
      for (const [bucket, count] of packets)
        this.sequences[bucket] = (this.sequences[bucket]! + count) & SEQUENCE_MASK
      this.now += 100 * MILLISECOND
      const flows = { sequenceOf: (bucket: number) => this.sequences[bucket]! }
      expect(this.brief.watch(flows, this.bytesPerSec, this.now)).toBe(true)
      expect(this.brief.watch(flows, this.bytesPerSec, this.now + 99 * MILLISECOND)).toBe(false)
    }
  }

  is(bucket: number): boolean {
    return this.brief.flags[bucket] === 1
  }
}

test('every flow is brief until it has sent more than a megabyte, and nothing lasts before', () => {
  const flows = new Flows()
  expect(flows.brief.hasLasting).toBe(false)
  flows.step([[7, 100]], 7)
  expect(flows.is(7)).toBe(true)
  flows.step([[7, 1]])
  expect([flows.is(7), flows.is(8), flows.brief.hasLasting]).toEqual([false, true, true])
})

test('on slow paths that is what they carry in half a second', () => {
  // 1 Mbit/s: 43 packets.
  const flows = new Flows(125_000)
  flows.step([[7, 21]], 2)
  expect(flows.is(7)).toBe(true)
  flows.step([[7, 1]])
  expect(flows.is(7)).toBe(false)
})

test('half a second of silence begins anew, and less does not', () => {
  const flows = new Flows()
  flows.step([[7, LASTING]])
  flows.step([[7, SILENT]], 4)
  flows.step([[7, SILENT + 1]])
  flows.step([], 4)
  expect(flows.is(7)).toBe(false)
  flows.step([])
  expect([flows.is(7), flows.brief.hasLasting]).toEqual([true, false])
  flows.step([[7, LASTING]])
  expect(flows.is(7)).toBe(false)
})

test('what never sends much stays brief, however much it adds up to', () => {
  const flows = new Flows()
  flows.step([[7, SILENT]], 100)
  expect(flows.is(7)).toBe(true)
})

test('a transfer lasts also where its sequence begins anew', () => {
  const flows = new Flows()
  flows.step([[7, 1000]], (SEQUENCE_MASK + 1) / 1000 + 3)
  expect(flows.is(7)).toBe(false)
})
