import type { Prng } from '../src/base/prng.js'
import type { DurationUs, Instant } from '../src/base/time.js'
import type { Clock, Handler } from './clock.js'
import type { DatagramStore } from './datagram-store.js'

/**
 * One direction of a model link. All of it may be changed while it runs; a rate counts from the next frame on. What a
 * frame meets, and in which order, is as in the lab's emulator (native/wan/direction.c).
 */
export interface LinkParameters {
  /** Of frames, headers included; Infinity: the link is no bottleneck. */
  rateBytesPerSec: number
  /** What may wait beside the frame on the line before the tail is dropped: the least of three measures counts. */
  queueBytesMax: number
  queuePacketsMax: number
  queueUsMax: DurationUs
  /** Headers counted with each datagram: IP, UDP and frame. */
  overheadBytes: number
  /** Larger frames vanish. */
  frameBytesMax: number
  /** One way. */
  delayUs: DurationUs
  /** Plus or minus, evenly spread; a drawn value lasts `jitterHoldUs`. */
  jitterUs: DurationUs
  jitterHoldUs: DurationUs
  /** A datagram with less jitter waits for those before it. */
  keepOrder: boolean
  /** Share of datagrams lost at random. */
  loss: number
  /** Gilbert's model: shares with which a run of losses begins and ends, per datagram. */
  burstBegin: number
  burstEnd: number
  duplicate: number
  /** Share of datagrams held back by `reorderUs` while others overtake. */
  reorder: number
  reorderUs: DurationUs
  /** Share of datagrams with one bit turned round. */
  flip: number
  /** Takes everything, what is under way too, gives nothing, tells nobody. */
  blackhole: boolean
}

export const PERFECT_LINK: LinkParameters = {
  rateBytesPerSec: Number.POSITIVE_INFINITY,
  queueBytesMax: 1 << 20,
  queuePacketsMax: Number.POSITIVE_INFINITY,
  queueUsMax: Number.POSITIVE_INFINITY,
  overheadBytes: 42,
  frameBytesMax: Number.POSITIVE_INFINITY,
  delayUs: 5_000,
  jitterUs: 0,
  jitterHoldUs: 10_000,
  keepOrder: true,
  loss: 0,
  burstBegin: 0,
  burstEnd: 0.3,
  duplicate: 0,
  reorder: 0,
  reorderUs: 3_000,
  flip: 0,
  blackhole: false,
}

/** What became of the datagrams that were put in. */
export class DirectionCounts {
  entered = 0
  enteredBytes = 0
  passed = 0
  passedBytes = 0
  queueDropped = 0
  tooLarge = 0
  lost = 0
  swallowed = 0
  duplicated = 0
  reordered = 0
  flipped = 0
}

/** Slots in order of arrival, with a time each where one is given. Grows as needed. */
class SlotFifo {
  count = 0
  private capacity = 64
  private head = 0
  private slots = new Int32Array(this.capacity)
  private times = new Float64Array(this.capacity)

  push(slot: number, time: Instant): void {
    if (this.count === this.capacity) this.grow()
    const at = (this.head + this.count++) & (this.capacity - 1)
    this.slots[at] = slot
    this.times[at] = time
  }
  get firstTime(): Instant {
    return this.times[this.head]!
  }
  shift(): number {
    const slot = this.slots[this.head]!
    this.head = (this.head + 1) & (this.capacity - 1)
    this.count--
    return slot
  }

  private grow(): void {
    const slots = new Int32Array(this.capacity * 2)
    const times = new Float64Array(this.capacity * 2)
    for (let i = 0; i < this.count; i++) {
      const at = (this.head + i) & (this.capacity - 1)
      slots[i] = this.slots[at]!
      times[i] = this.times[at]!
    }
    this.slots = slots
    this.times = times
    this.head = 0
    this.capacity *= 2
  }
}

/**
 * One direction of a link: a queue, a line of some rate, and a way on which things are delayed, lost, doubled,
 * damaged and overtaken. Datagrams come out at `output`; those that do not are given to `lost`.
 */
export class LinkDirection {
  readonly counts = new DirectionCounts()
  /** Frames that wait or are being sent, bytes. */
  queueBytes = 0
  queueBytesSeenMax = 0
  /** Called when the queue has come down to `roomBelow` bytes: a blocked sender may go on. */
  onRoom: (() => void) | undefined
  roomBelow = 0

  private readonly waiting = new SlotFifo()
  private servingBytes = 0
  /** Datagrams on the way that come out in order; those that may be overtaken have an event each. */
  private readonly underway = new SlotFifo()
  private bad = false
  private jitterUntil = Number.NEGATIVE_INFINITY
  private jitter = 0
  private lastArrival = 0
  private readonly line: Handler
  private readonly way: Handler
  private readonly aside: Handler

