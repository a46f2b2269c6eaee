import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'

/** Reordering within a path: grows by half and this much for each late packet, at most once in 10 ms. */
const TOLERANCE_STEP_US = 0.5 * MILLISECOND
const TOLERANCE_RAISE_US = 10 * MILLISECOND
const TOLERANCE_US_MAX = 20 * MILLISECOND
/** Each second without a late packet takes a fifth of the tolerance. */
const TOLERANCE_FADE = 0.8
const TOLERANCE_FADE_US = 1 * SECOND
const TOLERANCE_US_MIN = 0.05 * MILLISECOND

/** What is waited beyond a path's newest stamp, as packets overtake each other within paths. */
export class ReorderTolerance {
  us: DurationUs = 0
  private raisedAt: Instant = Number.NEGATIVE_INFINITY
  private fadedAt: Instant = Number.NEGATIVE_INFINITY

  raise(now: Instant): void {
    if (now - this.raisedAt < TOLERANCE_RAISE_US) return
    this.raisedAt = now
    this.fadedAt = now
    this.us = Math.min(TOLERANCE_US_MAX, this.us * 1.5 + TOLERANCE_STEP_US)
  }

  fade(now: Instant): void {
    if (this.us === 0 || now - this.fadedAt < TOLERANCE_FADE_US) return
    this.us *= TOLERANCE_FADE ** Math.floor((now - this.fadedAt) / TOLERANCE_FADE_US)
    this.fadedAt = now
    if (this.us < TOLERANCE_US_MIN) this.us = 0
  }
}
