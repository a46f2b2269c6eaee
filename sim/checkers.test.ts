import { beforeAll, expect, test } from 'vitest'
import { PacketPool } from '../src/base/packet-pool.js'
import { MILLISECOND, SECOND } from '../src/base/time.js'
import { loadPrimitives } from '../src/io/primitives.js'
import type { Primitives } from '../src/noise/primitives.js'
import { type Conservation, checkConservation, checkPoolAtRest, checkProgress } from './checkers.js'
import { Identity, ProtocolNumber, writePacket } from './inner-packet.js'
import { Ledger } from './ledger.js'
import { DatagramFlow } from './traffic.js'
import { World } from './world.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

const account: Conservation = {
  sent: 10,
  delivered: 7,
  neverOnWire: 1,
  lostInNetwork: 1,
  lostInCore: 1,
  miracles: 0,
  drops: { egressFull: 1, authFailed: 1 },
  diedWithRestart: 0,
}

test('conservation: every packet that is missing must have been counted, on its own side of the wire', () => {
  expect(checkConservation(account)).toEqual([])
  expect(checkConservation({ ...account, drops: { authFailed: 2 } })).toHaveLength(1)
  expect(checkConservation({ ...account, drops: { egressFull: 2 } })).toHaveLength(1)
  expect(checkConservation({ ...account, drops: {}, diedWithRestart: 1 })).toEqual([])
  expect(checkConservation({ ...account, sent: 11 })).toHaveLength(1)
  expect(checkConservation({ ...account, miracles: 1 })).toHaveLength(1)
})

test('a slot that is still held at rest is a leak', () => {
  const pool = new PacketPool(1 << 16)
  const slot = pool.take()
  expect(checkPoolAtRest('end', pool)).toEqual(['end: 1 of 32 slots are still held at rest'])
  pool.release(slot)
  expect(checkPoolAtRest('end', pool)).toEqual([])
})

test('the ledger knows what was sent: nothing else, nothing twice, nothing changed, nothing out of order', () => {
  const world = new World({ seed: 1, primitives, links: [{}] })
  const ledger = new Ledger(world.network.store, false)
  const flow = ledger.flow('f', true)
  const header = {
    family: 4 as const,
    protocol: ProtocolNumber.udp,
    source: 1,
    destination: 2,
    dscp: 0,
    flow: 0,
  }
  const slab = new Uint8Array(200)
  const view = new DataView(slab.buffer)
  const identity = new Identity()
  const deliver = (number: number, spoil?: number, bytes = 100): string | undefined => {
    writePacket(view, 0, header, bytes, number)
    if (spoil !== undefined) slab[spoil]! ^= 4
    const before = ledger.faults.length
    ledger.delivered(view, 0, bytes, 0, identity)
    return ledger.faults[before]
  }
  for (let i = 0; i < 10; i++) flow.next(0)
  expect(deliver(0)).toBeUndefined()
  expect(deliver(0)).toContain('twice')
  expect(deliver(10)).toContain('never sent')
  for (const at of [28, 33, 38, 41, 97]) expect(deliver(2, at)).toContain('nobody sent')
  expect(deliver(5)).toBeUndefined()
  expect(deliver(4)).toContain('after 5')
  expect(flow.reordered).toBe(1)
  expect(checkProgress(flow, 2 * SECOND, 1 * SECOND)).toHaveLength(1)
  expect(checkProgress(flow, 0.5 * SECOND, 1 * SECOND)).toEqual([])
})

test('a core that swallows a packet, or hands one out twice, is found out', () => {
  const run = (sabotage: (world: World) => void): string[] => {
    const world = new World({ seed: 3, primitives, links: [{}] })
    new DatagramFlow(world.clock, world.ledger, world.client, world.server, {
      name: 'f',
      bytes: 500,
      intervalUs: 10 * MILLISECOND,
      until: 3 * SECOND,
    })
    world.clock.call(1 * SECOND, () => sabotage(world))
    world.run(6 * SECOND)
    return world.faultsAtRest()
  }
  expect(run(() => undefined)).toEqual([])
  const swallowed = run((world) => {
    const { device, pool } = world.server.end
    const poll = device.pollDeliver.bind(device)
    let swallow = true
    device.pollDeliver = (out) => {
      const count = poll(out)
      if (swallow && count > 0) {
        swallow = false
        pool.release(out.slots[--out.count]!)
        return out.count
      }
      return count
    }
  })
  expect(swallowed.join()).toContain('arrived and vanished')
  const doubled = run((world) => {
    const { device, pool } = world.server.end
    const poll = device.pollDeliver.bind(device)
    let double = true
    device.pollDeliver = (out) => {
      const count = poll(out)
      if (double && count === 1) {
        double = false
        pool.hold(out.slots[0]!)
        out.slots[out.count++] = out.slots[0]!
        return 2
      }
      return count
    }
  })
  expect(doubled.join()).toContain('delivered twice')
  const leaked = run((world) => {
    world.server.end.pool.take()
  })
  expect(leaked.join()).toContain('still held')
})
