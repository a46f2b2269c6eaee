import { type DurationUs, type Instant, MILLISECOND, NEVER } from '../src/base/time.js'
import { Ecn } from '../src/wire/ip.js'
import type { Clock, Handler } from './clock.js'
import { type AckSample, Bbr, type CongestionControl, Cubic, type SenderView } from './congestion.js'
import type { End } from './end.js'
import type { InnerHeader, SegmentFields } from './inner-packet.js'
import type { FlowRecord } from './ledger.js'
import { RoundTrip, RTO_INITIAL_US } from './round-trip.js'
import type { TcpOptions } from './tcp-options.js'
import { emit, emptyFields, isOlder, stampOf } from './tcp-segment.js'

/** The tunnel's default. */
const TUN_MTU = 1440
const HEADER_BYTES = { 4: 52, 6: 72 } as const
const WINDOW_MAX = 6_000
const RING = 8_192
const MASK = RING - 1
const ORDER_MASK = RING * 2 - 1
const DUPLICATE_THRESHOLD = 3

const Segment = { Sacked: 1, Lost: 2, InFlight: 4, Retransmitted: 8 } as const

/**
 * One bulk TCP transfer: SACK with RACK loss detection (RFC 8985), undo by DSACK and by time stamps (RFC 3522), ECN
 * (RFC 3168), retransmission timer (RFC 6298, with Linux's deviation), and a congestion control. Segments are numbered, all of the
 * same size; real headers go through the tunnel. The sender asks for the connection, whose round trip is as a rule the
 * least that it ever sees, as a SYN is so small. No FIN.
 */
export class TcpSender implements SenderView {
  inFlight = 0
  minRttUs = Number.POSITIVE_INFINITY
  readonly segmentBytes: number
  readonly windowMax: number
  delivered = 0
  una = 0
  next = 0
  recovering = false
  /** The window is being reduced for a mark. */
  heeding = false
  retransmissions = 0
  /** Retransmissions that the receiver had already. */
  spurious = 0
  timeouts = 0
  reductions = 0
  readonly control: CongestionControl
  private readonly roundTrip = new RoundTrip()

  private readonly flags = new Uint8Array(RING)
  private readonly sentAt = new Float64Array(RING)
  private readonly deliveredAtSend = new Float64Array(RING)
  private readonly deliveredTimeAtSend = new Float64Array(RING)
  private readonly firstSentAtSend = new Float64Array(RING)
  /** Transmissions in order of time: segment and moment. */
  private readonly orderSegment = new Float64Array(RING * 2)
  private readonly orderAt = new Float64Array(RING * 2)
  private orderHead = 0
  private orderTail = 0
  /** To be sent again, in order; some have arrived since. */
  private readonly lost: number[] = []
  private deliveredTime: Instant = 0
  private firstSentTime: Instant = 0
  private rackSentAt = -1
  private rackRttUs = 0
  private reorderingSeen = false
  private reorderSteps = 1
  private reorderStepAt: Instant = Number.NEGATIVE_INFINITY
  private highestSacked = -1
  private sackedOut = 0
  private recoveryEnd = 0
  private undoPending = 0
  /** Marks of what was sent before this segment are answered, and the next new segment is to say so. */
  private heededUpTo = 0
  private cwrDue = false
  private backoff = 1
  private rtoAt: Instant = NEVER
  private rackAt: Instant = NEVER
  private sendAt: Instant = NEVER
  private paceNext: Instant = 0
  private armedAt: Instant = NEVER
  private generation = 0
  private connected = false
  private synAt: Instant = 0
  private synsSent = 0
  private readonly timer: Handler
  private readonly fields = emptyFields()
  private readonly sample: AckSample = {
    now: 0,
    newly: 0,
    rttUs: -1,
    deliveredAtSend: -1,
    ratePerUs: 0,
    lost: 0,
    goesOn: false,
  }
  private bestSegment = -1
  /** The time stamp that came back. */
  private echoMs = 0

