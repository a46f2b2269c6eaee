import { beforeAll, expect, test } from 'vitest'
import type { End } from '../../sim/end.js'
import { World } from '../../sim/world.js'
import { SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import type { Primitives } from '../noise/primitives.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

const SILENCE = expect.stringMatching(/no answer.*preshared key/)
const OTHER_PSK = expect.stringContaining('another preshared key')

function failures(end: End): { at: number; reason: string }[] {
  return end.events.flatMap(({ event }) => (event.kind === 'handshake-failed' ? [event] : []))
}

function reasons(end: End): string[] {
  return failures(end).map(({ reason }) => reason)
}

function sessions(end: End): number {
  return end.events.filter(({ event }) => event.kind === 'session').length
}

/** Two ends whose pre-shared keys differ. */
function divided(bothKnowEndpoints: boolean): World {
  const world = new World({ seed: 3, primitives, links: [{}, {}], bothKnowEndpoints })
  Object.assign(world.server.end.device.peers[0]!.config, { presharedKey: new Uint8Array(32).fill(1) })
  return world
}

test('another pre-shared key meets silence, and both operators are told: the one asked once a minute', () => {
  const world = divided(false)
  const { store, addresses } = world.network
  const client = world.client.end
  const server = world.server.end
  let answers = 0
  world.network.watchers.push({
    arrived: (slot) => {
      if (client.attachments.includes(addresses.owner(store.destination[slot]!)!)) answers++
    },
  })
  world.run(90 * SECOND)
  expect(answers).toBe(0)
  expect(failures(server)).toMatchObject([
    { peer: 'client', reason: OTHER_PSK },
    { peer: 'client', reason: OTHER_PSK },
  ])
  const [first, second] = failures(server)
  expect(second!.at - first!.at).toBeGreaterThanOrEqual(60 * SECOND)
  expect(failures(client)).toMatchObject([{ peer: 'server', reason: SILENCE }])
  expect(server.drops().handshakePsk).toBeGreaterThan(40)
  expect(server.device.seen.size).toBe(0)
  expect(client.drops()).toEqual({})
  expect(sessions(client) + sessions(server)).toBe(0)
})

test('where both ends begin, both are told that the keys differ as well as that nobody answers', () => {
  const world = divided(true)
  world.run(20 * SECOND)
  for (const { end } of [world.client, world.server]) {
    expect(reasons(end).sort()).toEqual([SILENCE, OTHER_PSK])
    expect(sessions(end)).toBe(0)
  }
})

test('that nobody answers is told once until somebody does, after 5 s without a session', () => {
  const world = new World({ seed: 5, primitives, links: [{}] })
  const client = world.client.end
  const cut = (blackhole: boolean): void => {
    world.line(0).up!.parameters.blackhole = blackhole
  }
  cut(true)
  world.run(4.9 * SECOND)
  expect(failures(client)).toEqual([])
  world.run(200 * SECOND)
  expect(reasons(client)).toEqual([SILENCE])
  expect(failures(client)[0]!.at).toBeLessThan(8 * SECOND)
  cut(false)
  world.run(210 * SECOND)
  expect(sessions(client)).toBe(1)
  cut(true)
  // Until the keys of the session are too old, the paths tell.
  world.run(300 * SECOND)
  expect(reasons(client)).toEqual([SILENCE])
  world.run(400 * SECOND)
  expect(reasons(client)).toEqual([SILENCE, SILENCE])
  expect(failures(world.server.end)).toEqual([])
})
