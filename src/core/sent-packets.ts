import type { PacketPool } from '../base/packet-pool.js'
import type { Instant } from '../base/time.js'

/** Counters remembered per channel: 8192 packets are 180 ms at 500 Mbit/s, for which loss-free failover is promised. */
export const SENT_RING = 8192
const MASK = SENT_RING - 1

const NONE = -1

/** What became of a counter. */
export const Fate = { Outstanding: 0, Arrived: 1, Lost: 2 } as const

/**
 * The last packets sent on one channel, by counter: when, how many bytes, and (where they may have to be sent again)
 * the slot with the plaintext, on which the ring keeps a hold while its fate is open. Parallel arrays, no object per
 * packet.
 */
export class SentPackets {
  private readonly at = new Float64Array(SENT_RING)
  private readonly bytes = new Uint16Array(SENT_RING)
  private readonly slots = new Int32Array(SENT_RING).fill(NONE)
  private readonly tickets = new Float64Array(SENT_RING)
  private readonly fates = new Uint8Array(SENT_RING)
  /** Bytes sent up to and with each counter, and the path's idle time then: inputs of the rate estimate. */
  private readonly bytesUpTo = new Float64Array(SENT_RING)
  private readonly idleUpTo = new Float64Array(SENT_RING)
  /** Next counter. */
  next = 0
  /** First counter whose fate is not known. */
  settled = 0
  bytesTotal = 0
  /** Bytes whose fate is not known. */
  bytesOutstanding = 0
  /** Before this counter {@link letGo} has been. */
  private letGoUpTo = 0

  constructor(private readonly pool: PacketPool) {}

  /**
   * Takes the next counter for a packet of `bytes` on the wire. `slot` is kept (the caller made a hold for it) until
   * its fate is known or the ring comes round; -1 for what is never sent again. `ticket` tells its packet from a later
   * one in the same slot.
   */
  add(bytes: number, slot: number, ticket: number, idleUs: number, now: Instant): number {
    const counter = this.next++
    const at = counter & MASK
    if (counter - this.settled >= SENT_RING) this.forgetOldest()
    this.at[at] = now
    this.bytes[at] = bytes
    this.slots[at] = slot
    this.tickets[at] = ticket
    this.fates[at] = Fate.Outstanding
    this.bytesTotal += bytes
    this.bytesUpTo[at] = this.bytesTotal
    this.idleUpTo[at] = idleUs
    this.bytesOutstanding += bytes
    return counter
  }

  /** Whether the ring still knows `counter`. */
  remembers(counter: number): boolean {
    return counter >= 0 && counter < this.next && counter >= this.next - SENT_RING
  }

  sentAt(counter: number): Instant {
    return this.at[counter & MASK]!
  }
  bytesUpToCounter(counter: number): number {
    return this.bytesUpTo[counter & MASK]!
  }
  /** Bytes sent before `counter`, which the ring remembers. */
  bytesBefore(counter: number): number {
    return this.bytesUpTo[counter & MASK]! - this.bytes[counter & MASK]!
  }
  idleUpToCounter(counter: number): number {
    return this.idleUpTo[counter & MASK]!
  }
  fateOf(counter: number): number {
    return this.fates[counter & MASK]!
  }
  ticketOf(counter: number): number {
    return this.tickets[counter & MASK]!
  }
  slotOf(counter: number): number {
    return this.slots[counter & MASK]!
  }

  /** An outstanding packet has arrived; the hold on its slot ends. */
  arrived(counter: number): void {
    const at = counter & MASK
    this.bytesOutstanding -= this.bytes[at]!
    this.fates[at] = Fate.Arrived
    const slot = this.slots[at]!
    if (slot !== NONE) this.pool.release(slot)
  }

  /** An outstanding packet is taken for lost: its slot, with the ring's hold, becomes the caller's; -1: not kept. */
  lost(counter: number): number {
    const at = counter & MASK
    this.bytesOutstanding -= this.bytes[at]!
    this.fates[at] = Fate.Lost
    return this.slots[at]!
  }

  /** Moves {@link settled} past everything whose fate is known. */
  settle(): void {
    while (this.settled < this.next && this.fates[this.settled & MASK] !== Fate.Outstanding) this.settled++
  }

  /** Lets go of up to `count` slots, oldest first, as when memory is short; returns how many. */
  relieve(count: number): number {
    let relieved = 0
    for (let counter = this.settled; counter < this.next && relieved < count; counter++) {
      const at = counter & MASK
      if (this.fates[at] !== Fate.Outstanding || this.slots[at] === NONE) continue
      this.pool.release(this.slots[at]!)
      this.slots[at] = NONE
      relieved++
    }
    return relieved
  }

  /**
   * Lets go of the slots of what was sent before `instant` and will not be sent again, such as the last packets before
   * a rekey, of which nothing may ever be reported. Their fate stays open.
   */
  letGo(instant: Instant): void {
    let counter = Math.max(this.settled, this.letGoUpTo)
    for (; counter < this.next && this.at[counter & MASK]! < instant; counter++) {
      const at = counter & MASK
      if (this.fates[at] !== Fate.Outstanding || this.slots[at] === NONE) continue
      this.pool.release(this.slots[at]!)
      this.slots[at] = NONE
    }
    this.letGoUpTo = counter
  }

  /** Gives back every slot: the session ends. */
  clear(): void {
    for (let counter = this.settled; counter < this.next; counter++) {
      if (this.fates[counter & MASK] === Fate.Outstanding) this.arrived(counter)
    }
    this.settled = this.next
  }

  /** The ring comes round: nobody will ask for its oldest packet any more. */
  private forgetOldest(): void {
    if (this.fates[this.settled & MASK] === Fate.Outstanding) this.arrived(this.settled)
    this.settled++
    this.settle()
  }
}
