import { expect, test } from 'vitest'
import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { Pacer } from './pacer.js'
import { RateEstimator, type RateSample } from './rate-estimator.js'

const PACKET_BYTES = 1_500
const TICK_US = 100
const FEEDBACK_US = 5 * MILLISECOND
const MBIT = 125_000

interface Sent {
  at: Instant
  arrivesAt: Instant
  bytesUpTo: number
  idleUs: number
}

/** One direction of a link in virtual time, a sender that does what it is told, and feedback every 5 ms. */
class ModelLink {
  now: Instant = 0
  readonly rate = new RateEstimator()
  readonly pacer = new Pacer()
  /** Bytes per second that the application has to send. */
  applicationBytesPerSec = Number.POSITIVE_INFINITY
  packetBytes = PACKET_BYTES
  /** One-way delay beyond ours: somebody else's queue. */
  foreignUs: DurationUs = 0
  /** Delay of the other path on which all feedback comes back, if it does. */
  framesBackUs: DurationUs | undefined
  private backlog = 0
  private freeAt: Instant = 0
  private readonly sent: Sent[] = []
  private readonly frames: { at: Instant; sample: RateSample; bytes: number }[] = []
  private bytesSent = 0
  bytesReported = 0
  private received = 0
  private owdMinBefore = Number.POSITIVE_INFINITY
  private capped = false

  constructor(
    public bytesPerSec: number,
    readonly delayUs: DurationUs = 10 * MILLISECOND,
  ) {}

  run(durationUs: DurationUs, each: () => void = () => {}): void {
    for (const until = this.now + durationUs; this.now < until; this.now += TICK_US) {
      this.send()
      if (this.now % FEEDBACK_US === 0) this.report()
      this.readFeedback()
      each()
    }
  }

  /** The rate over a while: the median is free of the moments of draining. */
  median(durationUs: DurationUs): number {
    const rates: number[] = []
    this.run(durationUs, () => rates.push(this.rate.rateBytesPerSec))
    return rates.sort((a, b) => a - b)[rates.length >> 1]!
  }

  private send(): void {
    const { rate, pacer, now } = this
    this.backlog = Math.min(this.backlog + (this.applicationBytesPerSec * TICK_US) / SECOND, 1e6)
    while (this.backlog >= this.packetBytes) {
      if (this.bytesSent - this.bytesReported >= rate.inFlightBytesMax) {
        this.capped = true
        return
      }
      if (!pacer.mayISend(now)) return
      this.backlog -= this.packetBytes
      pacer.sent(this.packetBytes, rate.pacingBytesPerSec, now)
      rate.onSent(this.packetBytes, now)
      this.bytesSent += this.packetBytes
      this.freeAt = Math.max(this.freeAt, now) + (this.packetBytes * SECOND) / this.bytesPerSec
      const arrivesAt = this.freeAt + this.delayUs + this.foreignUs
      this.sent.push({ at: now, arrivesAt, bytesUpTo: this.bytesSent, idleUs: pacer.idleUs })
    }
  }

  private report(): void {
    let owdMin = Number.POSITIVE_INFINITY
    let newest: Sent | undefined
    while (this.received < this.sent.length && this.sent[this.received]!.arrivesAt <= this.now) {
      newest = this.sent[this.received++]!
      owdMin = Math.min(owdMin, newest.arrivesAt - newest.at)
    }
    if (!newest) return
    const sample: RateSample = {
      owdMinUs: Math.min(owdMin, this.owdMinBefore),
      newestAt: newest.arrivesAt,
      bytesReceived: newest.bytesUpTo,
      sentAt: newest.at,
      bytesSent: newest.bytesUpTo,
      idleUs: newest.idleUs,
      bytesSince: 0,
      rttUs: this.framesBackUs === undefined ? newest.arrivesAt - newest.at + this.delayUs : Number.NaN,
      reportUs: newest.arrivesAt - newest.at + (this.framesBackUs ?? this.delayUs),
      capped: this.capped,
      packetBytes: this.packetBytes,
    }
    this.owdMinBefore = owdMin
    this.capped = false
    this.frames.push({ at: this.now + (this.framesBackUs ?? this.delayUs), sample, bytes: newest.bytesUpTo })
  }

