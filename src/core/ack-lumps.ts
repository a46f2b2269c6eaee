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
 * A sender with a window that grows, as CUBIC's, fills the far paths by itself and is left alone. What is too far for
 * lumps is for long-transfers.ts, and so are the others from when BBR is about to measure its least round trip again.
 */
import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { BUCKETS } from '../wire/message.js'
import type { FlowTable } from './flow-table.js'
import type { LongTransfers } from './long-transfers.js'
import type { Path } from './path.js'

/** Between 40 and 60 ms it makes no difference (model, 13 pairs of links). */
const LUMP_US = 40 * MILLISECOND
/** A lump comes every so many round trips of the farthest path: it is half of one of BBR's, where queues stand. */
const EVERY_TRIPS = 4
const WATCH_US = 100 * MILLISECOND
/**
 * The window is too small if for so many watches on end the nearest paths are full to this share, all of them together are
 * not, and they do not carry more by such a factor than before: else it is one that still grows.
 */
const LIMITED_WATCHES = 3
const NEAR_FULL_SHARE = 0.7
const FULL_SHARE = 0.92
const GROWTH = 1.1
/** Paths no further than this from the nearest are as near. */
const NEAR_US = 2 * MILLISECOND
/** So much further, in least round trips of the nearest, a path has to be one way: the window allows for one of them. */
const SPREAD_TRIPS_MIN = 0.6
/** ... and beyond one round trip so much at most: lumps add no more to the window. */
const SPREAD_US_MAX = 45 * MILLISECOND

export class AckLumps {
  /** Buckets whose acknowledgements come in lumps. */
  count = 0
  /** By bucket: 1 if they do; for how many watches on end its window has seemed too small. */
  private readonly isOn = new Uint8Array(BUCKETS)
  private readonly limitedFor = new Uint8Array(BUCKETS)
  /** By bucket: when its last lump is let go, and when the next one begins. */
  private readonly lumpEnd = new Float64Array(BUCKETS)
  private readonly nextLump = new Float64Array(BUCKETS)
  private everyUs: DurationUs = 0
  /** By path: bytes sent on it, when last looked at. */
  private readonly bytesBefore = new WeakMap<Path, number>()
  /** What all paths carried, in the last watches; bytes per µs. */
  private readonly carried = new Float64Array(LIMITED_WATCHES)
  private watches = 0
  private watchedAt: Instant = Number.NEGATIVE_INFINITY

  /** Called many times a second while there is traffic, with the paths that may carry it. */
  watch(
    transfers: Pick<LongTransfers, 'flags' | 'isBusy'>,
    flows: Pick<FlowTable, 'isTcp'>,
    paths: readonly Path[],
    now: Instant,
  ): void {
    const elapsedUs = now - this.watchedAt
    if (elapsedUs < WATCH_US) return
    this.watchedAt = now
    const isLimited = this.isLimited(paths, elapsedUs)
    const isInReach = this.measure(paths)
    for (let bucket = 1; bucket < BUCKETS; bucket++) {
      if (!isInReach || !transfers.isBusy(bucket) || transfers.flags[bucket] !== 0 || !flows.isTcp(bucket)) {
        this.limitedFor[bucket] = 0
        this.turn(bucket, 0)
      } else if (this.isOn[bucket] === 0) {
        this.limitedFor[bucket] = isLimited ? this.limitedFor[bucket]! + 1 : 0
        if (this.limitedFor[bucket] === LIMITED_WATCHES) this.turn(bucket, 1)
      }
    }
  }

  /** When an acknowledgement of what went out in `bucket`, come in now, is to go on: at once, or with its lump. */
  dueAt(bucket: number, now: Instant): Instant {
    if (this.isOn[bucket] === 0) return now
    if (now >= this.nextLump[bucket]!) {
      this.lumpEnd[bucket] = now + LUMP_US
      this.nextLump[bucket] = now + this.everyUs
    }
    return Math.max(now, this.lumpEnd[bucket]!)
  }

  private turn(bucket: number, isOn: 0 | 1): void {
    this.count += isOn - this.isOn[bucket]!
    this.isOn[bucket] = isOn
  }

  /** Whether the nearest paths are full and all of them are not, and that does not change. */
  private isLimited(paths: readonly Path[], elapsedUs: DurationUs): boolean {
    let leastUs = Number.POSITIVE_INFINITY
    for (const { rate } of paths) leastUs = Math.min(leastUs, rate.baseUs)
    let could = 0
    let carries = 0
    let nearCould = 0
    let nearCarries = 0
    for (const path of paths) {
      const { rate, bytesOut } = path
      const most = rate.rateBytesPerSec / SECOND
      const bytes = (bytesOut - (this.bytesBefore.get(path) ?? bytesOut)) / elapsedUs
      this.bytesBefore.set(path, bytesOut)
      could += most
      carries += bytes
      if (rate.baseUs > leastUs + NEAR_US) continue
      nearCould += most
      nearCarries += bytes
    }
    const at = this.watches++ % LIMITED_WATCHES
    const before = this.carried[at]!
    this.carried[at] = carries
    return (
      carries < FULL_SHARE * could && nearCarries > NEAR_FULL_SHARE * nearCould && carries < GROWTH * before
    )
  }

  /** Sets how often lumps come. Returns whether there is a path for which they are of use. */
  private measure(paths: readonly Path[]): boolean {
    let leastUs = Number.POSITIVE_INFINITY
    let tripUs = Number.POSITIVE_INFINITY
    for (const { rate, leftOut } of paths) {
      // It is known not to be worth its delay.
      if (leftOut) return false
      leastUs = Math.min(leastUs, rate.baseUs)
      tripUs = Math.min(tripUs, rate.rttUsMin)
    }
    let spreadUs = 0
    for (const { rate } of paths) {
      const furtherUs = rate.baseUs - leastUs
      if (furtherUs <= tripUs + SPREAD_US_MAX) spreadUs = Math.max(spreadUs, furtherUs)
    }
    this.everyUs = EVERY_TRIPS * (tripUs + 2 * spreadUs)
    return spreadUs > SPREAD_TRIPS_MIN * tripUs
  }
}
