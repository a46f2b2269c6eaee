/**
 * Lets few acknowledgements go on: of those that come in while some wait the newest takes the place of the others of its
 * flow. How far apart, and when, ack-spacing.ts tells.
 */
import type { PacketPool } from '../base/packet-pool.js'
import { SlotRing } from '../base/slot-ring.js'
import { type DurationUs, type Instant, NEVER } from '../base/time.js'
import { AckFilter } from './ack-filter.js'

/** More wait nowhere: what is beyond goes on at once, with all before it. */
const LINE_MAX = 256

export class SpacedAcks {
  /** When what waits is to go on. */
  dueAt: Instant = NEVER
  private releasedAt: Instant = Number.NEGATIVE_INFINITY
  private readonly line = new SlotRing(LINE_MAX)
  private readonly filter: AckFilter

  /** @param output must have room for every slot that the peer may hold */
  constructor(
    private readonly pool: PacketPool,
    private readonly output: SlotRing,
  ) {
    this.filter = new AckFilter(pool)
  }

  /** Acknowledgements whose place newer ones took. */
  get thinned(): number {
    return this.filter.thinned
  }

  /** Whether some wait, before which no other of their flow may go. */
  get isWaiting(): boolean {
    return this.line.count > 0
  }

  /** Takes over the slot of a well-formed pure ACK. What waits goes on `spacingUs` after the last that did. */
  receive(slot: number, spacingUs: DurationUs, now: Instant): void {
    if (this.filter.offer(slot, true)) {
      this.pool.release(slot)
      return
    }
    if (this.line.count === LINE_MAX) this.release(now)
    if (this.line.count === 0) this.dueAt = this.releasedAt + spacingUs
    this.filter.enter()
    this.line.push(slot)
    if (this.dueAt <= now) this.release(now)
  }

  /** Lets all that wait go on. */
  release(now: Instant): void {
    for (let slot = this.line.shift(); slot >= 0; slot = this.line.shift()) {
      this.filter.leave()
      this.output.push(slot)
    }
    this.dueAt = NEVER
    this.releasedAt = now
  }
}