  constructor(
    private readonly clock: Clock,
    private readonly end: End,
    private readonly header: InnerHeader,
    private readonly record: FlowRecord,
    private readonly options: TcpOptions,
  ) {
    this.segmentBytes = (options.mtuBytes ?? TUN_MTU) - HEADER_BYTES[header.family]
    this.windowMax = options.windowMax ?? WINDOW_MAX
    this.control = options.control === 'bbr' ? new Bbr() : new Cubic()
    this.timer = {
      id: clock.nextHandlerId(),
      fire: (generation, now) => {
        if (generation === this.generation) this.onTimer(now)
      },
    }
    clock.call(options.from ?? 0, (now) => this.connect(now))
  }

  get smoothedRttUs(): DurationUs {
    return this.roundTrip.smoothedUs
  }

  // ---- connection --------------------------------------------------------------------------------------------------

  private connect(now: Instant): void {
    if (this.connected || now >= (this.options.until ?? NEVER)) return
    this.synAt = now
    const emitSyn = (then: Instant): void => {
      emit(this.end, this.header, this.record, { ...emptyFields(), syn: true }, then)
    }
    const delay = this.options.hostDelayUs ?? 0
    if (delay > 0) this.clock.call(now + delay, emitSyn)
    else emitSyn(now)
    this.clock.call(now + RTO_INITIAL_US * 2 ** this.synsSent++, (then) => this.connect(then))
  }

  private onConnected(now: Instant): void {
    if (this.connected) return
    this.connected = true
    // Of several it is not known which one was answered.
    if (this.synsSent === 1) {
      const rttUs = now - this.synAt
      this.minRttUs = rttUs
      this.roundTrip.add(rttUs, this.una, this.next)
      this.control.onConnected(rttUs, now)
    }
    this.send(now)
  }

  // ---- acknowledgements --------------------------------------------------------------------------------------------

  onSegment(fields: SegmentFields, now: Instant): void {
    if (fields.syn) {
      this.onConnected(now)
      return
    }
    const cumulative = this.segmentOf(fields.acknowledgement)
    const sample = this.sample
    sample.now = now
    sample.newly = 0
    sample.rttUs = -1
    sample.deliveredAtSend = -1
    sample.ratePerUs = 0
    this.bestSegment = -1
    this.echoMs = fields.stampMs
    const unaBefore = this.una
    let duplicate = false
    const firstCopyArrived =
      cumulative > this.una &&
      (this.flags[this.una & MASK]! & Segment.Retransmitted) !== 0 &&
      isOlder(this.echoMs, this.sentAt[this.una & MASK]!)
    // The oldest of what is acknowledged tells the round trip that the retransmission timer has to allow for.
    let oldestSentAt = NEVER
    while (this.una < cumulative) {
      const segment = this.una++
      const flags = this.flags[segment & MASK]!
      if (flags & Segment.Sacked) this.sackedOut--
      else {
        if ((flags & Segment.Retransmitted) === 0)
          oldestSentAt = Math.min(oldestSentAt, this.sentAt[segment & MASK]!)
        this.markDelivered(segment, isOlder(this.echoMs, this.sentAt[segment & MASK]!), now)
      }
    }
    const cumulativeSentAt = oldestSentAt
    for (let i = 0; i < fields.sackCount; i++) {
      const left = this.segmentOf(fields.sack[2 * i]!)
      const right = this.segmentOf(fields.sack[2 * i + 1]!)
      if (i === 0 && left < cumulative) {
        duplicate = true
        continue
      }
      for (let segment = Math.max(left, this.una); segment < Math.min(right, this.next); segment++) {
        const flags = this.flags[segment & MASK]!
        if (flags & Segment.Sacked) continue
        if (cumulativeSentAt === NEVER && (flags & Segment.Retransmitted) === 0) {
          oldestSentAt = Math.min(oldestSentAt, this.sentAt[segment & MASK]!)
        }
        // The time stamp is of the last segment that came in order: it tells nothing of one beyond a hole.
        this.markDelivered(segment, false, now)
        this.flags[segment & MASK]! |= Segment.Sacked
        this.sackedOut++
        this.highestSacked = Math.max(this.highestSacked, segment)
      }
    }
    this.highestSacked = Math.max(this.highestSacked, cumulative - 1)
    this.finishSample(now)
    if (oldestSentAt !== NEVER) this.roundTrip.add(now - oldestSentAt, this.una, this.next)
    if (firstCopyArrived) this.undoRecovery()
    if (sample.newly > 0) {
      this.backoff = 1
      this.armRto(now)
    }
    if (duplicate) this.onDuplicate(now)
    if (this.recovering && this.una >= this.recoveryEnd) {
      this.recovering = false
      this.control.onRecoveryEnd()
    }
    if (fields.ece) this.heedMark(now)
    if (this.heeding && this.una >= this.heededUpTo) {
      this.heeding = false
      this.control.onRecoveryEnd()
    }
    sample.lost = this.detectLoss(now)
    sample.goesOn = sample.lost === 0 && cumulative > unaBefore
    this.control.onAck(sample, this)
    this.send(now)
  }

