import { beforeEach, expect, it } from 'vitest'
import { PacketPool, SLOT_BYTES } from '../base/packet-pool.js'
import { SlotRing } from '../base/slot-ring.js'
import { MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { DropCounters } from './drop-reasons.js'
import { Resequencer } from './resequencer.js'

// What becomes of the order where packets wait for the floor of their flow (delay-floor.ts).

const SLOTS = 1000
const PACKET_BYTES = 1400
const BUCKET = 3
let pool: PacketPool
let output: SlotRing
let resequencer: Resequencer
/** The sequence that each slot carries. */
let sequences: number[]

beforeEach(() => {
  pool = new PacketPool(SLOTS * SLOT_BYTES)
  output = new SlotRing(SLOTS)
  resequencer = new Resequencer(pool, new DropCounters(), output)
  resequencer.setPaths([0, 1])
  sequences = []
})

function receive(sequence: number, stampUs: number, now: number): void {
  const slot = pool.take()
  expect(slot).toBeGreaterThanOrEqual(0)
  sequences[slot] = sequence
  pool.length[slot] = PACKET_BYTES
  resequencer.receive(slot, BUCKET, sequence, stampUs, 0, now)
}

/** What has been delivered since the last call. */
function delivered(): number[] {
  const result: number[] = []
  for (let slot = output.shift(); slot >= 0; slot = output.shift()) {
    result.push(sequences[slot]!)
    pool.release(slot)
  }
  return result
}

it('keeps the delay of a bulk flow while a few packets of it take the fast path only, and its order', () => {
  const DELAYS_US = [10 * MILLISECOND, 30 * MILLISECOND]
  const BULK_US = 20 * SECOND
  interface Sent {
    sequence: number
    stamp: number
    path: number
  }
  const sent: Sent[] = []
  const send = (stamp: number, path: number): void => {
    sent.push({ sequence: sent.length, stamp, path })
  }
  for (let t = 0; t < BULK_US; t += MILLISECOND) send(t, sent.length % 4 === 0 ? 1 : 0)
  const careful = sent.length
  for (let t = BULK_US; t < BULK_US + 200 * MILLISECOND; t += 5 * MILLISECOND) send(t, 0)
  const later = sent.length
  send(BULK_US + 10 * SECOND, 0)
  const arrivalOf = ({ stamp, path }: Sent): number => stamp + DELAYS_US[path]!
  const delaysUs: number[] = []
  const takeAt = (now: number): void => {
    resequencer.handleTimeout(now)
    for (const sequence of delivered()) {
      expect(sequence).toBe(delaysUs.length)
      delaysUs.push(now - sent[delaysUs.length]!.stamp)
    }
  }
  for (const packet of [...sent].sort((a, b) => arrivalOf(a) - arrivalOf(b))) {
    const now = arrivalOf(packet)
    while (resequencer.nextTimeout() < now) takeAt(resequencer.nextTimeout())
    resequencer.pathDelivered(0, now - DELAYS_US[0]!, now)
    resequencer.pathDelivered(1, now - DELAYS_US[1]!, now)
    resequencer.review()
    receive(packet.sequence, packet.stamp, now)
    takeAt(now)
  }
  while (resequencer.nextTimeout() !== NEVER) takeAt(resequencer.nextTimeout())
  expect(delaysUs).toHaveLength(sent.length)
  expect(Math.min(...delaysUs.slice(careful, later))).toBeGreaterThan(20 * MILLISECOND)
  expect(Math.max(...delaysUs)).toBeLessThanOrEqual(DELAYS_US[1]!)
  expect(delaysUs[later]).toBe(DELAYS_US[0])
})

it('lets nothing overtake what waits for the floor, whatever becomes of that', () => {
  let sequence = 0
  let now = 0
  const arrive = (delayUs: number): void => {
    resequencer.pathDelivered(0, now - 10 * MILLISECOND, now)
    if (sequence % 2 === 0) resequencer.pathDelivered(1, now - 30 * MILLISECOND, now)
    resequencer.review()
    receive(sequence++, now - delayUs, now)
    resequencer.handleTimeout(now)
  }
  for (; now < 10 * SECOND; now += MILLISECOND) {
    arrive(30 * MILLISECOND)
    delivered()
  }
  arrive(10 * MILLISECOND)
  expect(delivered()).toEqual([])
  // The slow path is gone, and nothing has to wait any more.
  resequencer.setPaths([0])
  now += MILLISECOND
  arrive(10 * MILLISECOND)
  now = resequencer.nextTimeout()
  resequencer.handleTimeout(now)
  expect(delivered()).toEqual([sequence - 2, sequence - 1])
})
