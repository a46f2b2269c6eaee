import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { BUCKETS } from '../wire/message.js'

/** So many of a flow's packets are later than its floor by themselves. */
const LATER_SHARE = 0.25
/**
 * A floor rises by at most so much in a second. A sender that measures its least round trip anew every 10 s gets less
 * while the floor is ahead of that: with ten times as much, 10 points less than without a floor for these seconds.
 */
const RISE_US_PER_SEC = 2 * MILLISECOND
const FALL_US_PER_SEC = (RISE_US_PER_SEC * LATER_SHARE) / (1 - LATER_SHARE)
/** A transfer begins without. */
const FIRST_US = 1 * SECOND
/** Below 1 Mbit/s no flow keeps two paths busy, and its delay is what matters. */
const BULK_BYTES_PER_SEC_MIN = 125_000
const METER_STEP_US = 100 * MILLISECOND

/**
 * The least delay that the packets of a bulk flow are given: what three in four of them have at most by themselves, as
 * they wait for those on slower paths. Without it the few that a careful sender has under way all take the fastest path,
 * and what it then takes for its round trip is not that of the whole: BBR does so for 200 ms every 10 s, and with a
 * window for 10 ms it cannot fill a pair of 10 and 60 ms (kernel: 82 % without the floor, 97 % with it).
 *
 * By bucket. Delays are counted from the instant at which the fastest path would have delivered.
 */
export class DelayFloor {
  private readonly floorUs = new Float64Array(BUCKETS)
  /** Bytes of the last second, as a sum that fades. */
  private readonly meterBytes = new Float64Array(BUCKETS)
  private readonly fadedAt = new Float64Array(BUCKETS)
  private readonly bulkSince = new Float64Array(BUCKETS)

  /**
   * A packet has become the next of its bucket, `delayUs` after the fastest path would have delivered it; none is to be
   * given more than `delayUsMax`. Returns the delay it is to have at least.
   */
  observe(
    bucket: number,
    bytes: number,
    delayUs: DurationUs,
    delayUsMax: DurationUs,
    now: Instant,
  ): DurationUs {
    const silentUs = now - this.fadedAt[bucket]!
    if (silentUs >= METER_STEP_US) {
      this.meterBytes[bucket]! *= Math.exp(-silentUs / SECOND)
      this.fadedAt[bucket] = now
    }
    const meterBytes = this.meterBytes[bucket]! + bytes
    this.meterBytes[bucket] = meterBytes
    let floorUs = 0
    if (meterBytes < BULK_BYTES_PER_SEC_MIN) {
      this.bulkSince[bucket] = now
    } else if (now - this.bulkSince[bucket]! >= FIRST_US) {
      // Weighted by bytes, so that a pause with a few packets in it changes nothing.
      const seconds = bytes / meterBytes
      floorUs = this.floorUs[bucket]!
      floorUs += seconds * (delayUs > floorUs ? RISE_US_PER_SEC : -FALL_US_PER_SEC)
      floorUs = Math.max(0, Math.min(floorUs, delayUsMax))
    }
    this.floorUs[bucket] = floorUs
    return floorUs
  }

  reset(): void {
    this.floorUs.fill(0)
    this.meterBytes.fill(0)
  }
}
