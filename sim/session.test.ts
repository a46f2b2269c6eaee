import { beforeAll, describe, expect, test } from 'vitest'
import { Prng } from '../src/base/prng.js'
import { MILLISECOND, SECOND } from '../src/base/time.js'
import { PENDING_SESSIONS_MAX, YOUNG_SESSIONS_MAX } from '../src/core/constants.js'
import { loadPrimitives } from '../src/io/primitives.js'
import type { Primitives } from '../src/noise/primitives.js'
import { Attacker } from './attacker.js'
import { rebind } from './faults.js'
import { DatagramFlow } from './traffic.js'
import { World, type WorldOptions } from './world.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

/** A world with a stream each way from the beginning. */
function streams(
  options: Partial<WorldOptions>,
  until: number,
  intervalUs = 5 * MILLISECOND,
): { world: World; there: DatagramFlow; back: DatagramFlow } {
  const world = new World({ seed: 1, primitives, links: [{}, { up: { delayUs: 15_000 } }], ...options })
  const flow = (name: string, from: typeof world.client, to: typeof world.client): DatagramFlow =>
    new DatagramFlow(world.clock, world.ledger, from, to, {
      name,
      bytes: 1_000,
      intervalUs,
      until,
    })
  return {
    world,
    there: flow('there', world.client, world.server),
    back: flow('back', world.server, world.client),
  }
}

function sessions(world: World): number[] {
  return world.ends.map((end) => end.events.filter(({ event }) => event.kind === 'session').length)
}

describe('keys are renewed every 2 s under traffic, 5 % of the datagrams lost and more out of order', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('no packet is lost to keys, seed %i', (seed) => {
    const bad = { loss: 0.05, reorder: 0.1, reorderUs: 20_000 }
    const { world } = streams(
      {
        seed,
        rekeyAfterUs: 2 * SECOND,
        bothKnowEndpoints: seed % 2 === 0,
        links: [
          { up: { ...bad, delayUs: 10_000 }, down: { ...bad, delayUs: 10_000 } },
          { up: { ...bad, delayUs: 40_000 }, down: { ...bad, delayUs: 40_000, jitterUs: 5_000 } },
        ],
      },
      60 * SECOND,
    )
    world.run(65 * SECOND)
    expect(world.faultsAtRest()).toEqual([])
    for (const count of sessions(world)) expect(count).toBeGreaterThanOrEqual(20)
    const { lostInCore, neverOnWire, lostInNetwork, sent } = world.ledger.summary()
    expect({ lostInCore, neverOnWire }).toEqual({ lostInCore: 0, neverOnWire: 0 })
    expect(lostInNetwork / sent).toBeGreaterThan(0.04)
    expect(lostInNetwork / sent).toBeLessThan(0.06)
    const { authFailed, unknownIndex, sessionExpired, replayed } = world.drops()
    expect({ authFailed, unknownIndex, sessionExpired, replayed }).toEqual({})
  })

  test('a limit in packets renews them as well, and nothing is lost on clean lines', () => {
    const { world } = streams({ rekeyAfterPackets: 500 }, 20 * SECOND)
    world.run(25 * SECOND)
    expect(world.faultsAtRest()).toEqual([])
    for (const count of sessions(world)) expect(count).toBeGreaterThanOrEqual(7)
    const { delivered, sent } = world.ledger.summary()
    expect(delivered).toBe(sent)
  })
})

test('both ends initiate at the same instant: one session comes of it at both ends, and nothing is lost', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { world } = streams({ seed, bothKnowEndpoints: true }, 3 * SECOND)
    world.run(7 * SECOND)
    expect(world.faultsAtRest()).toEqual([])
    const { delivered, sent } = world.ledger.summary()
    expect(delivered).toBe(sent)
    const [client, server] = world.ends.map((end) => end.device.peers[0]!.current!)
    expect(client!.remoteIndex).toBe(server!.localIndex)
    expect(server!.remoteIndex).toBe(client!.localIndex)
  }
})

