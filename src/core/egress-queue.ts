import type { PacketPool } from '../base/packet-pool.js'
import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { markCe } from '../wire/ip.js'
import { BUCKET_BITS, BUCKETS, DATA_OVERHEAD_BYTES } from '../wire/message.js'
import { AckFilter } from './ack-filter.js'
import { Codel } from './codel.js'
import { Drop, type DropCounters } from './drop-reasons.js'
import { type EgressSlots, REINJECTED } from './egress-slots.js'
import { PacketClass } from './flow-table.js'
import { FlowTurns, QUANTUM_BYTES } from './flow-turns.js'
import { QUEUE_US, type QueuePaths, QueueTarget } from './queue-target.js'
import { OUTER_BYTES } from './session.js'

const CODEL_INTERVAL_US = 300 * MILLISECOND
/** Pure ACKs are thinned once the first of them has waited for so long, */
const THIN_FROM_US = 1 * MILLISECOND
/** ... and without measure when it has waited for this. */
const CROWDED_US = 20 * MILLISECOND
/**
 * Pure ACKs go before bulk that waits, and when there were so many of them, by turns with it. Else those of a fast download
 * starve what goes the other way (model: 4000 a second on a line of 5 Mbit/s).
 */
const ACK_AHEAD_BYTES = 16 << 10
/** ... by size on the wire so much of what bulk has, a third of all: unlike bulk they tell as much when they are thinned. */
const ACK_SHARE_OF_BULK = 0.5
/** A flow that was given up for being too long loses at most so many packets at once. */
const OVERFLOW_BATCH = 64
/**
 * What comes is to leave well before it is too old: no more bulk waits than goes out in this share of the limit in time. Half
 * as fast, where flows share, is in time still. Else the limit takes all that a burst brought last, and with it what was
 * sent again and what would have told of the loss (model, CUBIC, a path that dies under a slow start: 1300 packets, and the
 * sender silent until its timer of 1.7 s).
 */
const WAIT_SHARE_MAX = 0.375
/** ... but of these new bulk always has so many. */
const WAIT_BYTES_MIN = 16 * QUANTUM_BYTES

// Lines 0..1023 are the bulk flows by bucket. Those behind have one line each.
const LINE_REAL_TIME = BUCKETS
const LINE_PURE_ACK = BUCKETS + 1
const LINES = BUCKETS + 2

const NONE = -1

export interface EgressQueueOptions {
  /** Limit of bulk; beyond it the longest flow loses from the head of what is new. */
  bytesMax?: number
  /** ... or of all packets: small ones need as much of the memory as big ones. */
  packetsMax?: number
  /** No bulk leaves after waiting longer than this, */
  ageUsMax?: DurationUs
  /** ... and nothing else after waiting longer than this. */
  urgentAgeUsMax?: DurationUs
  /** Limit of the real-time class, whose oldest are the first to lose their worth; and of pure ACKs, likewise. */
  realTimeBytesMax?: number
  pureAckBytesMax?: number
}

/**
 * Where the packets of one peer wait for a path: the one waiting place on the way out, in the tunnel and not in a
 * modem. Real-time packets leave first, then pure ACKs, then bulk. Bulk flows take turns by deficit round robin; a flow
 * that has just begun goes before those that go on (FQ-CoDel, RFC 8290), and CoDel keeps each of them short. Within a
 * flow what is sent again goes before what is new. A packet that leaves the queue other than by {@link dequeue} is
 * counted and released.
 *
 * Memory, all taken by the constructor: 72 KiB, beside the shared {@link EgressSlots}.
 */
export class EgressQueue {
  /** All that waits. */
  bytes = 0
  packets = 0
  /** Of it, bulk and re-injected. */
  bytesBulk = 0
  /** ... and of brief flows. */
  bytesBrief = 0
  /** Packets marked instead of dropped. */
  marked = 0
  /** Pure ACKs stay where they are, and others go before them. */
  acksWait = false

  // What is known of the packet that {@link dequeue} returned last.
  lastBucket = 0
  lastClass: number = PacketClass.Bulk
  lastEnqueuedAt: Instant = 0
  /** It had been sent before, and has its sequence already. */
  lastReinjected = false

