import { assert } from '../base/assert.js'
import type { PacketPool } from '../base/packet-pool.js'
import { Drop, type DropCounters } from './drop-reasons.js'
import type { Channel } from './session.js'

/** Ready datagrams kept while a socket is full, which would be stale by the time it has room, */
const READY_MAX_BLOCKED = 128
/** ... and else: one wake-up may have trains for sixteen paths, or heartbeats for a thousand peers. */
const READY_MAX = 4096
const NOT_HELD = 0xffffffff

/**
 * One local way out, as the core sees it: the packets given to it in this wake-up, waiting to be sealed. Not a queue:
 * pollTransmit empties it each time, and while its socket is full nothing is scheduled on it.
 */
export class Link {
  private readonly slots: Uint32Array
  private readonly channels: (Channel | undefined)[]
  private head = 0
  private tail = 0
  /** The socket took less than it was given. */
  blocked = false
  /** Control and handshake datagrams, ready to go: they leave before the data and need no slot. */
  readonly ready: { bytes: Uint8Array; address: Uint32Array }[] = []

  constructor(
    readonly id: number,
    readonly name: string,
    readonly weight: number,
    private readonly pool: PacketPool,
    private readonly capacity: number,
    private readonly drops: DropCounters,
  ) {
    this.slots = new Uint32Array(capacity)
    this.channels = new Array(capacity).fill(undefined)
  }

  /** Whether a packet may be scheduled on it. */
  get hasRoom(): boolean {
    return !this.blocked && this.tail < this.capacity
  }

  get waiting(): number {
    return this.tail - this.head
  }

  /** Takes over one hold on `slot`; ask {@link hasRoom} first. */
  push(slot: number, channel: Channel): void {
    assert(this.tail < this.capacity, 'a packet scheduled on a link without room')
    this.slots[this.tail] = slot
    this.channels[this.tail] = channel
    this.tail++
  }

  /** Queues a datagram that is ready. Where there are too many the oldest gives way. */
  pushReady(bytes: Uint8Array, address: Uint32Array): void {
    if (this.ready.length >= (this.blocked ? READY_MAX_BLOCKED : READY_MAX)) {
      this.ready.shift()
      this.drops.count(Drop.controlFull)
    }
    this.ready.push({ bytes, address })
  }

  /** Index of the first waiting entry; read it with slotAt and its likes, then call {@link consumed}. */
  get first(): number {
    return this.head
  }
  get end(): number {
    return this.tail
  }
  slotAt(index: number): number {
    return this.slots[index]!
  }
  channelAt(index: number): Channel {
    return this.channels[index]!
  }

  /** The hold on the slot of entry `index` is somebody else's now. */
  keepAt(index: number): void {
    this.slots[index] = NOT_HELD
  }

  /** Entries before `index` are sealed; the holds on their slots end. */
  consumed(index: number): void {
    for (let i = this.head; i < index; i++) {
      const slot = this.slots[i]!
      if (slot !== NOT_HELD) this.pool.release(slot)
      this.channels[i] = undefined
    }
    this.head = index
    if (this.head === this.tail) {
      this.head = 0
      this.tail = 0
    }
  }
}
