import type { RandomSource } from '../base/prng.js'
import { type DurationUs, type Instant, SECOND } from '../base/time.js'
import { Initiation } from '../wire/message.js'
import type { Primitives } from './primitives.js'

/** Ours: first messages remembered. */
export const SEEN_MAX = 4096
/** Ours: copies within this time are the same message by another link and get the same answer. */
export const SAME_ANSWER_US: DurationUs = SECOND

/**
 * The last first messages by hash, against replay without a wall clock. Only messages that proved to be genuine are
 * remembered: otherwise anybody who knows our public key could push the genuine ones out. The hash has 64 bits and a
 * key of its own, so that nobody can make two messages meet; mac2 is left out of it, since it differs from link to
 * link.
 */
export class SeenInitiations {
  private readonly key = new Uint8Array(16)
  /** Hash to place in the ring. */
  private readonly places = new Map<bigint, number>()
  private readonly hashes = new BigUint64Array(SEEN_MAX)
  private readonly moments = new Float64Array(SEEN_MAX)
  /** Kept for {@link SAME_ANSWER_US}. */
  private readonly answers: (Uint8Array | undefined)[] = new Array(SEEN_MAX).fill(undefined)
  /** Messages ever remembered; the newest stands at (remembered - 1) % SEEN_MAX. */
  private remembered = 0
  /** Those before this one have no answer any more. */
  private answersFrom = 0

  constructor(
    private readonly primitives: Primitives,
    random: RandomSource,
  ) {
    random.fill(this.key)
  }

  /** What to do with an initiation that passed the gate: `new`, go on; the answer to send again; or silence. */
  lookUp(message: Uint8Array, now: Instant): 'new' | 'handshakeReplayed' | Uint8Array {
    this.forgetAnswers(now)
    const place = this.places.get(this.hash(message))
    if (place === undefined) return 'new'
    return this.answers[place] ?? 'handshakeReplayed'
  }

  /** After the initiation proved genuine. `answer`: what was sent, kept as it is; undefined: copies get silence. */
  remember(message: Uint8Array, answer: Uint8Array | undefined, now: Instant): void {
    this.forgetAnswers(now)
    const hash = this.hash(message)
    if (this.places.has(hash)) return
    const place = this.remembered % SEEN_MAX
    if (this.remembered >= SEEN_MAX) this.places.delete(this.hashes[place]!)
    this.places.set(hash, place)
    this.hashes[place] = hash
    this.moments[place] = now
    this.answers[place] = answer
    this.remembered++
    this.answersFrom = Math.max(this.answersFrom, this.remembered - SEEN_MAX)
  }

  get size(): number {
    return this.places.size
  }

  private forgetAnswers(now: Instant): void {
    while (this.answersFrom < this.remembered) {
      const place = this.answersFrom % SEEN_MAX
      if (now - this.moments[place]! < SAME_ANSWER_US) return
      this.answers[place] = undefined
      this.answersFrom++
    }
  }

  private hash(message: Uint8Array): bigint {
    const mac = this.primitives.mac(this.key, message.subarray(0, Initiation.mac1))
    return new DataView(mac.buffer, mac.byteOffset).getBigUint64(0, true)
  }
}
