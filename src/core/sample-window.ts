import type { DurationUs, Instant } from '../base/time.js'

const SAMPLES = 64
/** Of a window, at most so much idle time, or the application was the limit. */
const IDLE_SHARE_MAX = 0.15

/** How far a path had got when the newest packet reported came. */
export interface Progress {
  /** When it came, receiver's clock. */
  newestAt: Instant
  /** Bytes received in all, with IP and UDP headers. */
  bytesReceived: number
  /** When it was sent, bytes sent up to it, idle time up to it. */
  sentAt: Instant
  bytesSent: number
  idleUs: number
}

/** The last samples of a path, and what happened from the first of them to the newest. */
export class SampleWindow {
  /** On the receiver's clock and on ours. */
  receivedUs: DurationUs = 0
  sentUs: DurationUs = 0
  receivedBytes = 0
  sentBytes = 0
  /** Something was being sent nearly all the time. */
  isBusy = false

  private readonly receivedAt = new Float64Array(SAMPLES)
  private readonly received = new Float64Array(SAMPLES)
  private readonly sentAt = new Float64Array(SAMPLES)
  private readonly sent = new Float64Array(SAMPLES)
  private readonly idle = new Float64Array(SAMPLES)
  private head = 0
  private count = 0

  clear(): void {
    this.count = 0
  }

  /** Takes the newest sample in, and drops those that a window of `us` does without. */
  add(sample: Progress, us: DurationUs): void {
    while (
      this.count === SAMPLES ||
      (this.count >= 2 && sample.newestAt - this.receivedAt[(this.head + 1) % SAMPLES]! >= us)
    ) {
      this.head = (this.head + 1) % SAMPLES
      this.count--
    }
    const at = (this.head + this.count++) % SAMPLES
    this.receivedAt[at] = sample.newestAt
    this.received[at] = sample.bytesReceived
    this.sentAt[at] = sample.sentAt
    this.sent[at] = sample.bytesSent
    this.idle[at] = sample.idleUs
    this.measureFrom(this.head)
  }

  /** Looks at the newest part alone that has at least `us` and `bytes`; the rest stays for the next sample. */
  narrow(us: DurationUs, bytes: number): void {
    const newest = (this.head + this.count - 1) % SAMPLES
    const timeMax = this.receivedAt[newest]! - us
    const bytesMax = this.received[newest]! - bytes
    let from = this.head
    while (from !== newest) {
      const next = (from + 1) % SAMPLES
      if (this.receivedAt[next]! > timeMax || this.received[next]! > bytesMax) break
      from = next
    }
    this.measureFrom(from)
  }

  private measureFrom(from: number): void {
    const newest = (this.head + this.count - 1) % SAMPLES
    this.receivedUs = this.receivedAt[newest]! - this.receivedAt[from]!
    this.sentUs = this.sentAt[newest]! - this.sentAt[from]!
    this.receivedBytes = this.received[newest]! - this.received[from]!
    this.sentBytes = this.sent[newest]! - this.sent[from]!
    this.isBusy = this.count > 1 && this.idle[newest]! - this.idle[from]! < IDLE_SHARE_MAX * this.sentUs
  }
}