  /** What a packet of no length would take to the other end if it was sent now. */
  get owdUs(): DurationUs {
    return Math.max(this.freeAt - this.now, 0) + this.delayUs
  }

  private readFeedback(): void {
    while (this.frames.length > 0 && this.frames[0]!.at <= this.now) {
      const { sample, bytes } = this.frames.shift()!
      this.bytesReported = bytes
      sample.bytesSince = this.bytesSent - sample.bytesSent
      this.rate.onSample(sample, this.now)
    }
  }
}

test.each([2, 20, 80, 400])('finds a rate of %i Mbit/s within 2 %, with a small queue', (mbit) => {
  const link = new ModelLink(mbit * MBIT)
  link.run(3 * SECOND)
  expect(link.rate.startup).toBe(false)
  expect(link.rate.limiter).toBe('link')
  const found = link.median(3 * SECOND)
  expect(Math.abs(found / (mbit * MBIT) - 1)).toBeLessThan(0.02)
  // 5 ms, or the 2.2 packets that a slow link has to have.
  const queueUs = Math.max(5 * MILLISECOND, (2.2 * PACKET_BYTES * SECOND) / (mbit * MBIT))
  expect(link.rate.targetUs).toBeLessThan(1.5 * queueUs)
  expect(link.rate.queueUs).toBeLessThan(2.5 * queueUs)
})

test('leaves start-up on a link slower than where it starts, and lets no long queue stand', () => {
  const link = new ModelLink(0.8 * MBIT)
  link.run(3 * SECOND)
  expect(link.rate.startup).toBe(false)
  expect(Math.abs(link.median(3 * SECOND) / (0.8 * MBIT) - 1)).toBeLessThan(0.02)
  // Two packets take 30 ms.
  expect(link.rate.queueUs).toBeLessThan(50 * MILLISECOND)
})

test('finds the rate of a link of 600 ms, and keeps its in-flight limit whatever is measured anew', () => {
  const link = new ModelLink(20 * MBIT, 300 * MILLISECOND)
  link.run(15 * SECOND)
  const productBytes = 20 * MBIT * 0.6
  let least = Number.POSITIVE_INFINITY
  link.run(12 * SECOND, () => {
    least = Math.min(least, link.rate.inFlightBytesMax)
  })
  expect(least).toBeGreaterThan(0.8 * productBytes)
  expect(Math.abs(link.rate.rateBytesPerSec / (20 * MBIT) - 1)).toBeLessThan(0.1)
})

test('does not fall while the application sends less than the link carries', () => {
  const link = new ModelLink(80 * MBIT)
  link.run(3 * SECOND)
  link.applicationBytesPerSec = 8 * MBIT
  let least = Number.POSITIVE_INFINITY
  link.run(20 * SECOND, () => {
    least = Math.min(least, link.rate.rateBytesPerSec)
  })
  expect(least).toBeGreaterThan(0.95 * 80 * MBIT)
  expect(link.rate.limiter).toBe('application')
})

test('small packets fill a thin link that a train measured: start-up ends, and their queue stays short', () => {
  const link = new ModelLink(0.9 * MBIT)
  link.packetBytes = 120
  link.rate.onTrain(0.9 * MBIT)
  // A little less than a start-up at twice the rate would let through, and more than the link carries.
  link.applicationBytesPerSec = 1.1 * MBIT
  link.run(2 * SECOND)
  expect(link.rate.startup).toBe(false)
  const found = link.median(3 * SECOND)
  expect(Math.abs(found / (0.9 * MBIT) - 1)).toBeLessThan(0.03)
  expect(link.rate.queueUs).toBeLessThan(25 * MILLISECOND)
})