  /** The segment whose first byte has this 32-bit sequence number, near the window. */
  private segmentOf(sequence: number): number {
    const base = this.una * this.segmentBytes
    const difference = (sequence - (base >>> 0)) | 0
    return Math.round((base + difference) / this.segmentBytes)
  }

  /** `firstCopy`: the time stamp that came back shows that it was not the second. */
  private markDelivered(segment: number, firstCopy: boolean, now: Instant): void {
    const i = segment & MASK
    const flags = this.flags[i]!
    this.sample.newly++
    this.delivered++
    this.deliveredTime = now
    if (flags & Segment.InFlight) this.inFlight--
    this.flags[i] = flags & ~(Segment.InFlight | Segment.Lost)
    const again = (flags & Segment.Retransmitted) !== 0
    const sentAt = this.sentAt[i]!
    // What was sent again and is acknowledged at once, or by a time stamp that is older, was the first copy: it says
    // nothing of the second (RFC 8985, 6.2, step 2).
    if (!again || (!firstCopy && now - sentAt >= this.minRttUs)) {
      if (sentAt >= this.rackSentAt) {
        this.rackSentAt = sentAt
        this.rackRttUs = now - sentAt
      }
      if (this.bestSegment < 0 || sentAt >= this.sentAt[this.bestSegment & MASK]!) this.bestSegment = segment
    }
    if (!again && segment < this.highestSacked) this.reorderingSeen = true
  }

  private finishSample(now: Instant): void {
    if (this.bestSegment < 0) return
    const sample = this.sample
    const i = this.bestSegment & MASK
    const sentAt = this.sentAt[i]!
    if ((this.flags[i]! & Segment.Retransmitted) === 0) {
      const rttUs = now - sentAt
      sample.rttUs = rttUs
      this.minRttUs = Math.min(this.minRttUs, rttUs)
    }
    sample.deliveredAtSend = this.deliveredAtSend[i]!
    const interval = Math.max(now - this.deliveredTimeAtSend[i]!, sentAt - this.firstSentAtSend[i]!, 1)
    this.firstSentTime = sentAt
    if (interval >= this.minRttUs * 0.9)
      sample.ratePerUs = (this.delivered - sample.deliveredAtSend) / interval
  }

  /** Once for what is under way, and not if losses are the reason already. */
  private heedMark(now: Instant): void {
    if (this.recovering || this.una < this.heededUpTo) return
    this.heeding = true
    this.heededUpTo = this.next
    this.cwrDue = true
    this.reductions++
    this.control.onMark(now, this)
  }