  private readonly heads = new Int32Array(LINES).fill(NONE)
  private readonly tails = new Int32Array(LINES).fill(NONE)
  private readonly lineBytes = new Int32Array(LINES)
  /** The last slot of each flow that is sent again, before all that is new, or {@link NONE}; and their bytes. */
  private readonly lastAgain = new Int32Array(BUCKETS).fill(NONE)
  private readonly againBytes = new Int32Array(BUCKETS)
  private bytesAgain = 0
  private readonly acks: AckFilter
  private ackAheadBytes = ACK_AHEAD_BYTES
  /** ACKs wait, and have been offered to {@link acks} since. */
  private thinning = false
  private readonly codel = new Codel(BUCKETS, QUEUE_US, CODEL_INTERVAL_US)
  private readonly target = new QueueTarget()

  private readonly turns: FlowTurns

  /** See {@link startAnew}. */
  private anewAt: Instant = Number.NEGATIVE_INFINITY
  private readonly bytesMax: number
  /** What of it goes out in time, at the rate known last. */
  private bytesInTimeMax: number
  private readonly bytesMin: number
  private readonly packetsMax: number
  private readonly ageUsMax: DurationUs
  private readonly urgentAgeUsMax: DurationUs
  private readonly realTimeBytesMax: number
  private readonly pureAckBytesMax: number

  constructor(
    private readonly pool: PacketPool,
    private readonly drops: DropCounters,
    private readonly slots: EgressSlots,
    options: EgressQueueOptions = {},
    private readonly brief = new Uint8Array(BUCKETS),
  ) {
    this.acks = new AckFilter(pool)
    this.turns = new FlowTurns(brief)
    this.bytesMax = options.bytesMax ?? 4 << 20
    this.bytesInTimeMax = this.bytesMax
    this.bytesMin = Math.min(this.bytesMax, WAIT_BYTES_MIN)
    this.packetsMax = options.packetsMax ?? Number.POSITIVE_INFINITY
    this.ageUsMax = options.ageUsMax ?? 2 * SECOND
    this.urgentAgeUsMax = options.urgentAgeUsMax ?? 1 * SECOND
    this.realTimeBytesMax = options.realTimeBytesMax ?? 256 << 10
    this.pureAckBytesMax = options.pureAckBytesMax ?? 128 << 10
  }

  /** Called a few times a second: fits CoDel and the limit in bytes to the paths in use. */
  review(paths: QueuePaths, now: Instant): void {
    const { codel } = this
    const { roundTripUs, capacityBytesPerSec } = paths
    codel.targetUs = this.target.review(paths, now)
    codel.intervalUs = Math.max(CODEL_INTERVAL_US, roundTripUs)
    codel.roundTripUs = roundTripUs
    const inTime = Math.max(this.bytesMin, (WAIT_SHARE_MAX * this.ageUsMax * capacityBytesPerSec) / SECOND)
    this.bytesInTimeMax = capacityBytesPerSec > 0 ? Math.min(this.bytesMax, inTime) : this.bytesMax
  }

  /** Pure ACKs whose place in the queue newer ones took. */
  get acksThinned(): number {
    return this.acks.thinned
  }

  /** Takes over a slot. Packets of a class and bucket leave in the order in which they came. */
  enqueue(slot: number, bucket: number, packetClass: number, bytes: number, now: Instant): void {
    if (packetClass === PacketClass.Bulk) {
      this.append(bucket, slot, bucket, packetClass, bytes, now)
      this.bulkCame(bucket, bytes)
      return
    }
    if (packetClass === PacketClass.PureAck && this.thins(slot, bytes, now)) {
      this.pool.release(slot)
      return
    }
    this.appendUnordered(slot, bucket, packetClass, bytes, now)
  }

