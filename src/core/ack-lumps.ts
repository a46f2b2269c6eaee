/**
 * Holds back the acknowledgements of some transfers now and then, so that they come in lumps.
 *
 * What needs that is BBR. Its window is twice rate × least round trip, and in its first ten seconds that is the one by the
 * nearest path, which the handshake took. Packets in order go round by the farthest one: where that is more than twice as
 * long, part of the links stays empty (20 Mbit/s at 10 ms beside 50 at 50: half of the sum). But BBR adds to its
 * window what it has seen acknowledged in a lump, up to 100 ms at its rate, since Wi-Fi does so; it remembers that for
 * five to ten round trips (Linux, tcp_bbr.c, bbr_update_ack_aggregation). So a lump is made about that often. The
 * data never wait for it.
 *
 * A window is not all that BBR needs: it sends as fast as the near link delivers, and so never fills that link. It takes
 * chance to see a greater rate. So while no more is carried than by the near link, those of a lump do not go on at once
 * but as they came, closer together, which is the rate that BBR takes next where it probes for more.
 *
 * A window that grows, as CUBIC's, fills the far paths by itself and is left alone. One that can grow no further is only
 * made slower, and shows no difference to BBR's but that: it is tried. What is too far for lumps is for
 * long-transfers.ts, and so are the others from when BBR is about to measure its least round trip again.
 */
