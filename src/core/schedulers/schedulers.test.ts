import { describe, expect, it } from 'vitest'
import { MILLISECOND } from '../../base/time.js'
import { PacketFlag } from '../../wire/message.js'
import { type FlowTable, PacketClass } from '../flow-table.js'
import { HealthMonitor } from '../health-monitor.js'
import { Pacer } from '../pacer.js'
import type { Path } from '../path.js'
import { RateEstimator } from '../rate-estimator.js'
import type { Scheduler } from '../scheduler.js'
import { AdaptiveScheduler } from './adaptive.js'
import { RedundantScheduler } from './redundant.js'
import { WeightedScheduler } from './weighted.js'

/** Of a path, what schedulers look at. */
function fakePath(weight: number): Path & { link: { hasRoom: boolean } } {
  const pacer = new Pacer()
  const rate = new RateEstimator()
  return {
    weight,
    virtualBytes: 0,
    link: { hasRoom: true },
    pacer,
    rate,
    health: new HealthMonitor(),
    unsealedBytes: 0,
    inFlightBytes: 0,
    arrivalUs: (bytes: number, now: number) =>
      pacer.waitUs(now) + (bytes * 1e6) / rate.rateBytesPerSec + rate.owdUs(now),
  } as unknown as Path & { link: { hasRoom: boolean } }
}

let clock = 0

/** Sends `packets` packets of `bytes` and returns the bytes that each path got. */
function send(scheduler: Scheduler, paths: Path[], packets: number, bytes: (i: number) => number): number[] {
  const sums = paths.map(() => 0)
  for (let i = 0; i < packets; i++) {
    // Far enough apart that no pacer has a say.
    clock += 100 * MILLISECOND
    const count = scheduler.pick(PacketClass.Bulk, 0, clock)
    for (let k = 0; k < count; k++) {
      const path = scheduler.chosen[k]!
      sums[paths.indexOf(path)]! += bytes(i)
      scheduler.sent(path, bytes(i), clock)
    }
  }
  return sums
}

const suite: [string, () => Scheduler][] = [
  ['weighted', () => new WeightedScheduler()],
  ['redundant', () => new RedundantScheduler()],
  ['adaptive', () => new AdaptiveScheduler()],
]

it('what was found to lower the sum stays left out while the paths are the same, as with renewed keys', () => {
  const scheduler = new AdaptiveScheduler()
  const [near, far] = [fakePath(1), fakePath(1)]
  scheduler.setPaths([near, far])
  far.leftOut = true
  scheduler.setPaths([near, far])
  expect(far.leftOut).toBe(true)
  scheduler.setPaths([far])
  expect(far.leftOut).toBe(false)
})

describe.each(suite)('every scheduler: %s', (name, make) => {
  it('says its name', () => {
    expect(make().name).toBe(name)
  })

  it('chooses nothing without paths', () => {
    const scheduler = make()
    expect(scheduler.pick(PacketClass.Bulk, 0, clock)).toBe(0)
    scheduler.setPaths([fakePath(1)])
    scheduler.setPaths([])
    expect(scheduler.pick(PacketClass.Bulk, 0, clock)).toBe(0)
  })

  it('uses the only path there is', () => {
    const scheduler = make()
    const paths = [fakePath(0.01)]
    scheduler.setPaths(paths)
    expect(send(scheduler, paths, 100, () => 1000)).toEqual([100_000])
  })

  it('never chooses a path without room, and chooses it again when it has', () => {
    const scheduler = make()
    const paths = [fakePath(1), fakePath(1)]
    scheduler.setPaths(paths)
    paths[0]!.link.hasRoom = false
    const blocked = send(scheduler, paths, 50, () => 1000)
    expect(blocked).toEqual([0, 50_000])
    paths[1]!.link.hasRoom = false
    expect(scheduler.pick(PacketClass.Bulk, 0, clock)).toBe(0)
    paths[0]!.link.hasRoom = true
    expect(send(scheduler, paths, 10, () => 1000)[0]).toBe(10_000)
  })

  it('forgets a path that is gone', () => {
    const scheduler = make()
    const paths = [fakePath(1), fakePath(1)]
    scheduler.setPaths(paths)
    send(scheduler, paths, 10, () => 1000)
    scheduler.setPaths([paths[1]!])
    expect(send(scheduler, paths, 10, () => 1000)).toEqual([0, 10_000])
  })

  it('chooses no path twice for one packet', () => {
    const scheduler = make()
    const paths = [fakePath(1), fakePath(2), fakePath(3)]
    scheduler.setPaths(paths)
    for (let i = 0; i < 100; i++) {
      const count = scheduler.pick(PacketClass.Bulk, 0, 0)
      expect(new Set(scheduler.chosen.slice(0, count)).size).toBe(count)
      for (let k = 0; k < count; k++) scheduler.sent(scheduler.chosen[k]!, 500, 0)
    }
  })
})

