import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Prng } from '../base/prng.js'
import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { INNER_MTU_MIN, PathMtu } from './path-mtu.js'

const STEP_US = 10 * MILLISECOND
const CHALLENGE_US = 250 * MILLISECOND

/** A way of some MTU, and the other end that answers whatever arrives there. Challenges leave as path-keeper.ts sends them. */
class Way {
  now: Instant = 0
  probes = 0
  carriesBytes: number
  loss = 0
  private challengedAt: Instant = Number.NEGATIVE_INFINITY
  private readonly answers: { at: Instant; sentAt: Instant; body: Uint8Array | undefined }[] = []
  private readonly random: Prng

  constructor(
    readonly mtu: PathMtu,
    carriesBytes: number,
    private readonly rttUs: DurationUs = 40 * MILLISECOND,
    seed = 1,
  ) {
    this.carriesBytes = carriesBytes
    this.random = new Prng(seed)
  }

  run(us: DurationUs): void {
    const end = this.now + us
    for (; this.now < end; this.now += STEP_US) {
      const { now, mtu } = this
      while (this.answers.length > 0 && this.answers[0]!.at <= now) {
        const { sentAt, body } = this.answers.shift()!
        if (body) mtu.onAnswer(body, now)
        else mtu.onSmallAnswer(sentAt, now)
      }
      if (now >= mtu.dueAt) {
        mtu.review(now)
        if (now >= mtu.dueAt) this.challenge()
      }
      if (mtu.carries === 0 && now - this.challengedAt >= CHALLENGE_US) this.challenge()
    }
  }

  private challenge(): void {
    const { now, mtu } = this
    this.challengedAt = now
    this.send(0, undefined)
    mtu.onSmallSent(this.rttUs, now)
    if (mtu.start(this.random, now)) {
      this.probes++
      this.send(mtu.size, mtu.body.slice())
    }
  }

  private send(bytes: number, body: Uint8Array | undefined): void {
    if (bytes > this.carriesBytes || this.random.next() < this.loss) return
    this.answers.push({ at: this.now + this.rttUs, sentAt: this.now, body })
  }
}

