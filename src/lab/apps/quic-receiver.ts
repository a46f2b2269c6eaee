import { ACK_DELAY_US_MAX, type AckRange } from './quic-sender.js'

const RANGES_MAX = 32
/** QUIC acknowledges every second packet (RFC 9000, section 13.2.2), and at once what is out of order. */
const ACK_EVERY = 2

/** The receiving half of a bulk transfer as QUIC makes it: what arrived, what was new of it, and when to say so. */
export class QuicReceiver {
  /** The highest first. */
  private readonly ranges: { low: number; high: number }[] = []
  private unacknowledged = 0
  private largestAtUs = 0
  private oldestAtUs = 0
  private atOnce = false
  /** All chunks below are here. */
  private contiguous = 0
  private readonly early = new Set<number>()

  /** A packet has arrived; whether its chunk is new. */
  onPacket(nowUs: number, number: number, chunk: number): boolean {
    if (this.unacknowledged === 0) this.oldestAtUs = nowUs
    const highest = this.ranges[0]?.high ?? -1
    if (number > highest) this.largestAtUs = nowUs
    if (number !== highest + 1) this.atOnce = true
    this.note(number)
    this.unacknowledged++
    if (chunk < this.contiguous || this.early.has(chunk)) return false
    this.early.add(chunk)
    while (this.early.delete(this.contiguous)) this.contiguous++
    return true
  }

  /** Whether an acknowledgement is due. */
  ackDue(nowUs: number): boolean {
    if (this.unacknowledged === 0) return false
    return this.atOnce || this.unacknowledged >= ACK_EVERY || nowUs - this.oldestAtUs >= ACK_DELAY_US_MAX
  }

  takeAck(nowUs: number): { ranges: readonly AckRange[]; delayUs: number } {
    this.unacknowledged = 0
    this.atOnce = false
    return { ranges: this.ranges, delayUs: nowUs - this.largestAtUs }
  }

  private note(number: number): void {
    const { ranges } = this
    let at = 0
    while (at < ranges.length && ranges[at]!.low > number + 1) at++
    const range = ranges[at]
    if (!range || range.high < number - 1) {
      ranges.splice(at, 0, { low: number, high: number })
      if (ranges.length > RANGES_MAX) ranges.pop()
      return
    }
    if (number === range.high + 1) range.high = number
    else if (number === range.low - 1) range.low = number
    const [above, below] = [ranges[at - 1], ranges[at + 1]]
    if (above && above.low === range.high + 1) {
      above.low = range.low
      ranges.splice(at, 1)
    } else if (below && below.high === range.low - 1) {
      range.low = below.low
      ranges.splice(at + 1, 1)
    }
  }
}
