/**
 * Earliest delivery path first, with late binding: a packet stays in the tunnel's queue until it may go, and goes where
 * it is predicted to arrive first. Rates and delays are measured (rate-estimator.ts); nothing is configured.
 *
 * Bulk waits for the pacer and the in-flight cap of a path. When the best path is busy, the next best that is free
 * takes the packet, unless waiting would cost less than half the difference in delay, and at most 8 ms, or 2 under
 * load, or a tenth of the difference but for what is evened beside a satellite: a slow link is used early rather
 * than late, since a sender inside that sees its packets wait slows down. But what has just begun may be a page,
 * which is there with its last packet: beside flows that last it takes only what brings it there soonest, see
 * brief-flows.ts, and by itself at first, too, where a path is far; where one is as far as a satellite, all bulk
 * does.
 *
 * Far paths that lower the sum are left out, see far-paths.ts; long transfers are evened, see long-transfers.ts, and what
 * acknowledges them may have to wait, see ack-timing.ts.
 *
 * Real-time packets and pure ACKs never wait for a pacer. A real-time packet is doubled when its path is in doubt, on
 * a budget. The path that it takes is kept quick for it; one that carries only bulk may hold a longer queue.
 */
import { type DurationUs, type Instant, MILLISECOND, NEVER, SECOND } from '../../base/time.js'
import { AckTiming } from '../ack-timing.js'
import { BriefFlows } from '../brief-flows.js'
import { BusyPeriod } from '../busy-period.js'
import { FarPaths } from '../far-paths.js'
import { type FlowTable, PacketClass } from '../flow-table.js'
import { LongTransfers } from '../long-transfers.js'
import type { Path } from '../path.js'
import type { Scheduler } from '../scheduler.js'

const PACKET_BYTES = 1_460
const SMALL_BYTES = 200
/** Longest wait for the best path while another is free: what comes in a burst, as a page does, had better wait. */
const SPILL_US_MAX = 8 * MILLISECOND
/**
 * ... and once the best path has been busy for more than half of its rate: a sender like BBR, which hardly queues, finds
 * the other path in no other way (kernel, 80/10 + 20/60 ms: 79 to 89 % of the sum).
 */
const SPILL_US_BUSY = 2 * MILLISECOND
const BUSY_SHARE = 0.5
/**
 * ... and to a path that is far, at least this share of the difference: all that goes by the near ones later waits for
 * what went there (kernel, 20/40 + 20/600 ms, BBR: 39 % of the sum with 2 ms, 49 % with 28, as with the near one alone).
 * Not beside a satellite if it is evened: what it waits is added to the delay of all, and BBR, which sees that come as it
 * grows, stops (model, 24 such pairs: 94.3 % of the sum with 28 ms, 97.4 with 2).
 */
const SPILL_SHARE = 0.1
/**
 * What begins on calm paths may be over soon, and then it waits for what went the far way (kernel, 0.5 MB by 20/40 + 20/600
 * ms: 600 ms, and 390 by the near path alone). So a path that is further away than this takes only what it brings sooner ...
 */
const BRIEF_FROM_US = 10 * MILLISECOND
/**
 * ... for so many times what it is further away than that. A transfer that lasts still finds it as it starts up: with 120
 * ms instead of 100 BBR does so more rarely (model, 20/20 + 20/140 ms: 58 % of the sum in the first nine seconds, 73 so).
 */
const BRIEF_TIMES = 2
/** ... and no longer than this: a transfer by 2 Mbit/s at 60 ms and 20 at 600 grows half as fast with 0.6 s (model, CUBIC). */
const BRIEF_US_MAX = 400 * MILLISECOND
/**
 * One that is so much further away never takes more than it brings sooner, unless a transfer has its delay evened. What
 * goes there before keeps a window that is not made for it from filling the near path (kernel, CUBIC, by 20/40 + 20/600
 * ms: 9.7 Mbit/s in the first 6 s, 18.5 so).
 */
