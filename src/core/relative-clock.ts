import { type Instant, SECOND } from '../base/time.js'
import { STAMP_BITS } from '../wire/message.js'

/** One-way delays apart by more than this mean that a clock jumped or the silence was long: begin anew. */
const REBASE_US = 60 * SECOND

/**
 * The two ends' clocks have nothing to do with each other, but their difference is constant (but for drift), so
 * one-way delays are known up to a constant that is the same for all paths. The first packet fixes it: its delay
 * counts as zero. "Relative time" is our clock moved so that it reads as the sender's stamps do; it is a stamp itself
 * (28 bits) when it goes into a feedback frame.
 */
export class RelativeClock {
  private offsetUs = Number.NaN
  /** One-way delay of the last packet given to {@link observe}, µs, relative; may be negative. */
  owdUs = 0
  /** Relative time at which that packet was sent. */
  sentAt: Instant = 0

  /**
   * A packet stamped `stamp` (28 bits) came at `receivedAt` of our clock. True if the clock began anew: delays known
   * by it so far mean nothing any more.
   */
  observe(stamp: number, receivedAt: Instant): boolean {
    if (Number.isNaN(this.offsetUs)) this.offsetUs = receivedAt - stamp
    const relative = receivedAt - this.offsetUs
    const owd = signed(relative - stamp)
    if (owd > REBASE_US || owd < -REBASE_US) {
      this.offsetUs = receivedAt - stamp
      this.owdUs = 0
      this.sentAt = stamp
      return true
    }
    this.owdUs = owd
    this.sentAt = relative - owd
    return false
  }

  get known(): boolean {
    return !Number.isNaN(this.offsetUs)
  }

  /** Our instant in the other end's terms. */
  relative(now: Instant): Instant {
    return now - this.offsetUs
  }

  reset(): void {
    this.offsetUs = Number.NaN
  }
}

/** `difference` taken modulo 2^28 into ±134 s, keeping its fraction of a microsecond out. */
function signed(difference: number): number {
  return (Math.round(difference) << (32 - STAMP_BITS)) >> (32 - STAMP_BITS)
}
