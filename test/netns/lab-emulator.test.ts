import { readdirSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { DirectionModel } from '../../src/lab/link-model.js'
import { delay, monotonicNs, runSync, taskIn } from '../../src/lab/processes.js'
import { probeProgram } from '../../src/lab/programs.js'
import { type PacketRecords, quantile, readPacketRecords } from '../../src/lab/records.js'
import { LabState } from '../../src/lab/state-directory.js'
import { Topology } from '../../src/lab/topology.js'
import type { WanLink } from '../../src/lab/wan-link.js'

// The emulator against numbered packets through it. Bounds are wide enough for a machine that does other work too;
// `plait lab accuracy` has the figures of a quiet one.

const FRAME_BYTES = 1000
const PAYLOAD_BYTES = FRAME_BYTES - 14 - 20 - 8
const plain: DirectionModel = {
  rateBitsPerSec: Number.POSITIVE_INFINITY,
  overheadBytes: 0,
  delayUs: 0,
  jitterUs: 0,
  jitterHoldUs: 0,
  keepOrder: true,
  loss: 0,
  lossBurst: 1,
  duplicate: 0,
  reorder: 0,
  reorderByUs: 0,
  queue: { timeUs: 50_000 },
  pathMtu: 0,
}

describe.runIf(process.getuid?.() === 0)('the WAN emulator', () => {
  let state: LabState
  let topology: Topology
  let wan: WanLink
  let port = 7100

  beforeEach(async () => {
    state = LabState.create()
    const link = {
      name: 'wan',
      site: 'a' as const,
      kind: 'emulated' as const,
      mtu: 1500,
      nat: false,
      up: plain,
      down: plain,
    }
    topology = await Topology.build(state, { links: [link], lan: [] }, 1)
    wan = topology.link('wan').wan!
  })
  afterEach(async () => {
    await topology.stop()
    expect(readdirSync('/run/netns').filter((name) => name.includes(state.suffix))).toEqual([])
  })

  /** Packets from a to b; `during` runs beside them. */
  async function send(perSec: number, seconds: number, during?: () => Promise<void>): Promise<PacketRecords> {
    const file = state.path(`records-${++port}`)
    const receiver = taskIn(topology.end('b'), probeProgram, ['receive', '10.71.1.1', String(port), file])
    await new Promise<void>((resolve) => receiver.onLine(() => resolve()))
    const words = ['send', '10.71.1.1', String(port), String(PAYLOAD_BYTES), String(perSec), String(seconds)]
    const sender = taskIn(topology.end('a'), probeProgram, words)
    await during?.()
    await sender.ended
    await delay(300)
    await receiver.stop()
    return readPacketRecords(file)
  }

  const delaysMs = (records: PacketRecords): number[] =>
    Array.from(records.arrivedNs, (at, i) => (at - records.sentNs[i]!) / 1e6)
  /** Mbit/s of whole frames between two shares of the arrivals. */
  function rateMbit(records: PacketRecords, from = 0.1, to = 0.9): number {
    const low = Math.floor(records.count * from)
    const high = Math.floor(records.count * to)
    return ((high - low) * FRAME_BYTES * 8e3) / (records.arrivedNs[high]! - records.arrivedNs[low]!)
  }

  test.each([1, 20])('carries %d Mbit/s to 2 in a hundred, and no more', async (mbit) => {
    await wan.set('up', { rateBitsPerSec: mbit * 1e6 })
    const records = await send((mbit * 1e6 * 1.3) / 8 / FRAME_BYTES, 3)
    expect(rateMbit(records) / mbit).toBeGreaterThan(0.98)
    expect(rateMbit(records) / mbit).toBeLessThan(1.02)
    expect((await wan.stats()).ab.droppedQueue).toBeGreaterThan(0)
  })

  test('delays by what is set, one way', async () => {
    await wan.set('up', { delayUs: 30_000 })
    const delays = delaysMs(await send(200, 2))
    expect(quantile(delays, 0)).toBeGreaterThanOrEqual(30)
    expect(quantile(delays, 0.5)).toBeLessThan(31)
  })

  test('jitter is spread evenly, and keeps the order unless told otherwise', async () => {
    await wan.set('up', { delayUs: 20_000, jitterUs: 10_000, keepOrder: false })
    const loose = await send(1000, 2)
    const delays = delaysMs(loose)
    expect(quantile(delays, 0.01)).toBeLessThan(12)
    expect(quantile(delays, 0.5)).toBeGreaterThan(18.5)
    expect(quantile(delays, 0.5)).toBeLessThan(22)
    expect(quantile(delays, 0.95)).toBeGreaterThan(28)
    expect(overtaken(loose)).toBeGreaterThan(100)
    await wan.set('up', { keepOrder: true })
    expect(overtaken(await send(1000, 1))).toBe(0)
  })

  test('losses have the share and the bursts that are set', async () => {
    await wan.set('up', { loss: 0.05 })
    const single = await send(2000, 3)
    // Six standard deviations of 6000 draws.
    expect(Math.abs(1 - single.count / 6000 - 0.05)).toBeLessThan(0.017)
    expect(meanBurst(single)).toBeLessThan(1.3)
    await wan.set('up', { lossBurst: 5 })
    const bursts = await send(2000, 3)
    expect(Math.abs(1 - bursts.count / 6000 - 0.05)).toBeLessThan(0.04)
    expect(meanBurst(bursts)).toBeGreaterThan(3)
    expect(meanBurst(bursts)).toBeLessThan(8)
  })

  test('duplicates and reorders within the link', async () => {
    await wan.set('up', { delayUs: 5000, duplicate: 0.1 })
    const doubled = await send(1000, 2)
    expect(doubled.count).toBeGreaterThan(2100)
    expect(doubled.count).toBeLessThan(2300)
    await wan.set('up', { duplicate: 0, reorder: 0.1, reorderByUs: 3500 })
    const shuffled = await send(1000, 2)
    expect(shuffled.count).toBe(2000)
    expect(overtaken(shuffled)).toBeGreaterThan(120)
    expect(overtaken(shuffled)).toBeLessThan(280)
  })

  test.each([
    ['time', { timeUs: 40_000 }, 40],
    ['bytes', { bytes: 25_000 }, 40],
    ['packets', { packets: 25 }, 40],
  ] as const)('drops behind a queue limited by %s', async (_, queue, ms) => {
    await wan.set('up', { rateBitsPerSec: 5e6, queue })
    const delays = delaysMs(await send(1250, 2))
    // The frame on the wire takes another 1.6 ms.
    expect(quantile(delays, 0.9)).toBeGreaterThan(ms - 3)
    expect(quantile(delays, 0.9)).toBeLessThan(ms + 4)
  })

  test('has room again as soon as a frame has left the line, long before that is delivered', async () => {
    await wan.set('up', { rateBitsPerSec: 50e6, delayUs: 100_000, queue: { packets: 0 } })
    // 10 ms apart, of which each has the line for 0.16: none waits, but where the machine stood still.
    await send(100, 2)
    expect((await wan.stats()).ab.droppedQueue).toBeLessThan(20)
  })

  test('follows a rate trace and a change of rate', async () => {
    await wan.trace('up', {
      periodUs: 10e6,
      points: [
        { afterUs: 0, rateBitsPerSec: 2e6 },
        { afterUs: 1.5e6, rateBitsPerSec: 8e6 },
      ],
    })
    const started = monotonicNs()
    const records = await send(1500, 3)
    const arrived = (fromMs: number, toMs: number): number => {
      const inside = records.arrivedNs.filter(
        (at) => at >= started + fromMs * 1e6 && at < started + toMs * 1e6,
      )
      return (inside.length * FRAME_BYTES * 8) / (toMs - fromMs) / 1000
    }
    expect(arrived(500, 1400) / 2).toBeCloseTo(1, 1)
    expect(arrived(1700, 2700) / 8).toBeCloseTo(1, 1)
    await wan.set('up', { rateBitsPerSec: 4e6 })
    expect(rateMbit(await send(1500, 1)) / 4).toBeCloseTo(1, 1)
  })

  test('a black hole swallows one way silently, also what is on its way, and ends', async () => {
    await wan.set('up', { delayUs: 100_000 })
    const records = await send(1000, 1.5, async () => {
      await delay(500)
      await wan.blackhole('up', true)
      await delay(400)
      await wan.blackhole('up', false)
    })
    const lost = 1500 - records.count
    // 400 ms of packets, and those of the 100 ms that were under way.
    expect(lost).toBeGreaterThan(460)
    expect(lost).toBeLessThan(560)
    // The kernel's own neighbour packets may be among them.
    const counted = (await wan.stats()).ab.droppedBlackhole
    expect(counted).toBeGreaterThanOrEqual(lost)
    expect(counted).toBeLessThan(lost + 10)
    const words = ['netns', 'exec', topology.end('a'), 'cat', '/sys/class/net/wan/carrier']
    expect(runSync('ip', words).trim()).toBe('1')
  })

  test('the carrier goes and comes at one end', async () => {
    const carrier = (end: string): string =>
      runSync('ip', ['netns', 'exec', topology.end(end), 'cat', '/sys/class/net/wan/carrier']).trim()
    await wan.carrier('a', false)
    expect([carrier('a'), carrier('b')]).toEqual(['0', '1'])
    await wan.carrier('a', true)
    expect(carrier('a')).toBe('1')
  })

  test('packets beyond the path MTU vanish', async () => {
    await wan.set('up', { pathMtu: FRAME_BYTES - 15 })
    expect((await send(200, 0.5)).count).toBe(0)
    expect((await wan.stats()).ab.droppedSize).toBe(100)
  })

  test('refuses what it does not understand, and goes on', async () => {
    await expect(wan.set('up', { lossBurst: Number.NaN, loss: 'x' as unknown as number })).rejects.toThrow(
      'value is not a number',
    )
    expect((await wan.stats()).ab.inFrames).toBeGreaterThanOrEqual(0)
  })
})

/** Packets that arrived after one with a higher number. */
function overtaken(records: PacketRecords): number {
  let highest = -1
  let count = 0
  for (const number of records.number) {
    if (number < highest) count++
    else highest = number
  }
  return count
}

function meanBurst(records: PacketRecords): number {
  const there = new Set(records.number)
  let lost = 0
  let bursts = 0
  for (let n = 0; n < 6000; n++) {
    if (there.has(n)) continue
    lost++
    if (there.has(n - 1)) bursts++
  }
  return lost / Math.max(1, bursts)
}
