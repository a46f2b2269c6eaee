import { expect, test } from 'vitest'
import { ProtocolNumber, writePacket } from '../../sim/inner-packet.js'
import { World } from '../../sim/world.js'
import { PacketBatch } from '../base/packet-pool.js'
import { SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'

test('packets whose session ends before they are sealed are counted and no longer in flight', async () => {
  const primitives = await loadPrimitives()
  const world = new World({ seed: 2, primitives, scheduler: 'adaptive', links: [{}, {}] })
  world.run(2 * SECOND)
  const { end } = world.client
  const { device, pool } = end
  const batch = new PacketBatch(4)
  for (let i = 0; i < 4; i++) {
    const slot = pool.take()
    const header = {
      family: 4,
      protocol: ProtocolNumber.udp,
      source: 1,
      destination: 2,
      dscp: 0,
      flow: 0,
    } as const
    writePacket(end.view, pool.packetAt(slot), header, 500, i)
    pool.length[slot] = 500
    batch.slots[batch.count++] = slot
  }
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