import { type DurationUs, type Instant, MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { BUCKETS } from '../wire/message.js'
import type { FlowTable } from './flow-table.js'
import { type LongTransfers, UNEVEN_US } from './long-transfers.js'
import { leastBaseUs, type Path } from './path.js'

/** Between 40 and 60 ms it makes no difference (model, 13 pairs of links). */
const LUMP_US = 40 * MILLISECOND
/** What is squeezed goes on in such a share of the time in which it came (model: 0.15 to 0.3 alike, 0.5 is worse). */
const SQUEEZED_SHARE = 0.3
/** ... and only while not more by such a factor is carried than the near paths could: beyond, it costs rate. */
const STUCK_GROWTH = 1.15
/** A lump comes every so many round trips of the farthest path, there and back by it; and at least so long after the last. */
const EVERY_TRIPS = 4
const EVERY_US_MIN = 4 * LUMP_US
const WATCH_US = 100 * MILLISECOND
/**
 * The paths are filled in part if for so many watches on end the nearest ones are full to this share, all together are
 * not, and do not carry more by such a factor than before: else a window still grows.
 */
const PARTLY_WATCHES = 3
const NEAR_FULL_SHARE = 0.7
const FULL_SHARE = 0.92
const GROWTH = 1.1
/** A flow has this share of all transfers: what is small beside a large one is not what fills the paths. */
const FLOW_SHARE_MIN = 0.1
/**
 * If less than such a share is carried after so long, there are none for a while. If more by such a factor is carried then, it
 * is a window that can grow no further: each lump stops it for a moment (model: 0.8 of what it has without). BBR, if it
 * has less, has lost it already, and grows only by and by.
 */
const SLOWER_SHARE = 0.95
const PAUSE_FROM_WATCHES = 20
const PAUSE_UNTIL_WATCHES = 26
const FREE_GAIN = 1.1
/** After so long the paths are to be full, or to carry more by such a factor than before. */
const JUDGED_WATCHES = 60
const GAIN_MIN = 1.05
/**
 * So much further, in least round trips of the nearest, a path has to be one way: the window allows for one of them. Less
 * once lumps come, as the least round trip is measured anew every few seconds.
 */
const SPREAD_TRIPS_MIN = 0.6
const SPREAD_TRIPS_STAY = 0.4
/** ... and so much at least: what stands in the queues makes up for less. */
const SPREAD_US_MIN = 8 * MILLISECOND
/** ... and beyond one round trip so much at most: lumps add no more to the window. */
const SPREAD_US_MAX = 45 * MILLISECOND

export class AckLumps {
  /** Buckets whose acknowledgements come in lumps. */
  count = 0
  /** By bucket: 1 if they do; 1 if that was tried and was of no use. */
  private readonly isOn = new Uint8Array(BUCKETS)
  private readonly hasFailed = new Uint8Array(BUCKETS)
  /** By bucket: for how many watches on end the paths were filled in part, or lumps have come. */
  private readonly watched = new Uint8Array(BUCKETS)
  /** By bucket: what was carried before there were lumps, and with them. */
  private readonly carriedBefore = new Float64Array(BUCKETS)
  private readonly carriedWith = new Float64Array(BUCKETS)
  /** By bucket: when its last lump is let go, or begins to be, the share it is squeezed to, and when the next one begins. */
  private readonly lumpEnd = new Float64Array(BUCKETS).fill(Number.NEGATIVE_INFINITY)
  private readonly squeezedShare = new Float64Array(BUCKETS)
  private readonly nextLump = new Float64Array(BUCKETS)
  private lastEnd: Instant = Number.NEGATIVE_INFINITY
  /** By path: bytes sent on it, when last looked at. */
  private readonly bytesBefore = new WeakMap<Path, number>()
  /** What all paths carried in each of the last watches, bytes per µs without UDP's and IP's headers. */
  private readonly carried = new Float64Array(PARTLY_WATCHES)
  private watches = 0
  private watchedAt: Instant = Number.NEGATIVE_INFINITY
  // Found by the last watch, of all paths: whether a path is in reach of lumps, and how often they come then; whether the
  // paths are full, and whether in part; whether no more is carried than the near ones could.
  private isInReach = false
  private everyUs: DurationUs = 0
  private isFull = false
  private isFullInPart = false
  private isStuck = false

  /** Called many times a second while there is traffic, with the paths that may carry it. */
  watch(
    transfers: Pick<LongTransfers, 'flags' | 'packetsOf'>,
    flows: Pick<FlowTable, 'isTcp'>,
    paths: readonly Path[],
    now: Instant,
  ): void {
    const elapsedUs = now - this.watchedAt
    if (elapsedUs < WATCH_US) return
    this.watchedAt = now
    this.measureReach(paths)
    this.measureLoad(paths, elapsedUs)
    let packets = 0
    for (let bucket = 1; bucket < BUCKETS; bucket++) packets += transfers.packetsOf(bucket)
    const packetsMin = Math.max(1, FLOW_SHARE_MIN * packets)
    for (let bucket = 1; bucket < BUCKETS; bucket++) {
      const isTransfer = transfers.packetsOf(bucket) >= packetsMin && flows.isTcp(bucket)
      if (!isTransfer) this.hasFailed[bucket] = 0
      if (isTransfer && this.isInReach && transfers.flags[bucket] === 0) this.decide(bucket)
      else this.turn(bucket, 0)
    }
  }

  /** Whether anything may have to wait for a lump that comes in now. */
  mayHold(now: Instant): boolean {
    return this.count > 0 || now < this.lastEnd
  }

  /** When an acknowledgement of what went out in `bucket`, come in now, is to go on, with its lump; may be past. */
  dueAt(bucket: number, now: Instant): Instant {
    if (this.isOn[bucket] === 1 && now >= this.nextLump[bucket]!) {
      const share = this.isStuck ? SQUEEZED_SHARE : 0
      this.squeezedShare[bucket] = share
      this.lumpEnd[bucket] = now + LUMP_US
      this.nextLump[bucket] = now + this.everyUs
      // Nobody waits from when on what comes in is due at once.
      this.lastEnd = Math.max(this.lastEnd, now + LUMP_US / (1 - share))
    }
    const share = this.squeezedShare[bucket]!
    return (1 - share) * this.lumpEnd[bucket]! + share * (now + LUMP_US)
  }

  /** Of a transfer for which lumps may be of use. */
  private decide(bucket: number): void {
    if (this.isOn[bucket] === 0) {
      const isCandidate = this.isFullInPart && this.hasFailed[bucket] === 0
      this.watched[bucket] = isCandidate ? this.watched[bucket]! + 1 : 0
      if (this.watched[bucket] !== PARTLY_WATCHES) return
      this.carriedBefore[bucket] = this.carriedLately
      this.turn(bucket, 1)
    } else if (this.watched[bucket]! < JUDGED_WATCHES) {
      this.judge(bucket, ++this.watched[bucket]!)
    }
  }

  /** Ends lumps that are of no use, for good. */
  private judge(bucket: number, watches: number): void {
    const carried = this.carriedLately
    let hasFailed = false
    if (watches === PAUSE_FROM_WATCHES) {
      this.carriedWith[bucket] = carried
      if (carried < SLOWER_SHARE * this.carriedBefore[bucket]!) this.nextLump[bucket] = NEVER
    } else if (watches === PAUSE_UNTIL_WATCHES) {
      const hasPaused = this.nextLump[bucket] === NEVER
      this.nextLump[bucket] = Number.NEGATIVE_INFINITY
      hasFailed = hasPaused && carried > FREE_GAIN * this.carriedWith[bucket]!
    } else if (watches === JUDGED_WATCHES) {
      hasFailed = !this.isFull && carried < GAIN_MIN * this.carriedBefore[bucket]!
    }
    if (!hasFailed) return
    this.hasFailed[bucket] = 1
    this.turn(bucket, 0)
  }

  private turn(bucket: number, isOn: 0 | 1): void {
    this.count += isOn - this.isOn[bucket]!
    this.isOn[bucket] = isOn
    this.watched[bucket] = 0
    this.nextLump[bucket] = Number.NEGATIVE_INFINITY
  }

  private get carriedLately(): number {
    let sum = 0
    for (let i = 0; i < PARTLY_WATCHES; i++) sum += this.carried[i]!
    return sum / PARTLY_WATCHES
  }

  private measureLoad(paths: readonly Path[], elapsedUs: DurationUs): void {
    const leastUs = leastBaseUs(paths)
    let could = 0
    let carries = 0
    let nearCould = 0
    let nearCarries = 0
    let isKnown = true
    for (const path of paths) {
      const { rate, bytesOut } = path
      const most = rate.rateBytesPerSec / SECOND
      const bytes = (bytesOut - (this.bytesBefore.get(path) ?? bytesOut)) / elapsedUs
      this.bytesBefore.set(path, bytesOut)
      could += most
      carries += bytes
      if (rate.baseUs > leastUs + UNEVEN_US) continue
      if (rate.startup) isKnown = false
      nearCould += most
      nearCarries += bytes
    }
    const at = this.watches++ % PARTLY_WATCHES
    const before = this.carried[at]!
    this.carried[at] = carries
    this.isFull = this.carriedLately >= FULL_SHARE * could
    this.isStuck = this.carriedLately < STUCK_GROWTH * nearCould
    const isNearFull = isKnown && nearCarries > NEAR_FULL_SHARE * nearCould
    this.isFullInPart = isNearFull && carries < FULL_SHARE * could && carries < GROWTH * before
  }

  private measureReach(paths: readonly Path[]): void {
    const leastUs = leastBaseUs(paths)
    let tripUs = Number.POSITIVE_INFINITY
    for (const { rate } of paths) tripUs = Math.min(tripUs, rate.rttUsMin)
    let spreadUs = 0
    for (const { rate } of paths) {
      const furtherUs = rate.baseUs - leastUs
      if (furtherUs <= tripUs + SPREAD_US_MAX) spreadUs = Math.max(spreadUs, furtherUs)
    }
    const trips = this.count > 0 ? SPREAD_TRIPS_STAY : SPREAD_TRIPS_MIN
    // What is left out is known not to be worth its delay.
    const isOut = paths.some((path) => path.leftOut)
    this.isInReach = !isOut && spreadUs > Math.max(SPREAD_US_MIN, trips * tripUs)
    this.everyUs = Math.max(EVERY_US_MIN, EVERY_TRIPS * (tripUs + 2 * spreadUs))
  }
}
