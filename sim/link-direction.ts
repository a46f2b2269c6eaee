import type { Prng } from '../src/base/prng.js'
import type { DurationUs, Instant } from '../src/base/time.js'
import type { Clock, Handler } from './clock.js'
import type { DatagramStore } from './datagram-store.js'

/** One direction of a model link. All of it may be changed while it runs. */
export interface LinkParameters {
  /** Of frames, headers included; Infinity: the link is no bottleneck. */
  rateBytesPerSec: number
  /** Tail drop beyond this. */
  queueBytesMax: number
  /** Headers counted with each datagram: IP, UDP and frame. */
  overheadBytes: number
  /** One way. */
  delayUs: DurationUs
  /** Mean of an exponential extra delay (at most five times that), drawn anew every 10 ms. */
  jitterUs: DurationUs
  /** Jitter may change the order of datagrams. */
  jitterReorders: boolean
  /** Share of datagrams lost at random. */
  loss: number
  /** Gilbert's model: shares with which a run of losses begins and ends, per datagram. */
  burstBegin: number
  burstEnd: number
  duplicate: number
  /** Share of datagrams held back by about `reorderUs` while others overtake. */
  reorder: number
  reorderUs: DurationUs
  /** Share of datagrams with one bit turned round. */
  flip: number
  /** Takes everything, gives nothing, tells nobody. */
  blackhole: boolean
}

export const PERFECT_LINK: LinkParameters = {
  rateBytesPerSec: Number.POSITIVE_INFINITY,
  queueBytesMax: 1 << 20,
  overheadBytes: 42,
  delayUs: 5_000,
  jitterUs: 0,
  jitterReorders: false,
  loss: 0,
  burstBegin: 0,
  burstEnd: 0.3,
  duplicate: 0,
  reorder: 0,
  reorderUs: 3_000,
  flip: 0,
  blackhole: false,
}

const JITTER_STEP_US = 10_000

/** What became of the datagrams that were put in. */
export class DirectionCounts {
  entered = 0
  enteredBytes = 0
  passed = 0
  passedBytes = 0
  queueDropped = 0
  lost = 0
  duplicated = 0
  flipped = 0
}

/**
 * One direction of a link: a queue, a line of some rate, and a way on which things are delayed, lost, doubled,
 * damaged and overtaken. Datagrams come out at `output`; those that do not are given to `lost`.
 */
export class LinkDirection {
  readonly counts = new DirectionCounts()
  queueBytes = 0
  /** Called when the queue has come down to `roomBelow` bytes: a blocked sender may go on. */
  onRoom: (() => void) | undefined
  roomBelow = 0

  private readonly queue: number[] = []
  private queueHead = 0
  private serving = -1
  private bad = false
  private jitterStep = -1
  private jitter = 0
  private lastArrival = 0
  private readonly line: Handler
  private readonly way: Handler

  constructor(
    readonly parameters: LinkParameters,
    private readonly clock: Clock,
    private readonly store: DatagramStore,
    private readonly random: Prng,
    private readonly output: (slot: number, now: Instant) => void,
    private readonly lost: (slot: number) => void,
  ) {
    this.line = { id: clock.nextHandlerId(), fire: (slot, now) => this.served(slot, now) }
    this.way = {
      id: clock.nextHandlerId(),
      fire: (slot, now) => {
        this.counts.passed++
        this.counts.passedBytes += this.frameBytes(slot)
        this.output(slot, now)
      },
    }
  }

  private frameBytes(slot: number): number {
    return this.store.length[slot]! + this.parameters.overheadBytes
  }

  push(slot: number, now: Instant): void {
    const bytes = this.frameBytes(slot)
    this.counts.entered++
    this.counts.enteredBytes += bytes
    if (this.parameters.rateBytesPerSec === Number.POSITIVE_INFINITY && this.serving < 0) {
      this.leave(slot, now)
      return
    }
    if (this.serving >= 0 && this.queueBytes + bytes > this.parameters.queueBytesMax) {
      this.counts.queueDropped++
      this.lost(slot)
      return
    }
    this.queueBytes += bytes
    if (this.serving < 0) this.serve(slot, now)
    else this.queue.push(slot)
  }

  private serve(slot: number, now: Instant): void {
    this.serving = slot
    this.clock.at(now + (this.frameBytes(slot) * 1e6) / this.parameters.rateBytesPerSec, this.line, slot)
  }

  private served(slot: number, now: Instant): void {
    this.queueBytes -= this.frameBytes(slot)
    this.serving = -1
    if (this.queueHead < this.queue.length) {
      this.serve(this.queue[this.queueHead++]!, now)
      if (this.queueHead > 1024) {
        this.queue.splice(0, this.queueHead)
        this.queueHead = 0
      }
    } else if (this.queueHead > 0) {
      this.queue.length = 0
      this.queueHead = 0
    }
    this.leave(slot, now)
    if (this.onRoom && this.queueBytes <= this.roomBelow) {
      const tell = this.onRoom
      this.onRoom = undefined
      tell()
    }
  }

  /** The datagram is on its way. */
  private leave(slot: number, now: Instant): void {
    const p = this.parameters
    const random = this.random
    if (p.burstBegin > 0) this.bad = random.next() < (this.bad ? 1 - p.burstEnd : p.burstBegin)
    else this.bad = false
    if (p.blackhole || this.bad || (p.loss > 0 && random.next() < p.loss)) {
      this.counts.lost++
      this.lost(slot)
      return
    }
    if (p.duplicate > 0 && random.next() < p.duplicate) {
      this.counts.duplicated++
      this.travel(this.store.copy(slot), now)
    }
    if (p.flip > 0 && random.next() < p.flip) {
      this.counts.flipped++
      const at = this.store.offset(slot) + random.below(this.store.length[slot]!)
      this.store.chunk(slot)[at]! ^= 1 << random.below(8)
      this.store.forged[slot] = 1
    }
    this.travel(slot, now)
  }

  private travel(slot: number, now: Instant): void {
    const p = this.parameters
    let arrival = now + p.delayUs
    if (p.jitterUs > 0) {
      const step = Math.floor(now / JITTER_STEP_US)
      if (step !== this.jitterStep || p.jitterReorders) {
        this.jitterStep = step
        this.jitter = Math.min(5 * p.jitterUs, -p.jitterUs * Math.log(1 - this.random.next()))
      }
      arrival += this.jitter
    }
    if (p.reorder > 0 && this.random.next() < p.reorder) {
      arrival += -p.reorderUs * Math.log(1 - this.random.next())
    } else if (!p.jitterReorders) {
      arrival = Math.max(arrival, this.lastArrival)
      this.lastArrival = arrival
    }
    this.clock.at(arrival, this.way, slot)
  }
}
