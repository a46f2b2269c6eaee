import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { Prng } from '../base/prng.js'
import { MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { PacketFlag, SEQUENCE_MASK } from '../wire/message.js'
import {
  delivered,
  drops,
  knowPaths,
  pool,
  receive,
  receiveUnordered,
  resequencer,
  SLOTS,
  start,
} from './testing/one-resequencer.js'

beforeEach(() => start())

describe('Resequencer', () => {
  it('passes packets in order, and puts early ones in order', () => {
    receive(3, 0)
    receive(3, 1)
    expect(delivered()).toEqual(['3:0', '3:1'])
    for (const sequence of [5, 3, 7, 4]) receive(3, sequence)
    expect(delivered()).toEqual([])
    expect(resequencer.heldCount).toBe(4)
    receive(3, 2)
    expect(delivered()).toEqual(['3:2', '3:3', '3:4', '3:5'])
    receive(3, 6)
    expect(delivered()).toEqual(['3:6', '3:7'])
    expect(resequencer.heldCount).toBe(0)
    expect(resequencer.nextTimeout()).toBe(NEVER)
  })

  it('never lets a hole in one bucket delay another', () => {
    receive(1, 1)
    receive(2, 0)
    receive(0, 7)
    expect(delivered()).toEqual(['2:0', '0:7'])
  })

  it('holds packets without order back until they are due, if they are to, and only the first of two copies', () => {
    const due = 5 * MILLISECOND
    receiveUnordered(1, due, 1000)
    receiveUnordered(2, due, 2000)
    receiveUnordered(2, due, 2000)
    receive(0, 3, 3000, 3000)
    expect(drops.snapshot()).toEqual({ duplicate: 1 })
    expect(resequencer.nextTimeout()).toBe(due)
    resequencer.handleTimeout(due - 1)
    expect(delivered()).toEqual(['0:3'])
    resequencer.handleTimeout(due)
    expect(delivered()).toEqual(['0:1', '0:2'])
    expect(resequencer.nextTimeout()).toBe(NEVER)
  })

  it('lets none go before others that were due with it, be it late itself', () => {
    const due = 5 * MILLISECOND + 10
    receiveUnordered(1, due, 1000)
    receiveUnordered(2, due, due - 5)
    receiveUnordered(3, due, due + 100)
    receive(0, 4, due, due + 100)
    expect(delivered()).toEqual(['0:4'])
    resequencer.handleTimeout(due + 300)
    receiveUnordered(5, due, due + 400)
    expect(delivered()).toEqual(['0:1', '0:2', '0:3', '0:5'])
  })

  it('gives up a hole when every live path has come past it, and not at the same stamp', () => {
    knowPaths(0)
    receive(1, 1, 1000, 11_000)
    resequencer.pathDelivered(0, 1000, 11_000)
    resequencer.handleTimeout(11_000)
    resequencer.pathDelivered(0, 2000, 12_000)
    resequencer.pathDelivered(1, 1000, 12_500)
    resequencer.handleTimeout(12_500)
    expect(delivered()).toEqual([])
    resequencer.pathDelivered(1, 1001, 13_000)
    resequencer.handleTimeout(13_000)
    expect(delivered()).toEqual(['1:1'])
    expect(resequencer.holesReleased).toBe(1)
    expect(resequencer.packetsGivenUp).toBe(1)
  })

  it('takes a path that should have brought something by now for past', () => {
    knowPaths(0)
    receive(1, 1, 1000, 11_000)
    resequencer.pathDelivered(0, 2000, 12_000)
    resequencer.handleTimeout(12_000)
    // Sent at 1 ms + delay of path 1 (30 ms, no deviation) + 20 ms.
    expect(resequencer.nextTimeout()).toBe(51 * MILLISECOND)
    resequencer.handleTimeout(51 * MILLISECOND - 1)
    expect(delivered()).toEqual([])
    resequencer.handleTimeout(51 * MILLISECOND)
    expect(delivered()).toEqual(['1:1'])
  })

  it('does not believe that paths are a minute apart, as after the other end stood still', () => {
    resequencer.repairs = true
    resequencer.pathDelivered(0, 0, 10 * MILLISECOND)
    resequencer.pathDelivered(1, 0, 60 * SECOND)
    receive(1, 1, 60 * SECOND, 60 * SECOND)
    resequencer.handleTimeout(61 * SECOND)
    expect(delivered()).toEqual([])
    resequencer.handleTimeout(61.2 * SECOND)
    expect(delivered()).toEqual(['1:1'])
  })

  it('does not wait for a path that is not live, nor for one never heard', () => {
    knowPaths(0)
    resequencer.setPaths([0, 5])
    receive(1, 1, 1000, 11_000)
    resequencer.pathDelivered(0, 2000, 12_000)
    resequencer.handleTimeout(12_000)
    expect(delivered()).toEqual(['1:1'])
  })

  it('holds no packet longer than the limit, whatever the paths', () => {
    resequencer.setPaths([])
    receive(1, 5, 0, 1000)
    receive(1, 3, 0, 50_000)
    expect(resequencer.nextTimeout()).toBe(50_000)
    resequencer.handleTimeout(50_000)
    expect(resequencer.nextTimeout()).toBe(121_000)
    resequencer.handleTimeout(120_999)
    expect(delivered()).toEqual([])
    resequencer.handleTimeout(121_000)
    expect(delivered()).toEqual(['1:3', '1:5'])
  })

  it('with repairs, waits for the repair until the limit', () => {
    start({ repairs: true, holdUsMax: 300 * MILLISECOND })
    knowPaths(0)
    receive(1, 1, 1000, 11_000)
    knowPaths(20 * MILLISECOND)
    resequencer.handleTimeout(50 * MILLISECOND)
    expect(delivered()).toEqual([])
    receive(1, 0, 40 * MILLISECOND, 60 * MILLISECOND, PacketFlag.Repair)
    expect(delivered()).toEqual(['1:0', '1:1'])
    receive(1, 3, 60 * MILLISECOND, 70 * MILLISECOND)
    expect(resequencer.nextTimeout()).toBe(370 * MILLISECOND)
    resequencer.handleTimeout(370 * MILLISECOND)
    expect(delivered()).toEqual(['1:3'])
  })

  it('delivers what comes after its hole was given up, once', () => {
    receive(1, 2, 0, 0)
    resequencer.handleTimeout(SECOND)
    expect(delivered()).toEqual(['1:2'])
    receive(1, 1)
    receive(1, 1)
    receive(1, 2)
    receive(1, 3)
    receive(1, 0)
    expect(delivered()).toEqual(['1:1', '1:3', '1:0'])
    expect(resequencer.lateDelivered).toBe(2)
    expect(drops.snapshot()).toEqual({ duplicate: 2 })
  })

  it('remembers 1024 sequences, and drops what is older than that', () => {
    receive(1, 1500, 0, 0)
    resequencer.handleTimeout(SECOND)
    receive(1, 0)
    receive(1, 1500 - 1024)
    receive(1, 1500 - 1023)
    expect(delivered()).toEqual(['1:1500', '1:477'])
    receive(1, 476)
    expect(delivered()).toEqual([])
    for (let sequence = 1501; sequence < 3000; sequence++) receive(1, sequence)
    expect(delivered()).toHaveLength(1499)
    // All given-up places are forgotten: these are copies or too old.
    receive(1, 478)
    receive(1, 2500)
    expect(delivered()).toEqual([])
    expect(drops.snapshot()).toEqual({ late: 4, duplicate: 1 })
    expect(pool.freeCount).toBe(SLOTS)
  })

  it('drops copies of held packets', () => {
    receive(1, 2)
    receive(1, 2)
    receive(1, 0)
    receive(1, 1)
    expect(delivered()).toEqual(['1:0', '1:1', '1:2'])
    expect(resequencer.duplicates).toBe(1)
  })

  it('keeps no order in bucket 0, but drops copies', () => {
    for (const sequence of [5, 4, 5, 9000, 4, 6, 9000]) receive(0, sequence)
    expect(delivered()).toEqual(['0:5', '0:4', '0:9000', '0:6'])
    receive(0, 2_000_000)
    expect(resequencer.resyncs).toBe(1)
    expect(delivered()).toEqual(['0:2000000'])
    for (let sequence = SEQUENCE_MASK - 5; sequence < SEQUENCE_MASK + 5; sequence++) receive(0, sequence)
    expect(delivered()).toHaveLength(10)
    for (let sequence = SEQUENCE_MASK - 5; sequence < SEQUENCE_MASK + 5; sequence++) receive(0, sequence)
    expect(delivered()).toEqual([])
    expect(resequencer.resyncs).toBe(2)
  })

  it('goes on over the wrap of the sequence', () => {
    receive(1, 2_000_000)
    receive(1, SEQUENCE_MASK - 1)
    delivered()
    expect(resequencer.resyncs).toBe(2)
    receive(1, SEQUENCE_MASK + 2)
    receive(1, SEQUENCE_MASK + 1)
    expect(delivered()).toEqual([])
    receive(1, SEQUENCE_MASK)
    expect(delivered()).toEqual([`1:${SEQUENCE_MASK}`, '1:0', '1:1'])
  })

  it('starts again from a sequence far off', () => {
    receive(1, 0)
    receive(1, 2)
    receive(1, 3_000_000)
    receive(1, 3_000_001)
    expect(delivered()).toEqual(['1:0', '1:2', '1:3000000', '1:3000001'])
    expect(resequencer.resyncs).toBe(1)
  })

  it('gives up the oldest hole when it is full or told to', () => {
    start({ heldMax: 3 })
    receive(1, 1, 0, 10)
    receive(2, 1, 0, 20)
    receive(1, 3, 0, 30)
    receive(1, 3, 0, 31)
    expect(delivered()).toEqual([])
    receive(2, 2, 0, 40)
    expect(delivered()).toEqual(['1:1'])
    expect(resequencer.relieve(50)).toBe(true)
    expect(delivered()).toEqual(['2:1', '2:2'])
    expect(resequencer.relieve(50)).toBe(true)
    expect(resequencer.relieve(50)).toBe(false)
    expect(delivered()).toEqual(['1:3'])
    expect(drops.snapshot()).toEqual({ duplicate: 1, resequencerFull: 3 })
  })

  it('expects everything anew after a reset, and keeps nothing back', () => {
    receive(1, 0)
    receive(1, 2)
    receive(0, 50)
    resequencer.reset(10)
    expect(delivered()).toEqual(['1:0', '0:50', '1:2'])
    receive(1, 0)
    receive(0, 50)
    receive(1, 1)
    expect(delivered()).toEqual(['1:0', '0:50', '1:1'])
    expect(resequencer.duplicates).toBe(0)
  })
})

/** The slow, obvious version: maps and sets, every rule looked at every time. */
class OracleResequencer {
  readonly output: string[] = []
  late = 0
  duplicates = 0
  private buckets = new Map<
    number,
    {
      expected: number
      held: Map<number, { stamp: number; at: number }>
      done: Set<number>
      /** When a packet last came that was waited for. All are repairs. */
      filledAt: number
      /** Since when some are held that have waited for long enough. */
      overdueSince?: number | undefined
    }
  >()
  private paths = new Map<number, { newest: number; mean: number; deviation: number }>()
  constructor(
    private readonly live: number[],
    private readonly holdUsMax: number,
    private readonly repairs: boolean,
  ) {}

  pathDelivered(id: number, stamp: number, at: number): void {
    const path = this.paths.get(id)
    if (path === undefined) {
      this.paths.set(id, { newest: stamp, mean: at - stamp, deviation: 0 })
      return
    }
    const difference = at - stamp - path.mean
    path.mean += difference / 8
    path.deviation += (Math.abs(difference) - path.deviation) / 4
    path.newest = Math.max(path.newest, stamp)
  }

  receive(bucket: number, sequence: number, stamp: number, at: number): void {
    let state = this.buckets.get(bucket)
    if (state === undefined) {
      state = { expected: 0, held: new Map(), done: new Set(), filledAt: Number.NEGATIVE_INFINITY }
      this.buckets.set(bucket, state)
    }
    if (state.done.has(sequence) || state.held.has(sequence)) {
      this.duplicates++
    } else if (bucket === 0 || sequence < state.expected) {
      if (bucket !== 0) this.late++
      state.done.add(sequence)
      this.output.push(`${bucket}:${sequence}`)
    } else {
      if (sequence === state.expected && state.held.size > 0) state.filledAt = at
      state.held.set(sequence, { stamp, at })
      this.run(bucket)
    }
  }

  private run(bucket: number): void {
    const state = this.buckets.get(bucket)!
    while (state.held.delete(state.expected)) {
      state.done.add(state.expected)
      this.output.push(`${bucket}:${state.expected++}`)
    }
  }

  handleTimeout(now: number): void {
    for (const [bucket, state] of this.buckets) {
      while (state.held.size > 0) {
        const first = Math.min(...state.held.keys())
        const isOld = [...state.held.values()].some((each) => each.at + this.holdUs() <= now)
        if (isOld && state.overdueSince === undefined) state.overdueSince = now
        if (!isOld) state.overdueSince = undefined
        const renewed =
          this.repairs && now - state.filledAt < 50_000 && now - (state.overdueSince ?? now) < SECOND
        const tooOld = isOld && !renewed
        if (!tooOld && !this.passed(state.held.get(first)!.stamp, now)) break
        state.expected = first
        this.run(bucket)
      }
    }
  }

  /** With repairs: never before the slowest path and a repair behind it have had their time. */
  holdUs(): number {
    const means = this.live.flatMap((id) => this.paths.get(id)?.mean ?? [])
    const spread = means.length > 0 ? Math.max(...means) - Math.min(...means) : 0
    return this.repairs && spread > 0 ? Math.max(this.holdUsMax, spread + 120_000) : this.holdUsMax
  }

  private passed(stamp: number, now: number): boolean {
    if (this.repairs) return false
    const heard = this.live.filter((id) => this.paths.has(id)).map((id) => this.paths.get(id)!)
    return (
      heard.length > 0 &&
      heard.every((path) => path.newest > stamp || now >= stamp + path.mean + 4 * path.deviation + 20_000)
    )
  }
}

describe('Resequencer beside its oracle', () => {
  const run = fc.record({
    seed: fc.integer(),
    packets: fc.integer({ min: 1, max: 300 }),
    buckets: fc.integer({ min: 1, max: 5 }),
    delaysUs: fc.array(fc.integer({ min: 0, max: 60_000 }), { minLength: 1, maxLength: 4 }),
    jitterUs: fc.constantFrom(0, 1000, 30_000),
    lossShare: fc.constantFrom(0, 0.02, 0.3),
    copyShare: fc.constantFrom(0, 0.05, 1),
    gapUs: fc.constantFrom(0, 100, 3000, 50_000),
    repairs: fc.boolean(),
    deadPath: fc.boolean(),
  })

  it('agrees over any paths, delays, losses and copies', () => {
    fc.assert(
      fc.property(run, (given) => {
        const holdUsMax = 120 * MILLISECOND
        start({ holdUsMax, repairs: given.repairs })
        const live = given.delaysUs.map((_, path) => path)
        resequencer.setPaths(live)
        const oracle = new OracleResequencer(live, holdUsMax, given.repairs)
        const random = new Prng(given.seed)
        const sequences = new Map<number, number>()
        const arrivals: { at: number; path: number; bucket: number; sequence: number; stamp: number }[] = []
        let stamp = 5000
        let accepted = 0
        for (let i = 0; i < given.packets; i++) {
          if (random.next() < 0.3) stamp += Math.floor(random.next() * given.gapUs)
          const bucket = random.below(given.buckets)
          const sequence = sequences.get(bucket) ?? 0
          sequences.set(bucket, sequence + 1)
          for (let copy = 0; copy < (random.next() < given.copyShare ? 2 : 1); copy++) {
            const path = random.below(given.delaysUs.length)
            if (random.next() < given.lossShare || (given.deadPath && path === 0 && i > given.packets / 2))
              continue
            const at = stamp + given.delaysUs[path]! + Math.floor(random.next() * given.jitterUs)
            arrivals.push({ at, path, bucket, sequence, stamp })
          }
        }
        arrivals.sort((a, b) => a.at - b.at)
        const real: string[] = []
        const take = (): void => {
          // Buckets are served in another order by the two when several are due at once; each keeps its own order.
          real.push(...delivered())
        }
        const byBucket = (list: string[]): string[][] =>
          Array.from({ length: given.buckets }, (_, b) => list.filter((name) => name.startsWith(`${b}:`)))
        const timeout = (now: number): void => {
          resequencer.handleTimeout(now)
          oracle.handleTimeout(now)
          take()
          expect(byBucket(real)).toEqual(byBucket(oracle.output))
          expect(resequencer.nextTimeout()).toBeGreaterThan(now)
          expect(
            resequencer.nextTimeout() - now <= oracle.holdUs() + 1e-3 || resequencer.heldCount === 0,
          ).toBe(true)
        }
        for (const { at, path, bucket, sequence, stamp: sentAt } of arrivals) {
          while (resequencer.nextTimeout() < at) timeout(resequencer.nextTimeout())
          // The repair flag keeps the tolerance out of this comparison.
          receive(bucket, sequence, sentAt, at, PacketFlag.Repair)
          resequencer.pathDelivered(path, sentAt, at)
          oracle.receive(bucket, sequence, sentAt, at)
          oracle.pathDelivered(path, sentAt, at)
          accepted++
          timeout(at)
        }
        while (resequencer.nextTimeout() !== NEVER) timeout(resequencer.nextTimeout())
        expect(resequencer.heldCount).toBe(0)
        expect(new Set(real).size).toBe(real.length)
        expect(real.length + resequencer.duplicates).toBe(accepted)
        expect([resequencer.lateDelivered, resequencer.duplicates]).toEqual([oracle.late, oracle.duplicates])
        expect(drops.snapshot()).toEqual(oracle.duplicates > 0 ? { duplicate: oracle.duplicates } : {})
        expect(pool.freeCount).toBe(SLOTS)
      }),
      { numRuns: 150 },
    )
  })

  it('loses and repeats nothing under pressure, resets and leaps, and keeps its bounds', () => {
    const step = fc.record({
      kind: fc.constantFrom('packet', 'packet', 'packet', 'packet', 'time', 'relieve', 'path', 'reset'),
      bucket: fc.nat(3),
      ahead: fc.oneof(
        { weight: 8, arbitrary: fc.integer({ min: -5, max: 12 }) },
        { weight: 1, arbitrary: fc.integer({ min: -1100, max: 1100 }) },
        { weight: 1, arbitrary: fc.integer({ min: -SEQUENCE_MASK, max: SEQUENCE_MASK }) },
      ),
      us: fc.nat(30_000),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), fc.integer({ min: 1, max: 16 }), (steps, heldMax) => {
        start({ heldMax })
        const at = [0, 0, 0, 0]
        let now = 0
        let received = 0
        let out = 0
        for (const { kind, bucket, ahead, us } of steps) {
          now += us
          if (kind === 'packet') {
            at[bucket] = (at[bucket]! + ahead) & SEQUENCE_MASK
            receive(bucket, at[bucket]!, now, now)
            received++
          } else if (kind === 'path') {
            resequencer.pathDelivered(bucket, now, now + us)
          } else if (kind === 'relieve') {
            resequencer.relieve(now)
          } else if (kind === 'reset') {
            resequencer.reset(now)
            expect(resequencer.heldCount).toBe(0)
          }
          resequencer.handleTimeout(now)
          out += delivered().length
          const { duplicate = 0, late = 0 } = drops.snapshot()
          expect(out + duplicate + late + resequencer.heldCount).toBe(received)
          expect(pool.freeCount).toBe(SLOTS - resequencer.heldCount)
          expect(resequencer.heldCount).toBeLessThanOrEqual(heldMax)
          expect(resequencer.nextTimeout()).toBeGreaterThan(now)
        }
      }),
      { numRuns: 150 },
    )
  })
})
