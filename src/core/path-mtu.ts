import { sameBytes } from '../base/bytes.js'
import type { RandomSource } from '../base/prng.js'
import { type DurationUs, type Instant, MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { CHALLENGE_BYTES } from '../wire/message.js'

/** The least MTU that IPv6 runs over (RFC 8200 section 5), and so of a tunnel. */
export const INNER_MTU_MIN = 1280
/** What nearly every path carries that does not carry all: PPPoE has 8 bytes of its own (RFC 2516). */
const PPPOE_BYTES = 8
/** A size of a search is taken for too large when so many of its probes were lost, and what went behind them was not, */
const PROBE_MISSES = 2
/** ... the largest when so many were, as nearly every path carries it, */
const PROBE_MISSES_WANTED = 3
/** ... what was carried before when at least so many, up to the last where that much is lost that it could happen by itself, */
const PROBE_MISSES_CARRIED = 8
const PROBE_MISSES_MAX = 12
/** ... and the least when so many, as the path is not used then. */
const PROBE_MISSES_LEAST = 6
const CHANCE_MAX = 1e-4
/** The answer to a large packet is waited for so long, and half of the round trip, after that to the small one behind it. */
const PROBE_SETTLE_US = 50 * MILLISECOND
/** The small packet goes so much later than its probe, so that no offload makes one of both, which may be dropped whole. */
const PROBE_GAP_US = 1 * MILLISECOND
/** A probe whose small packet is not answered in this time, or three round trips, tells nothing; */
const PROBE_US_MIN = 300 * MILLISECOND
/** ... in this time, where no round trip is known. After each that told nothing the next has twice as long, up to the last. */
const PROBE_US_UNKNOWN = 1 * SECOND
const PROBE_US_MAX = 4 * SECOND
/** A path that carries less than is wanted is asked again this often (RFC 8899: PMTU_RAISE_TIMER), */
const MTU_RAISE_US = 600 * SECOND
/** ... and so much sooner one that carries too little, or less than before: that may have been overload of some kind. */
const MTU_RETRY_US = 60 * SECOND
/** The search ends when it is as near as this; what it tries in between is a multiple. */
const MTU_GRAIN = 4

/**
 * The largest packet that a path carries whole, found with challenges that are padded to the length of data (RFC 8899,
 * DPLPMTUD): many routers send no ICMP about it, and nobody's ICMP is believed. After each probe goes a challenge of the
 * usual size; only when that was answered does silence say that the probe was too large. After, since in a queue that is
 * nearly full it is the later one that finds no room.
 *
 * All sizes are bytes of the packet inside. This class judges, tunnel-mtu.ts sends and path-keeper.ts acts.
 */
export class PathMtu {
  /** What is known to arrive; when it no longer does, {@link INNER_MTU_MIN} until more is known. 0: nothing known. */
  carries = 0
  /** When {@link review} is due, or a challenge, with a probe or after one. */
  dueAt: Instant = Number.NEGATIVE_INFINITY
  /** It carries less than a tunnel must. */
  tooNarrow = false
  /** {@link carries} is not known to arrive. */
  private presumed = false
  /** When it was last asked whether {@link carries} still holds. */
  verifiedAt: Instant = Number.NEGATIVE_INFINITY
  /** Size and body of the probe under way. */
  size = 0
  readonly body = new Uint8Array(CHALLENGE_BYTES)

  private doing: 'nothing' | 'search' | 'verify' = 'search'
  /** What is known in a search: that `low` arrives (0: nothing does yet) and `high` does not. */
  private low = 0
  private high: number
  /** Of the size that is tried. */
  private misses = 0
  private missesMax = PROBE_MISSES_CARRIED
  private probeSentAt: Instant = NEVER
  private smallSentAt: Instant = NEVER
  private smallAnswered = false
  /** How long the next is waited for at least, as the last told nothing. */
  private patienceUs = 0

  /** `wanted`: more is of no use, as the tunnel sends none. */
  constructor(private wanted: number) {
    this.high = wanted + 1
  }

  /** Whether it is being found out what the path carries: else it is only tried again now and then. */
  get isOpen(): boolean {
    return this.doing !== 'nothing'
  }

  /** Nothing is known of it: it leads somewhere else now. */
  restart(): void {
    this.carries = 0
    this.presumed = false
    this.search(0, 0)
  }

  /** It goes on elsewhere, by another address: what a search has found does not hold there. */
  moved(loss: number, now: Instant): void {
    if (this.doing === 'search') {
      if (this.carries === 0 || this.presumed) this.search(0, 0)
      else this.rest(now)
    }
    this.verify(loss, now)
  }

  /** It is too narrow, and there is no other: what is small may go by it. */
  takeLeast(now: Instant): void {
    this.found(INNER_MTU_MIN, now)
    this.presumed = true
    this.dueAt = now + MTU_RETRY_US
  }

  want(bytes: number): void {
    if (bytes === this.wanted) return
    this.wanted = bytes
    if (this.carries === 0) this.restart()
    else if (this.carries >= bytes) this.rest(Number.NEGATIVE_INFINITY)
    else this.search(this.presumed ? 0 : this.carries, 0)
  }

  /** Does it still carry what it did? `loss`: share of packets or of their answers that is lost at present anyway. */
  verify(loss: number, now: Instant): void {
    this.verifiedAt = now
    if (this.tooNarrow) this.restart()
    if (this.doing !== 'nothing' || this.presumed) return
    this.doing = 'verify'
    this.misses = 0
    // A black hole is all loss, so what is lost at present says little of chance then.
    const byChance = loss > 0 ? Math.ceil(Math.log(CHANCE_MAX) / Math.log(Math.min(0.9, loss))) : 0
    this.missesMax = Math.max(PROBE_MISSES_CARRIED, Math.min(PROBE_MISSES_MAX, byChance))
    this.dueAt = now
  }

  /** The path is away: what was being found out is to be found out when it is back. */
  abandon(now: Instant): void {
    if (this.doing === 'search' && (this.carries === 0 || this.low === 0 || this.presumed)) this.restart()
    else if (this.doing !== 'nothing') this.found(Math.max(this.carries, this.low), now)
  }

  /** Whether a probe of {@link size} with {@link body} is to go now. */
  start(random: RandomSource, now: Instant): boolean {
    if (this.doing === 'nothing' || this.probeSentAt !== NEVER || now < this.dueAt) return false
    this.size = this.doing === 'verify' ? this.carries : this.nextSize()
    random.fill(this.body)
    this.probeSentAt = now
    this.dueAt = now + PROBE_GAP_US
    return true
  }

  /** A challenge of the usual size is sent: the first after a probe is what that is measured by. `rttUs`: 0 if not known. */
  onSmallSent(rttUs: DurationUs, now: Instant): void {
    if (this.probeSentAt === NEVER || this.smallSentAt !== NEVER || now < this.dueAt) return
    this.smallSentAt = now
    const usualUs = rttUs > 0 ? Math.max(PROBE_US_MIN, 3 * rttUs) : PROBE_US_UNKNOWN
    this.dueAt = now + Math.max(usualUs, this.patienceUs)
  }

  /** An answer came on the path; returns whether it was to the probe under way. */
  onAnswer(body: Uint8Array, now: Instant): boolean {
    if (this.probeSentAt === NEVER || !sameBytes(body, this.body)) return false
    this.endProbe()
    this.patienceUs = 0
    this.misses = 0
    this.dueAt = now
    if (this.doing === 'verify' || this.size === this.wanted) {
      this.found(this.size, now)
    } else {
      this.low = this.size
      this.settle(now)
    }
    return true
  }

  /** The challenge of the usual size that was sent at `sentAt` was answered. */
  onSmallAnswer(sentAt: Instant, now: Instant): void {
    if (sentAt !== this.smallSentAt || this.smallAnswered) return
    this.smallAnswered = true
    this.dueAt = now + PROBE_SETTLE_US + (now - sentAt) / 2
  }

  /** To be called when {@link dueAt} has come: the probe under way was lost, if what went after it was not. */
  review(now: Instant): void {
    if (this.doing === 'nothing') {
      // The way may be another by now.
      this.search(this.presumed ? 0 : this.carries, PROBE_MISSES_WANTED - 1)
    } else if (this.smallSentAt !== NEVER) {
      const isMiss = this.smallAnswered
      const waitedUs = now - this.smallSentAt
      this.endProbe()
      this.dueAt = now
      this.patienceUs = isMiss ? 0 : Math.min(PROBE_US_MAX, 2 * waitedUs)
      if (isMiss) this.missed(now)
    }
  }

  private missed(now: Instant): void {
    this.misses++
    if (this.doing === 'verify') {
      if (this.misses < this.missesMax) return
      this.carries = INNER_MTU_MIN
      this.presumed = true
      this.search(0, 0)
      this.high = this.size
    } else if (this.misses >= this.missesFor(this.size)) {
      this.misses = 0
      this.high = this.size
      if (this.size === INNER_MTU_MIN) {
        this.carries = 0
        this.rest(now)
        this.tooNarrow = true
        this.dueAt = now + MTU_RETRY_US
      }
    }
    if (this.doing === 'search') this.settle(now)
  }

  private missesFor(size: number): number {
    if (size === INNER_MTU_MIN) return PROBE_MISSES_LEAST
    return size === this.wanted ? PROBE_MISSES_WANTED : PROBE_MISSES
  }

  /** Ends the search where it is near enough. */
  private settle(now: Instant): void {
    if (this.low > 0 && this.high - this.low <= MTU_GRAIN) this.found(this.low, now)
  }

  private nextSize(): number {
    const { low, high, wanted } = this
    if (high > wanted) return wanted
    if (low === 0)
      return high > wanted - PPPOE_BYTES ? Math.max(wanted - PPPOE_BYTES, INNER_MTU_MIN) : INNER_MTU_MIN
    const middle = Math.floor((low + high) / 2 / MTU_GRAIN) * MTU_GRAIN
    return middle > low ? middle : low + MTU_GRAIN
  }

  private found(bytes: number, now: Instant): void {
    const isLess = this.presumed
    this.carries = bytes
    this.presumed = false
    this.rest(now)
    if (isLess && bytes < this.wanted) this.dueAt = now + MTU_RETRY_US
  }

  /** Nothing to do, unless it carries less than is wanted: then again some time from `now` on. */
  private rest(now: Instant): void {
    this.doing = 'nothing'
    this.tooNarrow = false
    this.endProbe()
    this.dueAt = this.carries < this.wanted ? now + MTU_RAISE_US : NEVER
  }

  private search(low: number, misses: number): void {
    this.doing = 'search'
    this.tooNarrow = false
    this.endProbe()
    this.low = low
    this.high = this.wanted + 1
    this.misses = misses
    this.dueAt = Number.NEGATIVE_INFINITY
  }

  private endProbe(): void {
    this.probeSentAt = NEVER
    this.smallSentAt = NEVER
    this.smallAnswered = false
  }
}
