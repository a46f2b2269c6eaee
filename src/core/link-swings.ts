/**
 * How far a link swings, as a cell does whose rate changes faster than we can learn it: its queue, by which it is seen how
 * long a queue is needed so that it does not run dry, and its rate, by which it is seen how long what was learnt holds.
 */
import { type DurationUs, MILLISECOND, SECOND } from '../base/time.js'

const QUEUE_FACTOR = 3
const QUEUE_US_STEADY = 2 * MILLISECOND
const TARGET_US_MAX = 20 * MILLISECOND
const QUEUE_WEIGHT = 0.005
const QUEUE_US_MAX = 15 * MILLISECOND

const RATE_WEIGHT = 0.002
/** Jitter moves the ends of a window by so many times as much: so far the rate only looks as if it swung. */
const RATE_JITTER_FACTOR = 2.4
/** Shorter windows say nothing of the rate. */
const RATE_WINDOW_US_MIN = 20 * MILLISECOND
/** Of the mean rate; beyond it only the newest samples count. */
const RATE_SHARE_QUICK = 0.08

export class LinkSwings {
  /**
   * The link is to be followed as fast as it can be seen: what its rate was 50 ms ago is soon over (model, a cell of 5 to
   * 40 Mbit/s that changes every 150 ms, BBR: 2.9 % of the sum were not used beside what BBR itself leaves idle, 1.8 with
   * this). One that stands still is known the better the longer one looks at it, and so is one with jitter.
   */
  isQuick = false
  /** Means, and how far it is from them on average: the queue while the link was the limit, µs, and the rate, share of it. */
  private queueUs: DurationUs = 0
  private queueSwingUs: DurationUs = 0
  private bytesPerSec = 0
  private rateSwing = 0

  observeQueue(queueUs: DurationUs): void {
    const deviation = queueUs - this.queueUs
    this.queueUs += QUEUE_WEIGHT * deviation
    this.queueSwingUs += QUEUE_WEIGHT * (Math.min(QUEUE_US_MAX, Math.abs(deviation)) - this.queueSwingUs)
  }

  /** In a window of `windowUs`, in which the application was not the limit, `bytes` arrived in packets of `packetBytes`. */
  observeRate(bytes: number, windowUs: DurationUs, packetBytes: number, jitterUs: DurationUs): void {
    if (windowUs < RATE_WINDOW_US_MIN || bytes <= 0) return
    const bytesPerSec = (bytes * SECOND) / windowUs
    if (this.bytesPerSec === 0) this.bytesPerSec = bytesPerSec
    const deviation = bytesPerSec - this.bytesPerSec
    const share = Math.min(1, Math.abs(deviation) / this.bytesPerSec)
    const apparent = (RATE_JITTER_FACTOR * jitterUs) / windowUs + packetBytes / bytes
    this.bytesPerSec += RATE_WEIGHT * deviation
    this.rateSwing += RATE_WEIGHT * (share - apparent - this.rateSwing)
    this.isQuick = this.rateSwing > RATE_SHARE_QUICK
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
