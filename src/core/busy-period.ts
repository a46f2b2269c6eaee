import { type DurationUs, type Instant, MILLISECOND } from '../base/time.js'

/** What is sent keeps a path busy that would have this share of the rate, and at most so long: then it is calm again. */
const CALM_SHARE = 0.1
const CALM_US = 500 * MILLISECOND

/** Since when a peer's paths have been in use without being calm. */
export class BusyPeriod {
  private from: Instant = Number.NEGATIVE_INFINITY
  private until: Instant = Number.NEGATIVE_INFINITY

  sent(bytes: number, bytesPerSec: number, now: Instant): void {
    if (now >= this.until) this.from = this.until = now
    this.until = Math.min(this.until + (bytes * 1e6) / (CALM_SHARE * bytesPerSec), now + CALM_US)
  }

  /** Of one that has just ended, too: the next begins with what is sent. */
  ageUs(now: Instant): DurationUs {
    return now - this.from
  }
}
