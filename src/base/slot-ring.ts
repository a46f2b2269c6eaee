import { assert } from './assert.js'
import type { PacketBatch } from './packet-pool.js'

/** Slots in order of arrival, in a fixed ring. With room for every slot of the pool it can never be full. */
export class SlotRing {
  private readonly slots: Uint32Array
  private readonly mask: number
  private head = 0
  /** Slots waiting. */
  count = 0

  constructor(capacity: number) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(2, capacity)))
    this.slots = new Uint32Array(size)
    this.mask = size - 1
  }

  get capacity(): number {
    return this.slots.length
  }

  push(slot: number): void {
    if (this.count > this.mask) assert(false, 'a ring of slots is full')
    this.slots[(this.head + this.count++) & this.mask] = slot
  }

  /** The oldest slot, or -1. */
  shift(): number {
    if (this.count === 0) return -1
    const slot = this.slots[this.head]!
    this.head = (this.head + 1) & this.mask
    this.count--
    return slot
  }

  /** Moves the oldest slots behind those of `batch`, as many as it has room for; returns how many. */
  drainTo(batch: PacketBatch): number {
    const n = Math.min(this.count, batch.capacity - batch.count)
    for (let i = 0; i < n; i++) batch.slots[batch.count + i] = this.slots[(this.head + i) & this.mask]!
    batch.count += n
    this.head = (this.head + n) & this.mask
    this.count -= n
    return n
  }
}
