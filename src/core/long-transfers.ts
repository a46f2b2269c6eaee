/**
 * Evens the delay of long transfers: from some age on the other end gives all packets of such a flow the delay of the
 * slowest path (`PacketFlag.Even`), and its sender sees one long round trip instead of many.
 *
 * What needs that is BBR. Its window is twice rate × least round trip, so with the near path's round trip it never fills a
 * far one: 20 Mbit/s at 40 ms beside 20 at 600 carried as much as the near line alone. After 10 s it forgets the least
 * round trip and takes the one that it sees then, for 200 ms with four packets under way (Linux, tcp_bbr.c). So that one has
 * to be long; but not much sooner, as until then the window is too small for it. From the first packet on, as with the
 * policy `bond`, would suit BBR better still, but then every page waits for the satellite, too. Of UDP nothing is evened:
 * much of it is pictures of somebody who is talking.
 */
import { type DurationUs, type Instant, MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { BUCKETS, PacketFlag, SEQUENCE_MASK } from '../wire/message.js'
import { FALL } from './even-delay.js'
import type { FlowTable } from './flow-table.js'
import { leastBaseUs, type Path } from './path.js'

const WATCH_US = 100 * MILLISECOND
/** A transfer has that many packets in this time, about 1 Mbit/s, */
const BUSY_PACKETS_MIN = 9
/** ... or is over, if it has had fewer for so long. */
const OVER_US = 2 * SECOND
/** What it usually has is a mean of about a second. */
const USUAL_WEIGHT = 0.1
/** With less than this share of that it is quiet. */
const QUIET_SHARE = 0.3
/**
 * It is evened from this age on: BBR's 10 s, less what it takes the delay to rise (0.3 s beside a satellite) and what BBR's
 * round trip is older than the transfer. No sooner, as until BBR looks its window is too small for the delay, and what it
 * has found of the rate it forgets in ten round trips (model, beside a satellite: at 8.5 s it took up again from 14 Mbit/s,
 * now from 19).
 */
const EVEN_FROM_US = 9 * SECOND
/** Later BBR has looked already. It looks again 10 s after it was quiet. */
const EVEN_UNTIL_US = 9_800 * MILLISECOND
/**
 * So long after that it has to have such a share of what it had before. If BBR saw a lower round trip late, after
 * its first packets met a busy machine, it looks later than was to be expected and gets a fraction until then, and less and
 * less (kernel, beside a satellite: 11, then 4 of 20 Mbit/s); if it has looked it has 0.7 to 1.5 of what it had by then. A transfer
 * with a small window has less for good. BBR's next look is after that.
 */
const JUDGEMENTS = [
  { afterUs: 4.5 * SECOND, keptShare: 0.5 },
  { afterUs: 5.5 * SECOND, keptShare: 0.7 },
]
/**
 * What stood still once, with less than this share, had the least round trip then, as nothing was under way, and BBR may
 * look as much later: where what went to a satellite held up the rest at 4 s, at 14. It is not judged before it has had
 * the time to recover then (kernel, before: two runs of six carried 40 % of the sum, as they were let go just when BBR
 * had looked).
 */
const STILL_SHARE = 0.1
const LOOKED_AFTER_US = 16 * SECOND
/**
 * ... or sooner, if it has less than half by this time after it began or last stood still and has not been quiet for two
 * watches on end: BBR has not looked then, as it has seen a lower round trip unknown to us. By this age it is also let go
 * if it is known that BBR will look later, as it stood still. What BBR has seen of the rate is forgotten in ten of the long
 * round trips, and comes back by a quarter in eight of them (model, a lower round trip at 6 s: the near line was full again
 * at 14 s, at 22 if only judged; still at 5.5 s: 5 % of the sum at 12 s, 49 at 40).
 */
const LOOKED_UNTIL_US = 11 * SECOND
/**
 * ... or this, if it was let go before: when BBR saw its short round trip again is known less well, as that is whenever its
 * queue was empty, and until then it has little to queue (model, a lower round trip at 3, 5 and 7 s: 54 % of the sum from
 * 30 s on if let go at 11 s again, 78 with this).
 */
const LOOKED_AGAIN_UNTIL_US = 12 * SECOND
const LOOK_EVERY_US = 10 * SECOND
const LOOK_WATCHES = 2
/** For less it is not worth letting go. */
const NEXT_LOOK_MIN_US = 1.5 * SECOND
/** One that fared worse is quiet when BBR looks in the end: when it looks next is known then, and it is tried again. */
const ATTEMPTS_MAX = 3
/** Paths whose delays are no further apart are even enough: the queues in them are apart by as much. */
export const UNEVEN_US = 2 * MILLISECOND
/** The nearest paths carry so much of what they can: else the transfer needs no others. */
const NEAR_FULL_SHARE = 0.7
/**
 * A path that is so far has to be worth its round trip: by its share of what all can carry. Not one that is less far, or
 * nothing is evened for a thin one's sake (eight links, the last 35 ms further and 4 % of all, BBR: 85 instead of 97 %).
 */
const FAR_US = 100 * MILLISECOND
const FAR_SHARE_MIN = 0.1

export class LongTransfers {
  /** By bucket: `PacketFlag.Even` or 0. */
  readonly flags = new Uint8Array(BUCKETS)
  /** Whether there is any that is. */
  evens = false
  /** By bucket: 1 if the transfer stands still, as while BBR looks. */
  readonly still = new Uint8Array(BUCKETS)
  /** By bucket: its next sequence when it was last looked at, and the packets that it usually has in {@link WATCH_US}. */
  private readonly sequence = new Uint32Array(BUCKETS)
  private readonly usual = new Float64Array(BUCKETS)
  /** When the transfer began, or was last quiet (never: it is not evened again); and when it was last busy. */
  private readonly since = new Float64Array(BUCKETS)
  private readonly busyAt = new Float64Array(BUCKETS)
  /** It was let go, and the next time that it is quiet BBR may look. */
  private readonly looksSoon = new Uint8Array(BUCKETS)
  /** When it last stood still with a short round trip. */
  private readonly stillAt = new Float64Array(BUCKETS)
  /** Of those that are even: from when the next judgement counts, what they usually had before, how often they were judged. */
  private readonly judgeFrom = new Float64Array(BUCKETS)
  private readonly usualBefore = new Float64Array(BUCKETS)
  private readonly judged = new Uint8Array(BUCKETS)
  /** ... and for how many watches on end it has been as quiet as while BBR looks; that stays once they are enough. */
  private readonly quietFor = new Uint8Array(BUCKETS)
  /** By bucket: how often the transfer fared worse. */
  private readonly failures = new Uint8Array(BUCKETS)
  private watchedAt: Instant = Number.NEGATIVE_INFINITY

  /**
   * Called many times a second while there is traffic, with the paths that may carry it. Returns whether a transfer
   * begins to be evened, or ceases to be as it fared worse.
   */
  watch(flows: Pick<FlowTable, 'sequenceOf' | 'isTcp'>, paths: readonly Path[], now: Instant): boolean {
    const steps = (now - this.watchedAt) / WATCH_US
    if (steps < 1) return false
    this.watchedAt = now
    // The other end does not know which path gets nothing at present, and would wait for it.
    const mayEven = !paths.some((path) => path.leftOut)
    const worthIt = mayEven && isWorthIt(paths)
    let changed = false
    this.evens = false
    for (let bucket = 1; bucket < BUCKETS; bucket++) {
      const sequence = flows.sequenceOf(bucket)
      const ahead = (sequence - this.sequence[bucket]!) & SEQUENCE_MASK
      // Back to 0, as when the other end has restarted, is no packets.
      const packets = ahead > SEQUENCE_MASK / 2 ? 0 : ahead / steps
      this.sequence[bucket] = sequence
      if (packets < BUSY_PACKETS_MIN && this.usual[bucket] === 0) continue
      this.meet(bucket, packets, now)
      if (!mayEven) {
        this.flags[bucket] = 0
      } else if (this.flags[bucket] !== 0) {
        if (this.looksLater(bucket, now) || this.hasFailed(bucket, now)) {
          this.letGo(bucket, spreadUs(paths), now)
          changed = true
        }
      } else if (worthIt && this.isOfAge(bucket, now) && flows.isTcp(bucket)) {
        this.flags[bucket] = PacketFlag.Even
        this.judgeFrom[bucket] = Math.max(
          now,
          this.stillAt[bucket]! + LOOKED_AFTER_US - JUDGEMENTS[0]!.afterUs,
        )
        this.usualBefore[bucket] = this.usual[bucket]!
        this.judged[bucket] = 0
        this.quietFor[bucket] = 0
        changed = true
      }
      if (this.flags[bucket] !== 0) this.evens = true
    }
    return changed
  }

  /** Packets that a transfer usually has in a tenth of a second; 0 if it has too few for one. */
  packetsOf(bucket: number): number {
    const usual = this.usual[bucket]!
    return usual >= BUSY_PACKETS_MIN ? usual : 0
  }

  private meet(bucket: number, packets: number, now: Instant): void {
    const usual = this.usual[bucket]!
    if (usual === 0) {
      this.usual[bucket] = packets
      this.failures[bucket] = 0
      this.looksSoon[bucket] = 0
      this.since[bucket] = now
      this.busyAt[bucket] = now
      this.stillAt[bucket] = Number.NEGATIVE_INFINITY
      return
    }
    this.still[bucket] = packets < STILL_SHARE * usual ? 1 : 0
    if (this.flags[bucket] !== 0) this.noteLook(bucket, packets)
    else if (this.still[bucket] === 1) this.stillAt[bucket] = now
    this.usual[bucket] = usual + (packets - usual) * USUAL_WEIGHT
    if (packets >= BUSY_PACKETS_MIN) {
      this.busyAt[bucket] = now
    } else if (now - this.busyAt[bucket]! > OVER_US) {
      this.usual[bucket] = 0
      this.flags[bucket] = 0
      return
    }
    if (this.flags[bucket] !== 0) return
    const isOld = now - this.since[bucket]! > EVEN_UNTIL_US || this.looksSoon[bucket] === 1
    if (!isOld || now < this.since[bucket]! || packets >= QUIET_SHARE * usual) return
    this.since[bucket] = now
    this.looksSoon[bucket] = 0
  }

  private noteLook(bucket: number, packets: number): void {
    if (this.quietFor[bucket] === LOOK_WATCHES) return
    const isQuiet = packets < STILL_SHARE * this.usualBefore[bucket]!
    this.quietFor[bucket] = isQuiet ? this.quietFor[bucket]! + 1 : 0
  }

  /** Whether BBR has not looked when it was to be expected, or is known not to before long. */
  private looksLater(bucket: number, now: Instant): boolean {
    const untilUs = this.failures[bucket] === 0 ? LOOKED_UNTIL_US : LOOKED_AGAIN_UNTIL_US
    if (now - this.since[bucket]! < untilUs) return false
    if (this.quietFor[bucket] === LOOK_WATCHES || this.judged[bucket]! > 0) return false
    if (this.usual[bucket]! >= JUDGEMENTS[0]!.keptShare * this.usualBefore[bucket]!) return false
    const stillAt = this.stillAt[bucket]!
    return now - stillAt >= untilUs || stillAt + LOOK_EVERY_US > now + NEXT_LOOK_MIN_US
  }

  private isOfAge(bucket: number, now: Instant): boolean {
    const ageUs = now - this.since[bucket]!
    return this.usual[bucket]! > 0 && ageUs >= EVEN_FROM_US && ageUs <= EVEN_UNTIL_US
  }

  /** Judges a transfer that is even, if it is time to. */
  private hasFailed(bucket: number, now: Instant): boolean {
    const judgement = JUDGEMENTS[this.judged[bucket]!]
    if (judgement === undefined || now - this.judgeFrom[bucket]! < judgement.afterUs) return false
    this.judged[bucket]!++
    this.judgeFrom[bucket] = now
    return this.usual[bucket]! < judgement.keptShare * this.usualBefore[bucket]!
  }

  /** BBR sees the least round trip when the delay is gone, if it does not look before: then it is quiet. */
  private letGo(bucket: number, delayUs: DurationUs, now: Instant): void {
    this.flags[bucket] = 0
    const isLast = ++this.failures[bucket]! === ATTEMPTS_MAX
    this.since[bucket] = isLast ? NEVER : now + delayUs / FALL
    this.looksSoon[bucket] = 1
  }
}

/** Between the nearest and the farthest, of those that have been measured. */
export function spreadUs(paths: readonly Path[]): DurationUs {
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  for (const { rate } of paths) {
    if (!Number.isFinite(rate.baseUs)) continue
    least = Math.min(least, rate.baseUs)
    most = Math.max(most, rate.baseUs)
  }
  return Math.max(0, most - least)
}

/** Whether the delays of the paths are different, and those that are longer are of use. */
function isWorthIt(paths: readonly Path[]): boolean {
  const leastUs = leastBaseUs(paths)
  let near = 0
  let nearCarries = 0
  let others = 0
  let far = 0
  for (const { rate, rateOutBytesPerSec } of paths) {
    if (rate.baseUs <= leastUs + UNEVEN_US) {
      near += rate.rateBytesPerSec
      nearCarries += rateOutBytesPerSec
    } else {
      others += rate.rateBytesPerSec
      if (rate.baseUs > leastUs + FAR_US) far += rate.rateBytesPerSec
    }
  }
  if (others === 0 || nearCarries < NEAR_FULL_SHARE * near) return false
  return far === 0 || far >= FAR_SHARE_MIN * (near + others)
}
