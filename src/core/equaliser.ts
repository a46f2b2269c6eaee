import { assert } from '../base/assert.js'
import type { SlotRing } from '../base/slot-ring.js'
import { type DurationUs, type Instant, MILLISECOND, NEVER } from '../base/time.js'

/** Beyond any satellite: what is further apart is a fault, and waiting for it would stop everything. */
export const EQUALISER_SPREAD_US_MAX: DurationUs = 400 * MILLISECOND
/** Packets that are due within the same tick leave together, at its end. */
const TICK_US = 250
/** A power of two, and more ticks than the greatest spread has. */
const TICKS = 2048
const NONE = -1

/**
 * Where packets wait until they are old enough for the TCP inside. With the policy `bond` that is as old as they
 * would be by the slowest path alive: one constant delay whichever path a packet took, from its first packet on. So
 * it is for long transfers, only that it begins later (long-transfers.ts).
 *
 * Stands between the resequencer's order and the TUN: a wheel of {@link TICKS}, each a list of slots, so that flows
 * with different delays do not wait for each other. What is pushed for one instant leaves in the order of the calls.
 */
export class Equaliser {
  private readonly heads = new Int32Array(TICKS).fill(NONE)
  private readonly tails = new Int32Array(TICKS)
  /** By slot. */
  private readonly next: Int32Array
  /** Slots that wait. */
  count = 0
  private readonly countMax: number
  /** Everything up to this tick has left. */
  private leftTick = 0
  /** The first tick that has a slot, while there is one. */
  private firstTick = 0

  /**
   * @param slotCount slots have smaller numbers
   * @param output takes those that are due
   */
  constructor(
    slotCount: number,
    private readonly output: SlotRing,
  ) {
    this.next = new Int32Array(slotCount)
    this.countMax = slotCount / 4
  }

  /** Takes over a slot that may go out at `dueAt`, but waits no longer than the greatest spread. Returns when it will. */
  push(slot: number, dueAt: Instant, now: Instant): Instant {
    // Memory is everybody's: beyond its share what waits goes, in its order.
    if (this.count >= this.countMax) this.releaseAll()
    // A stamp of a clock that began anew may name any time; what comes later must not wait for it.
    let tick = Math.ceil(Math.min(dueAt, now + EQUALISER_SPREAD_US_MAX) / TICK_US)
    // After a long pause the wheel has to be turned on before there is room.
    if (tick - this.leftTick >= TICKS) this.release(now)
    tick = Math.max(tick, this.leftTick + 1)
    if (tick - this.leftTick >= TICKS) assert(false, 'a packet is to wait for longer than the equaliser can')
    if (this.count === 0 || tick < this.firstTick) this.firstTick = tick
    const at = tick & (TICKS - 1)
    if (this.heads[at] === NONE) this.heads[at] = slot
    else this.next[this.tails[at]!] = slot
    this.tails[at] = slot
    this.next[slot] = NONE
    this.count++
    return tick * TICK_US
  }

  /** Whether a slot may still be here for which {@link push} returned `dueAt`. */
  mayHold(dueAt: Instant): boolean {
    return this.count > 0 && dueAt > this.leftTick * TICK_US
  }

  /** Moves what is due to the output. */
  release(now: Instant): void {
    const tick = Math.floor(now / TICK_US)
    while (this.count > 0 && this.firstTick <= tick) this.releaseTick()
    if (tick > this.leftTick) this.leftTick = tick
  }

  /** Moves everything to the output, in the order in which it would be due. */
  releaseAll(): void {
    while (this.count > 0) this.releaseTick()
  }

  nextTimeout(): Instant {
    return this.count === 0 ? NEVER : this.firstTick * TICK_US
  }

  private releaseTick(): void {
    const { heads, next } = this
    let slot = heads[this.firstTick & (TICKS - 1)]!
    heads[this.firstTick & (TICKS - 1)] = NONE
    while (slot !== NONE) {
      this.count--
      this.output.push(slot)
      slot = next[slot]!
    }
    if (this.count === 0) return
    do this.firstTick++
    while (heads[this.firstTick & (TICKS - 1)] === NONE)
  }
}
