/**
 * How far apart the acknowledgements of what has just begun are to come to its sender, so that it finds the far paths.
 *
 * What needs that is CUBIC as Linux has it. Its slow start takes the first queue that it meets for the limit (HyStart,
 * tcp_cubic.c): if the least of nine round trips on end is an eighth above the least of all, or if acknowledgements come
 * without a gap of 2 ms for half of that. With one link that is right. Beside a far path that is empty it is the queue of
 * the near one, and from then on the window grows by a few packets in a round trip (kernel, 20 Mbit/s at 20 ms and 50 at
 * 180, from 1 to 9 s: 75 % of the sum, 100 so; 6 at 20 ms and 50 at 240: 55 and 101). With fewer acknowledgements, and
 * gaps between them, it goes on until all paths are full.
 *
 * BBR fares as it does without (kernel, ten pairs of links). Where the far path is near enough that either finds it in its
 * first queue, the acknowledgements are left alone: over 80 Mbit/s at 10 ms and 20 at 60 BBR was slower so.
 */
import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { leastBaseUs, type Path } from './path.js'

/** Slow start is over after so long. */
const STARTING_US = 2 * SECOND
/** A path that is so much further one way than the nearest is not found by itself. */
const SPREAD_US_MIN = 30 * MILLISECOND
/** Paths that are less far apart are near ones together. */
const NEAR_US = 8 * MILLISECOND
/** A path has room while its pacer has had nothing for so long; when none has had any for so long, all are full. */
const ROOM_US = 2 * MILLISECOND
const FULL_US = 30 * MILLISECOND
/** A near path is soon full with so much of a round trip under way. Told by the queue alone it was too late (kernel). */
const SOON_FULL_SHARE = 0.4
/** With more than a few packets under way a far path is in use. */
const IN_USE_BYTES = 3_000
/** More than the gap that HyStart takes for one. */
const SPACING_US_MIN = 2_500
/** No acknowledgement waits longer. */
const SPACING_US_MAX = 40 * MILLISECOND
/** They are so far apart as the wait for the near path takes, which they are to hide, up to this; ... */
const HIDDEN_US_MAX = 12 * MILLISECOND
/** ... and such a share of a round trip at least, so that there are less than nine: of the far path's if that is in use. */
const SPACING_SHARE = 1 / 8

export class AckSpacing {
  /** When a path last had room. */
  private roomAt: Instant = Number.NEGATIVE_INFINITY

  /** 0: they are to come as they do. `paths` may carry what began `ageUs` ago, of which `bulkBytes` wait. */
  spacingUs(paths: readonly Path[], ageUs: DurationUs, bulkBytes: number, now: Instant): DurationUs {
    if (ageUs > STARTING_US) return 0
    const leastUs = leastBaseUs(paths)
    let spreadUs = 0
    let isFarInUse = false
    // Of the near ones: what is under way in time, their round trip, their rate together.
    let underWayUs = 0
    let tripUs = 0
    let bytesPerSec = 0
    for (const { rate, pacer, inFlightBytes, leftOut, onlySooner } of paths) {
      const furtherUs = rate.baseUs - leastUs
      // Not to be found: it does not carry all that it can, or nothing is known of it.
      if (leftOut || onlySooner || !Number.isFinite(furtherUs + rate.rttUsMin)) continue
      if (pacer.nextAt < now - ROOM_US) this.roomAt = now
      spreadUs = Math.max(spreadUs, furtherUs)
      if (furtherUs > NEAR_US) {
        if (inFlightBytes >= IN_USE_BYTES) isFarInUse = true
      } else {
        underWayUs = Math.max(underWayUs, (inFlightBytes * SECOND) / rate.rateBytesPerSec)
        tripUs = Math.max(tripUs, rate.rttUsMin)
        bytesPerSec += rate.rateBytesPerSec
      }
    }
    if (bytesPerSec === 0 || spreadUs < SPREAD_US_MIN || now - this.roomAt > FULL_US) return 0
    const forFarUs = isFarInUse ? SPACING_SHARE * (tripUs + spreadUs) : 0
    if (underWayUs < SOON_FULL_SHARE * tripUs && bulkBytes === 0) return forFarUs
    const waitUs = Math.max(0, underWayUs - tripUs) + (bulkBytes * SECOND) / bytesPerSec
    const forNearUs = Math.max(Math.min(HIDDEN_US_MAX, waitUs), SPACING_SHARE * (tripUs + waitUs))
    return Math.max(SPACING_US_MIN, Math.min(SPACING_US_MAX, Math.max(forNearUs, forFarUs)))
  }
}
