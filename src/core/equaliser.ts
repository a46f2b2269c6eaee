import { assert } from '../base/assert.js'
import type { SlotRing } from '../base/slot-ring.js'
import { type DurationUs, type Instant, MILLISECOND, NEVER } from '../base/time.js'

/** Beyond any satellite: what is further apart is a fault, and waiting for it would stop everything. */
export const EQUALISER_SPREAD_US_MAX: DurationUs = 400 * MILLISECOND

/**
 * Where ordered packets wait until they are old enough for the TCP inside. With the policy `bond` that is as old as they
 * would be by the slowest path alive: one constant delay whichever path a packet took, from its first packet on. BBR
 * needs that beside a satellite (91 % instead of 48, measured on the kernel's); CUBIC gains nothing. Else it is the floor
 * of the flow, see delay-floor.ts.
 *
 * Stands between the resequencer's order and the TUN: a ring of slots and the instant at which each is due, which never
 * falls along the ring.
 */
export class Equaliser {
  private readonly slots: Uint32Array
  private readonly dueAt: Float64Array
  private readonly mask: number
  private head = 0
  private count = 0
  private lastDueAt: Instant = Number.NEGATIVE_INFINITY

  constructor(capacity: number) {
    const size = 2 ** Math.ceil(Math.log2(capacity))
    this.slots = new Uint32Array(size)
    this.dueAt = new Float64Array(size)
    this.mask = size - 1
  }

  /**
   * Takes over a slot that may go out at `dueAt`, but waits no longer than the greatest spread. Returns when it is due
   * behind all others.
   */
  push(slot: number, dueAt: Instant, now: Instant): Instant {
    if (this.count > this.mask) assert(false, 'the equaliser is full')
    // A stamp of a clock that began anew may name any time; what comes later must not wait for it.
    const limited = Math.min(dueAt, now + EQUALISER_SPREAD_US_MAX)
    if (limited > this.lastDueAt) this.lastDueAt = limited
    const at = (this.head + this.count++) & this.mask
    this.slots[at] = slot
    this.dueAt[at] = this.lastDueAt
    return this.lastDueAt
  }

  /** Whether a slot may still be here for which {@link push} returned `dueAt`. */
  mayHold(dueAt: Instant): boolean {
    return this.count > 0 && dueAt >= this.dueAt[this.head]!
  }

  /** Moves what is due to `out`. */
  release(out: SlotRing, now: Instant): void {
    while (this.count > 0 && this.dueAt[this.head]! <= now) {
      const slot = this.slots[this.head]!
      this.head = (this.head + 1) & this.mask
      this.count--
      out.push(slot)
    }
  }

  nextTimeout(): Instant {
    return this.count === 0 ? NEVER : this.dueAt[this.head]!
  }
}