describe('what a path carries whole', () => {
  it('is known after one round trip and one probe where it is all that is wanted', () => {
    const mtu = new PathMtu(1440)
    const way = new Way(mtu, 1440)
    way.run(60 * MILLISECOND)
    expect(mtu.carries).toBe(1440)
    way.run(60 * SECOND)
    expect(way.probes).toBe(1)
  })

  it('is found to the grain in two seconds where it is less, at once behind PPPoE, and asked for again every ten minutes', () => {
    for (const bytes of [1280, 1300, 1340, 1368, 1432, 1436]) {
      const mtu = new PathMtu(1440)
      const way = new Way(mtu, bytes)
      way.run((bytes === 1432 ? 0.7 : 2) * SECOND)
      expect(mtu.carries).toBe(bytes)
      const { probes } = way
      expect(probes).toBeLessThan(20)
      way.run(597 * SECOND)
      expect(way.probes).toBe(probes)
      way.carriesBytes = 1440
      way.run(10 * SECOND)
      expect(mtu.carries).toBe(1440)
    }
  })

  it('is never more than arrives, and found in the end, whatever is lost', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1200, max: 1700 }),
        fc.integer({ min: 1280, max: 1900 }),
        fc.integer({ min: 1, max: 900 }),
        fc.integer({ min: 0, max: 30 }),
        fc.nat(),
        (carriesBytes, wanted, rttMs, lossPercent, seed) => {
          const mtu = new PathMtu(wanted)
          const way = new Way(mtu, carriesBytes, rttMs * MILLISECOND, seed)
          way.loss = lossPercent / 100
          for (let i = 0; i < 30; i++) {
            way.run(SECOND)
            expect(mtu.carries).toBeLessThanOrEqual(Math.min(wanted, carriesBytes))
          }
          if (carriesBytes < INNER_MTU_MIN) {
            expect(mtu.tooNarrow || mtu.carries === 0).toBe(true)
          } else if (lossPercent === 0) {
            expect(mtu.tooNarrow).toBe(false)
            expect(mtu.carries).toBeGreaterThan(Math.min(wanted, carriesBytes) - 5)
          }
        },
      ),
      { numRuns: 300 },
    )
  })

  it('is not less because a packet was lost', () => {
    let less = 0
    for (let seed = 1; seed <= 200; seed++) {
      const mtu = new PathMtu(1440)
      const way = new Way(mtu, 1440, 40 * MILLISECOND, seed)
      way.loss = 0.1
      way.run(10 * SECOND)
      if (mtu.carries !== 1440) less++
    }
    expect(less).toBeLessThanOrEqual(2)
  })

  it('is the least of a tunnel as soon as it no longer arrives, and found anew', () => {
    const mtu = new PathMtu(1440)
    const way = new Way(mtu, 1440)
    way.run(SECOND)
    way.carriesBytes = 1372
    mtu.verify(0.3, way.now)
    way.run(0.5 * SECOND)
    expect(mtu.carries).toBe(1440)
    const sizes = new Set<number>()
    for (let i = 0; i < 40; i++) {
      way.run(100 * MILLISECOND)
      sizes.add(mtu.carries)
    }
    expect([...sizes]).toEqual([1440, INNER_MTU_MIN, 1372])
  })

  it('holds when seven probes are lost, and the next is not', () => {
    const mtu = new PathMtu(1440)
    const way = new Way(mtu, 1440)
    way.run(SECOND)
    mtu.verify(0, way.now)
    const before = way.probes
    way.carriesBytes = 1000
    while (way.probes < before + 7) way.run(STEP_US)
    way.run(50 * MILLISECOND)
    way.carriesBytes = 1440
    way.run(SECOND)
    expect(way.probes).toBe(before + 8)
    expect(mtu.carries).toBe(1440)
    expect(mtu.isOpen).toBe(false)
  })

  it('holds where it is asked for and still arrives, though much is lost', () => {
    const mtu = new PathMtu(1440)
    const way = new Way(mtu, 1440, 40 * MILLISECOND, 7)
    way.run(SECOND)
    way.loss = 0.2
    let less = 0
    for (let i = 0; i < 500; i++) {
      mtu.verify(0.2, way.now)
      way.run(4 * SECOND)
      if (mtu.carries !== 1440) less++
    }
    expect(less).toBeLessThanOrEqual(1)
  })

  it('is too little where not even that arrives, and no longer when it does', () => {
    const mtu = new PathMtu(1440)
    const way = new Way(mtu, 1200)
    way.run(4 * SECOND)
    expect(mtu.tooNarrow).toBe(true)
    expect(mtu.carries).toBe(0)
    way.carriesBytes = 1440
    way.run(62 * SECOND)
    expect(mtu.tooNarrow).toBe(false)
    expect(mtu.carries).toBe(1440)
  })

  it('is asked from the least on where that was only taken, for want of another path', () => {
    const mtu = new PathMtu(1440)
    const way = new Way(mtu, 1200)
    way.run(4 * SECOND)
    mtu.takeLeast(way.now)
    expect(mtu.carries).toBe(INNER_MTU_MIN)
    mtu.want(1420)
    way.run(4 * SECOND)
    expect(mtu.tooNarrow).toBe(true)
  })

  it('says nothing while the path is silent', () => {
    const mtu = new PathMtu(1440)
    const way = new Way(mtu, 0)
    way.loss = 1
    way.run(20 * SECOND)
    expect(mtu.carries).toBe(0)
    expect(mtu.tooNarrow).toBe(false)
    way.loss = 0
    way.carriesBytes = 1440
    way.run(2 * SECOND)
    expect(mtu.carries).toBe(1440)
  })

  it('follows what is wanted', () => {
    const mtu = new PathMtu(1440)
    const way = new Way(mtu, 1600)
    way.run(SECOND)
    mtu.want(1420)
    way.run(SECOND)
    expect(mtu.carries).toBe(1440)
    mtu.want(1900)
    expect(mtu.carries).toBe(1440)
    way.run(3 * SECOND)
    expect(mtu.carries).toBe(1600)
  })
})