test('follows a link that falls from 80 to 20 Mbit/s within 300 ms, and back up', () => {
  const link = new ModelLink(80 * MBIT)
  link.run(4 * SECOND)
  link.bytesPerSec = 20 * MBIT
  link.run(300 * MILLISECOND)
  expect(link.rate.rateBytesPerSec).toBeLessThan(1.25 * 20 * MBIT)
  link.run(1 * SECOND)
  expect(link.rate.queueUs).toBeLessThan(15 * MILLISECOND)
  link.bytesPerSec = 80 * MBIT
  link.run(3 * SECOND)
  expect(link.rate.rateBytesPerSec).toBeGreaterThan(0.9 * 80 * MBIT)
})

test('aims at more on a link whose rate keeps changing, so that it runs dry less, but not where something urgent goes', () => {
  const play = (isUrgent: boolean): { carried: number; targetUs: number } => {
    const link = new ModelLink(26 * MBIT, 25 * MILLISECOND)
    let before = 0
    for (let step = 0; step < 100; step++) {
      // 16, 26, 36, 16, ...: in no order that helps.
      link.bytesPerSec = (16 + 10 * ((step * step + step) % 3)) * MBIT
      link.run(200 * MILLISECOND, () => {
        if (isUrgent) link.rate.urgentAt = link.now
      })
      if (step === 24) before = link.bytesReported
    }
    return { carried: link.bytesReported - before, targetUs: link.rate.targetUs }
  }
  const quick = play(true)
  const full = play(false)
  expect(full.targetUs).toBeGreaterThan(quick.targetUs + 6 * MILLISECOND)
  expect(quick.targetUs).toBeLessThan(14 * MILLISECOND)
  expect(full.carried).toBeGreaterThan(1.01 * quick.carried)
})

test('aims at less where that loses far fewer packets: the buffer is short', () => {
  const link = new ModelLink(50 * MBIT)
  link.run(3 * SECOND)
  const { targetUs } = link.rate
  const lose = (seconds: number): void => {
    for (let i = 0; i < seconds * 100; i++) {
      link.run(10 * MILLISECOND)
      link.rate.onLoss(40, link.rate.targetUs > 3 * MILLISECOND ? 1 : 0, link.now)
    }
  }
  lose(8)
  expect(link.rate.targetUs).toBeLessThan(0.5 * targetUs)
  expect(link.median(2 * SECOND)).toBeGreaterThan(0.95 * 50 * MBIT)
})

test("takes a queue that does not shrink for somebody else's: the base delay moves up, the rate stays", () => {
  const link = new ModelLink(50 * MBIT)
  link.run(3 * SECOND)
  const before = link.rate.baseUs
  link.foreignUs = 25 * MILLISECOND
  link.run(2 * SECOND)
  expect(link.rate.rebases).toBeGreaterThan(0)
  expect(link.rate.baseUs).toBeGreaterThan(before + 15 * MILLISECOND)
  expect(link.median(2 * SECOND)).toBeGreaterThan(0.95 * 50 * MBIT)
})

test('lets the queue run empty every 5 s, which shows a base delay that was too high', () => {
  const link = new ModelLink(50 * MBIT)
  link.run(2 * SECOND)
  let drains = 0
  let draining = false
  let base = Number.POSITIVE_INFINITY
  link.run(21 * SECOND, () => {
    const now = link.rate.limiter === 'draining'
    if (now && !draining) drains++
    draining = now
    base = Math.min(base, link.rate.baseUs)
  })
  expect(drains).toBeGreaterThanOrEqual(3)
  expect(drains).toBeLessThanOrEqual(5)
  // The delay of the line and of one packet on it.
  expect(base).toBeLessThan(10 * MILLISECOND + 300)
})

test('begins where a train of packets says, and never far below the start', () => {
  const rate = new RateEstimator()
  const start = rate.rateBytesPerSec
  rate.onTrain(1)
  expect(rate.rateBytesPerSec).toBe(start / 6)
  rate.onTrain(40 * MBIT)
  expect(rate.rateBytesPerSec).toBe(36 * MBIT)
})

