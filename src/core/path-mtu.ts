import type { RandomSource } from '../base/prng.js'
import { type DurationUs, type Instant, MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { CHALLENGE_BYTES } from '../wire/message.js'

/** The least MTU that IPv6 runs over (RFC 8200 section 5), and so of a tunnel. */
export const INNER_MTU_MIN = 1280
/** A size is taken for too large when so many of its probes were lost and what went beside them was not, */
const PROBE_MISSES = 3
/** ... or so many where that much is lost anyway that it could happen by itself. */
const PROBE_MISSES_MAX = 6
const CHANCE_MAX = 1e-4
/** The answers to large packets are waited for so long after that to a small one, and half of the round trip. */
const PROBE_SETTLE_US = 200 * MILLISECOND
/** A wave whose small packet is not answered in this time, or three round trips, tells nothing. */
const WAVE_US_MAX = 1 * SECOND
/** A path that carries less than is wanted is asked again this often (RFC 8899: PMTU_RAISE_TIMER). */
const MTU_RAISE_US = 600 * SECOND
/** Sizes that one wave tells apart, beside the one that is wanted. */
const WAVE_STEPS = 4
/** The search ends when it is as near as this; every size it tries is a multiple. */
const MTU_GRAIN = 4

/**
 * The largest packet that a path carries whole, found with challenges that are padded to the length of data (RFC 8899,
 * DPLPMTUD): many routers send no ICMP about it, and nobody's ICMP is believed. Probes leave in waves, each beside a
 * challenge of the usual size; only when that was answered does silence say that a size is too large.
 *
 * All sizes are bytes of the packet inside. This class judges, path-keeper.ts sends.
 */
export class PathMtu {
  /** What is known to arrive; after it no longer did, {@link INNER_MTU_MIN} until more is known. 0: nothing known. */
  carries = 0
  /** When {@link review} is due, or a wave. */
  dueAt: Instant = Number.NEGATIVE_INFINITY
  /** It carries less than a tunnel must. */
  tooNarrow = false
  /** When it was last asked whether {@link carries} still holds. */
  verifiedAt: Instant = Number.NEGATIVE_INFINITY
  /** Sizes of the wave under way, of which probe `i` has the body {@link probe}(i). */
  readonly sizes: number[] = []

  private doing: 'nothing' | 'search' | 'verify' = 'search'
  /** What is known in a search: that `low` arrives (0: nothing does yet) and `high` does not. */
  private low = 0
  private high: number
  private misses = 0
  private missesMin = 0
  private missesMax = PROBE_MISSES

  private readonly bodies = new Uint8Array((WAVE_STEPS + 1) * CHALLENGE_BYTES)
  private readonly answered: boolean[] = []
  private waveSentAt: Instant = NEVER
  private smallAnswered = false

  /** `wanted`: more is of no use, as the tunnel sends none. */
  constructor(private wanted: number) {
    this.high = wanted
  }

  /** Nothing is known of it: it leads somewhere else now. */
  restart(): void {
    this.carries = 0
    this.search(0, this.wanted, 0)
  }

  want(bytes: number): void {
    const before = this.wanted
    this.wanted = bytes
    if (bytes === before) return
    if (this.carries === 0) this.restart()
    else if (this.carries >= bytes) this.rest(Number.NEGATIVE_INFINITY)
    else this.search(this.carries, bytes, PROBE_MISSES - 1)
  }

  /** Does it still carry what it did? `loss`: share of all packets that is lost at present. */
  verify(loss: number, now: Instant): void {
    this.verifiedAt = now
    if (this.doing !== 'nothing' || this.carries === 0) return
    this.doing = 'verify'
    this.misses = 0
    // A black hole is all loss, so what is lost at present says little of chance then.
    const byChance = loss > 0 ? Math.ceil(Math.log(CHANCE_MAX) / Math.log(Math.min(0.9, loss))) : PROBE_MISSES
    this.missesMax = Math.max(PROBE_MISSES, Math.min(PROBE_MISSES_MAX, byChance))
    this.dueAt = now
  }

  /** Whether a wave is to go beside the challenge that is sent now: of {@link sizes}. */
  startWave(rttUs: DurationUs, random: RandomSource, now: Instant): boolean {
    if (this.doing === 'nothing' || this.waveSentAt !== NEVER || now < this.dueAt) return false
    this.chooseSizes()
    this.answered.length = 0
    random.fill(this.bodies)
    this.waveSentAt = now
    this.dueAt = now + Math.max(WAVE_US_MAX, 3 * rttUs)
    return true
  }

  probe(index: number): Uint8Array {
    return this.bodies.subarray(index * CHALLENGE_BYTES, (index + 1) * CHALLENGE_BYTES)
  }

  /** An answer came on the path; returns whether it was to a probe of the wave under way. */
  onAnswer(body: Uint8Array, now: Instant): boolean {
    if (this.waveSentAt === NEVER) return false
    for (let i = 0; i < this.sizes.length; i++) {
      if (!sameBytes(body, this.probe(i))) continue
      this.answered[i] = true
      // What was asked for first: nothing else needs to be waited for.
      if (this.sizes[i] === (this.doing === 'verify' ? this.carries : this.wanted))
        this.found(this.sizes[i]!, now)
      return true
    }
    return false
  }

  /** A challenge of the usual size, sent at `sentAt`, was answered: silence about larger ones means something. */
  onSmallAnswer(sentAt: Instant, now: Instant): void {
    if (this.waveSentAt === NEVER || sentAt < this.waveSentAt || this.smallAnswered) return
    this.smallAnswered = true
    this.dueAt = now + PROBE_SETTLE_US + (now - sentAt) / 2
  }

  /** To be called when {@link dueAt} has come: judges the wave under way. */
  review(now: Instant): void {
    if (this.doing === 'nothing') {
      // The way may be another by now.
      this.search(this.carries, this.wanted, PROBE_MISSES - 1)
      return
    }
    if (this.waveSentAt === NEVER) return
    const judgeable = this.smallAnswered
    this.endWave()
    this.dueAt = now
    if (!judgeable) return
    if (this.doing === 'verify') this.judgeVerified()
    else this.judgeSearched(now)
  }

  /** Whether it is being found out what the path carries: else it is only tried again now and then. */
  get isOpen(): boolean {
    return this.doing !== 'nothing'
  }

  private judgeVerified(): void {
    if (++this.misses < this.missesMax) return
    const tooLarge = this.carries
    this.carries = INNER_MTU_MIN
    this.search(0, tooLarge, PROBE_MISSES)
  }

  private judgeSearched(now: Instant): void {
    const triedLeast = this.low === 0 && this.sizes.includes(INNER_MTU_MIN)
    if (this.sizes[0] === this.wanted) this.misses++
    this.sizes.forEach((bytes, i) => {
      if (this.answered[i]) this.low = Math.max(this.low, bytes)
    })
    this.sizes.forEach((bytes, i) => {
      if (!this.answered[i] && this.low > 0 && bytes > this.low) this.high = Math.min(this.high, bytes)
    })
    if (triedLeast && this.low === 0 && ++this.missesMin === PROBE_MISSES) {
      this.carries = 0
      this.tooNarrow = true
      this.rest(now)
    } else if (this.low > 0 && this.misses >= PROBE_MISSES && this.high - this.low <= MTU_GRAIN) {
      this.found(this.low, now)
    }
  }

  private found(bytes: number, now: Instant): void {
    this.carries = bytes
    this.tooNarrow = false
    this.rest(now)
  }

  /** Nothing to do, unless it carries less than is wanted: then again some time from `now` on. */
  private rest(now: Instant): void {
    this.doing = 'nothing'
    this.endWave()
    this.dueAt = this.carries < this.wanted ? now + MTU_RAISE_US : NEVER
  }

  private search(low: number, high: number, misses: number): void {
    this.doing = 'search'
    this.endWave()
    this.low = low
    this.high = high
    this.misses = misses
    this.missesMin = 0
    this.dueAt = Number.NEGATIVE_INFINITY
  }

  private endWave(): void {
    this.waveSentAt = NEVER
    this.smallAnswered = false
  }

  private chooseSizes(): void {
    const { sizes, wanted, low, high } = this
    sizes.length = 0
    if (this.doing === 'verify') {
      sizes.push(this.carries)
      return
    }
    if (this.misses < PROBE_MISSES) sizes.push(wanted)
    // Nearly every path carries all that is wanted: it alone is asked for first.
    if (this.misses === 0) return
    const from = Math.max(low, INNER_MTU_MIN)
    if (low === 0) sizes.push(from)
    for (let i = 1; i <= WAVE_STEPS && sizes.length <= WAVE_STEPS; i++) {
      const bytes = Math.floor((from + ((high - from) * i) / (WAVE_STEPS + 1)) / MTU_GRAIN) * MTU_GRAIN
      if (bytes > from && bytes < high && !sizes.includes(bytes)) sizes.push(bytes)
    }
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!
  return difference === 0
}
