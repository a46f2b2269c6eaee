/**
 * What is known of one path's health: round trip, one-way delay, loss, and how overdue its answers are. Sans-IO after
 * TigerBeetle's fault detector: it judges, path-keeper.ts acts.
 *
 * Suspicion needs evidence that the other end is alive and the path is not: a feedback frame that was *generated*
 * after the oldest unreported packet should have arrived (its expected one-way delay and a margin), and that still
 * reports nothing newer on this path. Where no such frame can come, silence for a multiple of the round trip counts,
 * provided that some frame came on any path meanwhile.
 */
import { type Instant, MILLISECOND } from '../base/time.js'
import {
  FEEDBACK_US,
  FEEDBACK_US_MAX,
  LATE_EXTRA_US,
  LATE_FACTOR,
  LOSSY_ABOVE,
  LOSSY_BELOW,
  SUSPECT_MARGIN_US,
  SUSPECT_MARGIN_US_MAX,
  SUSPECT_US_MIN,
} from './constants.js'
import { RttEstimator } from './rtt.js'

/** A loss figure is taken over at least so many packets, or over one second. */
const LOSS_PACKETS = 100
const LOSS_US = 1_000 * MILLISECOND

export class HealthMonitor {
  readonly rtt = new RttEstimator()
  /** One-way delay to the other end, in its own terms (see reports.ts): smoothed, with mean deviation. */
  owdUs = Number.NaN
  owdDeviationUs = 0
  /** Share of our packets lost on the way out, smoothed; from the other end's exact count. */
  lossOut = 0
  /** Share of the other end's packets lost on the way in, smoothed. */
  lossIn = 0
  /** Grows with false alarms, so that a machine or radio that pauses is not suspected each time. */
  marginUs = SUSPECT_MARGIN_US
  /** When the other end last reported something new on this path. */
  progressAt: Instant = Number.NEGATIVE_INFINITY
  suspectedAt: Instant = Number.NEGATIVE_INFINITY
  /** Only an answer to a counter from here on, sent after the suspicion, proves life. */
  suspectCounter = 0
  /** When a packet was last found lost. */
  lostAt: Instant = Number.NEGATIVE_INFINITY
  /** One that may have been too large for the path was lost, since that was last looked into. */
  largeLost = false
  /** How much older than the newest arrival a missing packet must be to count as lost: grows when it was only late. */
  reorderingUs = 300

  private lossPackets = 0
  private lossLost = 0
  private lossSince: Instant = 0
  private lossInPackets = 0
  private lossInExpected = 0
  private lossInSince: Instant = 0

  /** The far end restarted: delays are measured anew, by another clock. */
  reset(): void {
    this.rtt.reset()
    this.owdUs = Number.NaN
    this.owdDeviationUs = 0
  }

  /** The path is back after an outage: what was lost in it is no property of the path. */
  forgetLoss(): void {
    this.lossOut = 0
    this.lossIn = 0
    this.lossPackets = 0
    this.lossLost = 0
    this.lossInPackets = 0
    this.lossInExpected = 0
  }

  onOwd(owdUs: number): void {
    if (Number.isNaN(this.owdUs)) {
      this.owdUs = owdUs
      return
    }
    const error = owdUs - this.owdUs
    this.owdUs += error / 8
    this.owdDeviationUs += (Math.abs(error) - this.owdDeviationUs) / 8
  }

  /** `sent` and `lost` packets since the last report. */
  onSent(sent: number, lost: number, now: Instant): void {
    this.lossPackets += sent
    this.lossLost += lost
    if (this.lossPackets === 0) {
      this.lossSince = now
    } else if (this.lossPackets >= LOSS_PACKETS || now - this.lossSince >= LOSS_US) {
      const share = Math.max(0, this.lossLost / this.lossPackets)
      this.lossOut += (share - this.lossOut) * Math.min(1, this.lossPackets / (4 * LOSS_PACKETS) + 0.1)
      this.lossPackets = 0
      this.lossLost = 0
      this.lossSince = now
    }
  }

  /** The same for the way in: `expected` counters went by, `received` of them came. */
  onReceived(expected: number, received: number, now: Instant): void {
    this.lossInExpected += expected
    this.lossInPackets += received
    if (
      this.lossInExpected >= LOSS_PACKETS ||
      (this.lossInExpected > 0 && now - this.lossInSince >= LOSS_US)
    ) {
      const share = Math.max(0, 1 - this.lossInPackets / this.lossInExpected)
      this.lossIn += (share - this.lossIn) * Math.min(1, this.lossInExpected / (4 * LOSS_PACKETS) + 0.1)
      this.lossInExpected = 0
      this.lossInPackets = 0
      this.lossInSince = now
    }
  }

  get lossy(): boolean {
    return this.lossOut > LOSSY_ABOVE
  }
  get lossyNoMore(): boolean {
    return this.lossOut < LOSSY_BELOW
  }
  get late(): boolean {
    const { smoothedUs, minUs } = this.rtt
    return smoothedUs > LATE_FACTOR * minUs && smoothedUs > minUs + LATE_EXTRA_US
  }
  get lateNoMore(): boolean {
    const { smoothedUs, minUs } = this.rtt
    return smoothedUs < (LATE_FACTOR / 2) * minUs || smoothedUs < minUs + LATE_EXTRA_US / 2
  }

  /** An answer that takes longer than this is late. */
  get answerUsUsual(): number {
    const { smoothedUs, variationUs } = this.rtt
    if (this.rtt.samples === 0) return 500 * MILLISECOND
    return smoothedUs + 2 * variationUs + FEEDBACK_US + 3 * MILLISECOND
  }

  /** A packet taken for lost came after all. */
  wasOnlyLate(): void {
    this.reorderingUs = Math.min(20 * MILLISECOND, this.reorderingUs * 1.5 + 500)
  }

  /** Silence of the whole round trip that makes a path suspect when the other end is heard elsewhere. */
  get silenceUsMax(): number {
    const { smoothedUs, variationUs } = this.rtt
    if (this.rtt.samples === 0) return 500 * MILLISECOND
    return Math.max(SUSPECT_US_MIN, smoothedUs + 4 * variationUs + FEEDBACK_US_MAX + this.marginUs)
  }

  /** A suspicion proved false within 300 ms: be slower next time. */
  falseAlarm(): void {
    this.marginUs = Math.min(SUSPECT_MARGIN_US_MAX, this.marginUs * 1.5)
  }
  /** Called four times a second: forgets false alarms slowly. */
  decayMargin(): void {
    this.marginUs = Math.max(SUSPECT_MARGIN_US, this.marginUs * 0.99)
  }
}