test('a clock that begins anew does not look like a queue', () => {
  const link = new ModelLink(50 * MBIT)
  link.run(3 * SECOND)
  const { rebases, rateBytesPerSec } = link.rate
  link.rate.onSample(
    {
      owdMinUs: -40 * SECOND,
      newestAt: link.now,
      bytesReceived: 0,
      sentAt: link.now,
      bytesSent: 0,
      idleUs: 0,
      bytesSince: 0,
      rttUs: Number.NaN,
      reportUs: Number.NaN,
      capped: false,
      packetBytes: PACKET_BYTES,
    },
    link.now,
  )
  expect(link.rate.baseUs).toBe(-40 * SECOND)
  expect(link.rate.queueUs).toBe(0)
  expect(link.rate.rebases).toBe(rebases)
  expect(link.rate.rateBytesPerSec).toBe(rateBytesPerSec)
})

test('a long path whose feedback only ever comes back on a short one is filled', () => {
  const link = new ModelLink(20 * MBIT, 300 * MILLISECOND)
  link.framesBackUs = 20 * MILLISECOND
  link.run(8 * SECOND)
  expect(link.rate.rttUsMin).toBeGreaterThan(320 * MILLISECOND)
  expect(link.rate.rttUsMin).toBeLessThan(335 * MILLISECOND)
  const { bytesReported } = link
  link.run(4 * SECOND)
  expect(((link.bytesReported - bytesReported) / 4) * 8).toBeGreaterThan(19e6)
})

test('a train that a token bucket let through is believed no longer than until more was carried without a queue', () => {
  const fast = new ModelLink(1_000 * MBIT, MILLISECOND)
  fast.rate.onTrain(4_600 * MBIT)
  fast.applicationBytesPerSec = 800 * MBIT
  fast.run(5 * SECOND)
  expect(fast.rate.startup).toBe(true)
  expect(fast.rate.rateBytesPerSec / MBIT).toBeGreaterThan(1_000)
  expect(fast.rate.rateBytesPerSec / MBIT).toBeLessThan(1_300)
  const little = new ModelLink(1_000 * MBIT, MILLISECOND)
  little.rate.onTrain(4_600 * MBIT)
  little.applicationBytesPerSec = 100 * MBIT
  little.run(5 * SECOND)
  expect(little.rate.rateBytesPerSec / MBIT).toBeGreaterThan(4_000)
})

test('a train that a token bucket let through is forgotten when start-up ends, whatever is asked for from then on', () => {
  const link = new ModelLink(100 * MBIT, MILLISECOND)
  link.rate.onTrain(900 * MBIT)
  link.applicationBytesPerSec = 700 * MBIT
  link.run(10 * MILLISECOND)
  // Less than 0.6 of half of what was believed.
  link.applicationBytesPerSec = 70 * MBIT
  link.run(SECOND)
  expect(link.rate.startup).toBe(false)
  expect(Math.abs(link.rate.rateBytesPerSec / (100 * MBIT) - 1)).toBeLessThan(0.02)
  expect(link.rate.rebases).toBe(0)
})

test('predicts the delay of a packet by what was sent before it, and forgets a queue that has run empty unseen', () => {
  const link = new ModelLink(40 * MBIT)
  link.run(3 * SECOND)
  const { rate } = link
  expect(Math.abs(rate.owdUs(link.now) - link.owdUs)).toBeLessThan(2 * MILLISECOND)
  link.applicationBytesPerSec = 0
  link.run(500 * MILLISECOND)
  expect(rate.queueUs).toBeGreaterThan(2 * MILLISECOND)
  const { now } = link
  const emptyUs = rate.owdUs(now)
  expect(Math.abs(emptyUs - link.owdUs)).toBeLessThan(500)
  rate.onSent(50_000, now)
  const addedUs = rate.owdUs(now) - emptyUs
  expect(Math.abs(addedUs / (10 * MILLISECOND) - 1)).toBeLessThan(0.03)
  expect(rate.owdUs(now + 4 * MILLISECOND)).toBe(rate.owdUs(now) - 4 * MILLISECOND)
  expect(rate.owdUs(now + 20 * MILLISECOND)).toBe(emptyUs)
})
