import { beforeAll, expect, test } from 'vitest'
import { rebind } from '../../sim/faults.js'
import { DatagramFlow } from '../../sim/traffic.js'
import { World, type WorldOptions } from '../../sim/world.js'
import { MILLISECOND, SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import type { Primitives } from '../noise/primitives.js'
import { FrameKind } from '../wire/message.js'
import type { Event } from './events.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

const SATELLITE = { name: 'satellite', up: { delayUs: 300_000 }, down: { delayUs: 300_000 } }

function world(links: WorldOptions['links']): World {
  return new World({ seed: 11, primitives, scheduler: 'adaptive', links })
}

function eventsOf(world: World, link: string): { at: number; event: Event }[] {
  return world.client.end.events.filter(({ event }) => 'path' in event && event.path === link)
}

function states(world: World, link: string): string[] {
  return eventsOf(world, link).flatMap(({ event }) => (event.kind === 'path-state' ? [event.to] : []))
}

test('a path of 600 ms comes up with its first answer, beside a fast one and alone', () => {
  for (const links of [[{ name: 'fast' }, SATELLITE], [SATELLITE]]) {
    const both = world(links)
    both.run(5 * SECOND)
    expect(states(both, 'satellite')[0]).toBe('up')
    // A handshake on the fastest, then one round trip.
    expect(eventsOf(both, 'satellite')[0]!.at).toBeLessThan(1.4 * SECOND)
    const { rtt } = both.client.end.device.peers[0]!.paths.find((path) => path.name === 'satellite')!.health
    expect(rtt.minUs).toBeGreaterThan(0.59 * SECOND)
    expect(rtt.minUs).toBeLessThan(0.62 * SECOND)
  }
})

test('a path is not called down while there is no session to ask in', () => {
  const late = world([{ name: 'one' }, { name: 'two' }])
  late.server.end.stop(false)
  late.clock.call(5 * SECOND, () => late.server.end.restart())
  late.run(10 * SECOND)
  expect(states(late, 'one')).toEqual(['up'])
  expect(states(late, 'two')).toEqual(['up'])
})

test('a path that never answers is called down a second after it was first asked', () => {
  const half = world([{ name: 'good' }, { name: 'dead', up: { blackhole: true } }])
  half.run(3 * SECOND)
  expect(states(half, 'dead')).toEqual(['down'])
  const { at, event } = eventsOf(half, 'dead')[0]!
  expect(event).toMatchObject({ reason: 'no answer since it was opened' })
  expect(at).toBeGreaterThan(1 * SECOND)
  expect(at).toBeLessThan(1.3 * SECOND)
})

test('a path of 600 ms moves with its address', () => {
  const moving = world([SATELLITE])
  new DatagramFlow(moving.clock, moving.ledger, moving.client, moving.server, {
    name: 'there',
    bytes: 500,
    intervalUs: 20 * MILLISECOND,
    until: 20 * SECOND,
  })
  for (let i = 0; i < 4; i++) moving.clock.call((5 + 3 * i) * SECOND, () => rebind(moving, 0, moving.random))
  moving.run(20 * SECOND)
  const moves = moving.server.end.events.filter(({ event }) => event.kind === 'path-moved')
  expect(moves).toHaveLength(4)
  for (const [i, { at }] of moves.entries()) expect(at - (5 + 3 * i) * SECOND).toBeLessThan(1.2 * SECOND)
})

test('a path moves at most once a second, however often its address changes', () => {
  const moving = world([{}])
  new DatagramFlow(moving.clock, moving.ledger, moving.client, moving.server, {
    name: 'there',
    bytes: 500,
    intervalUs: 5 * MILLISECOND,
    until: 10 * SECOND,
  })
  for (let i = 0; i < 20; i++) {
    moving.clock.call(2 * SECOND + i * 300 * MILLISECOND, () => rebind(moving, 0, moving.random))
  }
  moving.run(10 * SECOND)
  const moves = moving.server.end.events.filter(({ event }) => event.kind === 'path-moved')
  expect(moves.length).toBeGreaterThanOrEqual(4)
  for (let i = 1; i < moves.length; i++) {
    expect(moves[i]!.at - moves[i - 1]!.at).toBeGreaterThanOrEqual(1 * SECOND)
  }
  const { remote } = moving.server.end.device.peers[0]!.paths[0]!
  expect(remote.subarray(0, 5)).toEqual(
    Uint32Array.from(moving.network.addresses.record(moving.line(0).address)).subarray(0, 5),
  )
})

test('a path on which an end sends only feedback is found dead by that end, too', () => {
  const line = { delayUs: 10_000, rateBytesPerSec: 2_500_000, queueUsMax: 100 * MILLISECOND }
  const links = ['one', 'two'].map((name) => ({ name, up: { ...line }, down: { ...line } }))
  const upload = world(links)
  new DatagramFlow(upload.clock, upload.ledger, upload.client, upload.server, {
    name: 'upload',
    bytes: 1_000,
    intervalUs: 250,
    from: 1 * SECOND,
    until: 5 * SECOND,
  })
  upload.clock.call(3 * SECOND, () => {
    upload.line(1).up!.parameters.blackhole = true
    upload.line(1).down!.parameters.blackhole = true
  })
  upload.run(2_900 * MILLISECOND)
  const path = upload.server.end.device.peers[0]!.paths[1]!
  expect(path.state).toBe('up')
  expect(path.packetsOut).toBeGreaterThan(100)
  upload.run(3_300 * MILLISECOND)
  expect(path.state).toBe('suspect')
})

test('a path goes on at its address while it carries, and is tried where the name leads when it does not', () => {
  const one = world([{ name: 'one' }])
  const { device } = one.client.end
  const [path] = device.peers[0]!.paths
  const before = path!.remote.slice()
  const elsewhere = before.slice()
  elsewhere[1]! ^= 0x0100_0000
  const endpoints = (...records: Uint32Array[]): void =>
    device.handleEndpoints(0, records, one.client.end.local(one.clock.now))
  one.run(2 * SECOND)
  endpoints(elsewhere)
  one.run(4 * SECOND)
  expect(device.peers[0]!.paths).toEqual([path])
  expect([path!.state, path!.remote]).toEqual(['up', before])
  // The server is gone from there: now it is looked for elsewhere.
  one.server.end.stop(false)
  one.run(20 * SECOND)
  expect(path!.state).toBe('down')
  expect(path!.remote).toEqual(before)
  endpoints(elsewhere)
  one.run(22 * SECOND)
  expect(path!.remote).toEqual(elsewhere)
  one.server.end.restart()
  one.run(30 * SECOND)
  expect(path!.state).toBe('down')
  // A second one beside the first, and it is the right one.
  endpoints(elsewhere, before)
  one.run(40 * SECOND)
  expect(device.peers[0]!.paths.map(({ state, remote }) => [state, remote])).toEqual([
    ['down', elsewhere],
    ['up', before],
  ])
  const moves = eventsOf(one, 'one').filter(({ event }) => event.kind === 'path-moved')
  expect(moves).toHaveLength(1)
})

test('an end whose own address changes sends from the new one as soon as it is asked there', () => {
  const one = world([{ name: 'one' }])
  const { client, server } = one
  one.run(2 * SECOND)
  const moved = client.end.device.peers[0]!.paths[0]!.remote.slice()
  moved[1]! ^= 0x0100_0000
  server.end.attachments[0]!.renumber(moved)
  one.run(30 * SECOND)
  expect(client.end.device.peers[0]!.paths[0]!.state).toBe('down')
  client.end.device.handleEndpoints(0, [moved], client.end.local(one.clock.now))
  one.run(32 * SECOND)
  // What was lost at the former address says nothing of this one.
  expect(states(one, 'one')).toEqual(['up', 'suspect', 'down', 'probing', 'up'])
  expect(client.end.device.peers[0]!.paths[0]!.health.lossOut).toBe(0)
  const flow = new DatagramFlow(one.clock, one.ledger, server, client, {
    name: 'back',
    bytes: 500,
    intervalUs: 20 * MILLISECOND,
    until: 34 * SECOND,
  })
  one.run(35 * SECOND)
  expect(flow.record.delivered).toBe(flow.record.sent)
  expect(flow.record.sent).toBeGreaterThan(90)
})

test('sixteen links are used, as many as there are ids for, and not asked for anew when there are more', () => {
  for (const count of [16, 18]) {
    const many = world(Array.from({ length: count }, (_, i) => ({ name: `link${i}` })))
    many.run(20 * SECOND)
    for (const { end } of [many.client, many.server]) {
      const { paths, rekeys } = end.device.peers[0]!
      expect(paths.map(({ state }) => state)).toEqual(Array(16).fill('up'))
      expect(rekeys).toBe(0)
    }
  }
})

test('of several challenges in one packet one is answered: its source may be forged', () => {
  const one = world([{ name: 'one' }])
  one.run(2 * SECOND)
  const { device } = one.client.end
  const now = one.client.end.local(one.clock.now)
  const { channel } = device.peers[0]!.paths[0]!
  const answers = one.server.end.device.peers[0]!.paths[0]!
  const before = answers.packetsOut
  const writer = device.control.begin()
  for (let i = 0; i < 50; i++) writer.frame(FrameKind.PathChallenge, new Uint8Array(8).fill(i))
  writer.sendOn(channel!, false, now)
  one.run(2.1 * SECOND)
  expect(answers.packetsOut - before).toBe(1)
})
