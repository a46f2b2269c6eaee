import type { PacketPool } from '../base/packet-pool.js'
import { type DurationUs, type Instant, MILLISECOND } from '../base/time.js'

/** Older than this a packet is not sent again: whoever sent it has given up on it by then. */
export const REPAIR_AGE_US: DurationUs = 250 * MILLISECOND

/**
 * What is remembered of packets that may have to be sent again, by slot. The holds on the slots are those of
 * {@link SentPackets} and of the egress queue; a slot has one packet as long as anybody holds it.
 */
export class Retention {
  private readonly firstSentAt: Float64Array
  private readonly tickets: Float64Array
  private readonly wanted: Uint8Array
  /** It waits in the egress queue to be sent again. */
  private readonly waiting: Uint8Array
  private nextTicket = 1

  constructor(pool: PacketPool) {
    this.firstSentAt = new Float64Array(pool.slotCount)
    this.tickets = new Float64Array(pool.slotCount)
    this.wanted = new Uint8Array(pool.slotCount)
    this.waiting = new Uint8Array(pool.slotCount)
  }

  /** The packet in `slot` goes out for the first time. */
  firstSent(slot: number, now: Instant): void {
    this.firstSentAt[slot] = now
    this.tickets[slot] = this.nextTicket++
    this.wanted[slot] = 1
    this.waiting[slot] = 0
  }

  /**
   * The packet is to wait in the egress queue. False: it does already, as one of which copies were under way on two
   * paths that both turned suspect; the queue is a list by slot, so none may be in it twice.
   */
  enterQueue(slot: number): boolean {
    if (this.waiting[slot] === 1) return false
    this.waiting[slot] = 1
    return true
  }

  leaveQueue(slot: number): void {
    this.waiting[slot] = 0
  }

  /** Tells the packet from a later one in the same slot. */
  ticketOf(slot: number): number {
    return this.tickets[slot]!
  }

  ageUs(slot: number, now: Instant): DurationUs {
    return now - this.firstSentAt[slot]!
  }

  /** A copy of the packet with this ticket arrived: no other is needed. */
  arrived(slot: number, ticket: number): void {
    if (this.tickets[slot] === ticket) this.wanted[slot] = 0
  }

  /** It has arrived by another way, or is too old. */
  noLongerWanted(slot: number, now: Instant, ageUsMax = REPAIR_AGE_US): boolean {
    return this.wanted[slot] === 0 || this.ageUs(slot, now) > ageUsMax
  }
}
