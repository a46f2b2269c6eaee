import { type Instant, NEVER } from '../../base/time.js'
import { BUCKETS } from '../../wire/message.js'
import type { Path } from '../path.js'
import type { Scheduler } from '../scheduler.js'

/** Each packet on every path; the other end delivers the copy that comes first. */
export class RedundantScheduler implements Scheduler {
  readonly name = 'redundant'
  readonly repairs = false
  readonly chosen: Path[] = []
  readonly flowFlags = new Uint8Array(BUCKETS)
  readonly ackTiming = undefined
  readonly waitUsMax = 0
  readonly briefFlows = undefined
  private paths: readonly Path[] = []

  setPaths(paths: readonly Path[]): void {
    this.paths = [...paths]
  }

  review(): void {}

  watch(): boolean {
    return false
  }

  pick(): number {
    let count = 0
    for (let i = 0; i < this.paths.length; i++) {
      const path = this.paths[i]!
      if (path.link.hasRoom) this.chosen[count++] = path
    }
    return count
  }

  /** Each packet has a choice of its own. */
  runBytes(): number {
    return 0
  }

  sent(): void {}

  nextRoomAt(): Instant {
    return NEVER
  }
}
