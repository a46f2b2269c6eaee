import { type Instant, MILLISECOND, NEVER } from '../base/time.js'
import { BUCKETS, sequenceDifference } from '../wire/message.js'
import { EGRESS_US_MAX } from './constants.js'

/**
 * Repairs that fill a hole from its front come at least this often, or the hole is given up in its time: after a path has
 * failed all that was under way on it comes by the others, and each packet of it is as good as in time (kernel, a path of
 * 40 Mbit/s dies beside one of 5: 170 packets late, and nothing out for 250 ms).
 */
const REPAIRS_GO_ON_US = 50 * MILLISECOND
/** ... and for so long, which is what the other end sends them for. */
const RENEWED_US_MAX = EGRESS_US_MAX

/**
 * The buckets of a resequencer in which packets are held beyond their time, as repairs come in before them. All is taken by
 * the constructor: 24 KiB.
 */
export class Renewals {
  /** By bucket: when a repair was last the packet that was waited for. */
  readonly repairedAt = new Float64Array(BUCKETS).fill(Number.NEGATIVE_INFINITY)
  /** In no order, {@link count} of them. */
  readonly buckets = new Int32Array(BUCKETS)
  count = 0
  /** By bucket: since when, not a number for others; and the last of its packets that are held so. */
  private readonly since = new Float64Array(BUCKETS).fill(Number.NaN)
  private readonly lastSequence = new Int32Array(BUCKETS)

  /** Until when packets of `bucket` are held beyond their time. */
  until(bucket: number): Instant {
    const until = this.repairedAt[bucket]! + REPAIRS_GO_ON_US
    const since = this.since[bucket]!
    return Number.isNaN(since) ? until : Math.min(until, since + RENEWED_US_MAX)
  }

  /** When the first of them is not any more. */
  get nextEnd(): Instant {
    let next = NEVER
    for (let i = 0; i < this.count; i++) next = Math.min(next, this.until(this.buckets[i]!))
    return next
  }

  add(bucket: number, sequence: number, now: Instant): void {
    if (Number.isNaN(this.since[bucket]!)) {
      this.buckets[this.count++] = bucket
      this.since[bucket] = now
    } else if (sequenceDifference(sequence, this.lastSequence[bucket]!) < 0) {
      return
    }
    this.lastSequence[bucket] = sequence
  }

  includes(bucket: number, sequence: number): boolean {
    return sequenceDifference(sequence, this.lastSequence[bucket]!) <= 0
  }

  removeAt(index: number): void {
    this.since[this.buckets[index]!] = Number.NaN
    this.buckets[index] = this.buckets[--this.count]!
  }
}
