/** Factor of the window after a loss, and steepness of the growth (RFC 9438, sections 4.6 and 5). */
const BETA = 0.7
const C = 0.4
/** Growth per round trip that keeps it fair to Reno (RFC 9438, section 4.3). */
const RENO_ALPHA = (3 * (1 - BETA)) / (1 + BETA)
const INITIAL_WINDOW_PACKETS = 10
const WINDOW_PACKETS_MIN = 2

/** CUBIC as RFC 9438 has it, in packets. Times in µs. Slow start ends with the first loss. */
export class Cubic {
  windowPackets = INITIAL_WINDOW_PACKETS
  private thresholdPackets = Number.POSITIVE_INFINITY
  private lastMaxPackets = 0
  private renoPackets = 0
  private epochAtUs: number | undefined
  /** Seconds from the start of an epoch until the window is again what it was. */
  private plateauS = 0

  get inSlowStart(): boolean {
    return this.windowPackets < this.thresholdPackets
  }

  /** One packet is acknowledged that was sent after the last loss was noticed. */
  onAcked(nowUs: number, smoothedRttUs: number): void {
    if (this.inSlowStart) {
      this.windowPackets++
      return
    }
    if (this.epochAtUs === undefined) {
      this.epochAtUs = nowUs
      this.lastMaxPackets = Math.max(this.lastMaxPackets, this.windowPackets)
      this.plateauS = Math.cbrt((this.lastMaxPackets - this.windowPackets) / C)
      this.renoPackets = this.windowPackets
    }
    const aheadS = (nowUs - this.epochAtUs + smoothedRttUs) / 1e6
    const cubic = this.lastMaxPackets + C * (aheadS - this.plateauS) ** 3
    this.renoPackets += RENO_ALPHA / this.windowPackets
    const target = Math.min(Math.max(cubic, this.renoPackets), 1.5 * this.windowPackets)
    if (target > this.windowPackets) this.windowPackets += (target - this.windowPackets) / this.windowPackets
  }

  /** Once per round trip in which something was lost. */
  onLoss(): void {
    this.epochAtUs = undefined
    // Fast convergence: whoever has less than before gives room to a newcomer.
    const shrinking = this.windowPackets < this.lastMaxPackets
    this.lastMaxPackets = this.windowPackets * (shrinking ? (1 + BETA) / 2 : 1)
    this.windowPackets = Math.max(WINDOW_PACKETS_MIN, this.windowPackets * BETA)
    this.thresholdPackets = this.windowPackets
  }
}
