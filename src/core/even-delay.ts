import { type DurationUs, type Instant, MILLISECOND } from '../base/time.js'
import { BUCKETS } from '../wire/message.js'

/** The delay rises as fast as time passes: at half their pace packets never stop, and no sender takes that for a loss. */
const RISE = 1
/** ... and falls more slowly: packets come by a quarter faster then. */
export const FALL = 0.25
/** Time without packets does not count for more than this while it rises. */
const RISE_STEP_US_MAX = 20 * MILLISECOND

/**
 * The delay that the packets of long transfers are held back to, by bucket: gradually that of the slowest path, from when
 * the sender asks for it (long-transfers.ts), and gradually none again when it no longer does. Counted from the
 * instant at which the fastest path would have delivered.
 */
export class EvenDelay {
  private readonly delayUs = new Float64Array(BUCKETS)
  private readonly steppedAt = new Float64Array(BUCKETS)

  /** Whether packets of the bucket are still held back. */
  remains(bucket: number): boolean {
    return this.delayUs[bucket]! > 0
  }

  /** The delay of a packet that has become the next of its bucket; `spreadUs` is that of the slowest path. */
  next(bucket: number, isEven: boolean, spreadUs: DurationUs, now: Instant): DurationUs {
    const stepUs = now - this.steppedAt[bucket]!
    this.steppedAt[bucket] = now
    const before = this.delayUs[bucket]!
    const delayUs = isEven
      ? Math.min(before + Math.min(stepUs, RISE_STEP_US_MAX) * RISE, spreadUs)
      : Math.max(0, Math.min(before - stepUs * FALL, spreadUs))
    this.delayUs[bucket] = delayUs
    return delayUs
  }

  reset(): void {
    this.delayUs.fill(0)
  }
}
