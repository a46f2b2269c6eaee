import type { PacketPool } from '../base/packet-pool.js'
import type { Instant } from '../base/time.js'

/** Counters remembered per channel at first, */
export const SENT_RING = 1024
/** ... and where more are under way, as many, up to this: 157 ms at 5 Gbit/s. */
export const SENT_RING_MAX = 65_536

const NONE = -1

/** What became of a counter. */
export const Fate = { Outstanding: 0, Arrived: 1, Lost: 2 } as const

/**
 * The last packets sent on one channel, by counter: when, how many bytes, and (where they may have to be sent again)
 * the slot with the plaintext, on which the ring keeps a hold while its fate is open. Parallel arrays, no object per
 * packet.
 */
export class SentPackets {
  private at: Float64Array
  private bytes: Uint16Array
  private slots: Int32Array
  private tickets: Float64Array
  private fates: Uint8Array
  /** Bytes sent up to and with each counter, and the path's idle time then: inputs of the rate estimate. */
  private bytesUpTo: Float64Array
  private idleUpTo: Float64Array
  /** A counter's place is what the mask leaves of it. */
  private mask: number
  /** First counter in the ring, if later than its length says: it has grown since. */
  private grownFrom = 0
  /** Next counter. */
  next = 0
  /** First counter whose fate is not known. */
  settled = 0
  bytesTotal = 0
  /** Bytes whose fate is not known. */
  bytesOutstanding = 0
  /** Before this counter {@link letGo} has been. */
  private letGoUpTo = 0

  /** Rings of powers of two: of `ring` places, and of no more than `ringMax`. */
  constructor(
    private readonly pool: PacketPool,
    ring = SENT_RING,
    private readonly ringMax = SENT_RING_MAX,
  ) {
    this.at = new Float64Array(ring)
    this.bytes = new Uint16Array(ring)
    this.slots = new Int32Array(ring)
    this.tickets = new Float64Array(ring)
    this.fates = new Uint8Array(ring)
    this.bytesUpTo = new Float64Array(ring)
    this.idleUpTo = new Float64Array(ring)
    this.mask = ring - 1
  }

  /**
   * Takes the next counter for a packet of `bytes` on the wire. `slot` is kept (the caller made a hold for it) until
   * its fate is known or the ring comes round; -1 for what is never sent again. `ticket` tells its packet from a later
   * one in the same slot.
   */
  add(bytes: number, slot: number, ticket: number, idleUs: number, now: Instant): number {
    if (this.next - this.settled > this.mask) this.makeRoom()
    const counter = this.next++
    const at = counter & this.mask
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
    return counter < this.next && counter >= Math.max(this.grownFrom, this.next - this.mask - 1)
  }

  sentAt(counter: number): Instant {
    return this.at[counter & this.mask]!
  }
  bytesUpToCounter(counter: number): number {
    return this.bytesUpTo[counter & this.mask]!
  }
  bytesOf(counter: number): number {
    return this.bytes[counter & this.mask]!
  }
  /** Bytes sent before `counter`, which the ring remembers. */
  bytesBefore(counter: number): number {
    return this.bytesUpTo[counter & this.mask]! - this.bytes[counter & this.mask]!
  }
  idleUpToCounter(counter: number): number {
    return this.idleUpTo[counter & this.mask]!
  }
  fateOf(counter: number): number {
    return this.fates[counter & this.mask]!
  }
  ticketOf(counter: number): number {
    return this.tickets[counter & this.mask]!
  }
  slotOf(counter: number): number {
    return this.slots[counter & this.mask]!
  }

  /** An outstanding packet has arrived; the hold on its slot ends. */
  arrived(counter: number): void {
    const at = counter & this.mask
    this.bytesOutstanding -= this.bytes[at]!
    this.fates[at] = Fate.Arrived
    const slot = this.slots[at]!
    if (slot !== NONE) this.pool.release(slot)
  }

  /** An outstanding packet is taken for lost: its slot, with the ring's hold, becomes the caller's; -1: not kept. */
  lost(counter: number): number {
    const at = counter & this.mask
    this.bytesOutstanding -= this.bytes[at]!
    this.fates[at] = Fate.Lost
    return this.slots[at]!
  }

  /** Moves {@link settled} past everything whose fate is known. */
  settle(): void {
    while (this.settled < this.next && this.fates[this.settled & this.mask] !== Fate.Outstanding)
      this.settled++
  }

  /** Lets go of up to `count` slots, oldest first, as when memory is short; returns how many. */
  relieve(count: number): number {
    let relieved = 0
    for (let counter = this.settled; counter < this.next && relieved < count; counter++) {
      const at = counter & this.mask
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
    for (; counter < this.next && this.at[counter & this.mask]! < instant; counter++) {
      const at = counter & this.mask
      if (this.fates[at] !== Fate.Outstanding || this.slots[at] === NONE) continue
      this.pool.release(this.slots[at]!)
      this.slots[at] = NONE
    }
    this.letGoUpTo = counter
  }

  /** Gives back every slot: the session ends. */
  clear(): void {
    for (let counter = this.settled; counter < this.next; counter++) {
      if (this.fates[counter & this.mask] === Fate.Outstanding) this.arrived(counter)
    }
    this.settled = this.next
  }

  /** The ring is full of what may be asked for: it grows, or forgets its oldest packet. */
  private makeRoom(): void {
    if (this.mask + 1 < this.ringMax) {
      this.grow()
      return
    }
    if (this.fates[this.settled & this.mask] === Fate.Outstanding) this.arrived(this.settled)
    this.settled++
    this.settle()
  }

  /** To twice the length: the former round is repeated, so that each counter finds its own. */
  private grow(): void {
    this.grownFrom = this.next - this.mask - 1
    this.mask = 2 * this.mask + 1
    this.at = twice(this.at, Float64Array)
    this.bytes = twice(this.bytes, Uint16Array)
    this.slots = twice(this.slots, Int32Array)
    this.tickets = twice(this.tickets, Float64Array)
    this.fates = twice(this.fates, Uint8Array)
    this.bytesUpTo = twice(this.bytesUpTo, Float64Array)
    this.idleUpTo = twice(this.idleUpTo, Float64Array)
  }
}

function twice<T extends Float64Array | Int32Array | Uint16Array | Uint8Array>(
  ring: T,
  Ring: new (length: number) => T,
): T {
  const both = new Ring(2 * ring.length)
  both.set(ring)
  both.set(ring, ring.length)
  return both
}