test('handshake messages replayed a thousand times, from anywhere, do nothing to a live session', () => {
  const { world } = streams({ bothKnowEndpoints: true }, 8 * SECOND)
  const attacker = new Attacker(world.clock, world.network, new Prng(9), 2 * MILLISECOND)
  attacker.handshakesOnly = true
  attacker.start()
  // An answer is repeated within 1 s, as racing over several links needs.
  world.run(1500 * MILLISECOND)
  const before = { sessions: sessions(world), replayed: attacker.replayed }
  world.run(8 * SECOND)
  attacker.stop()
  world.run(14 * SECOND)
  expect(attacker.replayed - before.replayed).toBeGreaterThan(1_000)
  expect(sessions(world)).toEqual(before.sessions)
  expect(world.faultsAtRest()).toEqual([])
  const { delivered, sent } = world.ledger.summary()
  expect(delivered).toBe(sent)
})

describe('an end that starts anew is back in ≤ 3 s', () => {
  const cases = [0, 1].flatMap((end) => [true, false].map((graceful) => ({ end, graceful })))
  test.each(cases)('end $end, with a last word: $graceful', ({ end, graceful }) => {
    for (let seed = 1; seed <= 10; seed++) {
      const { world, there, back } = streams({ seed }, 12 * SECOND)
      world.run((4 + seed / 10) * SECOND)
      world.ends[end]!.stop(graceful)
      world.run((5 + seed / 7) * SECOND)
      world.ends[end]!.restart()
      const restartedAt = world.clock.now
      for (const { record } of [there, back]) record.lastDeliveredAt = 0
      world.run(restartedAt + 3 * SECOND)
      for (const { record } of [there, back]) expect(record.lastDeliveredAt).toBeGreaterThan(restartedAt)
      world.run(16 * SECOND)
      expect(world.faultsAtRest()).toEqual([])
    }
  })
})

test('the only link gets another address from its NAT: the server follows, with at most 1.5 s of silence', () => {
  for (let seed = 1; seed <= 10; seed++) {
    const { world, there, back } = streams({ seed, links: [{}] }, 10 * SECOND)
    const random = new Prng(seed)
    for (const at of [3, 6]) world.clock.call((at + random.next()) * SECOND, () => rebind(world, 0, random))
    there.record.gapsFrom = 2 * SECOND
    back.record.gapsFrom = 2 * SECOND
    world.run(14 * SECOND)
    expect(world.faultsAtRest()).toEqual([])
    expect(there.record.gapUsMax).toBeLessThan(100 * MILLISECOND)
    expect(back.record.gapUsMax).toBeLessThan(1500 * MILLISECOND)
    expect(world.server.end.events.filter(({ event }) => event.kind === 'path-moved').length).toBe(2)
  }
})

test('a link that works again is used again within 5 s, and a blackhole is noticed within 500 ms', () => {
  for (let seed = 1; seed <= 10; seed++) {
    const { world, there, back } = streams({ seed }, 16 * SECOND)
    const hole = (blackhole: boolean) => () => {
      world.line(0).up!.parameters.blackhole = blackhole
      world.line(0).down!.parameters.blackhole = blackhole
    }
    world.clock.call(4 * SECOND, hole(true))
    world.clock.call(9 * SECOND, hole(false))
    world.run(4.5 * SECOND)
    const noticed = world.ends.flatMap((end) =>
      end.events.filter(
        ({ at, event }) => at >= 4 * SECOND && event.kind === 'path-state' && event.to === 'suspect',
      ),
    )
    expect(noticed.length).toBeGreaterThanOrEqual(2)
    world.run(14 * SECOND)
    const passed = world.line(0).up!.counts.passed
    world.run(15 * SECOND)
    // Its share of 200 packets a second, not only probes.
    expect(world.line(0).up!.counts.passed - passed).toBeGreaterThan(80)
    world.run(20 * SECOND)
    expect(world.faultsAtRest()).toEqual([])
    for (const { record } of [there, back]) {
      // At most half of the packets of 500 ms.
      expect(record.sent - record.delivered).toBeLessThan(50)
    }
  }
})

