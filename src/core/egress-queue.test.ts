import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { MILLISECOND, SECOND } from '../base/time.js'
import { BUCKETS } from '../wire/message.js'
import { PacketClass } from './flow-table.js'
import {
  dequeue,
  dequeueAll,
  drops,
  enqueue,
  pool,
  queue,
  SLOTS,
  start,
  take,
} from './testing/one-egress-queue.js'

const { RealTime, PureAck, Bulk } = PacketClass

beforeEach(() => start())

describe('EgressQueue', () => {
  it('lets real-time packets go first, then ACKs, then bulk, and of a flow first what is sent again', () => {
    expect(queue.peekClass()).toBe(-1)
    expect(dequeue()).toBeUndefined()
    enqueue('bulk', 5)
    queue.requeueFront(take('again 1'), 5, Bulk, 1000, 0)
    queue.requeueFront(take('again 2'), 6, Bulk, 1000, 0)
    expect(queue.peekClass()).toBe(Bulk)
    enqueue('ack', 0, PureAck, 52)
    expect(queue.peekClass()).toBe(PureAck)
    enqueue('voice', 0, RealTime, 200, 7)
    queue.requeueFront(take('voice again'), 0, RealTime, 200, 3)
    expect(queue.peekClass()).toBe(RealTime)
    expect([queue.packets, queue.bytes, queue.bytesBulk]).toEqual([6, 3452, 3000])
    expect(dequeue(8)).toBe('voice')
    expect(queue).toMatchObject({
      lastBucket: 0,
      lastClass: RealTime,
      lastEnqueuedAt: 7,
      lastReinjected: false,
    })
    expect(dequeue(8)).toBe('voice again')
    expect(queue).toMatchObject({ lastClass: RealTime, lastEnqueuedAt: 3, lastReinjected: true })
    expect(dequeue(8)).toBe('ack')
    expect(dequeue(8)).toBe('again 1')
    expect(queue).toMatchObject({ lastBucket: 5, lastClass: Bulk, lastReinjected: true })
    expect(dequeue(8)).toBe('bulk')
    expect(queue).toMatchObject({ lastBucket: 5, lastReinjected: false })
    expect(dequeue(8)).toBe('again 2')
    expect(queue).toMatchObject({ lastBucket: 6, lastClass: Bulk, lastReinjected: true })
    expect([queue.packets, queue.bytes, queue.bytesBulk]).toEqual([0, 0, 0])
    expect(pool.freeCount).toBe(SLOTS)
  })

  it('forgets what was to be sent again once sequences begin anew, and nothing else', () => {
    for (const packetClass of [RealTime, PureAck, Bulk]) {
      enqueue(`first ${packetClass}`, 5, packetClass, 100, 1)
      queue.requeueFront(take(`former ${packetClass}`), 5, packetClass, 100, 1)
    }
    queue.startAnew(2)
    queue.requeueFront(take('later'), 5, Bulk, 100, 3)
    expect(dequeueAll().sort()).toEqual(
      [`first ${RealTime}`, `first ${PureAck}`, `first ${Bulk}`, 'later'].sort(),
    )
    expect(drops.snapshot()).toEqual({ sessionExpired: 3 })
    expect(pool.freeCount).toBe(SLOTS)
  })

  it('shares by bytes between flows of different packet sizes', () => {
    for (let i = 0; i < 300; i++) enqueue('big', 1, Bulk, 1400)
    for (let i = 0; i < 3000; i++) enqueue('small', 2, Bulk, 140)
    const sent = { big: 0, small: 0 }
    for (let i = 0; i < 1000; i++) {
      const name = dequeue() as 'big' | 'small'
      sent[name] += name === 'big' ? 1400 : 140
      expect(Math.abs(sent.big - sent.small)).toBeLessThanOrEqual(2 * 1514)
    }
  })

  it('lets a flow that has just begun go before those that go on', () => {
    for (let i = 0; i < 50; i++) enqueue('bulk', 1)
    for (let i = 0; i < 10; i++) dequeue()
    enqueue('sparse', 2, Bulk, 1514)
    expect(dequeue()).toBe('sparse')
    // Once it goes on it takes turns like any other.
    for (let i = 0; i < 5; i++) enqueue('sparse', 2, Bulk, 1514)
    const next = Array.from({ length: 5 }, () => dequeue())
    expect(next.filter((name) => name === 'bulk').length).toBeGreaterThanOrEqual(2)
  })

  it('does not let a flow begin anew as soon as it is empty', () => {
    for (let i = 0; i < 50; i++) enqueue('bulk', 1, Bulk, 100)
    for (let i = 0; i < 20; i++) dequeue()
    enqueue('sparse', 2, Bulk, 100)
    expect([dequeue(), dequeue()]).toEqual(['sparse', 'bulk'])
    enqueue('sparse', 2, Bulk, 100)
    expect(dequeue()).toBe('bulk')
  })

  it('takes from the head of the longest flow when it is full', () => {
    start({ bytesMax: 10_000 })
    enqueue('short', 1)
    for (let i = 0; i < 9; i++) enqueue(`long ${i}`, 2)
    enqueue('other', 3)
    expect(drops.snapshot()).toEqual({ egressFull: 1 })
    expect(queue.bytesBulk).toBe(10_000)
    expect(dequeueAll()).toEqual([
      'short',
      'long 1',
      'long 2',
      'other',
      ...[3, 4, 5, 6, 7, 8].map((i) => `long ${i}`),
    ])
  })

  it('... or when it has too many packets, be they ever so small', () => {
    start({ packetsMax: 10 })
    enqueue('voice', 0, RealTime, 60)
    for (let i = 0; i < 3; i++) enqueue('short', 1, Bulk, 60)
    for (let i = 0; i < 8; i++) enqueue(`long ${i}`, 2, Bulk, 60)
    expect(drops.snapshot()).toEqual({ egressFull: 2 })
    expect([queue.packets, queue.bytes]).toEqual([10, 600])
    expect(dequeueAll().filter((name) => name.startsWith('long'))[0]).toBe('long 2')
  })

  it('keeps real-time packets and ACKs within bounds of their own, the oldest go', () => {
    start({ realTimeBytesMax: 3000, pureAckBytesMax: 100 })
    for (let i = 0; i < 5; i++) enqueue(`voice ${i}`, 0, RealTime)
    for (let i = 0; i < 5; i++) enqueue(`ack ${i}`, 0, PureAck, 50)
    enqueue('bulk', 1)
    expect(dequeueAll()).toEqual(['voice 2', 'voice 3', 'voice 4', 'ack 3', 'ack 4', 'bulk'])
    expect(drops.snapshot()).toEqual({ egressFull: 5 })
    enqueue('larger than the bound', 0, PureAck, 1000)
    expect(dequeue()).toBe('larger than the bound')
  })

  it('gives nothing out that has waited too long', () => {
    start({ ageUsMax: 1 * SECOND })
    enqueue('old', 1, Bulk, 1000, 0)
    enqueue('old', 0, RealTime, 1000, 0)
    queue.requeueFront(take('old'), 0, Bulk, 1000, 0)
    enqueue('young', 1, Bulk, 1000, 1)
    expect(dequeueAll(1 * SECOND + 1)).toEqual(['young'])
    expect(drops.snapshot()).toEqual({ egressOld: 3 })
    expect(pool.freeCount).toBe(SLOTS)
  })

  it('lets ACKs go before bulk, but not starve it', () => {
    const shares = { acks: 0, bulk: 0 }
    for (let i = 0; i < 40; i++) enqueue('bulk', 1, Bulk, 1440)
    for (let i = 0; i < 1500; i++) enqueue('ack', 0, PureAck, 60)
    const order = Array.from({ length: 350 }, () => dequeue()!)
    expect(order.indexOf('bulk')).toBe(Math.ceil(16_384 / (60 + LAYERS_BYTES)))
    for (const name of order.slice(order.indexOf('bulk'))) {
      if (name === 'ack') shares.acks += 60 + LAYERS_BYTES
      else shares.bulk += 1440 + LAYERS_BYTES
    }
    expect(shares.bulk / shares.acks).toBeCloseTo(2, 0)
    queue.acksWait = true
    expect(queue.peekClass()).toBe(queue.bytesBulk > 0 ? Bulk : -1)
    queue.acksWait = false
    const rest = dequeueAll()
    expect(rest.slice(rest.lastIndexOf('bulk') + 1).length).toBeGreaterThan(300)
  })

  it('lets brief flows leave their turn to others, and have it first when they want it again', () => {
    const brief = new Uint8Array(BUCKETS)
    brief[3] = brief[4] = 1
    start({}, brief)
    for (const bucket of [1, 3, 2, 4])
      for (let i = 0; i < 3; i++) enqueue(`${bucket} ${i}`, bucket, Bulk, 1500)
    expect([queue.bytesBulk, queue.bytesBrief, queue.nextIsBrief]).toEqual([18_000, 9_000, false])
    expect(dequeue()).toBe('1 0')
    // 14 bytes are left of its turn.
    expect(dequeue()).toBe('1 1')
    expect(queue.nextIsBrief).toBe(true)
    queue.briefWait = true
    expect(queue.nextIsBrief).toBe(false)
    expect([dequeue(), dequeue(), dequeue(), dequeue()]).toEqual(['2 0', '2 1', '1 2', '2 2'])
    expect([queue.peekClass(), dequeue(), queue.packets]).toEqual([-1, undefined, 6])
    queue.briefWait = false
    enqueue('1 3', 1, Bulk, 1500)
    expect(queue.nextIsBrief).toBe(true)
    expect(dequeueAll()).toEqual(['3 0', '3 1', '4 0', '4 1', '1 3', '3 2', '4 2'])
    expect(queue.bytesBrief).toBe(0)
  })

  it('counts anew what waits of brief flows when others are', () => {
    const brief = new Uint8Array(BUCKETS)
    start({}, brief)
    enqueue('one', 1, Bulk, 1000)
    enqueue('two', 2, Bulk, 500)
    enqueue('call', 0, RealTime, 200)
    expect(queue.bytesBrief).toBe(0)
    brief[2] = 1
    queue.recountBrief()
    expect(queue.bytesBrief).toBe(500)
  })

  it('lets go of what is too old also while nobody takes anything, and works on', () => {
    for (let i = 0; i < 5; i++) enqueue('bulk', i + 1)
    enqueue('call', 0, RealTime)
    enqueue('ack', 0, PureAck)
    queue.requeueFront(take('again'), 1, Bulk, 1000, 0)
    queue.expire(1 * SECOND)
    expect(queue.packets).toBe(8)
    queue.expire(1 * SECOND + 1)
    expect([queue.packets, queue.bytesBulk]).toEqual([6, 6000])
    queue.expire(2 * SECOND)
    expect(queue.packets).toBe(6)
    queue.expire(2 * SECOND + 1)
    expect(pool.freeCount).toBe(SLOTS)
    expect([queue.packets, queue.bytes, queue.bytesBulk, queue.peekClass()]).toEqual([0, 0, 0, -1])
    expect(drops.snapshot()).toEqual({ egressOld: 8 })
    enqueue('bulk', 1)
    expect(dequeueAll()).toEqual(['bulk'])
  })
})

