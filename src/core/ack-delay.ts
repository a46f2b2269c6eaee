/**
 * Delays the acknowledgements of transfers that are evened beside a far path by a little, and by less and less.
 *
 * When BBR has seen no lower round trip for ten seconds, it measures the least one anew: with four packets under way, for
 * 200 ms and a round trip (Linux, tcp_bbr.c, bbr_update_min_rtt). Beside a satellite all links are empty for a second of
 * ten. Where the delay is the tunnel's it need not be measured so often: it is a little longer than it has to be when BBR
 * does, and shrinks from then on, so slowly that no rate seems greater. When nothing of it is left BBR measures again.
 */
import { type DurationUs, type Instant, MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { BUCKETS } from '../wire/message.js'
import type { LongTransfers } from './long-transfers.js'

const WATCH_US = 100 * MILLISECOND
const DELAY_US = 40 * MILLISECOND
/** It shrinks by so much in the first seconds, as queues were empty when BBR measured (model: 16 ms stand in them) ... */
const SHRINK_US_FIRST = 20 * MILLISECOND
const SHRINK_FIRST_FOR_US = 7 * SECOND
/** ... and then by such a share of the time. */
const SHRINK_SHARE = 0.0005
/** If BBR measures with less than this there is too little to shrink: it gets all when it measures again. */
const MEASURED_US_MIN = SHRINK_US_FIRST + 4 * MILLISECOND
/** What has not stood still so long after it was evened is no BBR, or has measured without: there is no delay for it. */
const MEASURES_WITHIN_US = 3_500 * MILLISECOND
/** It comes and goes by a quarter as fast as time passes, of which no more counts between two acknowledgements as it comes. */
const SLOPE = 0.25
const STEP_US_MAX = 20 * MILLISECOND
/**
 * Where no path is so much further than the nearest, one way, BBR has measured soon, and a longer round trip costs more
 * (model, eight links, the last 35 ms further: 98.8 without, 98.3 with).
 */
const SPREAD_US_MIN = 45 * MILLISECOND

export class AckDelay {
  /** Buckets whose acknowledgements are delayed. */
  private count = 0
  private readonly isOn = new Uint8Array(BUCKETS)
  private readonly delayUs = new Float64Array(BUCKETS)
  private readonly steppedAt = new Float64Array(BUCKETS)
  /** By bucket: until when BBR is to have measured; never, once it has. */
  private readonly measuresUntil = new Float64Array(BUCKETS)
  /** By bucket: when BBR measured, or never if it has yet to, and what the delay is from then on. */
  private readonly measuredAt = new Float64Array(BUCKETS)
  private readonly measuredUs = new Float64Array(BUCKETS)
  private watchedAt: Instant = Number.NEGATIVE_INFINITY
  private lastDueAt: Instant = Number.NEGATIVE_INFINITY

  /** Called many times a second while there is traffic. `spreadUs`: between the nearest and the farthest path. */
  watch(transfers: Pick<LongTransfers, 'flags' | 'still'>, spreadUs: DurationUs, now: Instant): void {
    if (now - this.watchedAt < WATCH_US) return
    this.watchedAt = now
    const isFar = spreadUs > SPREAD_US_MIN
    for (let bucket = 1; bucket < BUCKETS; bucket++) {
      const isOn = isFar && transfers.flags[bucket] !== 0 ? 1 : 0
      if (isOn !== this.isOn[bucket]) {
        this.count += isOn - this.isOn[bucket]!
        this.isOn[bucket] = isOn
        this.measuresUntil[bucket] = now + MEASURES_WITHIN_US
        this.expectMeasuring(bucket)
      }
      if (isOn === 1 && transfers.still[bucket] === 1) this.onMeasuring(bucket, now)
    }
  }

  /** Whether anything may have to wait that comes in now. */
  mayHold(now: Instant): boolean {
    return this.count > 0 || now < this.lastDueAt
  }

  /** When an acknowledgement of what went out in `bucket`, come in now, is to go on; may be past. */
  dueAt(bucket: number, now: Instant): Instant {
    const before = this.delayUs[bucket]!
    if (before === 0 && this.isOn[bucket] === 0) return Number.NEGATIVE_INFINITY
    const stepUs = now - this.steppedAt[bucket]!
    this.steppedAt[bucket] = now
    const isDelayed = this.isOn[bucket] === 1 && now < this.measuresUntil[bucket]!
    const aimUs = isDelayed ? this.aimUs(bucket, now) : 0
    const delayUs =
      aimUs > before
        ? Math.min(aimUs, before + SLOPE * Math.min(stepUs, STEP_US_MAX))
        : Math.max(aimUs, before - SLOPE * stepUs)
    this.delayUs[bucket] = delayUs
    this.lastDueAt = Math.max(this.lastDueAt, now + delayUs)
    return now + delayUs
  }

  private expectMeasuring(bucket: number): void {
    this.measuredAt[bucket] = NEVER
    this.measuredUs[bucket] = DELAY_US
  }

  private onMeasuring(bucket: number, now: Instant): void {
    this.measuresUntil[bucket] = NEVER
    this.expectMeasuring(bucket)
    if (this.delayUs[bucket]! < MEASURED_US_MIN) return
    this.measuredAt[bucket] = now
    this.measuredUs[bucket] = this.delayUs[bucket]!
  }

  private aimUs(bucket: number, now: Instant): DurationUs {
    const ageUs = Math.max(0, now - this.measuredAt[bucket]!)
    const firstUs = Math.min(ageUs, SHRINK_FIRST_FOR_US)
    const shrunkUs = (firstUs / SHRINK_FIRST_FOR_US) * SHRINK_US_FIRST + (ageUs - firstUs) * SHRINK_SHARE
    const aimUs = this.measuredUs[bucket]! - shrunkUs
    if (aimUs > 0) return aimUs
    this.expectMeasuring(bucket)
    return DELAY_US
  }
}
