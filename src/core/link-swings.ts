/**
 * How far a link swings, as a cell does whose rate changes faster than we can learn it: its queue, by which it is seen how
 * long a queue is needed so that it does not run dry, and its rate, by which it is seen how long what was learnt holds.
 */
import { type DurationUs, type Instant, MILLISECOND } from '../base/time.js'

const QUEUE_FACTOR = 3
const QUEUE_US_STEADY = 2 * MILLISECOND
const TARGET_US_MAX = 20 * MILLISECOND
const QUEUE_WEIGHT = 0.005
const QUEUE_US_MAX = 15 * MILLISECOND

/** The rate is compared with its mean over about so long. */
const MEAN_US = 2_500 * MILLISECOND
/** ... in which no sample counts for more than this. */
const SAMPLE_US_MAX = 100 * MILLISECOND
/** Jitter moves the ends of a window, so that the rate seems to differ by so many times as much of it. */
const RATE_JITTER_FACTOR = 2.4
/** Shorter windows, and those with fewer packets, say nothing of the rate. */
const RATE_WINDOW_US_MIN = 20 * MILLISECOND
const RATE_PACKETS_MIN = 10
/** Of the rate; beyond it only the newest samples count. */
const RATE_SHARE_UNSTEADY = 0.08
/** However much jitter there was, it is soon seen that there is a swing, too. */
const RATE_SHARE_MIN = -0.1

export class LinkSwings {
  /**
   * The link is to be followed as fast as it can be seen: what its rate was 50 ms ago is soon over (model, a cell of 5 to
   * 40 Mbit/s that changes every 150 ms, BBR: 3.0 % of the sum were not used beside what BBR itself leaves idle, 2.0 with
   * this). One that stands still is known the better the longer one looks at it, and so is one with jitter.
   */
  isUnsteady = false
  /** Mean of the queue while the link was the limit, and how far it is from that on average. */
  private queueUs: DurationUs = 0
  private queueSwingUs: DurationUs = 0
  /** Mean of the rate, bytes per µs, and the share of it by which it is another one on average. */
  private rate = 0
  private rateSwing = 0
  private rateSamples = 0
  private rateAt: Instant = 0

  observeQueue(queueUs: DurationUs): void {
    const deviation = queueUs - this.queueUs
    this.queueUs += QUEUE_WEIGHT * deviation
    this.queueSwingUs += QUEUE_WEIGHT * (Math.min(QUEUE_US_MAX, Math.abs(deviation)) - this.queueSwingUs)
  }

  /** In a window of `windowUs` up to `now`, in which the application was not the limit, `bytes` arrived in packets of `packetBytes`. */
  observeRate(
    bytes: number,
    windowUs: DurationUs,
    packetBytes: number,
    jitterUs: DurationUs,
    now: Instant,
  ): void {
    if (windowUs < RATE_WINDOW_US_MIN || bytes < RATE_PACKETS_MIN * packetBytes) return
    // The first ones are not to weigh for as long as a mean takes: a train or a token bucket may have let them through.
    this.rateSamples++
    const weight = Math.min(SAMPLE_US_MAX, now - this.rateAt) / MEAN_US
    this.rateAt = now
    const rate = bytes / windowUs
    this.rate += Math.max(weight, 1 / this.rateSamples) * (rate - this.rate)
    const share = Math.min(1, Math.abs(rate - this.rate) / this.rate)
    const apparent = Math.min(1, (RATE_JITTER_FACTOR * jitterUs) / windowUs)
    const swing = this.rateSwing + weight * (share - apparent - this.rateSwing)
    this.rateSwing = Math.max(RATE_SHARE_MIN, swing)
    this.isUnsteady = this.rateSwing > RATE_SHARE_UNSTEADY
  }

  /**
   * The queue that is to be aimed at beside what is usual: closer above empty than it swings, the link runs dry again and
   * again (model, two cells of 16 to 36 Mbit/s: 99 instead of 96 % of the sum; a call over them would wait 90 instead of 55
   * ms). With 40 ms it is no better: what has gone into a cell that then falls to an eighth holds up all that comes after.
   */
  get targetUs(): DurationUs {
    return Math.min(TARGET_US_MAX, Math.max(0, QUEUE_FACTOR * (this.queueSwingUs - QUEUE_US_STEADY)))
  }
}
