import fc from 'fast-check'
import { beforeEach, describe, expect, it, test } from 'vitest'
import { PacketPool, SLOT_BYTES } from '../base/packet-pool.js'
import { Prng } from '../base/prng.js'
import { type Instant, MILLISECOND } from '../base/time.js'
import { PacketView, TcpFlag } from '../wire/ip.js'
import { DropCounters } from './drop-reasons.js'
import { EgressQueue } from './egress-queue.js'
import { EgressSlots } from './egress-slots.js'
import { PacketClass } from './flow-table.js'
import { type Ack, PLAIN, read, write } from './testing/pure-acks.js'

const SLOTS = 4096

class Line {
  readonly pool = new PacketPool(SLOTS * SLOT_BYTES)
  readonly drops = new DropCounters()
  readonly queue = new EgressQueue(this.pool, this.drops, new EgressSlots(SLOTS))
  readonly view = new PacketView()
  now: Instant = 0

  put(change: Partial<Ack>): void {
    const slot = this.pool.take()
    write(this.pool, slot, { ...PLAIN, ...change })
    expect(this.view.parse(this.pool, slot)).toBe(true)
    expect(this.view.isPureAck).toBe(true)
    this.queue.enqueue(slot, 0, PacketClass.PureAck, this.view.length, this.now)
  }

  get(): Ack | undefined {
    const slot = this.queue.dequeue(this.now)
    if (slot < 0) return undefined
    const ack = read(this.pool, slot)
    this.pool.release(slot)
    return ack
  }

  /** All that stands in it. */
  drain(): Ack[] {
    const result: Ack[] = []
    for (let ack = this.get(); ack !== undefined; ack = this.get()) result.push(ack)
    expect(this.queue.bytes).toBe(0)
    expect(this.queue.packets).toBe(0)
    expect(this.pool.freeCount).toBe(SLOTS)
    return result
  }
}

let line: Line
beforeEach(() => {
  line = new Line()
  // Something stands in it already, and for long enough.
  line.put({ flow: 99 })
  line.now += 2 * MILLISECOND
})

/** What leaves the line of two ACKs of which the second differs as given. */
function pair(first: Partial<Ack>, second: Partial<Ack>): Ack[] {
  line.put(first)
  line.put({ acknowledgement: 2_000, ...second })
  return line.drain().slice(1)
}

describe('an ACK in the line gives way to a newer one of its flow', () => {
  it.each([4, 6] as const)('that acknowledges more, IPv%d', (family) => {
    const left = pair({ family }, { family, acknowledgement: 2_000, window: 600, timestamp: 12 })
    expect(left).toEqual([{ ...PLAIN, family, acknowledgement: 2_000, window: 600, timestamp: 12 }])
    expect(line.queue.acksThinned).toBe(1)
    expect(line.drops.snapshot()).toEqual({})
  })
  it('without options, and over the end of sequence space', () => {
    const left = pair(
      { timestamp: undefined, acknowledgement: 2 ** 32 - 5 },
      { timestamp: undefined, acknowledgement: 5 },
    )
    expect(left.map((each) => each.acknowledgement)).toEqual([5])
  })
  it('whose SACK blocks and acknowledgement cover its blocks, and the bytes that wait are right', () => {
    const sack: [number, number][] = [[3_000, 4_000]]
    expect(
      pair(
        { sack },
        {
          acknowledgement: 1_000,
          sack: [
            [6_000, 7_000],
            [3_000, 5_000],
          ],
        },
      ),
    ).toHaveLength(1)
    line.put({ flow: 99 })
    line.now += 2 * MILLISECOND
    line.put({ sack })
    line.put({ acknowledgement: 4_000 })
    expect(line.queue.bytes).toBe(2 * 52)
    expect(line.drain()).toHaveLength(2)
  })
})

