import { sameBytes } from '../base/bytes.js'
import type { RandomSource } from '../base/prng.js'
import { type Instant, NEVER } from '../base/time.js'
import { CHALLENGE_BYTES } from '../wire/message.js'

/** So many challenges may be under way: repeated every 250 ms, an answer may take two seconds. */
const UNDER_WAY = 8

/**
 * The last challenges sent to one address and when. Each has random bytes of its own, so that an answer tells the
 * round trip of the one it answers; and the answer to any of them counts, since on a slow path it comes after the next
 * one was sent.
 */
export class Challenges {
  /** When the first was sent, {@link NEVER} before; and the last. */
  firstSentAt: Instant = NEVER
  lastSentAt: Instant = Number.NEGATIVE_INFINITY
  private readonly bytes = new Uint8Array(UNDER_WAY * CHALLENGE_BYTES)
  private readonly sentAt = new Float64Array(UNDER_WAY).fill(Number.NaN)
  private next = 0

  /** The bytes of another challenge, sent now; valid until as many more were made. */
  make(random: RandomSource, now: Instant): Uint8Array {
    const index = this.next++ % UNDER_WAY
    const challenge = this.at(index)
    random.fill(challenge)
    this.sentAt[index] = now
    if (this.firstSentAt === NEVER) this.firstSentAt = now
    this.lastSentAt = now
    return challenge
  }

  /** When the challenge that `answer` answers was sent; NaN if it is none of them. */
  sentAtOf(answer: Uint8Array): Instant {
    if (answer.length !== CHALLENGE_BYTES) return Number.NaN
    for (let index = 0; index < UNDER_WAY; index++) {
      if (sameBytes(answer, this.at(index))) return this.sentAt[index]!
    }
    return Number.NaN
  }

  private at(index: number): Uint8Array {
    return this.bytes.subarray(index * CHALLENGE_BYTES, (index + 1) * CHALLENGE_BYTES)
  }
}