  /**
   * Offers a slot that was sent before, on a path that has failed: bulk leaves ahead of what is new of its flow, in the
   * order of these calls, which is that of sending; the rest goes with its class. False, counted, and the slot is still the
   * caller's: the others cannot carry it in time. So it is the end that is missing and not the beginning, for which the
   * receiver waits.
   */
  requeueFront(
    slot: number,
    bucket: number,
    packetClass: number,
    bytes: number,
    enqueuedAt: Instant,
  ): boolean {
    if (packetClass !== PacketClass.Bulk) {
      this.appendUnordered(slot, bucket, packetClass, bytes, enqueuedAt)
      this.slots.kind[slot]! |= REINJECTED
      return true
    }
    const noRoom = this.packets >= this.packetsMax && this.bytesBulk === this.bytesAgain
    if (noRoom || this.bytesAgain + bytes > this.bytesInTimeMax) {
      this.drops.count(Drop.egressFull)
      return false
    }
    this.insertAgain(bucket, slot)
    this.note(bucket, slot, bucket | (packetClass << BUCKET_BITS) | REINJECTED, bytes, enqueuedAt)
    this.againBytes[bucket]! += bytes
    this.bytesAgain += bytes
    this.bulkCame(bucket, bytes)
    return true
  }

  /** The class whose turn it is, or -1 when nothing waits or all that does is to stay. Re-injected packets count as bulk. */
  peekClass(): number {
    if (this.packets === 0) return NONE
    if (this.heads[LINE_REAL_TIME] !== NONE) return PacketClass.RealTime
    if (this.acksMayGo) return PacketClass.PureAck
    return this.bytesBulk > 0 && this.peekFlow() !== NONE ? PacketClass.Bulk : NONE
  }

  /** Whether the packet whose turn it is, if it is bulk, is of a brief flow, for whose sake others may go first. */
  get nextIsBrief(): boolean {
    return this.brief[this.peekFlow()] === 1
  }

  /** Whether brief flows leave their turn to others, for now. */
  set briefWait(wait: boolean) {
    this.turns.briefWait = wait
  }

  /** Other flows are brief than before. */
  recountBrief(): void {
    const { turns, brief, lineBytes } = this
    this.bytesBrief = 0
    for (let bucket = turns.after(NONE); bucket !== NONE; bucket = turns.after(bucket))
      if (brief[bucket] !== 0) this.bytesBrief += lineBytes[bucket]!
  }

  /** The slot whose turn it is, or -1. The caller owns it; what is known of it stands in `last…`. */
  dequeue(now: Instant): number {
    if (this.packets === 0) return NONE
    for (let line = LINE_REAL_TIME; line <= LINE_PURE_ACK; line++) {
      if (this.heads[line] === NONE || (line === LINE_PURE_ACK && !this.acksMayGo)) continue
      const slot = this.dequeueLine(line, now)
      if (slot !== NONE) return slot
    }
    const slot = this.dequeueFlows(now)
    // All of the bulk whose turn it was has been dropped.
    return slot === NONE && this.acksMayGo ? this.dequeueLine(LINE_PURE_ACK, now) : slot
  }

  private get acksMayGo(): boolean {
    if (this.heads[LINE_PURE_ACK] === NONE || this.acksWait) return false
    return this.ackAheadBytes > 0 || this.bytesBulk === 0
  }

  /** Sequences begin anew: what waits to be sent again has one of the former ones, and goes to nobody. */
  startAnew(now: Instant): void {
    this.anewAt = now
  }

  /** Lets go of what is too old, as {@link dequeue} does: to be called now and then, also while there is no path at all. */
  expire(now: Instant): void {
    const { turns } = this
    for (let line = LINE_REAL_TIME; line <= LINE_PURE_ACK; line++) this.expireLine(line, now)
    for (let bucket = turns.after(NONE); bucket !== NONE; bucket = turns.after(bucket))
      this.expireLine(bucket, now)
  }

  private expireLine(line: number, now: Instant): void {
    const { heads, slots } = this
    const ageUsMax = line < BUCKETS ? this.ageUsMax : this.urgentAgeUsMax
    while (heads[line] !== NONE && now - slots.enqueuedAt[heads[line]!]! > ageUsMax)
      this.dropHead(line, Drop.egressOld)
  }

  /** The bulk flow whose turn it is, or -1. */
  private peekFlow(): number {
    for (;;) {
      const bucket = this.turns.peek()
      if (bucket === NONE || this.heads[bucket] !== NONE) return bucket
      this.codel.emptied(bucket)
      this.turns.dismiss()
    }
  }

  /** The packet of bulk whose turn it is. */
  private dequeueFlows(now: Instant): number {
    for (let bucket = this.peekFlow(); bucket !== NONE; bucket = this.peekFlow()) {
      const slot = this.dequeueFlow(bucket, now)
      if (slot === NONE) continue
      this.turns.charge(bucket, this.slots.bytes[slot]!)
      if (this.bytesBulk === 0) this.turns.clear()
      return slot
    }
    return NONE
  }

