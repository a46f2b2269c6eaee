/** Links that bring much and take little: what goes back must not fill them. */
import { beforeAll, expect, test } from 'vitest'
import { MILLISECOND, SECOND } from '../src/base/time.js'
import { loadPrimitives } from '../src/io/primitives.js'
import type { Traffic } from '../src/lab/scenario.js'
import { findScenario } from '../src/lab/shipped.js'
import type { Primitives } from '../src/noise/primitives.js'
import type { LinkParameters } from './link-direction.js'
import { startTraffic } from './scenario-traffic.js'
import { ScenarioWorld } from './scenario-world.js'
import { TcpTransfer } from './tcp.js'
import { Ping } from './traffic.js'
import { World } from './world.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

const line = (mbit: number, delayMs: number, queueMs: number): Partial<LinkParameters> => ({
  rateBytesPerSec: (mbit * 1e6) / 8,
  queueBytesMax: Math.max(3_000, (mbit * 1e3 * queueMs) / 8),
  delayUs: delayMs * MILLISECOND,
})

/** Bits of payload per bit of frame: 1388 of an inner packet of 1440, in a frame of 1514. */
const PAYLOAD_SHARE = 1388 / 1514
const MEASURE_FROM = 10 * SECOND
const UNTIL = 30 * SECOND

/** One download, and pings beside it: share of what the links could bring, and 99 % of the pings in ms. */
function download(
  control: 'cubic' | 'bbr',
  links: { down: number; up: number; delayMs: number }[],
): { share: number; pingMs: number; lostPings: number; thinned: number } {
  const world = new World({
    seed: 1,
    primitives,
    scheduler: 'adaptive',
    links: links.map(({ down, up, delayMs }) => ({
      up: line(up, delayMs, 300),
      down: line(down, delayMs, 200),
    })),
    client: { poolBytes: 64 << 20 },
    server: { poolBytes: 64 << 20 },
  })
  const { clock, ledger, client, server } = world
  const from = SECOND / 2
  const transfer = new TcpTransfer(clock, ledger, server, client, {
    name: 'down',
    control,
    from,
    until: UNTIL,
  })
  const ping = new Ping(clock, ledger, client, server, {
    name: 'ping',
    bytes: 84,
    intervalUs: 50 * MILLISECOND,
    from: MEASURE_FROM,
    until: UNTIL,
  })
  world.run(UNTIL + 4 * SECOND)
  expect(world.faultsAtRest()).toEqual([])
  const achievable = links.reduce((sum, { down }) => sum + down * 1e6, 0) * PAYLOAD_SHARE
  const trips = ping.roundTripsUs.sort((a, b) => a - b)
  return {
    share: transfer.goodput(MEASURE_FROM, UNTIL) / achievable,
    pingMs: trips[Math.floor(0.99 * trips.length)]! / MILLISECOND,
    lostPings: ping.requests.record.sent - trips.length,
    thinned: client.end.acksThinned,
  }
}

test.each(['cubic', 'bbr'] as const)(
  '20/1 and 16/0.5 Mbit/s, whose ACKs are more than both uplinks carry, %s',
  (control) => {
    const { share, pingMs, lostPings, thinned } = download(control, [
      { down: 20, up: 1, delayMs: 25 },
      { down: 16, up: 0.5, delayMs: 12 },
    ])
    // Without thinning 0.74 and 0.57, 220 and 310 ms.
    expect(share).toBeGreaterThan(control === 'cubic' ? 0.95 : 0.88)
    expect(pingMs).toBeLessThan(150)
    if (control === 'cubic') expect(lostPings).toBe(0)
    expect(thinned).toBeGreaterThan(1_000)
  },
)

test('40/1 Mbit/s alone', () => {
  const { share, pingMs, lostPings } = download('cubic', [{ down: 40, up: 1, delayMs: 25 }])
  // Without thinning 0.70, 900 ms, and every third ping lost.
  expect(share).toBeGreaterThan(0.9)
  expect(pingMs).toBeLessThan(150)
  expect(lostPings).toBe(0)
})

test('links that carry their ACKs lose none', () => {
  const { share, thinned } = download('cubic', [
    { down: 20, up: 5, delayMs: 25 },
    { down: 16, up: 4, delayMs: 12 },
  ])
  expect(share).toBeGreaterThan(0.97)
  expect(thinned).toBeLessThan(20)
})

/** A hundredth of it for 100 ms, while the bytes of the former channel were taken from those of the new one. */
test('new keys do not change what full links are held to carry', () => {
  const scenario = findScenario('adsl-pair')
  const { world, tunMtu } = new ScenarioWorld(scenario, 1, 'auto', primitives, undefined)
  const [traffic] = scenario.traffic
  startTraffic(world, { ...traffic, congestion: 'bbr' } as Traffic, SECOND, { mtuBytes: tunMtu })
  const peer = world.server.end.device.peers[0]!
  const { paths, rekeys } = peer
  world.run(9 * SECOND)
  for (const { device } of world.ends) (device as { rekeyAfterUs: number }).rekeyAfterUs = 2 * SECOND
  const least = paths.map(({ rate }) => rate.rateBytesPerSec)
  const before = [...least]
  for (let step = 0; step < 4_000; step++) {
    world.run(world.clock.now + 5 * MILLISECOND)
    paths.forEach(({ rate }, i) => {
      least[i] = Math.min(least[i]!, rate.rateBytesPerSec)
    })
  }
  expect(peer.rekeys - rekeys).toBeGreaterThan(8)
  least.forEach((each, i) => {
    expect(each).toBeGreaterThan(0.8 * before[i]!)
  })
})