describe('both stay', () => {
  const sack: [number, number][] = [[3_000, 4_000]]
  it.each<[string, Partial<Ack>, Partial<Ack>]>([
    ['duplicate ACKs', {}, { acknowledgement: 1_000 }],
    ['a window update', {}, { acknowledgement: 1_000, window: 900 }],
    ['an older one after a newer', { acknowledgement: 3_000 }, {}],
    ['congestion is told', {}, { flags: TcpFlag.Ack | TcpFlag.Ece }],
    ['congestion is no longer told', { flags: TcpFlag.Ack | TcpFlag.Ece }, {}],
    ["a bit of AccECN's counter", {}, { flags: TcpFlag.Ack | 0x100 }],
    ['a keepalive', {}, { sequence: 6_999 }],
    ['another flow', {}, { flow: 2 }],
    ['another version of IP', {}, { family: 6 }],
    ['a time stamp that goes back', {}, { timestamp: 9 }],
    ['no time stamp any more', {}, { timestamp: undefined }],
    ["multipath TCP's option", {}, { options: [30, 8, 0x20, 1, 0, 0, 0, 9] }],
    ["multipath TCP's option, the older's", { options: [30, 8, 0x20, 1, 0, 0, 0, 9] }, {}],
    ['a SACK block that the newer lacks', { sack }, { acknowledgement: 3_500 }],
    ['a SACK block of which the newer has but a part', { sack }, { sack: [[3_000, 3_900]] }],
    ['a DSACK block below the acknowledgement', { sack: [[500, 1_000]] }, {}],
    [
      'a DSACK block within the second',
      {
        sack: [
          [3_200, 3_300],
          [3_000, 4_000],
        ],
      },
      { acknowledgement: 5_000 },
    ],
    ['the same blocks again', { sack }, { acknowledgement: 1_000, sack }],
    [
      'a window update with blocks',
      { sack },
      { acknowledgement: 1_000, window: 900, sack: [[6_000, 7_000], ...sack] },
    ],
  ])('%s', (_name, first, second) => {
    expect(pair(first, second)).toHaveLength(2)
    expect(line.queue.acksThinned).toBe(0)
  })

  it('one that is gone from the line, whatever its slot holds now', () => {
    line.put({})
    expect(line.get()).toBeDefined()
    expect(line.get()).toMatchObject({ acknowledgement: 1_000 })
    line.put({ flow: 98 })
    line.now += 2 * MILLISECOND
    line.put({ acknowledgement: 2_000 })
    expect(line.drain()).toHaveLength(2)
  })
})

it('keeps the order of a flow: nothing goes past what had to stay', () => {
  line.put({ acknowledgement: 1_000 })
  line.put({ acknowledgement: 1_000, window: 900 })
  line.put({ acknowledgement: 2_000 })
  const left = line.drain().slice(1)
  expect(left.map((each) => [each.acknowledgement, each.window])).toEqual([
    [1_000, 500],
    [2_000, 500],
  ])
})

it('leaves every ninth, and fewer only where the line is so long that it takes 20 ms', () => {
  for (let i = 0; i < 90; i++) line.put({ acknowledgement: 1_000 * i })
  expect(line.queue.packets).toBe(1 + 10)
  line.now += 21 * MILLISECOND
  for (let i = 90; i < 400; i++) line.put({ acknowledgement: 1_000 * i })
  expect(line.queue.packets).toBe(1 + 10)
  expect(line.drain().at(-1)!.acknowledgement).toBe(399_000)
})

it('leaves a line alone that moves', () => {
  line.drain()
  for (let burst = 0; burst < 50; burst++) {
    for (let i = 0; i < 40; i++) line.put({ acknowledgement: burst * 40 + i })
    expect(line.drain()).toHaveLength(40)
    line.now += 100
  }
  expect(line.queue.acksThinned).toBe(0)
})

/** A TCP receiver, and what its sender can know of it from its ACKs. */
class Receiver {
  readonly got = new Set<number>()
  private readonly ranges: [number, number][] = []
  expected = 0

  /** ACK of the arrival of segment `n`, RFC 2018 and 2883. */
  arrive(
    flow: number,
    family: 4 | 6,
    n: number,
    window: number,
    timestamp: number | undefined,
  ): Partial<Ack> {
    const twice = this.got.has(n) || n < this.expected
    this.got.add(n)
    while (this.got.has(this.expected)) this.expected++
    if (!twice) {
      let [left, right] = [n, n + 1]
      for (let i = this.ranges.length - 1; i >= 0; i--) {
        const [from, to] = this.ranges[i]!
        if (to < left || from > right) continue
        left = Math.min(left, from)
        right = Math.max(right, to)
        this.ranges.splice(i, 1)
      }
      this.ranges.unshift([left, right])
    }
    for (let i = this.ranges.length - 1; i >= 0; i--)
      if (this.ranges[i]![1] <= this.expected) this.ranges.splice(i, 1)
    const blocks: [number, number][] = twice ? [[n, n + 1], ...this.ranges] : [...this.ranges]
    const most = timestamp === undefined ? 4 : 3
    const sack = blocks
      .slice(0, most)
      .map(([left, right]): [number, number] => [BASE + left * 1000, BASE + right * 1000])
    return { flow, family, acknowledgement: BASE + this.expected * 1000, window, timestamp, sack }
  }
}

/** Sequence space wraps within a run. */
const BASE = 2 ** 32 - 30_000

class Knowledge {
  highest = Number.NEGATIVE_INFINITY
  readonly received = new Set<number>()
  readonly twice: string[] = []
  window = 0
  readonly flags: number[] = []