  /** The head of a bulk flow that neither age nor CoDel takes. */
  private dequeueFlow(bucket: number, now: Instant): number {
    const { slots, codel } = this
    for (;;) {
      const slot = this.heads[bucket]!
      if (slot === NONE) return NONE
      const sojournUs = now - slots.enqueuedAt[slot]!
      if (sojournUs > this.ageUsMax) {
        this.dropHead(bucket, Drop.egressOld)
      } else if (slots.isAgain(slot)) {
        if (slots.enqueuedAt[slot]! > this.anewAt) return this.leave(bucket, slot)
        this.dropHead(bucket, Drop.sessionExpired)
      } else if (
        codel.signal(bucket, sojournUs, this.lineBytes[bucket]! - slots.bytes[slot]! <= QUANTUM_BYTES, now)
      ) {
        if (!markCe(this.pool, slot)) {
          this.dropHead(bucket, Drop.egressCodel)
          continue
        }
        this.marked++
        return this.leave(bucket, slot)
      } else {
        return this.leave(bucket, slot)
      }
    }
  }

  /** The head of a line without flows that is not too old. */
  private dequeueLine(line: number, now: Instant): number {
    for (;;) {
      const slot = this.heads[line]!
      if (slot === NONE) return NONE
      const enqueuedAt = this.slots.enqueuedAt[slot]!
      if (enqueuedAt <= this.anewAt && this.slots.isAgain(slot)) {
        this.dropHead(line, Drop.sessionExpired)
      } else if (now - enqueuedAt <= this.urgentAgeUsMax) {
        if (line === LINE_PURE_ACK) this.acks.leave()
        return this.leave(line, slot)
      } else {
        this.dropHead(line, Drop.egressOld)
      }
    }
  }

  private leave(line: number, slot: number): number {
    const { slots } = this
    this.shiftHead(line)
    this.chargeAcks(line, slots.bytes[slot]! + DATA_OVERHEAD_BYTES + OUTER_BYTES)
    this.lastBucket = slots.bucketOf(slot)
    this.lastClass = slots.classOf(slot)
    this.lastReinjected = slots.isAgain(slot)
    this.lastEnqueuedAt = slots.enqueuedAt[slot]!
    return slot
  }

  /** What ACKs take while bulk waits, twice as much of bulk gives back to them. */
  private chargeAcks(line: number, wireBytes: number): void {
    if (line === LINE_REAL_TIME) return
    if (line === LINE_PURE_ACK) {
      if (this.bytesBulk > 0) this.ackAheadBytes -= wireBytes
    } else {
      this.ackAheadBytes = Math.min(ACK_AHEAD_BYTES, this.ackAheadBytes + ACK_SHARE_OF_BULK * wireBytes)
    }
  }

  /** What is sent again has its place in an order already, and is not the first to go. */
  private get isTooLong(): boolean {
    const newMax = Math.max(this.bytesMin, this.bytesInTimeMax - this.bytesAgain)
    return this.bytesBulk - this.bytesAgain > newMax || this.packets > this.packetsMax
  }

  /** Too much: the flow with most loses the oldest that is new, as its sender learns of it soonest that way. */
  private shorten(): void {
    const { lineBytes, againBytes, turns } = this
    let longest = NONE
    let most = 0
    for (let bucket = turns.after(NONE); bucket !== NONE; bucket = turns.after(bucket)) {
      const bytes = lineBytes[bucket]! - againBytes[bucket]!
      if (bytes === 0 || bytes < most) continue
      longest = bucket
      most = bytes
    }
    for (let i = 0; i < OVERFLOW_BATCH && most > 0 && this.isTooLong; i++) {
      this.drops.count(Drop.egressFull)
      this.pool.release(this.shiftNew(longest))
      most = lineBytes[longest]! - againBytes[longest]!
    }
  }

  private bulkCame(bucket: number, bytes: number): void {
    this.bytesBulk += bytes
    this.turns.enter(bucket)
    if (this.isTooLong) this.shorten()
  }