describe('CoDel in the queue', () => {
  /**
   * One flow that comes at `inPerSec` packets a second and leaves at 100, for `seconds`. Returns the delay of each
   * packet that left, in ms.
   */
  function overload(inPerSec: number, seconds: number, ecn: number): number[] {
    const delays: number[] = []
    let next = 0
    for (let now = 0; now < seconds * SECOND; now += 10 * MILLISECOND) {
      for (; next <= now; next += SECOND / inPerSec) {
        const slot = take('x')
        pool.slab.set([0x45, ecn], pool.packetAt(slot))
        queue.enqueue(slot, 1, Bulk, 1000, next)
      }
      const slot = queue.dequeue(now)
      if (slot < 0) continue
      delays.push((now - queue.lastEnqueuedAt) / MILLISECOND)
      pool.release(slot)
    }
    return delays
  }

  it('lets a short queue be', () => {
    overload(100, 5, 0)
    expect(drops.snapshot()).toEqual({})
  })

  it('drops ever more often from the head of a queue that stays long', () => {
    const delays = overload(105, 60, 0)
    expect(drops.snapshot()).toEqual({ egressCodel: expect.any(Number) })
    // 5 % too much: without CoDel the delay would be 1 s at the limit of age.
    expect(Math.max(...delays)).toBeLessThan(500)
    expect(Math.max(...delays.slice(-1000))).toBeLessThan(350)
    expect(drops.snapshot().egressCodel).toBeLessThan(400)
  })

  it('marks instead of dropping where the sender takes part in ECN', () => {
    overload(105, 10, 2)
    expect(queue.marked).toBeGreaterThan(5)
    expect(drops.snapshot().egressCodel).toBeUndefined()
  })

  it('lets a queue on a long path be as long as a sender needs that gives back a third of its window', () => {
    const dropped = (roundTripUs: number): number => {
      start()
      queue.review({ roundTripUs, bytesPerSec: 0, capacityBytesPerSec: 0, waitUs: 0 }, 0)
      // Twelve packets more than leave in time: a queue of 120 ms, which stands.
      for (let i = 0; i < 12; i++) enqueue('x', 1)
      const delays = overload(100, 5, 0)
      expect(delays[100]).toBeGreaterThan(50)
      return drops.snapshot().egressCodel ?? 0
    }
    expect(dropped(320 * MILLISECOND)).toBe(0)
    expect(dropped(0)).toBeGreaterThan(0)
  })

  it('gives a sender the time to hear of a drop and to slow down for a round, before it drops again', () => {
    const droppedAt = (roundTripUs: number): number[] => {
      start()
      queue.review({ roundTripUs, bytesPerSec: 0, capacityBytesPerSec: 0, waitUs: 0 }, 0)
      // Twenty packets more than leave in time: a queue of 200 ms, which stands.
      for (let i = 0; i < 20; i++) enqueue('x', 1)
      const times: number[] = []
      for (let now = 0; now < 2 * SECOND; now += 10 * MILLISECOND) {
        const before = drops.snapshot().egressCodel ?? 0
        enqueue('x', 1, Bulk, 1000, now)
        dequeue(now)
        const count = (drops.snapshot().egressCodel ?? 0) - before
        // What is dropped is made up for, so that the queue stands.
        for (let i = 0; i < count; i++) enqueue('x', 1, Bulk, 1000, now)
        for (let i = 0; i < count; i++) times.push(now)
      }
      return times
    }
    for (const roundTripMs of [20, 60, 120]) {
      const times = droppedAt(roundTripMs * MILLISECOND)
      expect(times.length).toBeGreaterThan(2)
      for (let i = 1; i < 4 && i < times.length; i++) {
        const gapMs = (times[i]! - times[i - 1]!) / MILLISECOND
        expect(gapMs).toBeGreaterThanOrEqual(190 + 2 * roundTripMs)
      }
    }
  })

  it('leaves alone what is no more than a packet', () => {
    for (let now = 0; now < 10 * SECOND; now += 500 * MILLISECOND) {
      enqueue('slow', 1, Bulk, 1400, now)
      expect(dequeue(now + 400 * MILLISECOND)).toBe('slow')
    }
  })
})

