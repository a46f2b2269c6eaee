/**
 * How long the bulk of a flow may stand in the tunnel's queue: CoDel's target. Lax, as under fair queueing a long queue
 * hurts only its own flow, and a short one costs it throughput.
 *
 * Where bulk waits for a near path while a far one is free (schedulers/adaptive.ts), it is longer than that wait, or no
 * sender would ever have the window to use both (kernel and model, CUBIC, 20 Mbit/s at 40 ms beside 20 at 600: one drop in
 * its second second, and half of the sum for 45).
 *
 * On long paths it is a share of the round trip: CUBIC gives back 0.3 of its window for a drop, and what stood in the
 * queue before is what keeps the paths busy until it has grown again.
 *
 * Where the paths have become slower of late, it is what the window of the faster ones leaves in the queue. A cell that
 * falls to an eighth is back in seconds, and a window that was made to fit it in between takes ten of them to grow
 * (kernel, CUBIC, DSL and LTE: 89 to 96 % of the sum with a fixed target, 96 to 98 with this; 80 Mbit/s that become 20
 * for ten seconds: 94, and 99).
 */
import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'

export const QUEUE_US = 50 * MILLISECOND
const QUEUE_RTT_SHARE = 0.4
const QUEUE_US_MAX = 200 * MILLISECOND
const QUEUE_US_FALLEN_MAX = 250 * MILLISECOND
/** What was had before is forgotten by and by. */
const PEAK_MEMORY_US = 20 * SECOND

/** What a queue has to know of the paths below it. */
export interface QueuePaths {
  /** The longest round trip of those that carry bulk now; 0 if none does. */
  readonly roundTripUs: DurationUs
  /** What those for bulk can carry together, as far as that is known. */
  readonly bytesPerSec: number
  /** What all can carry together: an estimate from the first train on; 0 if it is of no interest. */
  readonly capacityBytesPerSec: number
  /** For so long bulk waits for a near path while a far one is free. */
  readonly waitUs: DurationUs
}

export class QueueTarget {
  /** What the paths could carry together at best, of late. */
  private peakBytesPerSec = 0
  private reviewedAt: Instant = Number.NEGATIVE_INFINITY

  /** Called a few times a second; returns the target. */
  review({ roundTripUs, bytesPerSec, waitUs }: QueuePaths, now: Instant): DurationUs {
    const shareUs = Math.min(QUEUE_US_MAX, Math.max(QUEUE_US, QUEUE_RTT_SHARE * roundTripUs))
    const steadyUs = waitUs > 0 ? Math.max(shareUs, waitUs + QUEUE_US) : shareUs
    const forgotten = Math.min(1, (now - this.reviewedAt) / PEAK_MEMORY_US)
    this.reviewedAt = now
    this.peakBytesPerSec = Math.max(
      bytesPerSec,
      this.peakBytesPerSec + forgotten * (bytesPerSec - this.peakBytesPerSec),
    )
    if (bytesPerSec <= 0) return steadyUs
    const windowUs = (this.peakBytesPerSec / bytesPerSec) * (steadyUs + roundTripUs)
    return Math.max(steadyUs, Math.min(QUEUE_US_FALLEN_MAX, windowUs - roundTripUs))
  }
}
