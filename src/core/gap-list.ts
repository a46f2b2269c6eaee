import type { DurationUs, Instant } from '../base/time.js'

/** Gaps remembered at once; more are an outage, not loss, and are dealt with as such. */
const GAPS_MAX = 64

/**
 * The counters of one channel that are missing among those received: what feedback reports as missing ranges. Newest
 * last. What is no longer listed lies below {@link completeFrom}, of which nothing is said.
 */
export class GapList {
  private readonly from = new Float64Array(GAPS_MAX)
  private readonly to = new Float64Array(GAPS_MAX)
  private readonly since = new Float64Array(GAPS_MAX)
  count = 0
  /** From here up every missing counter is in the list. */
  completeFrom = 0

  first(index: number): number {
    return this.from[index]!
  }
  last(index: number): number {
    return this.to[index]!
  }

  /** Counters `from`..`to` were skipped. */
  add(from: number, to: number, now: Instant): void {
    if (this.count === GAPS_MAX) this.removeAt(0)
    this.from[this.count] = from
    this.to[this.count] = to
    this.since[this.count] = now
    this.count++
  }

  /** `counter` came after all. */
  fill(counter: number): void {
    for (let i = this.count - 1; i >= 0; i--) {
      const from = this.from[i]!
      const to = this.to[i]!
      if (counter > to) return
      if (counter < from) continue
      if (from === to) {
        this.shiftDown(i)
      } else if (counter === from) {
        this.from[i] = from + 1
      } else if (counter === to) {
        this.to[i] = to - 1
      } else {
        this.split(i, counter)
      }
      return
    }
  }

  /** Forgets gaps older than `ageUs`: nobody repairs them any more. */
  expire(ageUs: DurationUs, now: Instant): void {
    while (this.count > 0 && now - this.since[0]! > ageUs) this.removeAt(0)
  }

  private split(index: number, counter: number): void {
    const to = this.to[index]!
    if (this.count === GAPS_MAX) {
      this.removeAt(0)
      index--
      if (index < 0) return
    }
    for (let i = this.count; i > index + 1; i--) {
      this.from[i] = this.from[i - 1]!
      this.to[i] = this.to[i - 1]!
      this.since[i] = this.since[i - 1]!
    }
    this.to[index] = counter - 1
    this.from[index + 1] = counter + 1
    this.to[index + 1] = to
    this.since[index + 1] = this.since[index]!
    this.count++
  }

  /** Takes the oldest gap out without its being filled: of it nothing is said from now on. */
  private removeAt(index: number): void {
    this.completeFrom = Math.max(this.completeFrom, this.to[index]! + 1)
    this.shiftDown(index)
  }

  private shiftDown(index: number): void {
    this.count--
    for (let i = index; i < this.count; i++) {
      this.from[i] = this.from[i + 1]!
      this.to[i] = this.to[i + 1]!
      this.since[i] = this.since[i + 1]!
    }
  }
}