describe('a machine that slept is back within 3 s, however long it was, whatever its clock did meanwhile', () => {
  const cases = [0, 1].flatMap((end) =>
    [false, true].flatMap((clockRuns) => [2, 30, 200].map((seconds) => ({ end, clockRuns, seconds }))),
  )
  test.each(cases)('end $end, clock runs: $clockRuns, $seconds s', ({ end, clockRuns, seconds }) => {
    // Long enough after the start that the session of before and the one after do not count as initiated at once.
    const sleepsAt = 6 * SECOND
    const wakesAt = sleepsAt + seconds * SECOND
    const { world, there, back } = streams(
      { bothKnowEndpoints: end === 1 },
      wakesAt + 6 * SECOND,
      50 * MILLISECOND,
    )
    world.run(sleepsAt)
    world.ends[end]!.suspend(wakesAt, clockRuns)
    world.run(wakesAt + 3 * SECOND)
    const sentBefore = [there, back].map(({ record }) => record.sent)
    world.run(wakesAt + 10 * SECOND)
    const lost = [there, back].map(({ record }, i) => {
      let missing = 0
      for (let n = sentBefore[i]!; n < record.sent; n++) if (!record.isDelivered(n)) missing++
      return missing
    })
    expect(lost).toEqual([0, 0])
    expect(world.faultsAtRest()).toEqual([])
  })
})

test('an idle tunnel whose server starts anew without knowing where the client is: found by the next heartbeat', () => {
  for (let seed = 1; seed <= 10; seed++) {
    const { world } = streams({ seed, keepaliveUs: 2 * SECOND }, 3 * SECOND)
    world.run((10 + seed / 3) * SECOND)
    world.server.end.restart()
    const before = sessions(world)
    world.run(world.clock.now + 2 * SECOND + 3 * SECOND)
    expect(sessions(world)[0]).toBeGreaterThan(before[0]!)
    const { now } = world.clock
    const flow = new DatagramFlow(world.clock, world.ledger, world.server, world.client, {
      name: 'later',
      bytes: 100,
      intervalUs: 20 * MILLISECOND,
      from: now,
      until: now + 1 * SECOND,
    })
    world.run(now + 5 * SECOND)
    expect(flow.record.delivered).toBe(flow.record.sent)
    expect(world.faultsAtRest()).toEqual([])
  }
})

test('two links of unlike delay, nothing lost: a bulk flow comes out in the order it went in', () => {
  const world = new World({
    seed: 1,
    primitives,
    links: [{ up: { delayUs: 8_000 } }, { up: { delayUs: 45_000 } }],
  })
  const flow = new DatagramFlow(world.clock, world.ledger, world.client, world.server, {
    name: 'bulk',
    bytes: 1_200,
    intervalUs: 1 * MILLISECOND,
    until: 8 * SECOND,
  })
  // The first packets come before the flow is known as bulk; they are sparse, and not held back.
  world.run(2 * SECOND)
  const early = flow.record.reordered
  world.run(12 * SECOND)
  expect(flow.record.reordered - early).toBe(0)
  expect(flow.record.delivered).toBe(flow.record.sent)
  for (const line of [0, 1]) expect(world.line(line).up!.counts.passed).toBeGreaterThan(3_000)
  expect(world.faultsAtRest()).toEqual([])
})

test('redundant: what one link loses the other brings', () => {
  const lossy = { up: { loss: 0.1 }, down: { loss: 0.1 } }
  const { world, there } = streams({ scheduler: 'redundant', links: [lossy, lossy] }, 30 * SECOND)
  world.run(34 * SECOND)
  const share = there.record.delivered / there.record.sent
  expect(share).toBeGreaterThan(0.98)
  expect(share).toBeLessThan(0.998)
  expect(world.faultsAtRest()).toEqual([])
})

test('an end that asks for new keys all the time is held to some sessions', () => {
  const { world, there } = streams({ rekeyAfterUs: 100 * MILLISECOND, bothKnowEndpoints: true }, 30 * SECOND)
  let most = 0
  for (let at = 0; at < 31 * SECOND; at += 50 * MILLISECOND) {
    world.run(at)
    for (const { device } of world.ends) most = Math.max(most, device.peers[0]!.sessions.length)
  }
  for (const count of sessions(world)) expect(count).toBeGreaterThan(90)
  expect(most).toBeGreaterThan(YOUNG_SESSIONS_MAX)
  expect(most).toBeLessThanOrEqual(1 + YOUNG_SESSIONS_MAX + PENDING_SESSIONS_MAX)
  expect(there.record.delivered).toBe(there.record.sent)
  expect(world.faultsAtRest()).toEqual([])
})
