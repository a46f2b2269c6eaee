import { type Instant, NEVER } from '../../base/time.js'
import { BUCKETS } from '../../wire/message.js'
import type { Path } from '../path.js'
import type { Scheduler } from '../scheduler.js'

/**
 * Weighted round-robin, smooth and by bytes: each path has a virtual time that advances by bytes / weight, and the
 * packet goes where it is least (start-time fair queueing turned round, Goyal et al. 1996). Over any stretch the bytes
 * of two paths stand as their weights, within one packet.
 */
export class WeightedScheduler implements Scheduler {
  readonly name = 'weighted'
  readonly repairs = false
  readonly chosen: Path[] = []
  readonly flowFlags = new Uint8Array(BUCKETS)
  readonly ackTiming = undefined
  readonly waitUsMax = 0
  readonly briefFlows = undefined
  private paths: readonly Path[] = []
  /** Virtual time of the last packet sent: where a path that comes (back) starts, so that it has no arrears. */
  private virtualBytes = 0

  setPaths(paths: readonly Path[]): void {
    for (const path of paths) {
      if (!this.paths.includes(path)) path.virtualBytes = Math.max(path.virtualBytes, this.virtualBytes)
    }
    this.paths = [...paths]
  }

  review(): void {}

  watch(): boolean {
    return false
  }

  pick(): number {
    let best: Path | undefined
    for (let i = 0; i < this.paths.length; i++) {
      const path = this.paths[i]!
      if (!path.link.hasRoom) {
        // A path whose socket is full must not save up a claim to a burst.
        if (path.virtualBytes < this.virtualBytes) path.virtualBytes = this.virtualBytes
        continue
      }
      if (best === undefined || path.virtualBytes < best.virtualBytes) best = path
    }
    if (best === undefined) return 0
    this.chosen[0] = best
    return 1
  }

  /** Each packet has a choice of its own. */
  runBytes(): number {
    return 0
  }

  sent(path: Path, bytes: number): void {
    this.virtualBytes = path.virtualBytes
    path.virtualBytes += bytes / path.weight
  }

  /** Only a full socket holds it back, and that tells when it has room. */
  nextRoomAt(): Instant {
    return NEVER
  }
}
