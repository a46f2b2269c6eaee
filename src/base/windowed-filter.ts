import type { DurationUs, Instant } from './time.js'

/**
 * The least or the greatest sample of about the last window, in constant space and time: Kathleen Nichols' algorithm
 * as in Linux lib/win_minmax.c. It keeps the best, second-best and third-best sample, each newer than the one before
 * it, so that when the best grows too old a good estimate takes its place. Exact for monotonic samples; otherwise a
 * sample of the window that is at most off by what came in its first quarters.
 */
export class WindowedFilter {
  private readonly values = new Float64Array(3)
  private readonly times = new Float64Array(3)
  private empty = true

  /**
   * @param kind what is sought
   * @param windowUs how long a sample counts; may be changed at any time
   */
  constructor(
    readonly kind: 'min' | 'max',
    public windowUs: DurationUs,
  ) {}

  /** The best sample of the window, NaN before the first. */
  get value(): number {
    return this.empty ? Number.NaN : this.values[0]!
  }

  /** Forgets all samples. */
  clear(): void {
    this.empty = true
  }

  /** Forgets all samples but this one. */
  reset(value: number, now: Instant): number {
    this.values.fill(value)
    this.times.fill(now)
    this.empty = false
    return value
  }

  /** Takes a sample; returns the best of the window. `now` never goes back. */
  update(value: number, now: Instant): number {
    const { values, times } = this
    if (this.empty || this.reaches(value, 0) || now - times[2]! > this.windowUs) return this.reset(value, now)
    if (this.reaches(value, 1)) {
      this.put(1, value, now)
      this.put(2, value, now)
    } else if (this.reaches(value, 2)) {
      this.put(2, value, now)
    }
    this.ageBest(value, now)
    return values[0]!
  }

  /** As the samples grow old the next best take over; each quarter and half of the window gets one of its own. */
  private ageBest(value: number, now: Instant): void {
    const { times, windowUs } = this
    const age = now - times[0]!
    if (age > windowUs) {
      this.copy(1, 0)
      this.copy(2, 1)
      this.put(2, value, now)
      if (now - times[0]! > windowUs) {
        this.copy(1, 0)
        this.copy(2, 1)
        this.put(2, value, now)
      }
    } else if (times[1] === times[0] && age > windowUs / 4) {
      this.put(1, value, now)
      this.put(2, value, now)
    } else if (times[2] === times[1] && age > windowUs / 2) {
      this.put(2, value, now)
    }
  }

  private reaches(value: number, index: number): boolean {
    return this.kind === 'min' ? value <= this.values[index]! : value >= this.values[index]!
  }

  private put(index: number, value: number, now: Instant): void {
    this.values[index] = value
    this.times[index] = now
  }

  private copy(from: number, to: number): void {
    this.values[to] = this.values[from]!
    this.times[to] = this.times[from]!
  }
}
