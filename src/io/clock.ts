import { type DurationUs, type Instant, NEVER } from '../base/time.js'
import { native, type TimerHandle } from './native.js'

/** The monotonic clock; it does not stand still with wall-clock jumps, and stops during suspend. */
export function monotonicNow(): Instant {
  return native.monotonicUs()
}

/** One wake-up call, exact to about 50 µs, on the loop of the thread that made it. */
export class WakeTimer {
  private readonly handle: TimerHandle
  private armedFor: Instant = NEVER

  constructor(onWake: () => void) {
    this.handle = native.timerStart(() => {
      this.armedFor = NEVER
      onWake()
    })
  }

  /** Calls back at `at`, in place of any earlier wish; {@link NEVER}: not at all. No system call if nothing changed. */
  armAt(at: Instant, now: Instant): void {
    if (at === this.armedFor) return
    this.armedFor = at
    const delay: DurationUs = at - now
    native.timerArm(this.handle, at === NEVER ? -1 : Math.max(0, delay))
  }

  stop(): void {
    native.timerStop(this.handle)
  }
}
