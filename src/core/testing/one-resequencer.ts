import { PacketPool, SLOT_BYTES } from '../../base/packet-pool.js'
import { SlotRing } from '../../base/slot-ring.js'
import { type Instant, MILLISECOND } from '../../base/time.js'
import { BUCKET_UNORDERED, SEQUENCE_MASK } from '../../wire/message.js'
import { DropCounters } from '../drop-reasons.js'
import { Resequencer, type ResequencerOptions } from '../resequencer.js'

// A resequencer by itself, to be begun anew for each test. Packets have names.

export const SLOTS = 6000
export let pool: PacketPool
export let drops: DropCounters
let output: SlotRing
export let resequencer: Resequencer
/** What each slot stands for. */
let names: string[]

export function start(options: ResequencerOptions = {}): void {
  pool = new PacketPool(SLOTS * SLOT_BYTES)
  drops = new DropCounters()
  output = new SlotRing(SLOTS)
  resequencer = new Resequencer(pool, drops, output, options)
  resequencer.setPaths([0, 1])
  names = []
}

/** A packet named `bucket:sequence` comes. */
export function receive(bucket: number, sequence: number, stampUs = 0, now = 0, flags = 0): void {
  if (bucket === BUCKET_UNORDERED) {
    receiveUnordered(sequence, Number.NEGATIVE_INFINITY, now)
    return
  }
  const slot = take(bucket, sequence)
  resequencer.receive(slot, bucket, sequence & SEQUENCE_MASK, stampUs, flags, now)
}

/** One that needs no order comes, and is to go on at `dueAt`. */
export function receiveUnordered(sequence: number, dueAt: Instant, now: Instant): void {
  resequencer.receiveUnordered(take(BUCKET_UNORDERED, sequence), sequence & SEQUENCE_MASK, dueAt, now)
}

function take(bucket: number, sequence: number): number {
  const slot = pool.take()
  if (slot < 0) throw new Error('no slot is free')
  names[slot] = `${bucket}:${sequence & SEQUENCE_MASK}`
  return slot
}

/** What has been delivered since the last call. */
export function delivered(): string[] {
  const result: string[] = []
  for (let slot = output.shift(); slot >= 0; slot = output.shift()) {
    result.push(names[slot]!)
    pool.release(slot)
  }
  return result
}

/** Lets two paths with delays of 10 and 30 ms be known. */
export function knowPaths(stampUs: number): void {
  resequencer.pathDelivered(0, stampUs, stampUs + 10 * MILLISECOND)
  resequencer.pathDelivered(1, stampUs, stampUs + 30 * MILLISECOND)
}
