import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'

/** What is tried, of the queue that is usually aimed at. */
const SHORT = 0.2
/** Packets on which a judgement rests, and how many of them lost make it worth a trial. */
const WINDOW_PACKETS = 2_000
const LOSS_MIN = 0.005
/** The shorter queue is kept if it brings the loss down to this share; halves come by chance where losses come in bursts. */
const FEWER = 0.4
/** The usual one is taken up again if it loses hardly more. */
const MORE = 1.25
const MORE_EXTRA = 0.002
/** What is lost right after a change was sent before it. */
const SETTLE_US = 300 * MILLISECOND
/** At the beginning all rates are still being found, and queues overflow for that. */
const FIRST_US = 3 * SECOND
/** After a trial in vain the next waits for so long, then twice as long: one takes a second, and costs some of the rate. */
const RETRY_US = 30 * SECOND
const RETRY_US_MAX = 480 * SECOND

/**
 * Finds out whether the buffer of a link is shorter than the queue that we aim at. Then it overflows all the time, and
 * its loss looks like that of a bad radio; only a trial tells them apart: aim lower for some thousand packets, and see
 * whether far fewer are lost. Now and then the usual queue is tried again, as another modem may have come.
 */
export class QueueTrial {
  /** Of the usual queue, so much is to be aimed at. */
  share = 1
  private trying = false
  /** Loss before the trial. */
  private lossBefore = 0
  private packets = 0
  private lost = 0
  /** No losses count before this. */
  private settledAt: Instant = Number.NEGATIVE_INFINITY
  private nextAt: Instant = Number.NEGATIVE_INFINITY
  private retryUs: DurationUs = RETRY_US

  /** The fate of `packets` is known, `lost` of them are. */
  onLoss(packets: number, lost: number, now: Instant): void {
    if (this.nextAt === Number.NEGATIVE_INFINITY) this.nextAt = now + FIRST_US
    if (now < this.settledAt) return
    this.packets += packets
    this.lost += lost
    if (this.packets < WINDOW_PACKETS) return
    const loss = this.lost / this.packets
    this.packets = 0
    this.lost = 0
    if (this.trying) {
      this.judge(loss, now)
    } else if (now >= this.nextAt && (this.share < 1 || loss >= LOSS_MIN)) {
      this.trying = true
      this.lossBefore = loss
      this.change(now)
    }
  }

  private judge(loss: number, now: Instant): void {
    this.trying = false
    const better =
      this.share < 1 ? loss <= FEWER * this.lossBefore : loss <= MORE * this.lossBefore + MORE_EXTRA
    if (better) {
      this.retryUs = RETRY_US
    } else {
      this.change(now)
      this.retryUs = Math.min(RETRY_US_MAX, 2 * this.retryUs)
    }
    this.nextAt = now + this.retryUs
  }

  private change(now: Instant): void {
    this.share = this.share < 1 ? 1 : SHORT
    this.settledAt = now + SETTLE_US
  }
}
