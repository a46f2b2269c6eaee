import { Cubic } from './cubic.js'

/** Of RFC 9002, section 6: the defaults of QUIC. */
const PACKET_THRESHOLD = 3
const TIME_THRESHOLD = 9 / 8
const GRANULARITY_US = 1000
const INITIAL_RTT_US = 333_000
export const ACK_DELAY_US_MAX = 25_000
const PROBES = 2
/** Packets go out at this multiple of window per round trip (RFC 9002, section 7.7). */
const PACING_GAIN = 1.25
const SLOW_START_PACING_GAIN = 2
/** What may go at once: ten packets, or what a timer of a millisecond lets wait. */
const BURST_PACKETS_MIN = 10
const BURST_US = 2000

interface SentPacket {
  readonly sentAtUs: number
  readonly chunk: number
}

/** From `low` to `high`, both received; rising lists begin with the highest, as in QUIC's ACK frames. */
export interface AckRange {
  readonly low: number
  readonly high: number
}

/**
 * The sending half of a bulk transfer as QUIC makes it: packet numbers never used twice, loss by packet and time
 * threshold, probes after a silence, CUBIC, pacing. Data is counted in chunks, one a packet; a chunk whose packet is held
 * to be lost goes out again in a new one. No sockets and no clock: `nowUs` is an argument.
 */
export class QuicSender {
  private readonly cubic = new Cubic()
  private readonly inFlight = new Map<number, SentPacket>()
  private readonly again: number[] = []
  private nextNumber = 0
  private nextChunk = 0
  private largestAcked = -1
  private smoothedRttUs = INITIAL_RTT_US
  private rttVarianceUs = INITIAL_RTT_US / 2
  private measured = false
  private latestRttUs = INITIAL_RTT_US
  /** Packets sent before this belong to a loss that was answered already. */
  private recoveryAtUs = -1
  private lastSentAtUs = 0
  private silences = 0
  private probes = 0
  private tokens = BURST_PACKETS_MIN
  private tokensAtUs = 0
  lostPackets = 0
  sentPackets = 0

  get windowPackets(): number {
    return this.cubic.windowPackets
  }

  /** Whether a packet may go now. */
  maySend(nowUs: number): boolean {
    if (this.probes > 0) return true
    if (this.inFlight.size >= Math.floor(this.cubic.windowPackets)) return false
    const gain = this.cubic.inSlowStart ? SLOW_START_PACING_GAIN : PACING_GAIN
    const perUs = (gain * this.cubic.windowPackets) / this.smoothedRttUs
    const burst = Math.max(BURST_PACKETS_MIN, perUs * BURST_US)
    this.tokens = Math.min(burst, this.tokens + (nowUs - this.tokensAtUs) * perUs)
    this.tokensAtUs = nowUs
    return this.tokens >= 1
  }

  /** The next packet's number and the chunk that it carries. */
  take(nowUs: number): { number: number; chunk: number } {
    const chunk = this.again.shift() ?? this.nextChunk++
    const number = this.nextNumber++
    this.inFlight.set(number, { sentAtUs: nowUs, chunk })
    this.lastSentAtUs = nowUs
    this.sentPackets++
    if (this.probes > 0) this.probes--
    else this.tokens--
    return { number, chunk }
  }

  /** An acknowledgement: what has been received, the highest first, and how long the receiver kept it. */
  onAck(nowUs: number, ranges: readonly AckRange[], ackDelayUs: number): void {
    const highest = ranges[0]?.high ?? -1
    // An acknowledgement of what was never sent is no acknowledgement.
    if (highest >= this.nextNumber || highest < 0) return
    const newest = this.inFlight.get(highest)
    if (newest && highest > this.largestAcked) this.measure(nowUs - newest.sentAtUs, ackDelayUs)
    this.largestAcked = Math.max(this.largestAcked, highest)
    // Ranges reach back to the first packet; what is no longer in flight is known.
    const oldest = this.inFlight.keys().next().value ?? this.nextNumber
    for (const { low, high } of ranges) {
      for (let number = high; number >= Math.max(low, oldest); number--) {
        const packet = this.inFlight.get(number)
        if (!packet) continue
        this.inFlight.delete(number)
        this.silences = 0
        if (packet.sentAtUs > this.recoveryAtUs) this.cubic.onAcked(nowUs, this.smoothedRttUs)
      }
    }
    this.findLost(nowUs)
  }

  /** To be called every millisecond or so: packets lost by time, and probes after a silence. */
  onTime(nowUs: number): void {
    this.findLost(nowUs)
    if (this.inFlight.size === 0) return
    const variation = Math.max(4 * this.rttVarianceUs, GRANULARITY_US)
    const patienceUs = (this.smoothedRttUs + variation + ACK_DELAY_US_MAX) * 2 ** this.silences
    if (nowUs - this.lastSentAtUs < patienceUs) return
    this.silences = Math.min(this.silences + 1, 10)
    this.probes = PROBES
    // A probe carries what is missing longest.
    const oldest = this.inFlight.values().next().value
    if (oldest && this.again.length === 0) this.again.push(oldest.chunk)
  }

  private measure(rttUs: number, ackDelayUs: number): void {
    const delay = Math.min(ackDelayUs, ACK_DELAY_US_MAX)
    const adjusted = Math.max(rttUs - delay, GRANULARITY_US)
    this.latestRttUs = adjusted
    if (!this.measured) {
      this.measured = true
      this.smoothedRttUs = adjusted
      this.rttVarianceUs = adjusted / 2
      return
    }
    this.rttVarianceUs += (Math.abs(this.smoothedRttUs - adjusted) - this.rttVarianceUs) / 4
    this.smoothedRttUs += (adjusted - this.smoothedRttUs) / 8
  }

  private findLost(nowUs: number): void {
    const patienceUs = Math.max(
      TIME_THRESHOLD * Math.max(this.smoothedRttUs, this.latestRttUs),
      GRANULARITY_US,
    )
    // In the order in which they were sent: numbers only rise.
    for (const [number, { sentAtUs, chunk }] of this.inFlight) {
      if (number > this.largestAcked) return
      const late = nowUs - sentAtUs > patienceUs
      if (!late && this.largestAcked - number < PACKET_THRESHOLD) return
      this.inFlight.delete(number)
      this.again.push(chunk)
      this.lostPackets++
      if (sentAtUs <= this.recoveryAtUs) continue
      this.recoveryAtUs = nowUs
      this.cubic.onLoss()
    }
  }
}
