import type { DurationUs, Instant } from '../base/time.js'

/**
 * CoDel (RFC 8289) for many queues, its state in flat arrays: whether the packet at the head of a queue, which is
 * about to leave, is to be dropped or marked so that the queue stays short.
 */
export class Codel {
  /** When a queue has been above target for a whole interval; 0: it is below. */
  private readonly firstAboveAt: Float64Array
  private readonly dropNextAt: Float64Array
  private readonly dropping: Uint8Array
  private readonly drops: Uint32Array
  private readonly dropsBefore: Uint32Array

  constructor(
    queues: number,
    public targetUs: DurationUs,
    public intervalUs: DurationUs,
  ) {
    this.firstAboveAt = new Float64Array(queues)
    this.dropNextAt = new Float64Array(queues)
    this.dropping = new Uint8Array(queues)
    this.drops = new Uint32Array(queues)
    this.dropsBefore = new Uint32Array(queues)
  }

  /**
   * Asks for the packet that leaves queue `queue` after `sojournUs`. When it says yes and the packet is dropped, the
   * next one is to be asked for too; a marked one leaves.
   *
   * @param isShort whether the queue holds no more than one full packet: then there is nothing to shorten
   */
  signal(queue: number, sojournUs: DurationUs, isShort: boolean, now: Instant): boolean {
    const mayDrop = this.isAbove(queue, sojournUs, isShort, now)
    if (this.dropping[queue] === 1) {
      if (!mayDrop) {
        this.dropping[queue] = 0
        return false
      }
      if (now < this.dropNextAt[queue]!) return false
      this.drops[queue]!++
      this.dropNextAt[queue] = this.controlLaw(this.dropNextAt[queue]!, this.drops[queue]!)
      return true
    }
    if (!mayDrop) return false
    this.dropping[queue] = 1
    // RFC 8289, 5.5: if it has only just stopped, go on near the rate that did it last time.
    const recent = this.drops[queue]! - this.dropsBefore[queue]!
    const isRecent = now - this.dropNextAt[queue]! < 16 * this.intervalUs
    this.drops[queue] = recent > 1 && isRecent ? recent : 1
    this.dropsBefore[queue] = this.drops[queue]!
    this.dropNextAt[queue] = this.controlLaw(now, this.drops[queue]!)
    return true
  }

  /** The queue ran empty. */
  emptied(queue: number): void {
    this.firstAboveAt[queue] = 0
    this.dropping[queue] = 0
  }

  private isAbove(queue: number, sojournUs: DurationUs, isShort: boolean, now: Instant): boolean {
    if (sojournUs < this.targetUs || isShort) {
      this.firstAboveAt[queue] = 0
      return false
    }
    const firstAboveAt = this.firstAboveAt[queue]!
    if (firstAboveAt === 0) {
      this.firstAboveAt[queue] = now + this.intervalUs
      return false
    }
    return now >= firstAboveAt
  }

  private controlLaw(from: Instant, drops: number): Instant {
    return from + this.intervalUs / Math.sqrt(drops)
  }
}
