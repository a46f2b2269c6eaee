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
 * were asked for. A 4-ary heap of record numbers over typed arrays, with the times beside the numbers: no object per
 * event.
 */
export class Clock {
  now: Instant = 0
  /** Events that have happened. */
  fired = 0
  readonly trace = new TraceHash()

  private capacity = 1024
  private order = new Float64Array(this.capacity)
  private argument = new Float64Array(this.capacity)
  private readonly handler: (Handler | undefined)[] = new Array(this.capacity).fill(undefined)
  private heap = new Int32Array(this.capacity)
  /** Time of each entry of {@link heap}. */
  private heapAt = new Float64Array(this.capacity)
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
    this.order[record] = this.asked++
    this.argument[record] = argument
    this.handler[record] = handler
    this.siftUp(this.heapCount++, record, time > this.now ? time : this.now)
  }

  /** Calls a function once: for rare things, such as a change of a link. */
  call(time: Instant, action: (now: Instant) => void): void {
    this.at(time, { id: -1, fire: (_argument, now) => action(now) })
  }

  /** Lets everything up to and including `end` happen. */
  run(end: Instant): void {
    while (this.heapCount > 0) {
      const record = this.heap[0]!
      const time = this.heapAt[0]!
      if (time > end) break
      if (--this.heapCount > 0) this.siftDown(this.heap[this.heapCount]!, this.heapAt[this.heapCount]!)
      const handler = this.handler[record]!
      const argument = this.argument[record]!
      this.handler[record] = undefined
      this.freeRecords[this.freeCount++] = record
      if (time < this.now) assert(false, 'virtual time went back')
      this.now = time
      this.fired++
      this.trace.add(time)
      this.trace.add((handler.id << 16) ^ argument)
      handler.fire(argument, time)
    }
    this.now = Math.max(this.now, end)
  }

  /** A new record comes after all others of its instant. */
  private siftUp(start: number, record: number, time: Instant): void {
    const { heap, heapAt } = this
    let i = start
    while (i > 0) {
      const parent = (i - 1) >> 2
      const parentAt = heapAt[parent]!
      if (parentAt <= time) break
      heap[i] = heap[parent]!
      heapAt[i] = parentAt
      i = parent
    }
    heap[i] = record
    heapAt[i] = time
  }

  private siftDown(record: number, time: Instant): void {
    const { heap, heapAt, order } = this
    const n = this.heapCount
    let i = 0
    for (;;) {
      const first = 4 * i + 1
      if (first >= n) break
      let least = first
      let leastAt = heapAt[first]!
      const end = Math.min(first + 4, n)
      for (let child = first + 1; child < end; child++) {
        const at = heapAt[child]!
        if (at < leastAt || (at === leastAt && order[heap[child]!]! < order[heap[least]!]!)) {
          least = child
          leastAt = at
        }
      }
      const child = heap[least]!
      if (leastAt > time || (leastAt === time && order[child]! > order[record]!)) break
      heap[i] = child
      heapAt[i] = leastAt
      i = least
    }
    heap[i] = record
    heapAt[i] = time
  }

  private grow(): void {
    this.capacity *= 2
    const larger = <T extends Float64Array | Int32Array>(old: T, fresh: T): T => {
      fresh.set(old)
      return fresh
    }
    this.order = larger(this.order, new Float64Array(this.capacity))
    this.argument = larger(this.argument, new Float64Array(this.capacity))
    this.heap = larger(this.heap, new Int32Array(this.capacity))
    this.heapAt = larger(this.heapAt, new Float64Array(this.capacity))
    this.freeRecords = larger(this.freeRecords, new Int32Array(this.capacity))
  }
}