describe('weighted', () => {
  it('shares bytes, not packets, as the weights say', () => {
    const scheduler: Scheduler = new WeightedScheduler()
    const paths = [fakePath(3), fakePath(1), fakePath(0.5)]
    scheduler.setPaths(paths)
    const sums = send(scheduler, paths, 9000, (i) => (i % 3 === 0 ? 60 : 1400))
    const total = sums.reduce((a, b) => a + b)
    expect(sums[0]! / total).toBeCloseTo(3 / 4.5, 2)
    expect(sums[1]! / total).toBeCloseTo(1 / 4.5, 2)
    expect(sums[2]! / total).toBeCloseTo(0.5 / 4.5, 2)
  })

  it('is smooth: equal weights take turns', () => {
    const scheduler: Scheduler = new WeightedScheduler()
    const paths = [fakePath(1), fakePath(1)]
    scheduler.setPaths(paths)
    let last: Path | undefined
    for (let i = 0; i < 20; i++) {
      scheduler.pick(PacketClass.Bulk, 0, 0)
      const path = scheduler.chosen[0]!
      expect(path).not.toBe(last)
      last = path
      scheduler.sent(path, 1000, 0)
    }
  })

  it('gives a path that comes back no arrears', () => {
    const scheduler: Scheduler = new WeightedScheduler()
    const paths = [fakePath(1), fakePath(1)]
    scheduler.setPaths([paths[0]!])
    send(scheduler, paths, 1000, () => 1000)
    scheduler.setPaths(paths)
    const sums = send(scheduler, paths, 10, () => 1000)
    expect(Math.abs(sums[0]! - sums[1]!)).toBeLessThanOrEqual(2000)
  })

  it('lets a path whose socket was full save up no burst', () => {
    const scheduler: Scheduler = new WeightedScheduler()
    const paths = [fakePath(1), fakePath(1)]
    scheduler.setPaths(paths)
    paths[0]!.link.hasRoom = false
    send(scheduler, paths, 1000, () => 1000)
    paths[0]!.link.hasRoom = true
    const sums = send(scheduler, paths, 10, () => 1000)
    expect(Math.abs(sums[0]! - sums[1]!)).toBeLessThanOrEqual(2000)
  })
})

describe('redundant', () => {
  it('sends each packet on every path', () => {
    const scheduler: Scheduler = new RedundantScheduler()
    const paths = [fakePath(1), fakePath(5), fakePath(1)]
    scheduler.setPaths(paths)
    expect(send(scheduler, paths, 10, () => 100)).toEqual([1000, 1000, 1000])
  })
})

