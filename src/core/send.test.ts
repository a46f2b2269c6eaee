import { expect, test } from 'vitest'
import { ProtocolNumber, writePacket } from '../../sim/inner-packet.js'
import { World } from '../../sim/world.js'
import { DatagramBatch } from '../base/datagram-batch.js'
import { PacketBatch } from '../base/packet-pool.js'
import { SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import { PacketClass } from './flow-table.js'
import { schedule } from './send.js'

/** A client and a server that know each other, and a way to hand packets of flows to the client. */
async function connected(seed: number) {
  const primitives = await loadPrimitives()
  const world = new World({ seed, primitives, scheduler: 'adaptive', links: [{}, {}] })
  world.run(2 * SECOND)
  const { end } = world.client
  const { pool } = end
  const batch = new PacketBatch(2048)
  const add = (protocol: number, flow: number, number: number, bytes: number): void => {
    const slot = pool.take()
    const header = { family: 4, protocol, source: 1, destination: 2, dscp: 0, flow } as const
    writePacket(end.view, pool.packetAt(slot), header, bytes, number)
    pool.length[slot] = bytes
    batch.slots[batch.count++] = slot
  }
  return { world, end, pool, batch, add }
}

test('what waits for nothing passes the queue by: urgent packets first, each flow in order, the rest queued', async () => {
  const { end, pool, batch, add, world } = await connected(3)
  const { device } = end
  const peer = device.peers[0]!
  // 2 ms of credit at 80 Mbit/s are 14 packets.
  for (const { rate } of peer.paths)
    Object.assign(rate, { rateBytesPerSec: 10_000_000, gain: 1, startup: false })
  for (let i = 0; i < 400; i++) add(ProtocolNumber.tcp, i < 200 ? 7 : 8 + (i & 1), i, 1400)
  add(ProtocolNumber.icmp, 1, 1, 100)
  const slots = [...batch.slots.subarray(0, batch.count)]
  const now = end.local(world.clock.now)
  device.handleTun(batch, now)
  expect(batch.count).toBe(0)
  const ways = device.links.map((link) => {
    const order: number[] = []
    for (let i = link.first; i < link.end; i++) order.push(slots.indexOf(link.slotAt(i)))
    return order
  })
  const went = ways.flat()
  expect(went.length).toBeGreaterThan(10)
  expect(went.length).toBeLessThan(401)
  for (const order of ways) {
    if (order.includes(400)) expect(order[0]).toBe(400)
    const ofOneFlow = order.filter((i) => i < 200)
    expect(ofOneFlow).toEqual([...ofOneFlow].sort((one, other) => one - other))
  }
  expect(went).toContain(400)
  expect(peer.egress.packets).toBe(401 - went.length)
  // What waits goes later, and nothing is lost.
  world.run(6 * SECOND)
  expect(peer.egress.packets).toBe(0)
  expect(pool.freeCount).toBe(pool.slotCount)
})

test('the TUN is read on while bulk waits for its paths, not while no socket takes a thing', async () => {
  const { world, end, batch, add } = await connected(5)
  const { device } = end
  const peer = device.peers[0]!
  for (const { rate } of peer.paths)
    Object.assign(rate, { rateBytesPerSec: 10_000_000, gain: 1, startup: false })
  for (let i = 0; i < 1800; i++) add(ProtocolNumber.tcp, 7, i, 1400)
  const now = end.local(world.clock.now)
  device.handleTun(batch, now)
  expect(peer.egress.bytes).toBeGreaterThan(2 << 20)
  expect(device.tunRoom).toBeGreaterThan(0)
  device.handleLinkBlocked(0, true, now)
  expect(device.tunRoom).toBeGreaterThan(0)
  device.handleLinkBlocked(1, true, now)
  expect(device.tunRoom).toBe(0)
  device.handleLinkBlocked(1, false, now)
  expect(device.tunRoom).toBeGreaterThan(0)
})

test('a flow that has just begun goes before others that are brief, too, and wait for their paths', async () => {
  const { end, pool, world } = await connected(6)
  const { device } = end
  const peer = device.peers[0]!
  const { egress } = peer
  for (const { rate } of peer.paths)
    Object.assign(rate, { rateBytesPerSec: 1_000_000, gain: 1, startup: false })
  const now = end.local(world.clock.now)
  const enqueue = (bucket: number): number => {
    const slot = pool.take()
    pool.length[slot] = 1400
    egress.enqueue(slot, bucket, PacketClass.Bulk, 1400, now)
    return slot
  }
  for (let i = 0; i < 300; i++) enqueue(7 + (i % 3))
  // They have had their first turn.
  for (let i = 0; i < 9; i++) pool.release(egress.dequeue(now))
  schedule(device, peer, now)
  expect(egress.packets).toBeGreaterThan(200)
  const slot = enqueue(20)
  schedule(device, peer, now)
  egress.briefWait = false
  expect(egress.dequeue(now)).toBe(slot)
})

test('packets whose session ends before they are sealed are counted and no longer in flight', async () => {
  const { world, end, pool, batch, add } = await connected(2)
  const { device } = end
  for (let i = 0; i < 4; i++) add(ProtocolNumber.udp, 0, i, 500)
  const now = end.local(world.clock.now)
  device.handleTun(batch, now)
  const peer = device.peers[0]!
  const waiting = (): number => peer.paths.reduce((sum, path) => sum + path.unsealedBytes, 0)
  expect(waiting()).toBeGreaterThan(4 * 500)
  device.endSession(peer.current!, 'the test', now)
  world.run(4 * SECOND)
  expect(end.drops().sessionExpired).toBe(4)
  expect(waiting()).toBe(0)
  expect(pool.freeCount).toBe(pool.slotCount)
  expect(peer.current).toBeDefined()
})

test('copies for several paths of one link stop where the link has no more room', async () => {
  const primitives = await loadPrimitives()
  const options = {
    seed: 4,
    primitives,
    scheduler: 'redundant',
    links: [{}],
    serverLinks: [{}, {}, {}],
  } as const
  const world = new World({ ...options, links: [...options.links], serverLinks: [...options.serverLinks] })
  world.run(3 * SECOND)
  const { end } = world.client
  const { device, pool } = end
  const link = device.links[0]!
  expect(device.peers[0]!.paths.filter((path) => path.usable && path.link === link)).toHaveLength(3)
  const batch = new PacketBatch(2048)
  const header = {
    family: 4,
    protocol: ProtocolNumber.udp,
    source: 1,
    destination: 2,
    dscp: 0,
    flow: 0,
  } as const
  for (let i = 0; i < 1500; i++) {
    const slot = pool.take()
    writePacket(end.view, pool.packetAt(slot), header, 100, i)
    pool.length[slot] = 100
    batch.slots[batch.count++] = slot
  }
  device.handleTun(batch, end.now)
  expect(link.hasRoom).toBe(false)
  expect(link.waiting % 3).not.toBe(0)
  const held = new Set<number>()
  for (let i = link.first; i < link.end; i++) held.add(link.slotAt(i))
  expect(device.peers[0]!.egress.packets).toBe(1500 - held.size)
})

test('what waits for a full socket when its path is forgotten is dropped, and nothing of it is kept', async () => {
  const { end, pool, batch, add, world } = await connected(5)
  const { device } = end
  const now = end.local(world.clock.now)
  for (let i = 0; i < 20; i++) add(ProtocolNumber.icmp, 1, i, 100)
  device.handleTun(batch, now)
  const waiting = device.links.reduce((sum, link) => sum + link.waiting, 0)
  expect(waiting).toBe(20)
  for (const { channel } of device.peers[0]!.paths) channel!.session.closeChannel(channel!)
  const out = new DatagramBatch(64 * 2048, 64, 8)
  for (let link = 0; link < device.links.length; link++) device.pollTransmit(link, out, now)
  expect(device.drops.snapshot()).toMatchObject({ sessionExpired: 20 })
  expect(pool.freeCount).toBe(pool.slotCount)
})

test('what waits for an end that is away does not hold memory for longer than it may wait', async () => {
  const { end, pool, batch, add, world } = await connected(6)
  const { device } = end
  world.server.end.stop(false)
  world.run(60 * SECOND)
  const peer = device.peers[0]!
  expect(peer.paths.some(({ usable }) => usable)).toBe(false)
  for (let i = 0; i < 1_000; i++) add(ProtocolNumber.tcp, i, i, 60)
  device.handleTun(batch, end.local(world.clock.now))
  expect(peer.egress.packets).toBe(1_000)
  world.run(63 * SECOND)
  expect(device.drops.snapshot()).toMatchObject({ egressOld: 1_000 })
  expect(peer.egress.packets).toBe(0)
  expect(pool.freeCount).toBe(pool.slotCount)
})
