import { beforeAll, expect, test } from 'vitest'
import { rebind } from '../../sim/faults.js'
import { DatagramFlow } from '../../sim/traffic.js'
import { World, type WorldOptions } from '../../sim/world.js'
import { MILLISECOND, SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import type { Primitives } from '../noise/primitives.js'
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