  /** Nothing was lost, it was late (RFC 3522): what is marked as lost and not sent again is under way. */
  private undoRecovery(): void {
    if (!this.recovering) return
    this.recovering = false
    this.reorderingSeen = true
    this.undoPending = 0
    this.control.onUndo()
    this.lost.length = 0
    for (let segment = this.una; segment < this.next; segment++) {
      const i = segment & MASK
      if ((this.flags[i]! & Segment.Lost) === 0) continue
      this.flags[i] = (this.flags[i]! & ~Segment.Lost) | Segment.InFlight
      this.inFlight++
      // To be looked at again, should it be lost indeed.
      const at = this.orderTail++ & ORDER_MASK
      this.orderSegment[at] = segment
      this.orderAt[at] = this.sentAt[i]!
    }
  }

  private onDuplicate(now: Instant): void {
    this.spurious++
    if (now - this.reorderStepAt > this.smoothedRttUs) {
      this.reorderSteps = Math.min(20, this.reorderSteps + 1)
      this.reorderStepAt = now
    }
    this.reorderingSeen = true
    if (--this.undoPending === 0) {
      this.control.onUndo()
      this.recovering = false
    }
  }

  // ---- losses ------------------------------------------------------------------------------------------------------

  private markLost(segment: number): void {
    const i = segment & MASK
    if (this.flags[i]! & Segment.InFlight) this.inFlight--
    this.flags[i] = (this.flags[i]! & ~Segment.InFlight) | Segment.Lost
    // The first goes first, also when it is lost again (tcp_verify_retransmit_hint).
    let at = this.lost.length
    while (at > 0 && this.lost[at - 1]! > segment) at--
    this.lost.splice(at, 0, segment)
  }

  /** RACK: what was sent long enough before the newest delivered segment is lost. Returns how many were found. */
  private detectLoss(now: Instant): number {
    this.rackAt = NEVER
    if (this.rackSentAt < 0) return 0
    let window = Math.min((this.minRttUs / 4) * this.reorderSteps, this.smoothedRttUs)
    if (!this.reorderingSeen && (this.recovering || this.sackedOut >= DUPLICATE_THRESHOLD)) window = 0
    let found = 0
    while (this.orderHead < this.orderTail) {
      const at = this.orderHead & ORDER_MASK
      const segment = this.orderSegment[at]!
      const i = segment & MASK
      const stale =
        segment < this.una ||
        this.sentAt[i] !== this.orderAt[at] ||
        (this.flags[i]! & (Segment.Sacked | Segment.Lost)) !== 0
      if (stale) {
        this.orderHead++
        continue
      }
      const sentAt = this.sentAt[i]!
      if (sentAt > this.rackSentAt || (sentAt === this.rackSentAt && segment > this.highestSacked)) break
      const rest = sentAt + this.rackRttUs + window - now
      if (rest > 0) {
        this.rackAt = now + rest
        break
      }
      this.markLost(segment)
      this.orderHead++
      found++
    }
    if (found > 0 && !this.recovering) {
      this.recovering = true
      this.recoveryEnd = this.next
      this.undoPending = 0
      if (this.heeding) {
        // It is reduced already (tcp_enter_recovery).
        this.heeding = false
      } else {
        this.reductions++
        this.inFlight += found
        this.control.onLoss(now, this)
        this.inFlight -= found
      }
    }
    return found
  }

  private armRto(now: Instant): void {
    if (this.una === this.next) {
      this.rtoAt = NEVER
      return
    }
    this.rtoAt = now + this.roundTrip.timeoutUs * this.backoff
  }