/** What a packet's layers around it add on the wire. */
const LAYERS_BYTES = 60

const BRIEF = [3, 4]

/** FQ without CoDel, from arrays of objects. */
class OracleQueue {
  private flows = new Map<number, { names: { name: string; bytes: number; at: number }[]; deficit: number }>()
  private waiting: number[] = []
  private fresh: number[] = []
  private old: number[] = []
  private first: { name: string; packetClass: number; bytes: number; at: number }[] = []
  private ackAhead = 16_384
  dropped = 0
  briefWait = false
  constructor(private readonly bytesMax: number) {}

  enqueue(name: string, bucket: number, packetClass: number, bytes: number, at: number): void {
    if (packetClass !== Bulk) {
      this.first.push({ name, packetClass, bytes, at })
      return
    }
    const flow = this.flows.get(bucket) ?? { names: [], deficit: 0 }
    this.flows.set(bucket, flow)
    flow.names.push({ name, bytes, at })
    if (![...this.waiting, ...this.fresh, ...this.old].includes(bucket)) {
      flow.deficit = 1514
      this.fresh.push(bucket)
    }
    const size = (b: number): number => this.flows.get(b)!.names.reduce((sum, each) => sum + each.bytes, 0)
    const all = [...this.waiting, ...this.fresh, ...this.old]
    if (all.reduce((sum, b) => sum + size(b), 0) <= this.bytesMax) return
    let longest = all[0]!
    for (const b of all) if (size(b) >= size(longest)) longest = b
    while (all.reduce((sum, b) => sum + size(b), 0) > this.bytesMax) {
      this.flows.get(longest)!.names.shift()
      this.dropped++
    }
  }

