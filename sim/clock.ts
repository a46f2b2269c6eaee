import { assert } from '../src/base/assert.js'
import type { Instant } from '../src/base/time.js'

/** Something that waits for events. `id` goes into the trace, so it must be the same in each run of a seed. */
export interface Handler {
  readonly id: number
  fire(argument: number, now: Instant): void
}

const FNV_PRIME = 0x01000193
const FNV_BASIS = 0x811c9dc5

/**
 * FNV-1a over 32-bit words, two lanes: a fingerprint of everything that happened. Equal seeds must give equal
 * hashes; a difference means that something reads a clock, a memory address or the order of a Set.
 */
export class TraceHash {
  private low = FNV_BASIS
  private high = ~FNV_BASIS

  add(word: number): void {
    this.low = Math.imul(this.low ^ (word | 0), FNV_PRIME)
    this.low ^= this.low >>> 15
    this.high = Math.imul(this.high ^ (this.low + word), 0x85ebca6b)
  }

  toString(): string {
    const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0')
    return hex(this.high) + hex(this.low)
  }
}

/**
 * Virtual time, in µs, and what is to happen in it. Events of the same instant happen in the order in which they
 * were asked for. A 4-ary heap of record numbers over typed arrays: no object per event.
 */
export class Clock {
  now: Instant = 0
  /** Events that have happened. */
  fired = 0
  readonly trace = new TraceHash()

  private capacity = 1024
  private at_ = new Float64Array(this.capacity)
  private order = new Float64Array(this.capacity)
  private argument = new Float64Array(this.capacity)
  private readonly handler: (Handler | undefined)[] = new Array(this.capacity).fill(undefined)
  private heap = new Int32Array(this.capacity)
  private heapCount = 0
  private freeRecords = new Int32Array(this.capacity)
  private freeCount = 0
  private unused = 0
  private asked = 0
  private handlers = 0

  /** A number for a new handler. */
  nextHandlerId(): number {
    return this.handlers++
  }

  get pending(): number {
    return this.heapCount
  }

  /** Calls `handler.fire(argument)` at `time`; a time that is past means now, after what already waits for now. */
  at(time: Instant, handler: Handler, argument = 0): void {
    const record = this.freeCount > 0 ? this.freeRecords[--this.freeCount]! : this.unused++
    if (record >= this.capacity) this.grow()
    this.at_[record] = time > this.now ? time : this.now
    this.order[record] = this.asked++
    this.argument[record] = argument
    this.handler[record] = handler
    this.siftUp(this.heapCount++, record)
  }

  /** Calls a function once: for rare things, such as a change of a link. */
  call(time: Instant, action: (now: Instant) => void): void {
    this.at(time, { id: -1, fire: (_argument, now) => action(now) })
  }

  /** Lets everything up to and including `end` happen. */
  run(end: Instant): void {
    while (this.heapCount > 0) {
      const record = this.heap[0]!
      const time = this.at_[record]!
      if (time > end) break
      const last = this.heap[--this.heapCount]!
      if (this.heapCount > 0) this.siftDown(last)
      const handler = this.handler[record]!
      const argument = this.argument[record]!
      this.handler[record] = undefined
      this.freeRecords[this.freeCount++] = record
      assert(time >= this.now, 'virtual time went back')
      this.now = time
      this.fired++
      this.trace.add(time)
      this.trace.add((handler.id << 16) ^ argument)
      handler.fire(argument, time)
    }
    this.now = Math.max(this.now, end)
  }

  private before(a: number, b: number): boolean {
    const ta = this.at_[a]!
    const tb = this.at_[b]!
    return ta < tb || (ta === tb && this.order[a]! < this.order[b]!)
  }

  private siftUp(start: number, record: number): void {
    let i = start
    while (i > 0) {
      const parent = (i - 1) >> 2
      const other = this.heap[parent]!
      if (!this.before(record, other)) break
      this.heap[i] = other
      i = parent
    }
    this.heap[i] = record
  }

  private siftDown(record: number): void {
    const n = this.heapCount
    let i = 0
    for (;;) {
      const first = 4 * i + 1
      if (first >= n) break
      let least = first
      const end = Math.min(first + 4, n)
      for (let child = first + 1; child < end; child++) {
        if (this.before(this.heap[child]!, this.heap[least]!)) least = child
      }
      const child = this.heap[least]!
      if (!this.before(child, record)) break
      this.heap[i] = child
      i = least
    }
    this.heap[i] = record
  }

  private grow(): void {
    this.capacity *= 2
    const larger = <T extends Float64Array | Int32Array>(old: T, fresh: T): T => {
      fresh.set(old)
      return fresh
    }
    this.at_ = larger(this.at_, new Float64Array(this.capacity))
    this.order = larger(this.order, new Float64Array(this.capacity))
    this.argument = larger(this.argument, new Float64Array(this.capacity))
    this.heap = larger(this.heap, new Int32Array(this.capacity))
    this.freeRecords = larger(this.freeRecords, new Int32Array(this.capacity))
  }
}