  learn(ack: Ack): void {
    const segment = (value: number): number => ((value - BASE) | 0) / 1000
    const upTo = segment(ack.acknowledgement)
    if (upTo >= this.highest) this.window = ack.window
    this.highest = Math.max(this.highest, upTo)
    for (let n = 0; n < upTo; n++) this.received.add(n)
    ack.sack.forEach(([left, right], i) => {
      const [from, to] = [segment(left), segment(right)]
      const second = ack.sack[1]
      const within = second && i === 0 && from >= segment(second[0]) && to <= segment(second[1])
      if (i === 0 && (from < upTo || within)) this.twice.push(`${from}-${to}`)
      for (let n = from; n < to; n++) this.received.add(n)
    })
    if (this.flags.at(-1) !== ack.flags) this.flags.push(ack.flags)
  }
}

test('whatever the ACKs, once the line has run empty the senders know the same, and never anything false', () => {
  const step = fc.record({
    flow: fc.nat(2),
    /** Segment that arrives, relative to the next expected. */
    ahead: fc.integer({ min: -3, max: 9 }),
    ece: fc.boolean(),
    window: fc.constantFrom(500, 500, 500, 700),
    waitUs: fc.constantFrom(0, 0, 0, 400, 3_000, 30_000),
    leave: fc.nat(2),
  })
  let thinned = 0
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 150 }), fc.boolean(), (steps, hasTimestamps) => {
      const run = new Line()
      const receivers = [new Receiver(), new Receiver(), new Receiver()]
      const told = [new Knowledge(), new Knowledge(), new Knowledge()]
      const knows = [new Knowledge(), new Knowledge(), new Knowledge()]
      const learn = (ack: Ack): void => {
        knows[ack.flow]!.learn(ack)
        for (const n of knows[ack.flow]!.received) expect(receivers[ack.flow]!.got.has(n)).toBe(true)
      }
      let put = 0
      let got = 0
      for (const { flow, ahead, ece, window, waitUs, leave } of steps) {
        run.now += waitUs
        const receiver = receivers[flow]!
        const n = Math.max(0, receiver.expected + ahead)
        const timestamp = hasTimestamps ? Math.floor(run.now / 1000) : undefined
        const ack = receiver.arrive(flow, flow === 2 ? 6 : 4, n, window, timestamp)
        ack.flags = TcpFlag.Ack | (ece && ahead > 7 ? TcpFlag.Ece : 0)
        run.put(ack)
        put++
        told[flow]!.learn({ ...PLAIN, ...ack, acknowledgement: ack.acknowledgement! >>> 0 })
        for (let i = 0; i < leave; i++) {
          const out = run.get()
          if (!out) break
          got++
          learn(out)
        }
      }
      // Nothing is too old to leave.
      for (const ack of run.drain()) {
        got++
        learn(ack)
      }
      expect(got + run.queue.acksThinned).toBe(put)
      expect(knows).toEqual(told)
      expect(run.drops.snapshot()).toEqual({})
      thinned += run.queue.acksThinned
    }),
    { numRuns: 300 },
  )
  expect(thinned).toBeGreaterThan(100)
})

test('any bytes that pass for a pure ACK: no exception, nothing invented, nothing leaked', () => {
  const random = new Prng(8)
  const run = new Line()
  const { pool, queue, view } = run
  const seen = new Set<string>()
  const text = (slot: number): string => {
    const at = pool.packetAt(slot)
    return pool.slab.subarray(at, at + pool.length[slot]!).join()
  }
  let acks = 0
  for (let i = 0; i < 60_000; i++) {
    const slot = pool.take()
    write(pool, slot, {
      ...PLAIN,
      family: random.next() < 0.5 ? 4 : 6,
      acknowledgement: random.below(4) * 1000,
      sack: random.next() < 0.5 ? [[random.below(5) * 1000, random.below(5) * 1000]] : [],
    })
    const at = pool.packetAt(slot)
    for (let n = random.below(4); n > 0; n--) pool.slab[at + random.below(72)] = random.below(256)
    if (!view.parse(pool, slot) || !view.isPureAck) {
      pool.release(slot)
      continue
    }
    acks++
    pool.length[slot] = view.length
    seen.add(text(slot))
    queue.enqueue(slot, 0, PacketClass.PureAck, view.length, run.now)
    run.now += random.below(1_000)
    if (random.next() < 0.4) {
      const out = queue.dequeue(run.now)
      if (out < 0) continue
      expect(seen.has(text(out))).toBe(true)
      pool.release(out)
    }
  }
  expect(acks).toBeGreaterThan(10_000)
  expect(queue.acksThinned).toBeGreaterThan(100)
  queue.expire(Number.POSITIVE_INFINITY)
  expect([queue.bytes, queue.packets]).toEqual([0, 0])
  expect(pool.freeCount).toBe(SLOTS)
})
