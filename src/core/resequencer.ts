import type { PacketPool } from '../base/packet-pool.js'
import type { SlotRing } from '../base/slot-ring.js'
import { type DurationUs, type Instant, MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { BUCKETS, PacketFlag, SEQUENCE_MASK, sequenceDifference } from '../wire/message.js'
import { HOLD_US_MAX } from './constants.js'
import { Drop, type DropCounters } from './drop-reasons.js'
import { EQUALISER_SPREAD_US_MAX, Equaliser } from './equaliser.js'
import { EvenDelay } from './even-delay.js'
import { HeldPackets, NONE } from './held-packets.js'
import { PathArrivals } from './path-arrivals.js'
import { Renewals } from './renewals.js'
import { ReorderTolerance } from './reorder-tolerance.js'
import { REPLAY_WINDOW_WIDTH, ReplayWindow } from './replay-window.js'

export const HELD_MAX_DEFAULT = 8192
/** Time for a loss on the slowest path to be told and made up for by the fastest. */
const REPAIR_US = 120 * MILLISECOND
/** Paths are no further apart: where they seem to be, a clock stood still, and each path finds that out by itself. */
const SPREAD_US_MAX = SECOND

/** So far back it is remembered which packets of a bucket were given up: the rest were delivered. */
const PAST = 1024
const PAST_WORDS = PAST / 32
/** A sequence further off than this is no reordering: the two ends disagree, and the bucket starts again from it. */
const SEQUENCE_LEAP = 2 ** 20
/** Where the counters of the unordered bucket start, so that a packet before the first one is not below 0. */
const UNORDERED_BASE = SEQUENCE_MASK + 1

/** A packet later than this behind its release was not reordered but stuck: no reason to wait longer for others. */
const LATE_IS_REORDERED_US = 50 * MILLISECOND
/** For less it is not worth waking up once more. */
const WAIT_US_MIN = 0.2 * MILLISECOND

export interface ResequencerOptions {
  /** No packet waits longer than this for an earlier one. */
  holdUsMax?: DurationUs
  /** Whether the sender sends lost packets again: holes then stay open until they are filled or too old. */
  repairs?: boolean
  /** Packets that wait at most; beyond, the oldest hole is given up. */
  heldMax?: number
}

/**
 * Puts the packets of one peer back into the order in which they were sent, each bucket for itself: the one place
 * where packets wait on the way in.
 *
 * A packet that comes in order goes straight to `output`. One that comes early waits until the hole before it is
 * filled or given up: when every live path has come past the time at which it was sent ({@link PathArrivals}), unless
 * repairs are on; when it has waited `holdUsMax` and no repairs come in before it; or when room is needed. A packet whose
 * place was given up is delivered when it comes after all; copies are dropped. Packets of the unordered bucket never wait,
 * but for acknowledgements that come in lumps (ack-lumps.ts).
 *
 * Ordered packets go through the {@link Equaliser} before `output` where {@link equalise} is on, else those of long
 * transfers, see {@link EvenDelay}.
 *
 * Memory, all taken by the constructor: about 265 KiB + 57 bytes × `heldMax` + 4 bytes × slots of the pool.
 */
export class Resequencer {
  holdUsMax: DurationUs
  repairs: boolean
  /** Holes given up, and the packets that were missing in them. */
  holesReleased = 0
  packetsGivenUp = 0
  /** Packets delivered although their place had been given up. */
  lateDelivered = 0
  duplicates = 0
  /** Times that a sequence was too far off to be of the same order. */
  resyncs = 0
  /** Whether ordered packets are all given the delay of the slowest path. */
  equalise = false

  private readonly paths = new PathArrivals()
  private readonly equaliser: Equaliser
  private readonly evenDelay = new EvenDelay()
  /** By bucket: when the last of its packets in the equaliser is due. */
  private readonly dueAt = new Float64Array(BUCKETS).fill(Number.NEGATIVE_INFINITY)
  private readonly held: HeldPackets
  private readonly tolerance = new ReorderTolerance()
  private readonly renewals = new Renewals()
  private readonly unordered = new ReplayWindow()
  /** By bucket: the next sequence to deliver. */
  private readonly expected = new Int32Array(BUCKETS)
  /** By bucket: a bit for each of the last {@link PAST} sequences, set if it was given up; and how many are set. */
  private readonly missing = new Uint32Array(BUCKETS * PAST_WORDS)
  private readonly missingCount = new Int32Array(BUCKETS)
  /** By bucket: when a hole was last given up. */
  private readonly releasedAt = new Float64Array(BUCKETS).fill(Number.NEGATIVE_INFINITY)
  /** Buckets that hold packets, in no order, and the place of each in this list. */
  private readonly holes = new Int32Array(BUCKETS)
  private readonly holePlace = new Int32Array(BUCKETS).fill(NONE)
  private holeCount = 0
  /** No hole is given up by silence before this. */
  private silenceAt: Instant = NEVER
  /** The holes are to be looked at: a path has come further, or another packet is the first behind a hole. */
  private looksDue = false
  /** When a packet last came. */
  private lastArrivalAt: Instant = Number.NEGATIVE_INFINITY

  /**
   * @param output takes the slots in order; must have room for every slot that the peer may hold
   */
  constructor(
    private readonly pool: PacketPool,
    private readonly drops: DropCounters,
    private readonly output: SlotRing,
    options: ResequencerOptions = {},
  ) {
    this.holdUsMax = options.holdUsMax ?? HOLD_US_MAX
    this.repairs = options.repairs ?? false
    this.held = new HeldPackets(options.heldMax ?? HELD_MAX_DEFAULT)
    this.equaliser = new Equaliser(pool.slotCount, output)
  }

  /** What is waited beyond a path's newest stamp, as packets overtake each other within paths. */
  get toleranceUs(): DurationUs {
    return this.tolerance.us
  }

  /** Packets that wait. */
  get heldCount(): number {
    return this.held.count
  }

  /** The paths (ids below 32) on which packets of this peer may come. */
  setPaths(paths: readonly number[]): void {
    this.paths.setLive(paths)
    this.looksDue = true
  }

  /** A path id that will mean another path from now on. */
  forgetPath(path: number): void {
    this.paths.forget(path)
  }

  /** The sender's clock means something else from now on. */
  forgetDelays(): void {
    this.paths.reset()
  }

  /** A packet of any kind came on a path; `stampUs` is the sender's clock, unwrapped, `receivedAt` ours. */
  pathDelivered(path: number, stampUs: number, receivedAt: Instant): void {
    this.paths.delivered(path, stampUs, receivedAt)
    this.lastArrivalAt = receivedAt
    this.looksDue = true
  }

  /**
   * Takes over the slot of one packet that has an order: not of `BUCKET_UNORDERED`, see {@link receiveUnordered}.
   *
   * @param stampUs when it was sent, by the sender's clock, unwrapped
   * @param flags {@link PacketFlag} bits
   */
  receive(
    slot: number,
    bucket: number,
    sequence: number,
    stampUs: number,
    flags: number,
    now: Instant,
  ): void {
    if (
      sequence === this.expected[bucket] &&
      this.missingCount[bucket] === 0 &&
      this.held.first[bucket] === NONE
    ) {
      this.deliver(slot, bucket, sequence, stampUs, flags, now)
    } else {
      this.receiveOrdered(slot, bucket, sequence, stampUs, flags, now)
    }
  }

  /**
   * Gives up the holes whose time has come, and lets go what was equalised. To be called after the packets of each
   * wake-up, when every socket is drained, and when {@link nextTimeout} is due.
   */
  handleTimeout(now: Instant): void {
    this.giveUpHoles(now)
    this.equaliser.release(now)
  }

  private giveUpHoles(now: Instant): void {
    const { held } = this
    if (this.renewals.count > 0) this.endRenewals(now)
    if (held.count === 0) return
    const holdUs = this.holdUs
    while (held.oldest !== NONE && held.arrivedAt[held.oldest]! + holdUs <= now) {
      const bucket = held.bucketOf(held.oldest)
      if (this.renewals.until(bucket) > now) {
        this.renewals.add(bucket, held.sequenceOf(held.oldest), now)
        held.renewOldest(now)
      } else {
        this.releaseHole(bucket, now)
      }
    }
    if (this.repairs || (!this.looksDue && now < this.silenceAt)) return
    this.tolerance.fade(now)
    let silenceAt = NEVER
    // Backwards, as a bucket that leaves the list is replaced by the last one.
    for (let i = this.holeCount - 1; i >= 0; i--) {
      const bucket = this.holes[i]!
      for (;;) {
        const first = held.first[bucket]!
        if (first === NONE) break
        const passedAt = this.paths.passedAt(held.stampUs[first]!, this.tolerance.us)
        if (passedAt > now) {
          if (passedAt < silenceAt) silenceAt = passedAt
          break
        }
        this.releaseHole(bucket, now)
      }
    }
    this.silenceAt = silenceAt
    this.looksDue = false
  }

  /** Gives up the holes before packets that waited for repairs alone, when these come no more. */
  private endRenewals(now: Instant): void {
    const { renewals } = this
    for (let i = renewals.count - 1; i >= 0; i--) {
      const bucket = renewals.buckets[i]!
      const isOver = renewals.until(bucket) <= now
      while (isOver && this.hasRenewed(bucket)) this.releaseHole(bucket, now)
      if (!this.hasRenewed(bucket)) renewals.removeAt(i)
    }
  }

  private hasRenewed(bucket: number): boolean {
    const { held } = this
    const first = held.first[bucket]!
    return first !== NONE && this.renewals.includes(bucket, held.sequenceOf(first))
  }

  /**
   * When {@link handleTimeout} is to be called even if nothing comes; in the past if something came since the last
   * call that may have settled a hole.
   */
  nextTimeout(): Instant {
    const { held } = this
    const equalisedAt = this.equaliser.nextTimeout()
    if (held.oldest === NONE) return equalisedAt
    const holdsUntil = Math.min(equalisedAt, held.arrivedAt[held.oldest]! + this.holdUs)
    const deadline = Math.min(holdsUntil, this.renewals.nextEnd)
    if (this.repairs) return deadline
    return Math.min(deadline, this.looksDue ? this.lastArrivalAt : this.silenceAt)
  }

  /** A hole is not given up before the slowest path and a repair on it have had their time. */
  private get holdUs(): DurationUs {
    if (!this.repairs) return this.holdUsMax
    const { slowestUs, fastestUs } = this.paths.spread()
    const spreadUs = Math.min(SPREAD_US_MAX, slowestUs - fastestUs)
    return spreadUs > 0 ? Math.max(this.holdUsMax, spreadUs + REPAIR_US) : this.holdUsMax
  }

  /** Gives up the oldest hole, to get slots back. False if nothing is held. */
  relieve(now: Instant): boolean {
    const { oldest } = this.held
    if (oldest === NONE) return false
    this.drops.count(Drop.resequencerFull)
    // Those that wait for repairs alone have waited longest, and stand as if they had just come.
    const renewed = this.renewals.count > 0 ? this.renewals.buckets[0]! : NONE
    const isHeld = renewed !== NONE && this.hasRenewed(renewed)
    this.releaseHole(isHeld ? renewed : this.held.bucketOf(oldest), now)
    return true
  }

  /** The other end has restarted: delivers what is held and expects every sequence from 0. */
  reset(now: Instant): void {
    while (this.held.oldest !== NONE) this.releaseHole(this.held.bucketOf(this.held.oldest), now)
    this.endRenewals(now)
    this.equaliser.releaseAll()
    this.dueAt.fill(Number.NEGATIVE_INFINITY)
    this.evenDelay.reset()
    this.expected.fill(0)
    this.missing.fill(0)
    this.missingCount.fill(0)
    this.releasedAt.fill(Number.NEGATIVE_INFINITY)
    this.unordered.reset()
    this.paths.reset()
    this.tolerance.us = 0
    this.looksDue = false
    this.silenceAt = NEVER
  }

  /** Takes over the slot of a packet that needs no order but to go out not before `dueAt`, after others due then. */
  receiveUnordered(slot: number, sequence: number, dueAt: Instant, now: Instant): void {
    if (!this.isNew(slot, sequence)) return
    if (dueAt > now || this.equaliser.mayHold(dueAt)) this.equaliser.push(slot, dueAt, now)
    else this.output.push(slot)
  }

  /** Whether the packet in `slot`, which needs no order, has not come before: else its slot is taken over, too. */
  isNew(slot: number, sequence: number): boolean {
    const { unordered } = this
    let counter = UNORDERED_BASE + sequence
    if (unordered.newest >= 0) {
      const ahead = sequenceDifference(sequence, unordered.newest)
      if (ahead > SEQUENCE_LEAP || ahead < -SEQUENCE_LEAP) {
        unordered.reset()
        this.resyncs++
      } else {
        counter = unordered.newest + ahead
      }
    }
    if (unordered.accept(counter)) return true
    if (unordered.newest - counter >= REPLAY_WINDOW_WIDTH) this.drop(slot, Drop.late)
    else this.dropDuplicate(slot)
    return false
  }

  private receiveOrdered(
    slot: number,
    bucket: number,
    sequence: number,
    stampUs: number,
    flags: number,
    now: Instant,
  ): void {
    const { held } = this
    let ahead = sequenceDifference(sequence, this.expected[bucket]!)
    if (ahead > SEQUENCE_LEAP || ahead < -SEQUENCE_LEAP) {
      this.resync(bucket, sequence, now)
      ahead = 0
    }
    if (ahead > 0 && held.count === held.capacity) {
      if (held.find(bucket, sequence) === NONE) this.relieve(now)
      ahead = sequenceDifference(sequence, this.expected[bucket]!)
    }
    if (ahead < 0) {
      this.receivePast(slot, bucket, sequence, ahead, flags, now)
    } else if (ahead === 0) {
      if (this.repairs && (flags & PacketFlag.Repair) !== 0) this.renewals.repairedAt[bucket] = now
      this.deliver(slot, bucket, sequence, stampUs, flags, now)
      this.deliverRun(bucket, now)
    } else if (held.find(bucket, sequence) !== NONE) {
      this.dropDuplicate(slot)
    } else {
      this.hold(slot, bucket, sequence, stampUs, flags, now)
    }
  }

  private hold(
    slot: number,
    bucket: number,
    sequence: number,
    stampUs: number,
    flags: number,
    now: Instant,
  ): void {
    const { held } = this
    if (held.first[bucket] === NONE) {
      this.holePlace[bucket] = this.holeCount
      this.holes[this.holeCount++] = bucket
    }
    held.insert(bucket, sequence, slot, stampUs, flags, now)
    this.lastArrivalAt = now
    if (held.sequenceOf(held.first[bucket]!) === sequence) this.looksDue = true
  }

  /** A packet before the expected one: late if its place was given up, else a copy. */
  private receivePast(
    slot: number,
    bucket: number,
    sequence: number,
    ahead: number,
    flags: number,
    now: Instant,
  ): void {
    if (ahead < -PAST) {
      this.drop(slot, Drop.late)
      return
    }
    if (!this.clearMissing(bucket, sequence)) {
      this.dropDuplicate(slot)
      return
    }
    this.lateDelivered++
    this.output.push(slot)
    const isRepair = (flags & PacketFlag.Repair) !== 0
    if (!isRepair && now - this.releasedAt[bucket]! < LATE_IS_REORDERED_US) this.tolerance.raise(now)
  }

  /** Gives up what is missing before the first held packet of a bucket, and delivers from there. */
  private releaseHole(bucket: number, now: Instant): void {
    const { held, missing } = this
    const from = this.expected[bucket]!
    const to = held.sequenceOf(held.first[bucket]!)
    const count = (to - from) & SEQUENCE_MASK
    const at = bucket * PAST_WORDS
    if (count >= PAST) {
      missing.fill(0xffffffff, at, at + PAST_WORDS)
      this.missingCount[bucket] = PAST
    } else {
      for (let sequence = from; sequence < from + count; sequence++) {
        const word = at + ((sequence & (PAST - 1)) >>> 5)
        const bit = 1 << (sequence & 31)
        if ((missing[word]! & bit) === 0) this.missingCount[bucket]!++
        missing[word]! |= bit
      }
    }
    this.holesReleased++
    this.packetsGivenUp += count
    this.releasedAt[bucket] = now
    this.expected[bucket] = to
    this.deliverRun(bucket, now)
  }

  /** Delivers the held packets that have become next. */
  private deliverRun(bucket: number, now: Instant): void {
    const { held } = this
    let first = held.first[bucket]!
    if (first === NONE) return
    while (first !== NONE && held.sequenceOf(first) === this.expected[bucket]) {
      const stampUs = held.stampUs[first]!
      const flags = held.flags[first]!
      this.deliver(held.removeFirst(bucket), bucket, this.expected[bucket]!, stampUs, flags, now)
      first = held.first[bucket]!
    }
    if (first !== NONE) {
      this.looksDue = true
      return
    }
    const place = this.holePlace[bucket]!
    const moved = this.holes[--this.holeCount]!
    this.holes[place] = moved
    this.holePlace[moved] = place
    this.holePlace[bucket] = NONE
  }

  /** Delivers the expected packet of a bucket, unless it is to be held back, or one before it still is. */
  private deliver(
    slot: number,
    bucket: number,
    sequence: number,
    stampUs: number,
    flags: number,
    now: Instant,
  ): void {
    if (this.missingCount[bucket] !== 0) this.clearMissing(bucket, sequence)
    this.expected[bucket] = (sequence + 1) & SEQUENCE_MASK
    const isEven = this.equalise || (flags & PacketFlag.Even) !== 0
    if (isEven || this.evenDelay.remains(bucket) || this.equaliser.mayHold(this.dueAt[bucket]!))
      this.even(slot, bucket, stampUs, flags, now)
    else this.output.push(slot)
  }

  /** Holds a packet that is in order until it is old enough, if it is not. */
  private even(slot: number, bucket: number, stampUs: number, flags: number, now: Instant): void {
    const { equaliser } = this
    const { slowestUs, fastestUs } = this.paths.spread()
    const spreadUs = slowestUs - fastestUs
    // When the fastest path would have delivered it.
    const leastAt = stampUs + fastestUs
    let delayUs = 0
    // The stamp of a repair is of its second journey, and it is late enough.
    if ((flags & PacketFlag.Repair) === 0 && spreadUs >= 0 && spreadUs <= EQUALISER_SPREAD_US_MAX) {
      const isEven = (flags & PacketFlag.Even) !== 0
      delayUs = this.equalise ? spreadUs : this.evenDelay.next(bucket, isEven, spreadUs, now)
    }
    const evenAt = delayUs > 0 ? leastAt + delayUs : now
    // What is in the equaliser of the same bucket goes first.
    const before = this.dueAt[bucket]!
    if (equaliser.mayHold(before)) this.dueAt[bucket] = equaliser.push(slot, Math.max(evenAt, before), now)
    else if (evenAt > now + WAIT_US_MIN) this.dueAt[bucket] = equaliser.push(slot, evenAt, now)
    else this.output.push(slot)
  }

  /** Whether the bit was set. */
  private clearMissing(bucket: number, sequence: number): boolean {
    const word = bucket * PAST_WORDS + ((sequence & (PAST - 1)) >>> 5)
    const bit = 1 << (sequence & 31)
    const bits = this.missing[word]!
    if ((bits & bit) === 0) return false
    this.missing[word] = bits & ~bit
    this.missingCount[bucket]!--
    return true
  }

  private resync(bucket: number, sequence: number, now: Instant): void {
    while (this.held.first[bucket] !== NONE) this.releaseHole(bucket, now)
    this.expected[bucket] = sequence
    this.missing.fill(0, bucket * PAST_WORDS, (bucket + 1) * PAST_WORDS)
    this.missingCount[bucket] = 0
    this.resyncs++
  }

  private dropDuplicate(slot: number): void {
    this.duplicates++
    this.drop(slot, Drop.duplicate)
  }

  private drop(slot: number, reason: number): void {
    this.drops.count(reason)
    this.pool.release(slot)
  }
}
