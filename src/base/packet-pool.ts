import { assert } from './assert.js'

/** Bytes of one slot. An inner packet of up to {@link PACKET_BYTES_MAX} bytes fits behind the headroom. */
export const SLOT_BYTES = 2048
/** The same in 32-bit words. */
export const SLOT_WORDS = SLOT_BYTES / 4
/**
 * The packet starts here within its slot. The 8 bytes before it take the sealed header, so that header and packet are
 * one contiguous plaintext; the 8 before those keep the packet on a 16-byte boundary.
 */
export const SLOT_HEADROOM = 16
export const PACKET_BYTES_MAX = SLOT_BYTES - SLOT_HEADROOM

/** What is known of the packet in a slot, kept in {@link PacketPool.flags}. The addon sets and reads the same bits. */
export const SlotFlag = {
  /** The transport checksum holds only the pseudo-header's sum; whoever sends it to a wire must finish it. */
  ChecksumPartial: 1,
} as const

/**
 * All packet memory of one end, taken once at start: a slab of fixed slots and a stack of the free ones.
 * Nothing else holds packets, so its size bounds every queue together.
 */
export class PacketPool {
  readonly slab: Uint8Array
  /** The slab as little-endian words; slot `s` starts at word `s * SLOT_WORDS`. */
  readonly words: Uint32Array
  /** Length in bytes of the packet in each slot. */
  readonly length: Uint16Array
  /** {@link SlotFlag} bits of the packet in each slot. */
  readonly flags: Uint8Array
  readonly slotCount: number
  private readonly free: Uint32Array
  /** How many hold each slot: 0 = free. */
  private readonly holders: Uint8Array
  private freeTop: number

  constructor(slabBytes: number) {
    this.slotCount = Math.floor(slabBytes / SLOT_BYTES)
    assert(this.slotCount > 0, 'a packet pool needs at least one slot')
    const memory = new ArrayBuffer(this.slotCount * SLOT_BYTES)
    this.slab = new Uint8Array(memory)
    this.words = new Uint32Array(memory)
    this.length = new Uint16Array(this.slotCount)
    this.flags = new Uint8Array(this.slotCount)
    this.free = new Uint32Array(this.slotCount)
    this.holders = new Uint8Array(this.slotCount)
    this.freeTop = this.slotCount
    for (let i = 0; i < this.slotCount; i++) this.free[i] = this.slotCount - 1 - i
  }

  get freeCount(): number {
    return this.freeTop
  }

  /** One free slot, or -1 when there is none. The caller owns it until {@link release}. */
  take(): number {
    if (this.freeTop === 0) return -1
    const slot = this.free[--this.freeTop]!
    this.holders[slot] = 1
    return slot
  }

  /** Takes up to `count` slots into `out` from index `at`; returns how many there were. */
  takeMany(out: Uint32Array, at: number, count: number): number {
    const n = Math.min(count, this.freeTop)
    for (let i = 0; i < n; i++) {
      const slot = this.free[--this.freeTop]!
      this.holders[slot] = 1
      out[at + i] = slot
    }
    return n
  }

  /** One more holder of a taken slot: it is free again after as many releases. */
  hold(slot: number): void {
    if (this.holders[slot] === 0) assert(false, `slot ${slot} held but not taken`)
    this.holders[slot]!++
  }

  /** One holder less. Releasing a slot that is free is a fault of ours and stops the program. */
  release(slot: number): void {
    const holders = this.holders[slot]
    if (!holders) assert(false, `slot ${slot} released but not taken`)
    this.holders[slot] = holders - 1
    if (holders === 1) this.free[this.freeTop++] = slot
  }

  releaseMany(slots: Uint32Array, from: number, to: number): void {
    for (let i = from; i < to; i++) this.release(slots[i]!)
  }

  /** Byte offset in the slab at which the packet of `slot` starts. */
  packetAt(slot: number): number {
    return slot * SLOT_BYTES + SLOT_HEADROOM
  }
}

/** A list of slots in a fixed array: what the TUN gave or is to be given. */
export class PacketBatch {
  readonly slots: Uint32Array
  count = 0
  constructor(readonly capacity: number) {
    this.slots = new Uint32Array(capacity)
  }
}