  private appendUnordered(
    slot: number,
    bucket: number,
    packetClass: number,
    bytes: number,
    enqueuedAt: Instant,
  ): void {
    const isRealTime = packetClass === PacketClass.RealTime
    const line = isRealTime ? LINE_REAL_TIME : LINE_PURE_ACK
    const bytesMax = isRealTime ? this.realTimeBytesMax : this.pureAckBytesMax
    // Room first, so that a packet cannot drop itself.
    while (this.heads[line] !== NONE && this.lineBytes[line]! + bytes > bytesMax) {
      this.dropHead(line, Drop.egressFull)
    }
    if (line === LINE_PURE_ACK) this.acks.enter()
    this.append(line, slot, bucket, packetClass, bytes, enqueuedAt)
  }

  /** Whether a pure ACK need not wait itself: it took the place of one that waits. On fast links none ever waits. */
  private thins(slot: number, bytes: number, now: Instant): boolean {
    const head = this.heads[LINE_PURE_ACK]!
    if (head === NONE) {
      this.thinning = false
      return false
    }
    const waitUs = now - this.slots.enqueuedAt[head]!
    if (!this.thinning && waitUs < THIN_FROM_US) return false
    this.thinning = true
    const { acks, slots } = this
    if (!acks.offer(slot, waitUs > CROWDED_US)) return false
    const growth = bytes - slots.bytes[acks.replaced]!
    slots.bytes[acks.replaced] = bytes
    this.lineBytes[LINE_PURE_ACK]! += growth
    this.bytes += growth
    return true
  }

  private dropHead(line: number, reason: number): void {
    if (line === LINE_PURE_ACK) this.acks.leave()
    this.drops.count(reason)
    this.pool.release(this.shiftHead(line))
  }

  private append(
    line: number,
    slot: number,
    bucket: number,
    packetClass: number,
    bytes: number,
    now: Instant,
  ): void {
    this.slots.next[slot] = NONE
    const tail = this.tails[line]!
    if (tail === NONE) this.heads[line] = slot
    else this.slots.next[tail] = slot
    this.tails[line] = slot
    this.note(line, slot, bucket | (packetClass << BUCKET_BITS), bytes, now)
  }

  /** Behind what is sent again of the flow, and before what is new. */
  private insertAgain(bucket: number, slot: number): void {
    const { next } = this.slots
    const before = this.lastAgain[bucket]!
    const after = before === NONE ? this.heads[bucket]! : next[before]!
    next[slot] = after
    if (before === NONE) this.heads[bucket] = slot
    else next[before] = slot
    if (after === NONE) this.tails[bucket] = slot
    this.lastAgain[bucket] = slot
  }

  private note(line: number, slot: number, kind: number, bytes: number, now: Instant): void {
    const { slots } = this
    slots.enqueuedAt[slot] = now
    slots.bytes[slot] = bytes
    slots.kind[slot] = kind
    this.lineBytes[line]! += bytes
    this.bytes += bytes
    this.packets++
    if (line < BUCKETS && this.brief[line] !== 0) this.bytesBrief += bytes
  }

  /** Takes the head from a line; returns its slot. */
  private shiftHead(line: number): number {
    const slot = this.heads[line]!
    this.heads[line] = this.slots.next[slot]!
    if (this.heads[line] === NONE) this.tails[line] = NONE
    this.left(line, slot)
    return slot
  }

  /** Takes the first that is new from a flow that has some; returns its slot. */
  private shiftNew(bucket: number): number {
    const { next } = this.slots
    const before = this.lastAgain[bucket]!
    if (before === NONE) return this.shiftHead(bucket)
    const slot = next[before]!
    next[before] = next[slot]!
    if (next[before] === NONE) this.tails[bucket] = before
    this.left(bucket, slot)
    return slot
  }

  private left(line: number, slot: number): void {
    const { slots } = this
    const bytes = slots.bytes[slot]!
    this.lineBytes[line]! -= bytes
    this.bytes -= bytes
    this.packets--
    if (line >= BUCKETS) return
    this.bytesBulk -= bytes
    if (this.brief[line] !== 0) this.bytesBrief -= bytes
    if (!slots.isAgain(slot)) return
    this.againBytes[line]! -= bytes
    this.bytesAgain -= bytes
    if (this.lastAgain[line] === slot) this.lastAgain[line] = NONE
  }
}
