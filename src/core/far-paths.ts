/**
 * Leaves paths of much longer delay out while they lower the sum. Packets in order wait for the slowest of them, so a
 * sender whose window is meant for the near paths, as BBR's is, then does not even fill those: 20 Mbit/s at 40 ms beside
 * 20 at 600 carried 16 in all. Another, as CUBIC, gets from the same pair all that it has.
 *
 * So it is tried. Where all paths together carry less than the near ones can by themselves, the far ones get no bulk for
 * a while; then they are tried again once the near ones are full, ever more rarely.
 */
import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import type { Path } from './path.js'

/** Far is a path whose one-way delay is so much above the least: what waits in the tunnel makes up for less. */
const FAR_US = 60 * MILLISECOND
/**
 * Two windows of this length in a row decide: beside a satellite, CUBIC carries less than by land alone for up to 10 s,
 * until it has found that there is more.
 */
const WINDOW_US = 8 * SECOND
const WINDOWS = 2
/** Less than this share of what the near paths can carry: the far ones take more than they give. */
const GAIN_MIN = 0.95
/** ... but so little is asked for that nothing can be said. */
const ASKED_MIN = 0.2
/** Far paths that carried less than this share had no say in it. */
const FAR_SHARE_MIN = 0.002
/** From here on near paths are full, and worth helping. */
const FULL_SHARE = 0.9
/** Less is no transfer, and what one did says nothing about the next. */
const IDLE_SHARE = 0.02
/** Left out for so long, then twice that, and so on. */
const OUT_US_MIN = 60 * SECOND
const OUT_US_MAX = 960 * SECOND

export class FarPaths {
  private leftOut = false
  private outUs: DurationUs = OUT_US_MIN
  /** Windows in a row in which the far paths took more than they gave. */
  private losses = 0
  private outUntil: Instant = Number.NEGATIVE_INFINITY
  private windowFrom: Instant = Number.NEGATIVE_INFINITY
  private reviewedAt: Instant = Number.NEGATIVE_INFINITY
  /** In the window: carried by the near and by the far paths, and what the near ones could have. */
  private nearBytes = 0
  private farBytes = 0
  private couldBytes = 0

  /** Called a few times a second with the paths that may carry data; sets their `leftOut`. */
  review(paths: readonly Path[], now: Instant): void {
    const seconds = Math.min(now - this.reviewedAt, SECOND) / SECOND
    this.reviewedAt = now
    let leastUs = Number.POSITIVE_INFINITY
    for (const { rate } of paths) leastUs = Math.min(leastUs, rate.baseUs)
    let anyFar = false
    let isStarting = false
    for (const { rate, rateOutBytesPerSec } of paths) {
      if (rate.baseUs > leastUs + FAR_US) {
        anyFar = true
        this.farBytes += rateOutBytesPerSec * seconds
      } else {
        isStarting ||= rate.startup
        this.nearBytes += rateOutBytesPerSec * seconds
        this.couldBytes += rate.rateBytesPerSec * seconds
      }
    }
    if (!anyFar || isStarting || this.windowFrom === Number.NEGATIVE_INFINITY) {
      this.leftOut = false
      this.startWindow(now)
    } else if (now - this.windowFrom >= WINDOW_US) {
      this.decide(now)
      this.startWindow(now)
    }
    for (const path of paths) path.leftOut = this.leftOut && path.rate.baseUs > leastUs + FAR_US
  }

  /** The set of paths changed: what was found about the former one may not hold. */
  useAll(paths: readonly Path[]): void {
    this.leftOut = false
    this.startWindow(this.reviewedAt)
    for (const path of paths) path.leftOut = false
  }

  private decide(now: Instant): void {
    const { nearBytes, farBytes, couldBytes } = this
    const bytes = nearBytes + farBytes
    if (bytes < IDLE_SHARE * couldBytes) {
      this.leftOut = false
      this.outUs = OUT_US_MIN
    }
    if (this.leftOut) {
      this.leftOut = now < this.outUntil || nearBytes < FULL_SHARE * couldBytes
      return
    }
    const isLoss =
      bytes > ASKED_MIN * couldBytes && bytes < GAIN_MIN * couldBytes && farBytes > FAR_SHARE_MIN * bytes
    this.losses = isLoss ? this.losses + 1 : 0
    if (this.losses < WINDOWS) return
    this.losses = 0
    this.leftOut = true
    this.outUntil = now + this.outUs
    this.outUs = Math.min(OUT_US_MAX, this.outUs * 2)
  }

  private startWindow(now: Instant): void {
    this.windowFrom = now
    this.nearBytes = 0
    this.farBytes = 0
    this.couldBytes = 0
  }
}