  private onRto(now: Instant): void {
    this.timeouts++
    // One loss, however often the timer runs out before anything is acknowledged.
    const first = this.backoff === 1
    this.backoff = Math.min(64, this.backoff * 2)
    this.lost.length = 0
    for (let segment = this.una; segment < this.next; segment++) {
      if ((this.flags[segment & MASK]! & Segment.Sacked) === 0) this.markLost(segment)
    }
    this.heeding = false
    if (first) this.control.onLoss(now, this)
    this.control.onTimeout(this)
    this.recovering = true
    this.recoveryEnd = this.next
    this.undoPending = 0
    this.send(now)
    this.armRto(now)
    this.arm()
  }

  // ---- sending -----------------------------------------------------------------------------------------------------

  private send(now: Instant): void {
    this.sendAt = NEVER
    if (now < (this.options.until ?? NEVER)) {
      while (this.inFlight < Math.floor(this.control.window)) {
        if (this.paceNext > now + MILLISECOND) {
          this.sendAt = this.paceNext - MILLISECOND / 2
          break
        }
        while (this.lost.length > 0 && !this.isLost(this.lost[0]!)) this.lost.shift()
        if (this.lost.length > 0) {
          const segment = this.lost.shift()!
          this.flags[segment & MASK] = Segment.Retransmitted
          this.retransmissions++
          this.undoPending++
          this.transmit(segment, now)
        } else {
          if (this.next - this.una >= this.windowMax) break
          const segment = this.next++
          this.flags[segment & MASK] = 0
          this.transmit(segment, now)
        }
        if (this.control.pacePerUs !== Number.POSITIVE_INFINITY) {
          this.paceNext = Math.max(this.paceNext, now - MILLISECOND) + 1 / this.control.pacePerUs
        }
      }
    }
    this.arm()
  }

  private isLost(segment: number): boolean {
    return segment >= this.una && (this.flags[segment & MASK]! & Segment.Lost) !== 0
  }

  private transmit(segment: number, now: Instant): void {
    const i = segment & MASK
    if (this.inFlight === 0) {
      this.deliveredTime = now
      this.firstSentTime = now
    }
    this.inFlight++
    this.flags[i]! |= Segment.InFlight
    this.sentAt[i] = now
    this.deliveredAtSend[i] = this.delivered
    this.deliveredTimeAtSend[i] = this.deliveredTime
    this.firstSentAtSend[i] = this.firstSentTime
    const at = this.orderTail++ & ORDER_MASK
    this.orderSegment[at] = segment
    this.orderAt[at] = now
    const delay = this.options.hostDelayUs ?? 0
    if (delay > 0) this.clock.call(now + delay, (then) => this.put(segment, then))
    else this.put(segment, now)
    if (this.rtoAt === NEVER) this.armRto(now)
  }

  private put(segment: number, now: Instant): void {
    const fields = this.fields
    fields.sequence = (segment * this.segmentBytes) >>> 0
    fields.payloadBytes = this.segmentBytes
    fields.stampMs = stampOf(this.sentAt[segment & MASK]!)
    // What is sent again cannot be marked (RFC 3168, 6.1.5).
    const isNew = (this.flags[segment & MASK]! & Segment.Retransmitted) === 0
    fields.ecn = this.options.ecn === true && isNew ? Ecn.Ect0 : Ecn.NotEct
    fields.cwr = this.cwrDue && isNew
    if (isNew) this.cwrDue = false
    emit(this.end, this.header, this.record, fields, now)
  }

  private onTimer(now: Instant): void {
    this.armedAt = NEVER
    if (now < Math.min(this.rtoAt, this.rackAt, this.sendAt)) {
      this.arm()
      return
    }
    if (now >= this.rtoAt) {
      this.onRto(now)
      return
    }
    if (now >= this.rackAt) this.detectLoss(now)
    this.send(now)
  }

  private arm(): void {
    const at = Math.min(this.rtoAt, this.rackAt, this.sendAt)
    // A timer that fires sooner looks again then: most of these move away with each acknowledgement.
    if (at >= this.armedAt) return
    this.armedAt = at
    this.clock.at(Math.ceil(at), this.timer, ++this.generation)
  }
}
