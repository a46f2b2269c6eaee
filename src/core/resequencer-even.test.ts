import { beforeEach, expect, it } from 'vitest'
import { PacketPool, SLOT_BYTES } from '../base/packet-pool.js'
import { SlotRing } from '../base/slot-ring.js'
import { MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { PacketFlag } from '../wire/message.js'
import { DropCounters } from './drop-reasons.js'
import { Resequencer } from './resequencer.js'

// What becomes of the order where the packets of a long transfer are held back (even-delay.ts).

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

function receive(sequence: number, stampUs: number, flags: number, now: number): void {
  const slot = pool.take()
  expect(slot).toBeGreaterThanOrEqual(0)
  sequences[slot] = sequence
  pool.length[slot] = PACKET_BYTES
  resequencer.receive(slot, BUCKET, sequence, stampUs, flags, now)
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

it('keeps the delay of a long transfer while a few packets of it take the fast path only, and its order', () => {
  const DELAYS_US = [10 * MILLISECOND, 30 * MILLISECOND]
  const TRANSFER_US = 2 * SECOND
  interface Sent {
    sequence: number
    stamp: number
    path: number
  }
  const sent: Sent[] = []
  const send = (stamp: number, path: number): void => {
    sent.push({ sequence: sent.length, stamp, path })
  }
  for (let t = 0; t < TRANSFER_US; t += MILLISECOND) send(t, sent.length % 4 === 0 ? 1 : 0)
  const careful = sent.length
  for (let t = TRANSFER_US; t < TRANSFER_US + 200 * MILLISECOND; t += 5 * MILLISECOND) send(t, 0)
  const later = sent.length
  // The transfer is over: what comes on the same connection long after is as quick as it can be.
  send(TRANSFER_US + 10 * SECOND, 0)
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
    receive(packet.sequence, packet.stamp, packet.sequence < later ? PacketFlag.Even : 0, now)
    takeAt(now)
  }
  while (resequencer.nextTimeout() !== NEVER) takeAt(resequencer.nextTimeout())
  expect(delaysUs).toHaveLength(sent.length)
  const TICK_US = 250
  for (const delayUs of delaysUs.slice(careful, later)) {
    expect(delayUs).toBeGreaterThanOrEqual(DELAYS_US[1]!)
    expect(delayUs).toBeLessThan(DELAYS_US[1]! + TICK_US)
  }
  expect(delaysUs[later]).toBe(DELAYS_US[0])
})

it('lets nothing overtake what is held back, whatever becomes of that', () => {
  let sequence = 0
  let now = 0
  const arrive = (delayUs: number, flags: number): void => {
    resequencer.pathDelivered(0, now - 10 * MILLISECOND, now)
    if (sequence % 2 === 0) resequencer.pathDelivered(1, now - 30 * MILLISECOND, now)
    receive(sequence++, now - delayUs, flags, now)
    resequencer.handleTimeout(now)
  }
  for (; now < 1 * SECOND; now += MILLISECOND) {
    arrive(30 * MILLISECOND, PacketFlag.Even)
    delivered()
  }
  arrive(10 * MILLISECOND, PacketFlag.Even)
  expect(delivered()).toEqual([])
  // The slow path is gone, and nothing has to wait any more.
  resequencer.setPaths([0])
  now += MILLISECOND
  arrive(10 * MILLISECOND, PacketFlag.Even)
  now = resequencer.nextTimeout()
  resequencer.handleTimeout(now)
  expect(delivered()).toEqual([sequence - 2, sequence - 1])
})

it('holds back no more than its share of memory, and keeps the order then, too', () => {
  let most = 0
  const out: number[] = []
  const COUNT = 3_000
  for (let sequence = 0; sequence < COUNT; sequence++) {
    const now = sequence * MILLISECOND
    resequencer.pathDelivered(0, now - 10 * MILLISECOND, now)
    resequencer.pathDelivered(1, now - 390 * MILLISECOND, now)
    receive(sequence, now - 10 * MILLISECOND, PacketFlag.Even, now)
    resequencer.handleTimeout(now)
    out.push(...delivered())
    most = Math.max(most, SLOTS - pool.freeCount)
  }
  resequencer.handleTimeout(COUNT * MILLISECOND + SECOND)
  out.push(...delivered())
  expect(out).toEqual(Array.from({ length: COUNT }, (_, sequence) => sequence))
  expect(most).toBeGreaterThan(SLOTS / 5)
  expect(most).toBeLessThanOrEqual(SLOTS / 4)
})
