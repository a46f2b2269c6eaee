import { type DurationUs, type Instant, NEVER } from '../src/base/time.js'

/** The monotonic clock of one machine in the model world: it has a start and a drift of its own, and never goes back. */
export class MachineClock {
  private stopsAt: Instant = NEVER
  private lostUs: DurationUs = 0

  /** @param baseUs what it shows when the world begins; @param driftPpm how much faster it runs than the world */
  constructor(
    private readonly baseUs: number,
    private readonly driftPpm: number,
  ) {}

  /** What it shows at the world's `now`. */
  local(now: Instant): Instant {
    const running = Math.min(now, this.stopsAt) - this.lostUs
    return this.baseUs + Math.floor(running * (1 + this.driftPpm * 1e-6))
  }

  /** The first moment of the world at which it shows `instant`. */
  worldTime(instant: Instant): Instant {
    let world = Math.ceil((instant - this.baseUs) / (1 + this.driftPpm * 1e-6)) + this.lostUs
    while (this.local(world) < instant) world++
    return world
  }

  /** It stands still from the world's `now` on, as in a suspend. */
  stop(now: Instant): void {
    this.stopsAt = now
  }

  /** It runs again. */
  goOn(now: Instant): void {
    if (this.stopsAt < now) this.lostUs += now - this.stopsAt
    this.stopsAt = NEVER
  }
}
