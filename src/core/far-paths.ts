/**
 * Leaves paths out while they lower the sum, where some are much longer than the others. Packets in order wait for the
 * slowest of them, so a sender whose window is meant for the near paths, as BBR's is, then does not even fill those: 20
 * Mbit/s at 40 ms beside 20 at 600 carried 16 in all. Another, as CUBIC, gets from the same pair all that it has.
 *
 * So it is tried. Where all paths together carry less than the near ones can by themselves, the far ones get no bulk for
 * a while; where they carry less than the far ones can, and these are most of it, the near ones do not: a thin line must
 * not set the pace of a thick one. Then both are tried again once what is left is full, ever more rarely.
 */
import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { leastBaseUs, type Path } from './path.js'

/** Far is a path whose one-way delay is so much above the least: what waits in the tunnel makes up for less. */
const FAR_US = 30 * MILLISECOND
/**
 * Two windows of this length in a row decide: beside a satellite, CUBIC carries less than by land alone for up to 10 s,
 * until it has found that there is more.
 */
const WINDOW_US = 8 * SECOND
const WINDOWS = 2
/** Less than this share of what the near paths can carry: the far ones take more than they give. */
const GAIN_MIN = 0.95
/** Less than this share of what the far paths can carry, and these have so many times the rate: the near ones do. */
const FAR_GAIN_MIN = 0.7
const FAR_RATIO = 2
/** ... but so little is asked for that nothing can be said. */
const ASKED_MIN = 0.15
/** Paths that carried less than this share had no say in it. */
const SHARE_MIN = 0.002
/** From here on paths are full, and worth helping. */
const FULL_SHARE = 0.9
/** Less is no transfer, and what one did says nothing about the next. */
const IDLE_SHARE = 0.02
/** Left out for so long, then twice that, and so on. */
const OUT_US_MIN = 60 * SECOND
const OUT_US_MAX = 960 * SECOND

/** What paths of similar delay carried in the window, and could have; bytes. */
class Group {
  carried = 0
  could = 0
  /** Windows in a row in which the other group took more than it gave. */
  losses = 0

  startWindow(): void {
    this.carried = 0
    this.could = 0
  }
}

export class FarPaths {
  private readonly near = new Group()
  private readonly far = new Group()
  private leftOut: Group | undefined
  private outUs: DurationUs = OUT_US_MIN
  private outUntil: Instant = Number.NEGATIVE_INFINITY
  private windowFrom: Instant = Number.NEGATIVE_INFINITY
  private reviewedAt: Instant = Number.NEGATIVE_INFINITY

  /** Called a few times a second with the paths that may carry data; sets their `leftOut`. */
  review(paths: readonly Path[], now: Instant): void {
    const seconds = Math.min(now - this.reviewedAt, SECOND) / SECOND
    this.reviewedAt = now
    const leastUs = leastBaseUs(paths)
    const groupOf = ({ rate }: Path): Group => (rate.baseUs > leastUs + FAR_US ? this.far : this.near)
    let canJudge =
      this.windowFrom !== Number.NEGATIVE_INFINITY && paths.some((path) => groupOf(path) === this.far)
    for (const path of paths) {
      const { rate, rateOutBytesPerSec } = path
      const group = groupOf(path)
      group.carried += rateOutBytesPerSec * seconds
      group.could += rate.rateBytesPerSec * seconds
      if (group === this.near && rate.startup) canJudge = false
    }
    if (!canJudge) {
      this.leftOut = undefined
      this.startWindow(now)
    } else if (now - this.windowFrom >= WINDOW_US) {
      this.decide(now)
      this.startWindow(now)
    }
    for (const path of paths) path.leftOut = groupOf(path) === this.leftOut
  }

  /** The set of paths changed: what was found about the former one may not hold. */
  useAll(paths: readonly Path[]): void {
    this.leftOut = undefined
    this.near.losses = 0
    this.far.losses = 0
    this.startWindow(this.reviewedAt)
    for (const path of paths) path.leftOut = false
  }

  private decide(now: Instant): void {
    const { near, far } = this
    const carried = near.carried + far.carried
    if (carried < IDLE_SHARE * near.could) {
      this.leftOut = undefined
      this.outUs = OUT_US_MIN
    }
    if (this.leftOut) {
      const { carried, could } = this.leftOut === far ? near : far
      if (now >= this.outUntil && carried >= FULL_SHARE * could) this.leftOut = undefined
      return
    }
    const isThick = far.could > FAR_RATIO * near.could
    this.judge(near, far, GAIN_MIN, true)
    this.judge(far, near, FAR_GAIN_MIN, isThick)
    // Of a thick line, the thin one is what is in the way.
    const loser = far.losses >= WINDOWS ? near : near.losses >= WINDOWS ? far : undefined
    if (loser === undefined) return
    near.losses = 0
    far.losses = 0
    this.leftOut = loser
    this.outUntil = now + this.outUs
    this.outUs = Math.min(OUT_US_MAX, this.outUs * 2)
  }

  /** Counts a window in which `kept` alone could have carried more than it did together with `other`. */
  private judge(kept: Group, other: Group, gainMin: number, applies: boolean): void {
    const carried = kept.carried + other.carried
    const isLoss =
      applies &&
      carried > ASKED_MIN * kept.could &&
      carried < gainMin * kept.could &&
      other.carried > SHARE_MIN * carried
    kept.losses = isLoss ? kept.losses + 1 : 0
  }

  private startWindow(now: Instant): void {
    this.windowFrom = now
    this.near.startWindow()
    this.far.startWindow()
  }
}
