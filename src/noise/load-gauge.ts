import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'

/** Ours: more handshake messages than this in a second, and addresses must be proved by a cookie first. */
export const LOAD_HANDSHAKES_PER_SECOND = 100
/** Ours: handshakes may take this part of a wake-up. */
export const LOAD_WORK_SHARE = 0.1
/** A wake-up with less handshake work than this delays nothing worth mentioning, whatever its share: some ten answers. */
export const LOAD_WORK_MIN_US: DurationUs = 10 * MILLISECOND
/**
 * Ours: nor do fewer messages than this in the second before, however long they took. The first handshakes of a program
 * are slow, and on a busy machine any may be: a peer alone must not be asked for a cookie.
 */
export const LOAD_WORK_HANDSHAKES = 5
/** How long load outlasts its last sign (WireGuard's figure). */
export const LOAD_LINGER_US: DurationUs = SECOND

/** Tells whether handshakes are so many that they must be rationed. */
export class LoadGauge {
  /** Moments of the last messages: a ring in which `next` is the oldest. */
  private readonly moments = new Float64Array(LOAD_HANDSHAKES_PER_SECOND).fill(Number.NEGATIVE_INFINITY)
  private next = 0
  private loadedUntil: Instant = Number.NEGATIVE_INFINITY

  /** A handshake message with a valid mac1 came in. */
  countHandshake(now: Instant): void {
    // The ring's oldest is the hundredth before this one: within a second of it, this is the hundred and first.
    if (now - this.moments[this.next]! < SECOND) this.loadedUntil = now + LOAD_LINGER_US
    this.moments[this.next] = now
    this.next = (this.next + 1) % this.moments.length
  }

  /** How long the last wake-up was, and how much of it went into handshakes. */
  noteWork(handshakeUs: DurationUs, wakeUpUs: DurationUs, now: Instant): void {
    if (handshakeUs < LOAD_WORK_MIN_US || handshakeUs <= wakeUpUs * LOAD_WORK_SHARE) return
    const count = this.moments.length
    const oldest = this.moments[(this.next + count - LOAD_WORK_HANDSHAKES) % count]!
    if (now - oldest < SECOND) this.loadedUntil = now + LOAD_LINGER_US
  }

  underLoad(now: Instant): boolean {
    return now < this.loadedUntil
  }
}