  dequeue(now: number): string | undefined {
    return (
      this.dequeueFirst(RealTime, now) ??
      this.dequeueAck(now) ??
      this.dequeueBulk(now) ??
      this.dequeueAck(now)
    )
  }

  private dequeueAck(now: number): string | undefined {
    return this.ackAhead > 0 || !this.bulkWaits ? this.dequeueFirst(PureAck, now) : undefined
  }

  get briefBytes(): number {
    const bytes = (b: number): number =>
      this.flows.get(b)?.names.reduce((sum, each) => sum + each.bytes, 0) ?? 0
    return BRIEF.reduce((sum, b) => sum + bytes(b), 0)
  }

  private get bulkWaits(): boolean {
    return [...this.flows.values()].some((each) => each.names.length > 0)
  }

  private dequeueFirst(packetClass: number, now: number): string | undefined {
    for (;;) {
      const index = this.first.findIndex((each) => each.packetClass === packetClass)
      if (index < 0) return undefined
      const [packet] = this.first.splice(index, 1)
      if (now - packet!.at <= SECOND) {
        if (packetClass === PureAck && this.bulkWaits) this.ackAhead -= packet!.bytes + LAYERS_BYTES
        return packet!.name
      }
      this.dropped++
    }
  }

  private dequeueBulk(now: number): string | undefined {
    for (;;) {
      const lists = [...(this.briefWait ? [] : [this.waiting]), this.fresh]
      const list = lists.find((each) => each.length > 0) ?? this.old
      if (list.length === 0) return undefined
      const bucket = list[0]!
      const flow = this.flows.get(bucket)!
      if (flow.deficit <= 0) {
        flow.deficit += 1514
        list.shift()
        this.old.push(bucket)
        continue
      }
      if (this.briefWait && BRIEF.includes(bucket)) {
        list.shift()
        this.waiting.push(bucket)
        continue
      }
      while (flow.names.length > 0 && now - flow.names[0]!.at > SECOND) {
        flow.names.shift()
        this.dropped++
      }
      const packet = flow.names.shift()
      if (packet !== undefined) {
        flow.deficit -= packet.bytes
        this.ackAhead = Math.min(16_384, this.ackAhead + (packet.bytes + LAYERS_BYTES) / 2)
        if (!this.bulkWaits) {
          this.waiting = []
          this.fresh = []
          this.old = []
        }
        return packet.name
      }
      list.shift()
      if (list !== this.old && this.old.length > 0) this.old.push(bucket)
    }
  }
}

