import { beforeAll, expect, test } from 'vitest'
import { rebind } from '../../sim/faults.js'
import type { LinkParameters } from '../../sim/link-direction.js'
import { addressOf } from '../../sim/network.js'
import { DatagramFlow } from '../../sim/traffic.js'
import { World, type WorldOptions } from '../../sim/world.js'
import { MILLISECOND, SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import type { Primitives } from '../noise/primitives.js'
import type { Path } from './path.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

function world(links: WorldOptions['links'], more: Partial<WorldOptions> = {}): World {
  return new World({ seed: 11, primitives, scheduler: 'adaptive', links, ...more })
}

/** A link with the same parameters both ways. */
function both(name: string, line: Partial<LinkParameters> = {}): WorldOptions['links'][number] {
  return { name, up: { delayUs: 20_000, ...line }, down: { delayUs: 20_000, ...line } }
}

/** Frames for IP packets of so many bytes, of which 60 are around a packet inside. */
const framesFor = (bytes: number) => ({ frameBytesMax: bytes + 14 })

function set(world: World, line: number, parameters: Partial<LinkParameters>): void {
  const { up, down } = world.line(line)
  Object.assign(up!.parameters, parameters)
  Object.assign(down!.parameters, parameters)
}

const pathOf = (world: World, index: number): Path => world.client.end.device.peers[0]!.paths[index]!

/** States that the client's path on `link` took. */
function states(world: World, link: string): string[] {
  return world.client.end.events.flatMap(({ event }) =>
    event.kind === 'path-state' && event.path === link ? [event.to] : [],
  )
}

test('a path that carries less comes up once that is known, and what finds it out is no loss', () => {
  const pair = world([{ name: 'wide' }, both('narrow', framesFor(1400))])
  pair.run(10 * SECOND)
  for (const host of [pair.client, pair.server]) {
    const { device, events } = host.end
    expect(device.mtuCarried).toBe(1340)
    const [wide, narrow] = device.peers[0]!.paths
    expect([wide!.mtu.carries, narrow!.mtu.carries]).toEqual([1440, 1340])
    expect([wide!.state, narrow!.state]).toEqual(['up', 'up'])
    expect(narrow!.health.lossOut).toBe(0)
    // The second is sent when the first, which has to fit, was reported.
    expect(narrow!.trains).toBe(2)
    const of = events.filter(({ event }) => 'path' in event && event.path === narrow!.name)
    expect(of.map(({ event }) => event.kind)).toEqual(['mtu', 'path-state'])
    expect(of[0]!.at).toBeLessThan(2 * SECOND)
  }
})

test('a path waits until the TUN gives what it carries', () => {
  const one = world([both('narrow', framesFor(1492))])
  const { end } = one.client
  const now = () => end.local(one.clock.now)
  one.run(100 * MILLISECOND)
  end.device.handleMtu(1440, 1440, now())
  one.run(5 * SECOND)
  expect(end.device.mtuCarried).toBe(1432)
  expect(end.device.peers[0]!.paths[0]!.state).toBe('probing')
  end.device.handleMtu(1440, 1432, now())
  one.run(5.1 * SECOND)
  expect(end.device.peers[0]!.paths[0]!.state).toBe('up')
})

test('a path that suddenly carries less is followed, and left when it carries too little', () => {
  const line = { rateBytesPerSec: 2_500_000, queueUsMax: 100 * MILLISECOND }
  const one = world([both('wide', line), both('narrow', line)])
  const { device } = one.client.end
  const narrow = one.line(1).up!.parameters
  const flow = (name: string, bytes: number, from: number, until: number) =>
    new DatagramFlow(one.clock, one.ledger, one.client, one.server, {
      name,
      bytes,
      intervalUs: 400,
      from,
      until,
      ordered: true,
    })
  flow('before', 1440, SECOND, 6 * SECOND)
  one.clock.call(3 * SECOND, () => {
    narrow.frameBytesMax = 1400 + 14
  })
  // What is too large already waits for a second at most.
  one.run(8 * SECOND)
  expect(device.mtuCarried).toBe(1340)
  const { counts } = one.line(1).up!
  const { tooLarge, passed } = counts
  flow('after', 1340, 8 * SECOND, 10 * SECOND)
  one.run(11 * SECOND)
  expect(device.peers[0]!.paths[1]!.state).toBe('up')
  expect(counts.passed - passed).toBeGreaterThan(1000)
  expect(counts.tooLarge).toBe(tooLarge)
  narrow.frameBytesMax = 1300 + 14
  flow('later', 1340, 11 * SECOND, 16 * SECOND)
  one.run(16 * SECOND)
  const { state, reason } = device.peers[0]!.paths[1]!
  expect([state, reason]).toEqual(['down', 'answers, but carries no packets of 1280 bytes whole'])
  expect(device.mtuCarried).toBe(1440)
})

test('a path that carries too little is asked again after a minute, and when it or what is wanted changes', () => {
  for (const change of ['time', 'wanted'] as const) {
    const pair = world([{ name: 'wide' }, both('narrow', framesFor(1300))])
    pair.run(5 * SECOND)
    expect(states(pair, 'narrow')).toEqual(['down'])
    set(pair, 1, { frameBytesMax: Number.POSITIVE_INFINITY })
    const { end } = pair.client
    if (change === 'wanted') end.device.handleMtu(1420, 1420, end.local(pair.clock.now))
    pair.run((change === 'wanted' ? 8 : 70) * SECOND)
    expect(states(pair, 'narrow')).toEqual(['down', 'probing', 'up'])
    expect(pathOf(pair, 1).mtu.carries).toBe(change === 'wanted' ? 1420 : 1440)
  }
})

test('a path that carried too little and moves is asked at its new address', () => {
  const pair = world([{ name: 'wide' }, { name: 'narrow', down: { delayUs: 20_000, ...framesFor(1300) } }])
  pair.run(20 * SECOND)
  const { paths } = pair.server.end.device.peers[0]!
  expect(paths.map(({ state }) => state)).toEqual(['up', 'down'])
  pair.line(1).down!.parameters.frameBytesMax = Number.POSITIVE_INFINITY
  rebind(pair, 1, pair.random)
  pair.run(35 * SECOND)
  expect(paths.map(({ state }) => state)).toEqual(['up', 'up'])
})

test('a path slower than a second comes up as well, also where it carries less', () => {
  for (const [bytes, delayUs] of [
    [1500, 600_000],
    [1492, 600_000],
    [1492, 1_300_000],
  ] as const) {
    const pair = world([{ name: 'fast' }, both('slow', { delayUs, ...framesFor(bytes) })])
    pair.run(60 * SECOND)
    expect(pathOf(pair, 1).state).toBe('up')
    expect(pathOf(pair, 1).mtu.carries).toBe(bytes - 60)
    // Before anything was known of it a second may have been thought enough; after that no more.
    expect(states(pair, 'slow').filter((state) => state === 'down').length).toBeLessThanOrEqual(1)
  }
})

test('a path that carries less begins at the rate that trains show', () => {
  const one = world([both('narrow', { rateBytesPerSec: 12_500_000, ...framesFor(1492) })])
  one.run(3 * SECOND)
  expect(pathOf(one, 0).rate.rateBytesPerSec).toBeGreaterThan(10_000_000)
})

test('a link that comes late is not held to have lost what went before', () => {
  const pair = world([{ name: 'one' }, both('late', { blackhole: true })])
  pair.run(30 * SECOND)
  set(pair, 1, { blackhole: false })
  pair.run(40 * SECOND)
  expect(states(pair, 'late')).toEqual(['down', 'probing', 'up'])
  expect(pathOf(pair, 1).health.lossOut).toBe(0)
})

test('a path that dies while it is asked is found dead as soon as any', () => {
  const pair = world([{ name: 'one' }, both('two')], { keepaliveUs: SECOND })
  pair.run(10 * SECOND)
  pathOf(pair, 1).mtu.verify(0, pair.client.end.local(pair.clock.now))
  set(pair, 1, { blackhole: true })
  pair.run(13 * SECOND)
  expect(pathOf(pair, 1).state).toBe('down')
})

test('a path that dies while its search is open does not hold the others to the least', () => {
  const line = { rateBytesPerSec: 2_500_000 }
  const pair = world([both('one', line), both('two', line)])
  const { device } = pair.client.end
  new DatagramFlow(pair.clock, pair.ledger, pair.client, pair.server, {
    name: 'flow',
    bytes: 1440,
    intervalUs: 400,
    from: SECOND,
    until: 8 * SECOND,
  })
  pair.run(3 * SECOND)
  set(pair, 1, framesFor(1000))
  while (device.mtuCarried === 1440 && pair.clock.now < 7 * SECOND) pair.run(pair.clock.now + 5 * MILLISECOND)
  expect(device.mtuCarried).toBe(1280)
  set(pair, 1, { blackhole: true })
  pair.run(10 * SECOND)
  expect(pathOf(pair, 1).state).toBe('down')
  expect(device.mtuCarried).toBe(1440)
  // Nor is it a reason to look at all paths more often than at rest.
  const { wakeUps } = pair.client.end
  pair.run(20 * SECOND)
  expect(pair.client.end.wakeUps - wakeUps).toBeLessThan(600)
})

test('a path that comes back another way is asked anew', () => {
  const pair = world([{ name: 'one' }, both('two')], { keepaliveUs: SECOND })
  pair.run(5 * SECOND)
  set(pair, 1, { blackhole: true })
  pair.run(10 * SECOND)
  expect(pathOf(pair, 1).state).toBe('down')
  set(pair, 1, { blackhole: false, ...framesFor(1400) })
  pair.run(15 * SECOND)
  expect(pathOf(pair, 1).state).toBe('up')
  expect(pathOf(pair, 1).mtu.carries).toBe(1340)
})

test('a learnt path that is forgotten no longer counts', () => {
  const pair = world([{ name: 'wide' }, both('narrow', framesFor(1400))])
  pair.run(10 * SECOND)
  const { device } = pair.server.end
  expect(device.mtuCarried).toBe(1340)
  set(pair, 1, { blackhole: true })
  pair.run(40 * SECOND)
  expect(device.mtuCarried).toBe(1340)
  pair.run(120 * SECOND)
  expect(device.mtuCarried).toBe(1440)
})

test('nothing large goes to an address that has not answered', () => {
  const pair = world([{ name: 'one' }, { name: 'deaf', down: { blackhole: true } }])
  pair.run(3 * SECOND)
  const { enteredBytes, entered } = pair.line(1).down!.counts
  expect(entered).toBeGreaterThan(3)
  expect(enteredBytes).toBeLessThan(120 * entered)
})

test('nothing large goes into a path that is down', () => {
  const pair = world([{ name: 'one' }, both('dead', { blackhole: true })])
  pair.run(10 * MILLISECOND)
  const { counts } = pair.line(1).up!
  let entered = 0
  let enteredBytes = 0
  while (pathOf(pair, 1).state !== 'down') {
    ;({ entered, enteredBytes } = counts)
    pair.run(pair.clock.now + MILLISECOND)
  }
  expect(pair.clock.now).toBeLessThan(5 * SECOND)
  pair.run(30 * SECOND)
  const packets = counts.entered - entered
  expect(packets).toBeGreaterThan(20)
  // A single large one would be 1300 bytes more.
  expect(counts.enteredBytes - enteredBytes).toBeLessThan(100 * packets)
})

test('probes that are lost on a path in use are no loss of it', () => {
  const pair = world([{ name: 'wide' }, both('narrow', framesFor(1500))], { keepaliveUs: SECOND })
  pair.run(10 * SECOND)
  const { end } = pair.client
  end.device.handleMtu(1800, 1440, end.local(pair.clock.now))
  pair.run(15 * SECOND)
  expect(pair.line(1).up!.counts.tooLarge).toBeGreaterThan(5)
  const { lossOut, lostAt } = pathOf(pair, 1).health
  expect([lossOut, lostAt]).toEqual([0, Number.NEGATIVE_INFINITY])
  expect(states(pair, 'narrow')).toEqual(['up'])
})

test('a path that comes back slower than it was is not asked for ever', () => {
  const pair = world([both('one'), both('two')], { keepaliveUs: SECOND })
  pair.run(5 * SECOND)
  set(pair, 1, { blackhole: true })
  pair.run(8 * SECOND)
  set(pair, 1, { blackhole: false, delayUs: 300_000 })
  pair.run(16 * SECOND)
  expect(pathOf(pair, 1).state).toBe('up')
  expect(pathOf(pair, 1).mtu.isOpen).toBe(false)
})

test('a way that becomes narrower is noticed by the few large packets that are lost there', () => {
  const one = world([both('one', { rateBytesPerSec: 2_500_000 })])
  const flow = (name: string, bytes: number, intervalUs: number) =>
    new DatagramFlow(one.clock, one.ledger, one.client, one.server, {
      name,
      bytes,
      intervalUs,
      from: SECOND,
      until: 20 * SECOND,
    })
  flow('call', 200, 10_000)
  flow('large', 1440, 500_000)
  one.run(5 * SECOND)
  set(one, 0, framesFor(1400))
  one.run(20 * SECOND)
  expect(pathOf(one, 0).mtu.carries).toBe(1340)
})

test('the only path carries what is small, however narrow it is', () => {
  const one = world([both('one', framesFor(1330))])
  const { record } = new DatagramFlow(one.clock, one.ledger, one.client, one.server, {
    name: 'call',
    bytes: 200,
    intervalUs: 20_000,
    from: 5 * SECOND,
    until: 200 * SECOND,
  })
  one.run(201 * SECOND)
  expect(one.client.end.device.mtuCarried).toBe(1280)
  expect(record.delivered).toBe(record.sent)
  expect(states(one, 'one')).toEqual(['up'])
})

test('what was found of a way does not hold of the next', () => {
  for (let movedAt = 200; movedAt <= 1_400; movedAt += 100) {
    const one = world([
      { name: 'one', up: { delayUs: 20_000 }, down: { delayUs: 20_000, ...framesFor(1460) } },
    ])
    one.clock.call(movedAt * MILLISECOND, () => {
      rebind(one, 0, one.random)
      one.line(0).down!.parameters.frameBytesMax = framesFor(1400).frameBytesMax
    })
    new DatagramFlow(one.clock, one.ledger, one.client, one.server, {
      name: 'call',
      bytes: 200,
      intervalUs: 20_000,
      until: 10 * SECOND,
    })
    one.run(10 * SECOND)
    expect(one.server.end.device.mtuCarried, `moved after ${movedAt} ms`).toBe(1340)
  }
})

test('packets that overtake each other are no loss', () => {
  const one = world([both('one', { rateBytesPerSec: 2_500_000, reorder: 0.2, reorderUs: 8_000 })])
  new DatagramFlow(one.clock, one.ledger, one.client, one.server, {
    name: 'flow',
    bytes: 1_000,
    intervalUs: 1_000,
    from: SECOND,
    until: 10 * SECOND,
  })
  one.run(10 * SECOND)
  expect(states(one, 'one')).toEqual(['up'])
  expect(pathOf(one, 0).health.lossOut).toBeLessThan(0.02)
})

test('a link that others fill is not held to carry less', () => {
  const bytes = { queueBytesMax: 150_000 }
  for (const [queue, seed] of [
    [{ queuePacketsMax: 20 }, 11],
    [{ queuePacketsMax: 100 }, 11],
    [bytes, 9],
    [bytes, 12],
    [bytes, 14],
  ] as const) {
    const line = { rateBytesPerSec: 1_250_000, ...queue }
    const pair = world([both('one', line), both('two', line)], { seed })
    new DatagramFlow(pair.clock, pair.ledger, pair.client, pair.server, {
      name: 'flow',
      bytes: 1440,
      intervalUs: 1_000,
      from: SECOND,
      until: 25 * SECOND,
    })
    floodBySomebodyElse(pair, 1, 1.1 * line.rateBytesPerSec, 3 * SECOND, 20 * SECOND)
    pair.run(25 * SECOND)
    expect(pathOf(pair, 1).health.lossOut).toBeGreaterThan(0)
    expect(pair.client.end.events.filter(({ event }) => event.kind === 'mtu')).toEqual([])
    expect(states(pair, 'two')).not.toContain('down')
  }
})

/** Datagrams that are not ours, to nobody. */
function floodBySomebodyElse(
  world: World,
  line: number,
  bytesPerSec: number,
  from: number,
  until: number,
): void {
  const { store, addresses } = world.network
  const nobody = addresses.number(addressOf(203, 0, 113, 9, 9), 0)
  const body = new Uint8Array(1472).fill(0xff)
  const meanUs = ((body.length + 42) / bytesPerSec) * SECOND
  const tick = (): void => {
    const slot = store.take()
    store.write(slot, body, 0, body.length)
    store.source[slot] = nobody
    store.destination[slot] = nobody
    store.forged[slot] = 1
    store.flow[slot] = -1
    world.line(line).up!.push(slot, world.clock.now)
    const next = world.clock.now + Math.max(1, Math.round(meanUs * (0.5 + world.random.next())))
    if (next < until) world.clock.call(next, tick)
  }
  world.clock.call(from, tick)
}
