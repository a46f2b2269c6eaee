import { describe, expect, it } from 'vitest'
import type { Path } from '../path.js'
import type { Scheduler } from '../scheduler.js'
import { RedundantScheduler } from './redundant.js'
import { WeightedScheduler } from './weighted.js'

/** Of a path, what schedulers look at. */
function fakePath(weight: number): Path & { link: { hasRoom: boolean } } {
  return { weight, virtualBytes: 0, link: { hasRoom: true } } as Path & { link: { hasRoom: boolean } }
}

/** Sends `packets` packets of `bytes` and returns the bytes that each path got. */
function send(scheduler: Scheduler, paths: Path[], packets: number, bytes: (i: number) => number): number[] {
  const sums = paths.map(() => 0)
  for (let i = 0; i < packets; i++) {
    const count = scheduler.pick(0)
    for (let k = 0; k < count; k++) {
      const path = scheduler.chosen[k]!
      sums[paths.indexOf(path)]! += bytes(i)
      scheduler.sent(path, bytes(i))
    }
  }
  return sums
}

const suite: [string, () => Scheduler][] = [
  ['weighted', () => new WeightedScheduler()],
  ['redundant', () => new RedundantScheduler()],
]

describe.each(suite)('every scheduler: %s', (name, make) => {
  it('says its name', () => {
    expect(make().name).toBe(name)
  })

  it('chooses nothing without paths', () => {
    const scheduler = make()
    expect(scheduler.pick(0)).toBe(0)
    scheduler.setPaths([fakePath(1)])
    scheduler.setPaths([])
    expect(scheduler.pick(0)).toBe(0)
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
    expect(scheduler.pick(0)).toBe(0)
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
      const count = scheduler.pick(0)
      expect(new Set(scheduler.chosen.slice(0, count)).size).toBe(count)
      for (let k = 0; k < count; k++) scheduler.sent(scheduler.chosen[k]!, 500)
    }
  })
})

describe('weighted', () => {
  it('shares bytes, not packets, as the weights say', () => {
    const scheduler = new WeightedScheduler()
    const paths = [fakePath(3), fakePath(1), fakePath(0.5)]
    scheduler.setPaths(paths)
    const sums = send(scheduler, paths, 9000, (i) => (i % 3 === 0 ? 60 : 1400))
    const total = sums.reduce((a, b) => a + b)
    expect(sums[0]! / total).toBeCloseTo(3 / 4.5, 2)
    expect(sums[1]! / total).toBeCloseTo(1 / 4.5, 2)
    expect(sums[2]! / total).toBeCloseTo(0.5 / 4.5, 2)
  })

  it('is smooth: equal weights take turns', () => {
    const scheduler = new WeightedScheduler()
    const paths = [fakePath(1), fakePath(1)]
    scheduler.setPaths(paths)
    let last: Path | undefined
    for (let i = 0; i < 20; i++) {
      scheduler.pick(0)
      const path = scheduler.chosen[0]!
      expect(path).not.toBe(last)
      last = path
      scheduler.sent(path, 1000)
    }
  })

  it('gives a path that comes back no arrears', () => {
    const scheduler = new WeightedScheduler()
    const paths = [fakePath(1), fakePath(1)]
    scheduler.setPaths([paths[0]!])
    send(scheduler, paths, 1000, () => 1000)
    scheduler.setPaths(paths)
    const sums = send(scheduler, paths, 10, () => 1000)
    expect(Math.abs(sums[0]! - sums[1]!)).toBeLessThanOrEqual(2000)
  })

  it('lets a path whose socket was full save up no burst', () => {
    const scheduler = new WeightedScheduler()
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
    const scheduler = new RedundantScheduler()
    const paths = [fakePath(1), fakePath(5), fakePath(1)]
    scheduler.setPaths(paths)
    expect(send(scheduler, paths, 10, () => 100)).toEqual([1000, 1000, 1000])
  })
})
