import { type Instant, MILLISECOND, SECOND } from '../base/time.js'

/** Credit for time not used: covers a tick that came late, and no more, so that bursts stay short (2 ms measured). */
const CREDIT_US = 2 * MILLISECOND

/**
 * What may not wait (repairs, real-time packets, ACKs) overdraws by at most so much: without a limit a burst of repairs
 * at a low estimate kept a path from sending for ten seconds. What is really under way the in-flight cap knows.
 */
const DEBT_US_MAX = 250 * MILLISECOND

/** Spaces the packets of one path at a rate, so that the queue stays in the tunnel and out of the modem. */
export class Pacer {
  /** When the next packet may go. */
  nextAt: Instant = Number.NEGATIVE_INFINITY
  /** Time in which it might have sent and had nothing to send: tells a limited link from a limited application. */
  idleUs = 0

  mayISend(now: Instant): boolean {
    return this.nextAt <= now
  }

  /** How long a packet given now would wait. */
  waitUs(now: Instant): number {
    return this.nextAt > now ? this.nextAt - now : 0
  }

  /** How many bytes may start to go out now, one after the other, before {@link mayISend} says no. */
  creditBytes(rateBytesPerSec: number, now: Instant): number {
    return (Math.min(CREDIT_US, now - this.nextAt) * rateBytesPerSec) / SECOND
  }

  /** `bytes` go out at `rate`. Packets that may not wait overdraw: those after them pay. */
  sent(bytes: number, rateBytesPerSec: number, now: Instant): void {
    if (this.nextAt < now - CREDIT_US) {
      if (this.nextAt !== Number.NEGATIVE_INFINITY) this.idleUs += now - CREDIT_US - this.nextAt
      this.nextAt = now - CREDIT_US
    }
    const us = (bytes * SECOND) / rateBytesPerSec
    this.nextAt = Math.min(this.nextAt + us, now + Math.max(us, DEBT_US_MAX))
  }
}
