import { type DurationUs, MILLISECOND, SECOND } from '../src/base/time.js'

const RTO_MIN_US = 200 * MILLISECOND
export const RTO_INITIAL_US = 1 * SECOND

/**
 * Round trip of a connection and its retransmission timer as Linux has them (tcp_rtt_estimator): of the deviations of a
 * round trip the largest counts, at least 200 ms of margin, and that comes down by a quarter of the difference each round
 * trip. The rule of RFC 6298 forgets within one window what came late.
 */
export class RoundTrip {
  /** 0 before the first sample. */
  smoothedUs: DurationUs = 0
  private deviationUs = 0
  private deviationMaxUs = 0
  /** What the timer adds to the smoothed round trip. */
  private marginUs = 0
  private roundEnd = 0

  get timeoutUs(): DurationUs {
    return this.smoothedUs > 0 ? this.smoothedUs + this.marginUs : RTO_INITIAL_US
  }

  /** @param una, next first unacknowledged and next new segment: a round is over when what was next is acknowledged */
  add(rttUs: DurationUs, una: number, next: number): void {
    if (this.smoothedUs === 0) {
      this.smoothedUs = rttUs
      this.deviationUs = rttUs / 2
      this.marginUs = Math.max(4 * this.deviationUs, RTO_MIN_US)
      this.deviationMaxUs = this.marginUs / 4
      this.roundEnd = next
      return
    }
    const errorUs = rttUs - this.smoothedUs
    this.smoothedUs += errorUs / 8
    const growthUs = Math.abs(errorUs) - this.deviationUs
    // A round trip that is shorter than usual is no reason for a longer timer.
    this.deviationUs += errorUs < 0 && growthUs > 0 ? growthUs / 32 : growthUs / 4
    this.deviationMaxUs = Math.max(this.deviationMaxUs, this.deviationUs)
    this.marginUs = Math.max(this.marginUs, 4 * this.deviationMaxUs)
    if (una <= this.roundEnd) return
    this.marginUs -= (this.marginUs - 4 * this.deviationMaxUs) / 4
    this.deviationMaxUs = RTO_MIN_US / 4
    this.roundEnd = next
  }
}
