import { beforeAll, describe, expect, test } from 'vitest'
import { TcpTransfer } from '../../sim/tcp.js'
import { DatagramFlow, type DatagramFlowOptions } from '../../sim/traffic.js'
import { World, type WorldOptions } from '../../sim/world.js'
import { MILLISECOND, SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import type { Primitives } from '../noise/primitives.js'
import { Feature, HeaderContext } from '../wire/message.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

const LINE = { delayUs: 10 * MILLISECOND, rateBytesPerSec: 2_500_000, queueUsMax: 100 * MILLISECOND }

function pair(options: Partial<WorldOptions> = {}): World {
  const links = [0, 1].map(() => ({ up: { ...LINE }, down: { ...LINE } }))
  return new World({ seed: 6, primitives, scheduler: 'adaptive', links, ...options })
}

function stream(world: World, options: Partial<DatagramFlowOptions> = {}): DatagramFlow {
  return new DatagramFlow(world.clock, world.ledger, world.client, world.server, {
    name: 'stream',
    bytes: 200,
    intervalUs: 20 * MILLISECOND,
    from: SECOND,
    ...options,
  })
}

const contextsOut = (world: World) => world.client.end.device.peers[0]!.contextsOut
const contextsIn = (world: World) => world.server.end.device.peers[0]!.contextsIn

function withoutCompression(world: World): void {
  world.server.end.device.offer.features &= ~Feature.HeaderCompression
}

/** Bytes that the client's lines have carried, without what they cost beyond the datagrams. */
function bytesUp(world: World): number {
  return world.client.end.device.peers[0]!.paths.reduce((sum, { bytesOut }) => sum + bytesOut, 0)
}

describe.each([4, 6] as const)('over IPv%i', (family) => {
  test('a stream is shorter by its headers, and comes out as it was', () => {
    const [whole, compressed] = [0, Feature.HeaderCompression].map((features) => {
      const world = pair()
      if (features === 0) withoutCompression(world)
      const { record } = stream(world, { family, until: 11 * SECOND })
      world.run(3 * SECOND)
      const before = bytesUp(world)
      world.run(10 * SECOND)
      const bytes = bytesUp(world) - before
      world.run(13 * SECOND)
      expect(world.faultsAtRest()).toEqual([])
      expect(record.delivered).toBe(record.sent)
      return bytes
    })
    const packets = 7 * 50
    const saved = family === 4 ? 22 : 44
    expect(whole! - compressed!).toBeGreaterThan(0.98 * packets * saved)
  })

  test.each(['cubic', 'bbr'] as const)(
    'a %s transfer, its acknowledgements and the frames behind them',
    (control) => {
      const world = pair()
      const options = { name: 'bulk', family, control, from: SECOND, until: 8 * SECOND } as const
      const { data } = new TcpTransfer(world.clock, world.ledger, world.client, world.server, options)
      world.run(8 * SECOND)
      const back = world.server.end.device.peers[0]!
      for (const { contextsOut, packetsOut } of [world.client.end.device.peers[0]!, back]) {
        expect(contextsOut.savedBytes / packetsOut).toBeGreaterThan(family === 4 ? 24 : 45)
      }
      expect(data.delivered).toBeGreaterThan(10_000)
      world.run(12 * SECOND)
      expect(world.faultsAtRest()).toEqual([])
      expect(world.drops()).not.toHaveProperty('unknownContext')
      expect(world.drops()).not.toHaveProperty('malformedControl')
    },
  )
})

test('what is lost, sent again, doubled and overtaken is expanded all the same', () => {
  const bad = { ...LINE, loss: 0.05, duplicate: 0.05, jitterUs: 3_000, jitterHoldUs: 2_000 }
  const world = pair({
    links: [
      { up: bad, down: bad },
      { up: LINE, down: LINE },
    ],
  })
  const { record } = stream(world, { bytes: 1_200, intervalUs: MILLISECOND, until: 10 * SECOND })
  world.run(12 * SECOND)
  expect(contextsOut(world).savedBytes).toBeGreaterThan(8_000 * 22)
  expect(world.client.end.device.peers[0]!.repairs).toBeGreaterThan(100)
  expect(world.faultsAtRest()).toEqual([])
  expect(record.delivered).toBe(record.sent)
})

test('a context is told again until it is answered, and nothing is compressed before', () => {
  const world = pair()
  stream(world)
  const { device } = world.client.end
  world.run(SECOND)
  // Of a few packets nothing is told.
  world.run(SECOND + 15 * 20 * MILLISECOND)
  expect(contextsOut(world).due).toBe(-1)
  const answer = contextsOut(world).known
  contextsOut(world).known = () => {}
  world.run(3 * SECOND)
  expect(contextsOut(world).savedBytes).toBe(0)
  expect(device.peers[0]!.packetsOut).toBeGreaterThan(90)
  contextsOut(world).known = answer
  world.run(3 * SECOND + 400 * MILLISECOND)
  expect(contextsOut(world).savedBytes).toBeGreaterThan(0)
  expect(world.faults()).toEqual([])
})

test('an end that has forgotten a context says so, and is told again', () => {
  const world = pair()
  const { record } = stream(world, { until: 6 * SECOND })
  world.run(3 * SECOND)
  const saved = contextsOut(world).savedBytes
  expect(saved).toBeGreaterThan(0)
  contextsIn(world).reset()
  world.run(7 * SECOND)
  const unknown = world.drops().unknownContext!
  expect(unknown).toBeGreaterThan(0)
  expect(unknown).toBeLessThan(10)
  // Copies of one packet are counted each.
  expect(record.delivered).toBeGreaterThanOrEqual(record.sent - unknown)
  expect(record.delivered).toBeLessThan(record.sent)
  expect(contextsOut(world).savedBytes).toBeGreaterThan(saved + 50 * 22)
})

test('an end that starts again knows nothing and is asked for nothing that it does not know', () => {
  const world = pair()
  stream(world, { until: 12 * SECOND })
  world.run(3 * SECOND)
  expect(contextsOut(world).savedBytes).toBeGreaterThan(0)
  world.server.end.stop(false)
  world.server.end.restart()
  world.run(6 * SECOND)
  const saved = contextsOut(world).savedBytes
  world.run(14 * SECOND)
  expect(contextsOut(world).savedBytes).toBeGreaterThan(saved + 200 * 22)
  expect(world.drops()).not.toHaveProperty('unknownContext')
})

test('to an end that does not expand everything goes whole', () => {
  const world = pair()
  withoutCompression(world)
  const { record } = stream(world, { until: 4 * SECOND })
  world.run(6 * SECOND)
  expect(contextsOut(world).savedBytes).toBe(0)
  expect(record.delivered).toBe(record.sent)
})

/** 140 Mbyte/s for a second, which is more than 1 Gbit/s. */
function flood(world: World, options: Partial<DatagramFlowOptions> = {}): DatagramFlow {
  return stream(world, { bytes: 1_400, intervalUs: 10, until: 2 * SECOND, ...options })
}

/** Runs until `until`; the client's wake-ups take this share of the time. */
function runBusy(world: World, until: number, share: number): void {
  while (world.clock.now < until) {
    const from = world.clock.now
    world.run(Math.min(until, from + 10 * MILLISECOND))
    world.client.end.device.handleWakeUpEnd(share * (world.clock.now - from), world.clock.now)
  }
}

test('at a rate at which the processor is scarcer than the links nothing is compressed', () => {
  const world = pair({ links: [{}, {}] })
  const { record } = flood(world)
  runBusy(world, 1_800 * MILLISECOND, 0.95)
  const saved = contextsOut(world).savedBytes
  expect(contextsOut(world).enabled).toBe(false)
  runBusy(world, 2 * SECOND, 0.95)
  expect(contextsOut(world).savedBytes).toBe(saved)
  // A slow flow is worth compressing for a busy processor, too.
  runBusy(world, 4 * SECOND, 0.95)
  expect(contextsOut(world).enabled).toBe(true)
  expect(record.delivered).toBe(record.sent)
  expect(world.faultsAtRest()).toEqual([])
})

test('once it was too busy a processor compresses again when it has a good deal of time', () => {
  const world = pair({ links: [{}, {}] })
  flood(world, { until: 6 * SECOND })
  const after = (seconds: number, share: number): boolean => {
    runBusy(world, world.clock.now + seconds * SECOND, share)
    return contextsOut(world).enabled
  }
  runBusy(world, SECOND, 0)
  expect([after(1.5, 0.78), after(1, 0.95), after(1, 0.78), after(1, 0.6)]).toEqual([
    true,
    false,
    false,
    true,
  ])
})

test('a processor that has time compresses what 2.5 Gbit/s of links carry, and no more', () => {
  for (const [intervalUs, enabled] of [
    [10, true],
    [4, false],
  ] as const) {
    const world = pair({ links: [{}, {}] })
    flood(world, { intervalUs, until: 1_800 * MILLISECOND })
    runBusy(world, 1_800 * MILLISECOND, 0.6)
    expect(contextsOut(world).enabled).toBe(enabled)
  }
})

test('more flows than contexts: those that have one keep it while they last, others get it when they are silent', () => {
  const world = pair()
  const flows = Array.from({ length: 400 }, (_, i) =>
    stream(world, { name: `flow ${i}`, intervalUs: 50 * MILLISECOND, until: 6 * SECOND }),
  )
  world.run(4 * SECOND)
  const before = contextsOut(world).savedBytes
  world.run(5 * SECOND)
  // 400 flows of 20 packets a second, for 256 of which there are contexts.
  const compressed = (contextsOut(world).savedBytes - before) / 22 / 20
  expect(compressed).toBeGreaterThan(200)
  expect(compressed).toBeLessThanOrEqual(257)
  world.run(17 * SECOND)
  const late = Array.from({ length: 200 }, (_, i) =>
    stream(world, { name: `late ${i}`, intervalUs: 50 * MILLISECOND, from: 17 * SECOND, until: 20 * SECOND }),
  )
  world.run(19 * SECOND)
  const middle = contextsOut(world).savedBytes
  world.run(20 * SECOND)
  expect((contextsOut(world).savedBytes - middle) / 22 / 20).toBeGreaterThan(170)
  world.run(22 * SECOND)
  for (const { record } of [...flows, ...late]) expect(record.delivered).toBe(record.sent)
  expect(world.faultsAtRest()).toEqual([])
})

test('a context that a stalled path brings late does not take the place of a later one', () => {
  const world = pair()
  const { record } = stream(world, { until: 6 * SECOND })
  world.run(3 * SECOND)
  const index = [...Array(256).keys()].find(
    (each) => contextsOut(world).describedBytes(each) > HeaderContext.bytes,
  )!
  const body = new Uint8Array(contextsOut(world).describedBytes(index))
  const view = new DataView(body.buffer)
  contextsOut(world).describe(index, view, 0)
  const number = view.getUint16(HeaderContext.number, true)
  // Of another flow, and told before.
  view.setUint16(HeaderContext.number, number - 1, true)
  const source = HeaderContext.bytes + 4 * 3
  view.setUint32(source, ~view.getUint32(source, true), true)
  expect(contextsIn(world).learn(body, world.clock.now)).toBe(true)
  world.run(7 * SECOND)
  expect(record.delivered).toBe(record.sent)
  expect(world.faults()).toEqual([])
})