describe('EgressQueue beside its oracle', () => {
  it('agrees over any packets and pulls, and its figures are right', () => {
    const step = fc.record({
      pull: fc.boolean(),
      bucket: fc.integer({ min: 1, max: 4 }),
      packetClass: fc.constantFrom(RealTime, PureAck, PureAck, Bulk, Bulk, Bulk),
      bytes: fc.integer({ min: 40, max: 1500 }),
      us: fc.constantFrom(0, 1, 1000, 400_000),
      briefWait: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 250 }), (steps) => {
        const brief = new Uint8Array(BUCKETS)
        for (const bucket of BRIEF) brief[bucket] = 1
        start({ bytesMax: 20_000, ageUsMax: SECOND }, brief)
        // So that CoDel never has the time to drop.
        queue.review({ roundTripUs: 1000 * SECOND, bytesPerSec: 0, capacityBytesPerSec: 0, waitUs: 0 }, 0)
        const oracle = new OracleQueue(20_000)
        let now = 0
        let waiting = 0
        let count = 0
        const pull = (): string | undefined => {
          // To look changes nothing.
          queue.peekClass()
          const name = dequeue(now)
          expect(name).toBe(oracle.dequeue(now))
          if (name !== undefined) waiting--
          return name
        }
        for (const { pull: isPull, bucket, packetClass, bytes, us, briefWait } of steps) {
          now += us
          queue.briefWait = briefWait
          oracle.briefWait = briefWait
          if (isPull) {
            pull()
          } else {
            const name = `packet ${count++}`
            enqueue(name, bucket, packetClass, bytes, now)
            oracle.enqueue(name, bucket, packetClass, bytes, now)
            waiting++
          }
          const { egressFull = 0, egressOld = 0 } = drops.snapshot()
          expect(egressFull + egressOld).toBe(oracle.dropped)
          expect(queue.packets).toBe(waiting - oracle.dropped)
          expect(queue.bytesBrief).toBe(oracle.briefBytes)
          expect(pool.freeCount).toBe(SLOTS - queue.packets)
        }
        queue.briefWait = false
        oracle.briefWait = false
        while (pull() !== undefined);
        expect([queue.packets, queue.bytes, queue.bytesBulk, queue.bytesBrief]).toEqual([0, 0, 0, 0])
        expect(pool.freeCount).toBe(SLOTS)
      }),
      { numRuns: 200 },
    )
  })
})