  constructor(
    readonly parameters: LinkParameters,
    private readonly clock: Clock,
    private readonly store: DatagramStore,
    private readonly random: Prng,
    private readonly output: (slot: number, now: Instant) => void,
    private readonly lost: (slot: number) => void,
  ) {
    this.line = { id: clock.nextHandlerId(), fire: (slot, now) => this.served(slot, now) }
    this.way = { id: clock.nextHandlerId(), fire: (_argument, now) => this.arrive(now) }
    this.aside = { id: clock.nextHandlerId(), fire: (slot, now) => this.come(slot, now) }
  }

  private frameBytes(slot: number): number {
    return this.store.length[slot]! + this.parameters.overheadBytes
  }

  private swallow(slot: number): void {
    this.counts.swallowed++
    this.lost(slot)
  }

  push(slot: number, now: Instant): void {
    const p = this.parameters
    const bytes = this.frameBytes(slot)
    this.counts.entered++
    this.counts.enteredBytes += bytes
    if (p.blackhole) {
      this.swallow(slot)
      return
    }
    if (bytes > p.frameBytesMax) {
      this.counts.tooLarge++
      this.lost(slot)
      return
    }
    if (this.servingBytes === 0 && p.rateBytesPerSec === Number.POSITIVE_INFINITY) {
      this.leave(slot, now)
      return
    }
    if (this.servingBytes > 0 && this.isFull(bytes)) {
      this.counts.queueDropped++
      this.lost(slot)
      return
    }
    this.queueBytes += bytes
    if (this.queueBytes > this.queueBytesSeenMax) this.queueBytesSeenMax = this.queueBytes
    if (this.servingBytes === 0) this.serve(slot, now)
    else this.waiting.push(slot, now)
  }

  private isFull(bytes: number): boolean {
    const p = this.parameters
    const waitingBytes = this.queueBytes - this.servingBytes + bytes
    return (
      waitingBytes > p.queueBytesMax ||
      this.waiting.count + 1 > p.queuePacketsMax ||
      waitingBytes * 1e6 > p.queueUsMax * p.rateBytesPerSec
    )
  }

  private serve(slot: number, now: Instant): void {
    this.servingBytes = this.frameBytes(slot)
    this.clock.at(now + (this.servingBytes * 1e6) / this.parameters.rateBytesPerSec, this.line, slot)
  }

  private served(slot: number, now: Instant): void {
    this.queueBytes -= this.servingBytes
    this.servingBytes = 0
    if (this.waiting.count > 0) this.serve(this.waiting.shift(), now)
    this.leave(slot, now)
    if (this.onRoom && this.queueBytes <= this.roomBelow) {
      const tell = this.onRoom
      this.onRoom = undefined
      tell()
    }
  }

  /** The last bit of the datagram left the sender. */
  private leave(slot: number, now: Instant): void {
    const p = this.parameters
    const random = this.random
    if (p.blackhole) {
      this.swallow(slot)
      return
    }
    if (p.burstBegin > 0) this.bad = random.next() < (this.bad ? 1 - p.burstEnd : p.burstBegin)
    else this.bad = false
    if (this.bad || (p.loss > 0 && random.next() < p.loss)) {
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
      this.store.slab[at]! ^= 1 << random.below(8)
      this.store.forged[slot] = 1
    }
    this.travel(slot, now)
  }

  private travel(slot: number, now: Instant): void {
    const p = this.parameters
    let arrival = now + p.delayUs
    if (p.jitterUs > 0) {
      if (now >= this.jitterUntil) {
        this.jitterUntil = now + p.jitterHoldUs
        this.jitter = (2 * this.random.next() - 1) * p.jitterUs
      }
      arrival = Math.max(now, arrival + this.jitter)
    }
    if (p.keepOrder && arrival < this.lastArrival) arrival = this.lastArrival
    if (p.reorder > 0 && this.random.next() < p.reorder) {
      this.counts.reordered++
      this.clock.at(arrival + p.reorderUs, this.aside, slot)
      return
    }
    if (arrival < this.lastArrival) {
      this.clock.at(arrival, this.aside, slot)
      return
    }
    this.lastArrival = arrival
    this.underway.push(slot, arrival)
    if (this.underway.count === 1) this.clock.at(arrival, this.way)
  }

  private arrive(now: Instant): void {
    const slot = this.underway.shift()
    if (this.underway.count > 0) this.clock.at(this.underway.firstTime, this.way)
    this.come(slot, now)
  }

  private come(slot: number, now: Instant): void {
    if (this.parameters.blackhole) {
      this.swallow(slot)
      return
    }
    this.counts.passed++
    this.counts.passedBytes += this.frameBytes(slot)
    this.output(slot, now)
  }
}
