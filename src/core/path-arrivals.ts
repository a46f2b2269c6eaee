import { type DurationUs, type Instant, MILLISECOND } from '../base/time.js'
import { PATH_IDS } from '../wire/message.js'

const MEAN_WEIGHT = 1 / 8
const DEVIATION_WEIGHT = 1 / 4
/**
 * Beyond mean and deviation: pauses of either machine, which hit one path's packets and not the other's. With 4 ms a
 * busy two-core machine gave up hundreds of holes that filled a moment later; with 20 ms none.
 */
const QUIET_MARGIN_US = 20 * MILLISECOND

/**
 * How far each path of a peer has come: the newest send stamp that it delivered, and its one-way delay in terms of
 * both clocks (received - sent, so the unknown offset between the clocks is part of it). From this the resequencer
 * knows that what is missing was lost: every live path delivered something sent later, or would have by now.
 */
export class PathArrivals {
  private readonly newestStampUs = new Float64Array(PATH_IDS).fill(Number.NEGATIVE_INFINITY)
  private readonly delayUsMean = new Float64Array(PATH_IDS)
  private readonly delayUsDeviation = new Float64Array(PATH_IDS)
  private readonly live = new Uint8Array(PATH_IDS)
  private liveCount = 0

  /** Which paths may still bring what is missing. */
  setLive(paths: readonly number[]): void {
    this.liveCount = paths.length
    for (let i = 0; i < paths.length; i++) this.live[i] = paths[i]!
  }

  /** A packet came on `path`, sent at `stampUs` of the sender's clock and received at `receivedAt` of ours. */
  delivered(path: number, stampUs: number, receivedAt: Instant): void {
    const delay = receivedAt - stampUs
    const newest = this.newestStampUs[path]!
    if (newest === Number.NEGATIVE_INFINITY) {
      this.delayUsMean[path] = delay
      this.delayUsDeviation[path] = 0
    } else {
      const difference = delay - this.delayUsMean[path]!
      this.delayUsMean[path]! += difference * MEAN_WEIGHT
      this.delayUsDeviation[path]! += (Math.abs(difference) - this.delayUsDeviation[path]!) * DEVIATION_WEIGHT
    }
    if (stampUs > newest) this.newestStampUs[path] = stampUs
  }

  /** Delay of the slowest live path (received - sent), and of the fastest; -Infinity and Infinity while none was heard. */
  spread(): { slowestUs: number; fastestUs: number } {
    let slowest = Number.NEGATIVE_INFINITY
    let fastest = Number.POSITIVE_INFINITY
    for (let i = 0; i < this.liveCount; i++) {
      const path = this.live[i]!
      if (this.newestStampUs[path] === Number.NEGATIVE_INFINITY) continue
      slowest = Math.max(slowest, this.delayUsMean[path]!)
      fastest = Math.min(fastest, this.delayUsMean[path]!)
    }
    this.spreadResult.slowestUs = slowest
    this.spreadResult.fastestUs = fastest
    return this.spreadResult
  }
  private readonly spreadResult = { slowestUs: 0, fastestUs: 0 }

  /** Forgets a path: its id may come again for another one. */
  forget(path: number): void {
    this.newestStampUs[path] = Number.NEGATIVE_INFINITY
  }

  reset(): void {
    this.newestStampUs.fill(Number.NEGATIVE_INFINITY)
  }

  /**
   * When nothing sent up to `stampUs` can come any more: -Infinity if every live path has delivered something sent
   * more than `toleranceUs` later, else the time at which the last of the others will have been silent for too long.
   * Infinity if no live path was ever heard, as then nothing is known.
   */
  passedAt(stampUs: number, toleranceUs: DurationUs): Instant {
    let passedAt = Number.NEGATIVE_INFINITY
    let heard = false
    for (let i = 0; i < this.liveCount; i++) {
      const path = this.live[i]!
      const newest = this.newestStampUs[path]!
      if (newest === Number.NEGATIVE_INFINITY) continue
      heard = true
      if (newest > stampUs + toleranceUs) continue
      const quietAt = stampUs + this.delayUsMean[path]! + 4 * this.delayUsDeviation[path]! + QUIET_MARGIN_US
      if (quietAt > passedAt) passedAt = quietAt
    }
    return heard ? passedAt : Number.POSITIVE_INFINITY
  }
}