const WAIT_FROM_US = 150 * MILLISECOND
/** ... or where the near path carries less than this meanwhile, as a window of that size is soon there. */
const WAIT_BYTES_MIN = 80_000
/** A path at its in-flight cap is no candidate now; it may be in about this time. */
const CAP_WAIT_US = 5 * MILLISECOND
/** Tick of the pacers: at most this often, and never later than their 2 ms of credit. */
const TICK_US = 500
/** Copies may take this share of all bytes, saved up to at most so many. */
const COPY_SHARE = 0.05
const COPY_BYTES_MAX = 64_000
/** A path that lost packets lately is in doubt. */
const LOSS_DOUBT = 0.002
const LOSS_DOUBT_US = 5_000 * MILLISECOND

export class AdaptiveScheduler implements Scheduler {
  readonly name = 'adaptive'
  readonly repairs = true
  readonly chosen: Path[] = []
  private readonly farPaths = new FarPaths()
  private readonly longTransfers = new LongTransfers()
  readonly flowFlags = this.longTransfers.flags
  private readonly busy = new BusyPeriod()
  readonly ackTiming = new AckTiming(this.longTransfers, this.busy)
  waitUsMax = 0
  private readonly brief = new BriefFlows()
  readonly briefFlows = this.brief.flags
  private paths: readonly Path[] = []
  private equalised = false
  private copyBytes = COPY_BYTES_MAX / 4
  /** The last bulk packet's path was the best and not merely a free one. */
  private choseBest = false

  setPaths(paths: readonly Path[]): void {
    // They are the same when a session was renewed, or a path is late: what was found about them holds.
    const isSame = paths.length === this.paths.length && paths.every((path) => this.paths.includes(path))
    if (!isSame) this.farPaths.useAll(this.paths)
    this.paths = [...paths]
  }

  review(equalised: boolean, now: Instant): void {
    this.equalised = equalised
    if (equalised) this.farPaths.useAll(this.paths)
    else this.farPaths.review(this.paths, now)
    this.waitUsMax = 0
    for (const far of this.paths) {
      far.onlySooner = false
      for (const near of this.paths) {
        if (equalised || near.leftOut || far.leftOut || !this.isWaitedFor(near, far)) continue
        far.onlySooner = true
        this.waitUsMax = Math.max(this.waitUsMax, far.rate.baseUs - near.rate.baseUs)
      }
    }
  }

  watch(flows: FlowTable, now: Instant): boolean {
    // What was found about the paths does not hold for a transfer that is evened from now on, or no longer.
    if (this.longTransfers.watch(flows, this.paths, now)) this.farPaths.useAll(this.paths)
    this.ackTiming.watch(flows, this.paths, this.equalised, now)
    let bytesPerSec = 0
    for (const { rate } of this.paths) bytesPerSec += rate.rateBytesPerSec
    return this.brief.watch(flows, bytesPerSec, now)
  }

  pick(packetClass: number, bulkBytes: number, now: Instant, brief = false): number {
    return packetClass === PacketClass.Bulk
      ? this.pickBulk(bulkBytes, brief, now)
      : this.pickUrgent(packetClass, now)
  }

  /**
   * The best path stays the best while it has credit: its pacer makes nobody wait before that is used up, and in the 2 ms
   * of credit no queue grows by much. So on links that are not the limit a whole batch takes one decision.
   */
  runBytes(now: Instant): number {
    if (!this.choseBest) return 0
    const { pacer, rate, inFlightBytes } = this.chosen[0]!
    return Math.min(pacer.creditBytes(rate.pacingBytesPerSec, now), rate.inFlightBytesMax - inFlightBytes)
  }

  sent(path: Path, bytes: number, now: Instant): void {
    path.pacer.sent(bytes, path.rate.pacingBytesPerSec, now)
    path.rate.onSent(bytes, now)
    path.unsealedBytes += bytes
    this.busy.sent(bytes, path.rate.rateBytesPerSec, now)
    this.copyBytes = Math.min(COPY_BYTES_MAX, this.copyBytes + bytes * COPY_SHARE)
  }

  nextRoomAt(now: Instant): Instant {
    let next = NEVER
    for (let i = 0; i < this.paths.length; i++) {
      const path = this.paths[i]!
      // One at its cap waits for feedback, which wakes us anyway.
      if (!path.leftOut && path.inFlightBytes < path.rate.inFlightBytesMax)
        next = Math.min(next, path.pacer.nextAt)
    }
    return Math.max(next, now + TICK_US)
  }

