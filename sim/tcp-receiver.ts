import { type DurationUs, type Instant, MILLISECOND, NEVER } from '../src/base/time.js'
import { Ecn } from '../src/wire/ip.js'
import type { Clock, Handler } from './clock.js'
import type { End } from './end.js'
import type { InnerHeader, SegmentFields } from './inner-packet.js'
import type { FlowRecord } from './ledger.js'
import { emit, emptyFields } from './tcp-segment.js'

const DELAYED_ACK_US = 10 * MILLISECOND

/** The other half: acknowledges every second segment, and every one while something is missing, with SACK blocks. */
export class TcpReceiver {
  /** Next segment expected in order. */
  expected = 0
  /** Bytes in order so far, and when it last grew. */
  progressAt: Instant = 0
  /** Segments that came after one with a higher number. */
  reordered = 0
  /** In-order segments by tenths of a second. */
  readonly timeline: number[] = []
  private highest = -1
  private unacknowledged = 0
  /** Ranges [from, to) beyond {@link expected}, the newest first. */
  private readonly ranges: { from: number; to: number }[] = []
  private duplicate = -1
  /** Time stamp to be echoed: of the earliest segment in order that is not acknowledged (RFC 7323, 4.3). */
  private stampMs = 0
  private acknowledged = 0
  /** A mark came, and the sender has not yet said that it has heard of it. */
  private marked = false
  private readonly fields = emptyFields()
  private readonly timer: Handler
  /** When the delayed acknowledgement is due, and whether the timer is set. */
  private dueAt: Instant = NEVER
  private armed = false

  constructor(
    private readonly clock: Clock,
    private readonly end: End,
    private readonly header: InnerHeader,
    private readonly record: FlowRecord,
    private readonly segmentBytes: number,
    private readonly hostDelayUs: DurationUs,
  ) {
    this.timer = { id: clock.nextHandlerId(), fire: (_argument, now) => this.onTimer(now) }
  }

  private onTimer(now: Instant): void {
    this.armed = false
    if (this.unacknowledged === 0) return
    if (now >= this.dueAt) this.acknowledge(now)
    else this.arm()
  }

  private arm(): void {
    if (this.armed) return
    this.armed = true
    this.clock.at(this.dueAt, this.timer)
  }

  onSegment(fields: SegmentFields, now: Instant): void {
    if (fields.syn) {
      this.emitLater({ ...emptyFields(), syn: true }, now)
      return
    }
    if (fields.cwr) this.marked = false
    const isMarked = fields.ecn === Ecn.Ce
    if (isMarked) this.marked = true
    const base = this.expected * this.segmentBytes
    const difference = (fields.sequence - (base >>> 0)) | 0
    const segment = Math.round((base + difference) / this.segmentBytes)
    if (segment < this.highest) this.reordered++
    else this.highest = segment
    const inOrder = segment === this.expected
    if (segment <= this.acknowledged) this.stampMs = fields.stampMs
    if (segment < this.expected || this.has(segment)) {
      this.duplicate = segment
    } else if (inOrder) this.advance(now)
    else this.keep(segment)
    this.unacknowledged++
    if (this.unacknowledged >= 2 || !inOrder || isMarked || this.ranges.length > 0) this.acknowledge(now)
    else {
      this.dueAt = now + DELAYED_ACK_US
      this.arm()
    }
  }

  private has(segment: number): boolean {
    for (const range of this.ranges) if (segment >= range.from && segment < range.to) return true
    return false
  }

  private advance(now: Instant): void {
    this.expected++
    for (let i = 0; i < this.ranges.length; i++) {
      if (this.ranges[i]!.from !== this.expected) continue
      this.expected = this.ranges[i]!.to
      this.ranges.splice(i, 1)
      i = -1
    }
    this.progressAt = now
    this.timeline[Math.floor(now / (100 * MILLISECOND))] = this.expected
  }

  private keep(segment: number): void {
    const range = { from: segment, to: segment + 1 }
    for (let i = this.ranges.length - 1; i >= 0; i--) {
      const other = this.ranges[i]!
      if (other.to === range.from) range.from = other.from
      else if (other.from === range.to) range.to = other.to
      else continue
      this.ranges.splice(i, 1)
    }
    this.ranges.unshift(range)
  }

  private acknowledge(now: Instant): void {
    this.unacknowledged = 0
    const { fields } = this
    fields.acknowledgement = (this.expected * this.segmentBytes) >>> 0
    fields.stampMs = this.stampMs
    fields.ece = this.marked
    this.acknowledged = this.expected
    fields.sackCount = 0
    // DSACK (RFC 2883): the first block names what came twice.
    if (this.duplicate >= 0 && this.duplicate < this.expected)
      this.addBlock(this.duplicate, this.duplicate + 1)
    this.duplicate = -1
    for (const range of this.ranges) {
      if (fields.sackCount === 3) break
      this.addBlock(range.from, range.to)
    }
    this.emitLater(fields, now)
  }

  /** Emits a segment once it has come from the host to its end of the tunnel. */
  private emitLater(fields: SegmentFields, now: Instant): void {
    if (this.hostDelayUs > 0) {
      const late = { ...fields, sack: fields.sack.slice() }
      this.clock.call(now + this.hostDelayUs, (then) => {
        emit(this.end, this.header, this.record, late, then)
      })
    } else emit(this.end, this.header, this.record, fields, now)
  }

  private addBlock(from: number, to: number): void {
    const { fields } = this
    const at = 2 * fields.sackCount++
    fields.sack[at] = from * this.segmentBytes
    fields.sack[at + 1] = to * this.segmentBytes
  }

  /** Segments in order at the end of each tenth of a second up to `now`; a tenth without progress keeps the last. */
  segmentsBy(now: Instant): number {
    for (let tenth = Math.floor(now / (100 * MILLISECOND)); tenth >= 0; tenth--) {
      const segments = this.timeline[tenth]
      if (segments !== undefined) return segments
    }
    return 0
  }
}
