import { PacketPool, SLOT_BYTES } from '../../base/packet-pool.js'
import type { Instant } from '../../base/time.js'
import { DropCounters } from '../drop-reasons.js'
import { EgressQueue, type EgressQueueOptions } from '../egress-queue.js'
import { EgressSlots } from '../egress-slots.js'
import { PacketClass } from '../flow-table.js'

// An egress queue by itself, to be begun anew for each test. Packets have names.

export const SLOTS = 4096
const { Bulk } = PacketClass
export let pool: PacketPool
export let drops: DropCounters
export let queue: EgressQueue
let names: string[]

export function start(options: EgressQueueOptions = {}, brief?: Uint8Array<ArrayBuffer>): void {
  pool = new PacketPool(SLOTS * SLOT_BYTES)
  drops = new DropCounters()
  queue = new EgressQueue(pool, drops, new EgressSlots(SLOTS), options, brief)
  names = []
}

export function take(name: string): number {
  const slot = pool.take()
  if (slot < 0) throw new Error('no slot is free')
  names[slot] = name
  return slot
}

export function enqueue(
  name: string,
  bucket: number,
  packetClass: number = Bulk,
  bytes = 1000,
  now = 0,
): void {
  queue.enqueue(take(name), bucket, packetClass, bytes, now)
}

/** Name of the next packet, or undefined. */
export function dequeue(now: Instant = 0): string | undefined {
  const slot = queue.dequeue(now)
  if (slot < 0) return undefined
  pool.release(slot)
  return names[slot]
}

export function dequeueAll(now: Instant = 0): string[] {
  const result: string[] = []
  for (let name = dequeue(now); name !== undefined; name = dequeue(now)) result.push(name)
  return result
}
