import { BUCKET_BITS, BUCKETS } from '../wire/message.js'

const BUCKET_MASK = BUCKETS - 1
/** Of {@link EgressSlots.kind}: it had been sent before. */
export const REINJECTED = 1 << (BUCKET_BITS + 2)

/**
 * What a slot keeps while it waits. A slot waits in one queue at a time, so the queues of all peers share this:
 * 16 bytes × slots.
 */
export class EgressSlots {
  readonly next: Int32Array
  readonly enqueuedAt: Float64Array
  readonly bytes: Uint16Array
  /** Bucket (10 bits), class (2 bits), {@link REINJECTED}: one write instead of three. */
  readonly kind: Uint16Array

  constructor(slotCount: number) {
    this.next = new Int32Array(slotCount)
    this.enqueuedAt = new Float64Array(slotCount)
    this.bytes = new Uint16Array(slotCount)
    this.kind = new Uint16Array(slotCount)
  }

  /** What is known of a packet that leaves without having waited; repair asks for it. */
  describe(slot: number, bucket: number, packetClass: number, bytes: number): void {
    this.bytes[slot] = bytes
    this.kind[slot] = bucket | (packetClass << BUCKET_BITS)
  }

  bucketOf(slot: number): number {
    return this.kind[slot]! & BUCKET_MASK
  }

  classOf(slot: number): number {
    return (this.kind[slot]! >>> BUCKET_BITS) & 3
  }

  /** It had been sent before. */
  isAgain(slot: number): boolean {
    return (this.kind[slot]! & REINJECTED) !== 0
  }
}
