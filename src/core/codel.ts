import type { DurationUs, Instant } from '../base/time.js'

/** So many drops in a row each have the time to show what they do; a flow that all of them leave cold gets more. */
const PATIENT_DROPS = 4

/**
 * CoDel (RFC 8289) for many queues, its state in flat arrays: whether the packet at the head of a queue, which is
 * about to leave, is to be dropped or marked so that the queue stays short.
 *
 * In one point it waits longer than the RFC, whose queues hold less than an interval. A sender hears of a drop a round trip
 * later, gives back its share of the window within the next one, and that one is as long as the queue. Dropped again
 * before, one flow gives back twice for the same queue, and its window is far too small (kernel, CUBIC: four drops within a
 * second for a queue of 200 ms, then twelve seconds without any).
 */
export class Codel {
  /** Of the paths below, without the queue. */
  roundTripUs: DurationUs = 0
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
      this.dropNextAt[queue] = this.controlLaw(this.dropNextAt[queue]!, this.drops[queue]!, sojournUs)
      return true
    }
    if (!mayDrop) return false
    this.dropping[queue] = 1
    // RFC 8289, 5.5: if it has only just stopped, go on near the rate that did it last time.
    const recent = this.drops[queue]! - this.dropsBefore[queue]!
    const isRecent = now - this.dropNextAt[queue]! < 16 * this.intervalUs
    this.drops[queue] = recent > 1 && isRecent ? recent : 1
    this.dropsBefore[queue] = this.drops[queue]!
    this.dropNextAt[queue] = this.controlLaw(now, this.drops[queue]!, sojournUs)
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

  private controlLaw(from: Instant, drops: number, sojournUs: DurationUs): Instant {
    const effectUs = Math.min(1, PATIENT_DROPS / drops) * (2 * this.roundTripUs + sojournUs)
    return from + Math.max(this.intervalUs / Math.sqrt(drops), effectUs)
  }
}
