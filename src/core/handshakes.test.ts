import { beforeAll, expect, test } from 'vitest'
import { World } from '../../sim/world.js'
import { SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import type { Primitives } from '../noise/primitives.js'
import type { Event } from './events.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

test('a pre-shared key that differs is told of, once a minute, by the end that began', () => {
  const world = new World({ seed: 3, primitives, links: [{}, {}] })
  Object.assign(world.server.end.device.peers[0]!.config, { presharedKey: new Uint8Array(32).fill(1) })
  world.run(90 * SECOND)
  const told = (events: { event: Event }[]): Event[] =>
    events.map(({ event }) => event).filter((event) => event.kind === 'handshake-failed')
  const events = told(world.client.end.events)
  expect(events).toHaveLength(2)
  expect(events[0]).toMatchObject({ peer: 'server', reason: expect.stringContaining('preshared key') })
  expect(events[1]!.at - events[0]!.at).toBeGreaterThanOrEqual(60 * SECOND)
  expect(told(world.server.end.events)).toEqual([])
  expect(world.client.end.drops().handshakeFailed).toBeGreaterThan(20)
  expect(world.client.end.events.filter(({ event }) => event.kind === 'session')).toEqual([])
})