  private pickBulk(bulkBytes: number, brief: boolean, now: Instant): number {
    let best: Path | undefined
    let bestUs = Number.POSITIVE_INFINITY
    let free: Path | undefined
    let freeUs = Number.POSITIVE_INFINITY
    for (let i = 0; i < this.paths.length; i++) {
      const path = this.paths[i]!
      if (!path.link.hasRoom || path.leftOut) continue
      const capped = path.inFlightBytes >= path.rate.inFlightBytesMax
      if (capped) path.capped = true
      const arrival = path.arrivalUs(PACKET_BYTES, now)
      const expected = capped ? arrival + CAP_WAIT_US : arrival
      if (expected < bestUs) {
        bestUs = expected
        best = path
      }
      if (!capped && path.pacer.mayISend(now) && arrival < freeUs) {
        freeUs = arrival
        free = path
      }
    }
    if (free === undefined) return 0
    if (free !== best) {
      const waitUs = (bulkBytes * 1e6) / best!.rate.rateBytesPerSec
      if (waitUs < this.worthwhileUs(best!, free, freeUs - bestUs, brief, now)) return 0
    }
    this.chosen[0] = free
    this.choseBest = free === best
    return 1
  }

  /** How long bulk may wait for the best path while another is free, by which it would arrive `laterUs` later. */
  private worthwhileUs(
    best: Path,
    free: Path,
    laterUs: DurationUs,
    brief: boolean,
    now: Instant,
  ): DurationUs {
    const { rate } = best
    // While it waits the free path is filled by those that last.
    if (brief && this.brief.hasLasting && !this.equalised) return laterUs
    const isBusy = best.rateOutBytesPerSec > BUSY_SHARE * rate.rateBytesPerSec
    const spillUs = isBusy ? SPILL_US_BUSY : SPILL_US_MAX
    const furtherUs = free.rate.baseUs - rate.baseUs
    // What is evened comes no sooner by a near path, nor does it begin again with a pause, as BBR's when it measures.
    if (this.longTransfers.evens && furtherUs >= WAIT_FROM_US) return Math.min(laterUs / 2, spillUs)
    if (!this.equalised) {
      const briefUs = BRIEF_TIMES * (furtherUs - BRIEF_FROM_US)
      if (this.busy.ageUs(now) < Math.min(BRIEF_US_MAX, briefUs)) return laterUs
      if (this.isWaitedFor(best, free)) return laterUs
    }
    return Math.min(laterUs / 2, Math.max(spillUs, SPILL_SHARE * laterUs))
  }

  /** Whether bulk waits for `near` unless `far` brings it sooner, however long it has gone on. */
  private isWaitedFor(near: Path, far: Path): boolean {
    const furtherUs = far.rate.baseUs - near.rate.baseUs
    // Of one that has not been measured nothing is known.
    if (furtherUs < WAIT_FROM_US || !Number.isFinite(furtherUs) || this.longTransfers.evens) return false
    return (furtherUs * near.rate.rateBytesPerSec) / SECOND >= WAIT_BYTES_MIN
  }

  private pickUrgent(packetClass: number, now: Instant): number {
    let best: Path | undefined
    let bestUs = Number.POSITIVE_INFINITY
    let second: Path | undefined
    let secondUs = Number.POSITIVE_INFINITY
    for (let i = 0; i < this.paths.length; i++) {
      const path = this.paths[i]!
      if (!path.link.hasRoom) continue
      const arrival = path.arrivalUs(SMALL_BYTES, now)
      if (arrival < bestUs) {
        second = best
        secondUs = bestUs
        best = path
        bestUs = arrival
      } else if (arrival < secondUs) {
        second = path
        secondUs = arrival
      }
    }
    if (best === undefined) return 0
    this.chosen[0] = best
    if (packetClass !== PacketClass.RealTime) return 1
    best.rate.urgentAt = now
    if (second === undefined || this.copyBytes < SMALL_BYTES || !inDoubt(best, now)) return 1
    this.chosen[1] = second
    this.copyBytes -= SMALL_BYTES
    return 2
  }
}

/** Losses lately, or an answer that is late. */
function inDoubt(path: Path, now: Instant): boolean {
  const { health, channel } = path
  if (health.lossOut > LOSS_DOUBT || now - health.lostAt < LOSS_DOUBT_US) return true
  if (!channel?.waiting) return false
  return now - Math.max(channel.askingSince, health.progressAt) > health.answerUsUsual
}