describe('adaptive', () => {
  function path(rate: number, owdUs: number): Path {
    const fake = fakePath(1)
    Object.assign(fake.rate, { rateBytesPerSec: rate, startup: false, gain: 1 })
    fake.rate.owdUs = () => owdUs
    return fake
  }

  it('sends where a packet arrives first, and elsewhere when that path is busy long enough', () => {
    const scheduler: Scheduler = new AdaptiveScheduler()
    const fast = path(10_000_000, 5_000)
    const slow = path(2_500_000, 30_000)
    scheduler.setPaths([slow, fast])
    expect(scheduler.pick(PacketClass.Bulk, 1_500_000, 0)).toBe(1)
    expect(scheduler.chosen[0]).toBe(fast)
    scheduler.sent(fast, 30_000, 0)
    // 30 kB are 3 ms on the fast path, whose pacer is busy now; 1.5 MB wait, which takes it far longer than 8 ms.
    expect(scheduler.pick(PacketClass.Bulk, 1_500_000, 0)).toBe(1)
    expect(scheduler.chosen[0]).toBe(slow)
  })

  it('waits for the fast path when little waits', () => {
    const scheduler: Scheduler = new AdaptiveScheduler()
    const fast = path(10_000_000, 5_000)
    const slow = path(2_500_000, 30_000)
    scheduler.setPaths([slow, fast])
    scheduler.sent(fast, 30_000, 0)
    expect(scheduler.pick(PacketClass.Bulk, 1_500, 0)).toBe(0)
    expect(scheduler.nextRoomAt(0)).toBeGreaterThan(0)
    expect(scheduler.nextRoomAt(0)).toBeLessThanOrEqual(3_000)
  })

  it('waits longer rather than taking a path that is much slower, and takes none that is left out', () => {
    const scheduler: Scheduler = new AdaptiveScheduler()
    const land = path(2_500_000, 20_000)
    const satellite = path(2_500_000, 300_000)
    scheduler.setPaths([satellite, land])
    scheduler.sent(land, 30_000, 0)
    // 20 ms of waiting, of a tenth of 270.
    expect(scheduler.pick(PacketClass.Bulk, 50_000, 0)).toBe(0)
    expect(scheduler.pick(PacketClass.Bulk, 100_000, 0)).toBe(1)
    expect(scheduler.chosen[0]).toBe(satellite)
    satellite.leftOut = true
    expect(scheduler.pick(PacketClass.Bulk, 100_000, 0)).toBe(0)
    // All paths are used again when the set of them changes, or the other end evens their delays out.
    scheduler.setPaths([satellite])
    expect(satellite.leftOut).toBe(false)
    satellite.leftOut = true
    scheduler.review(true, 0)
    expect(satellite.leftOut).toBe(false)
  })

  describe('what may be over soon', () => {
    interface Before {
      /** How long 80 % of the near path has been in use. */
      readonly busyUs?: number
      /** What was sent every 10 ms before that. */
      readonly dripBytes?: number
      readonly equalised?: boolean
      /** Bulk that waits; 2,500 are a millisecond. */
      readonly waiting?: number
      /** Of the near path. */
      readonly bytesPerSec?: number
    }

    /** Two paths of 2.5 MB/s, of which the near one is busy for some 12 ms. */
    function decide(furtherMs: number, before: Before = {}): 'far' | 'waits' {
      const {
        busyUs = 0,
        dripBytes = 0,
        equalised = false,
        waiting = 100_000,
        bytesPerSec = 2_500_000,
      } = before
      const near = path(bytesPerSec, 20 * MILLISECOND)
      const far = path(2_500_000, (20 + furtherMs) * MILLISECOND)
      for (const { rate } of [near, far]) Object.defineProperty(rate, 'baseUs', { value: rate.owdUs(0) })
      const scheduler: Scheduler = new AdaptiveScheduler()
      scheduler.setPaths([far, near])
      scheduler.review(equalised, 0)
      for (let at = -3_000 * MILLISECOND; at < busyUs; at += 10 * MILLISECOND)
        scheduler.sent(near, at < 0 ? dripBytes : bytesPerSec / 125, at)
      scheduler.sent(near, bytesPerSec / 83, busyUs)
      if (scheduler.pick(PacketClass.Bulk, waiting, busyUs) === 0) return 'waits'
      expect(scheduler.chosen[0] === far).toBe(true)
      return 'far'
    }

    it('waits for the near path if it arrives sooner by that', () => {
      expect(decide(60)).toBe('waits')
      expect(decide(45)).toBe('far')
      expect(decide(60, { equalised: true })).toBe('far')
    })

    it('takes what is no more than 10 ms further away as early as ever', () => {
      expect(decide(20, { waiting: 15_000 })).toBe('waits')
      expect(decide(9.9, { waiting: 15_000 })).toBe('far')
    })

    it('lasts the longer the further away the far one is, up to 0.4 s', () => {
      expect(decide(100, { busyUs: 170 * MILLISECOND })).toBe('waits')
      expect(decide(100, { busyUs: 190 * MILLISECOND })).toBe('far')
      const thin = { bytesPerSec: 250_000, waiting: 20_000 }
      expect(decide(250, { ...thin, busyUs: 390 * MILLISECOND })).toBe('waits')
      expect(decide(250, { ...thin, busyUs: 410 * MILLISECOND })).toBe('far')
    })

    it('has no end where the far one is more than 150 ms further away, unless the near one is very thin', () => {
      const busyUs = 10_000 * MILLISECOND
      expect(decide(149, { busyUs })).toBe('far')
      expect(decide(151, { busyUs })).toBe('waits')
      expect(decide(280, { busyUs, waiting: 600_000 })).toBe('waits')
      expect(decide(280, { busyUs, waiting: 700_000 })).toBe('far')
      expect(decide(280, { busyUs, equalised: true })).toBe('far')
      // 84,000 and 78,400 bytes in 280 ms.
      expect(decide(280, { busyUs, bytesPerSec: 300_000, waiting: 60_000 })).toBe('waits')
      expect(decide(280, { busyUs, bytesPerSec: 280_000, waiting: 60_000 })).toBe('far')
    })

    it('is known, as what waits must not be dropped meanwhile', () => {
      const waitMs = (furtherMs: number, bytesPerSec = 2_500_000, equalised = false): number => {
        const near = path(bytesPerSec, 20 * MILLISECOND)
        const far = path(2_500_000, (20 + furtherMs) * MILLISECOND)
        for (const { rate } of [near, far]) Object.defineProperty(rate, 'baseUs', { value: rate.owdUs(0) })
        const scheduler = new AdaptiveScheduler()
        scheduler.setPaths([far, near])
        scheduler.review(equalised, 0)
        expect([near.onlySooner, far.onlySooner]).toEqual([false, scheduler.waitUsMax > 0])
        return scheduler.waitUsMax / MILLISECOND
      }
      expect(waitMs(280)).toBe(280)
      expect(waitMs(140)).toBe(0)
      expect(waitMs(Number.POSITIVE_INFINITY)).toBe(0)
      expect(waitMs(280, 200_000)).toBe(0)
      expect(waitMs(280, 2_500_000, true)).toBe(0)
    })

    it('waits as long as that, however near the others are, while flows last that fill these', () => {
      const near = path(2_500_000, 20 * MILLISECOND)
      const other = path(2_500_000, 40 * MILLISECOND)
      const scheduler = new AdaptiveScheduler()
      scheduler.setPaths([near, other])
      const chosen = (bulkBytes: number, brief: boolean): Path | undefined =>
        scheduler.pick(PacketClass.Bulk, bulkBytes, 200 * MILLISECOND, brief) === 1
          ? scheduler.chosen[0]
          : undefined
      scheduler.sent(near, 20_000, 200 * MILLISECOND)
      // 8 ms of waiting where the other path is 14 ms later.
      expect(chosen(20_000, true) === other).toBe(true)
      let packets = 0
      const flows = { sequenceOf: (bucket: number) => (bucket === 5 ? packets : 0), isTcp: () => true }
      scheduler.watch(flows as unknown as FlowTable, 0)
      packets = 1000
      expect(scheduler.watch(flows as unknown as FlowTable, 100 * MILLISECOND)).toBe(true)
      expect(chosen(20_000, true)).toBe(undefined)
      expect(chosen(40_000, true) === other).toBe(true)
      expect(chosen(20_000, false) === other).toBe(true)
      scheduler.review(true, 100 * MILLISECOND)
      expect(chosen(20_000, true) === other).toBe(true)
    })

    it('counts from when the paths were calm, which they are with a drip', () => {
      // 9 and 30 % of the near path's rate.
      expect(decide(100, { dripBytes: 2_250 })).toBe('waits')
      expect(decide(100, { dripBytes: 7_500 })).toBe('far')
    })
  })

  it('uses a satellite early, and after a pause, too, where that delays nothing, as the transfer is evened', () => {
    const near = path(2_500_000, 20 * MILLISECOND)
    const far = path(2_500_000, 220 * MILLISECOND)
    for (const { rate } of [near, far]) Object.defineProperty(rate, 'baseUs', { value: rate.owdUs(0) })
    Object.assign(near, { rateOutBytesPerSec: 2_500_000 })
    const scheduler = new AdaptiveScheduler()
    scheduler.setPaths([near, far])
    let now = 0
    let packets = 0
    const flows = { sequenceOf: (bucket: number) => (bucket === 5 ? packets : 0), isTcp: () => true }
    const pass = (ms: number): void => {
      for (let i = 0; i < ms; i += 10) {
        now += 10 * MILLISECOND
        packets += 20
        scheduler.sent(near, 25_000, now)
        scheduler.watch(flows as unknown as FlowTable, now)
      }
    }
    /** Where the near path is busy, and bulk waits that it carries in 6 ms. */
    const chosen = (): Path | undefined => {
      scheduler.sent(near, 30_000, now)
      return scheduler.pick(PacketClass.Bulk, 15_000, now) === 1 ? scheduler.chosen[0] : undefined
    }
    pass(5_000)
    expect(chosen()).toBe(undefined)
    pass(5_000)
    expect(scheduler.flowFlags[5]).toBe(PacketFlag.Even)
    expect(chosen() === far).toBe(true)
    now += 600 * MILLISECOND
    expect(chosen() === far).toBe(true)
  })

  it('has few acknowledgements come of what has just begun, unless the delays of the paths are evened', () => {
    const near = path(2_500_000, 10 * MILLISECOND)
    const far = path(2_500_000, 90 * MILLISECOND)
    for (const { rate } of [near, far]) {
      Object.defineProperty(rate, 'baseUs', { value: rate.owdUs(0) })
      Object.defineProperty(rate, 'rttUsMin', { value: 2 * rate.owdUs(0) })
    }
    Object.assign(near, { rateOutBytesPerSec: 2_500_000, onlySooner: false })
    const scheduler = new AdaptiveScheduler()
    scheduler.setPaths([near, far])
    const spacingMs = (): number => scheduler.ackTiming.spacingUs(10_000, now) / MILLISECOND
    let now = 0
    let packets = 0
    const flows = { sequenceOf: (bucket: number) => (bucket === 5 ? packets : 0), isTcp: () => true }
    const pass = (ms: number): void => {
      for (let i = 0; i < ms; i += 10) {
        now += 10 * MILLISECOND
        packets += 20
        scheduler.sent(near, 25_000, now)
        scheduler.watch(flows as unknown as FlowTable, now)
      }
    }
    pass(1_000)
    expect(spacingMs()).toBe(4)
    scheduler.review(true, now)
    pass(10)
    expect(spacingMs()).toBe(0)
    scheduler.review(false, now)
    pass(10)
    expect(spacingMs()).toBe(4)
    pass(1_500)
    expect(spacingMs()).toBe(0)
    // It begins again after calm, but not while a transfer is evened.
    now += 600 * MILLISECOND
    pass(100)
    expect(spacingMs()).toBe(4)
    pass(9_000)
    expect(scheduler.flowFlags[5]).toBe(PacketFlag.Even)
    now += 600 * MILLISECOND
    pass(100)
    expect(spacingMs()).toBe(0)
  })

  it('lets real-time packets past the pacer, and doubles them where losses were', () => {
    const scheduler: Scheduler = new AdaptiveScheduler()
    const fast = path(10_000_000, 5_000)
    const slow = path(2_500_000, 30_000)
    scheduler.setPaths([fast, slow])
    scheduler.sent(fast, 15_000, 0)
    expect(scheduler.pick(PacketClass.RealTime, 0, 0)).toBe(1)
    expect(scheduler.chosen[0]).toBe(fast)
    fast.health.lostAt = 0
    expect(scheduler.pick(PacketClass.RealTime, 0, 1_000)).toBe(2)
    expect(scheduler.chosen.slice(0, 2)).toEqual([fast, slow])
    expect(scheduler.pick(PacketClass.PureAck, 0, 1_000)).toBe(1)
  })

  it('says which path is to be kept quick: where real-time packets go, not their copies, nor ACKs', () => {
    const scheduler: Scheduler = new AdaptiveScheduler()
    const fast = path(10_000_000, 5_000)
    const slow = path(2_500_000, 30_000)
    fast.health.lostAt = 0
    scheduler.setPaths([fast, slow])
    scheduler.pick(PacketClass.PureAck, 0, 1_000)
    scheduler.pick(PacketClass.Bulk, 1_500, 1_000)
    expect(fast.rate.urgentAt).toBe(Number.NEGATIVE_INFINITY)
    expect(scheduler.pick(PacketClass.RealTime, 0, 2_000)).toBe(2)
    expect(fast.rate.urgentAt).toBe(2_000)
    expect(slow.rate.urgentAt).toBe(Number.NEGATIVE_INFINITY)
  })

  it('leaves alone a path at its in-flight cap', () => {
    const scheduler: Scheduler = new AdaptiveScheduler()
    const only = path(10_000_000, 5_000)
    Object.assign(only, { inFlightBytes: 1e9 })
    scheduler.setPaths([only])
    expect(scheduler.pick(PacketClass.Bulk, 1_500, 0)).toBe(0)
    expect(scheduler.pick(PacketClass.RealTime, 0, 0)).toBe(1)
  })

  it('would choose as it says for a run of packets, and the run costs as much as its packets', () => {
    for (const inFlightBytes of [0, 30_000, 90_000, 100_000]) {
      const make = (): { scheduler: Scheduler; paths: Path[] } => {
        const paths = [path(50_000_000, 9_000), path(20_000_000, 5_000), path(5_000_000, 4_000)]
        for (const each of paths) Object.assign(each, { inFlightBytes })
        const scheduler: Scheduler = new AdaptiveScheduler()
        scheduler.setPaths(paths)
        return { scheduler, paths }
      }
      const [singly, inRuns] = [make(), make()]
      const now = 1_000_000
      let sent = 0
      for (;;) {
        const count = inRuns.scheduler.pick(PacketClass.Bulk, 1e6, now)
        expect(singly.scheduler.pick(PacketClass.Bulk, 1e6, now)).toBe(count)
        if (count === 0) break
        const bytesMax = inRuns.scheduler.runBytes(now)
        const chosen = inRuns.scheduler.chosen[0]!
        let bytes = 0
        do {
          // The one that is asked for each packet has chosen the same path.
          const choice = singly.scheduler.chosen[0]!
          expect(singly.paths.indexOf(choice)).toBe(inRuns.paths.indexOf(chosen))
          singly.scheduler.sent(choice, 1_460, now)
          Object.assign(choice, { inFlightBytes: choice.inFlightBytes + 1_460 })
          bytes += 1_460
          sent++
        } while (bytes < bytesMax && singly.scheduler.pick(PacketClass.Bulk, 1e6, now) === 1)
        expect(bytes).toBeGreaterThanOrEqual(bytesMax)
        inRuns.scheduler.sent(chosen, bytes, now)
        Object.assign(chosen, { inFlightBytes: chosen.inFlightBytes + bytes })
        expect(chosen.pacer.nextAt).toBeCloseTo(singly.paths[inRuns.paths.indexOf(chosen)]!.pacer.nextAt, 3)
      }
      if (inFlightBytes === 0) expect(sent).toBeGreaterThan(50)
    }
  })
})
