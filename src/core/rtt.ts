import { type DurationUs, type Instant, SECOND } from '../base/time.js'
import { WindowedFilter } from '../base/windowed-filter.js'

/** RFC 6298, section 2: weights of a new sample. */
const SMOOTHED_WEIGHT = 1 / 8
const VARIATION_WEIGHT = 1 / 4
/** A route can get longer: a minimum older than this no longer counts. As BBR's. */
const MIN_WINDOW_US = 10 * SECOND

/** Round-trip time of a path: smoothed, its mean deviation (RFC 6298), and the least of the last 10 s. */
export class RttEstimator {
  samples = 0
  /** NaN before the first sample, as the rest. */
  latestUs: DurationUs = Number.NaN
  smoothedUs: DurationUs = Number.NaN
  variationUs: DurationUs = Number.NaN
  private readonly min = new WindowedFilter('min', MIN_WINDOW_US)

  get minUs(): DurationUs {
    return this.min.value
  }

  /** Takes one round trip. A sample below 0 (a clock jumped) is ignored. */
  update(sampleUs: DurationUs, now: Instant): void {
    if (!(sampleUs >= 0)) return
    if (this.samples === 0) {
      this.smoothedUs = sampleUs
      this.variationUs = sampleUs / 2
    } else {
      const deviation = Math.abs(sampleUs - this.smoothedUs)
      this.variationUs += (deviation - this.variationUs) * VARIATION_WEIGHT
      this.smoothedUs += (sampleUs - this.smoothedUs) * SMOOTHED_WEIGHT
    }
    this.latestUs = sampleUs
    this.min.update(sampleUs, now)
    this.samples++
  }

  reset(): void {
    this.samples = 0
    this.latestUs = Number.NaN
    this.smoothedUs = Number.NaN
    this.variationUs = Number.NaN
    this.min.clear()
  }
}
