import { beforeAll, describe, expect, test } from 'vitest'
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
  dataArrived: 8,
  miracles: 0,
  drops: { egressFull: 1, authFailed: 1 },
  diedWithRestart: 0,
}

test('conservation: every packet that is missing must have been counted, on its own side of the wire', () => {
  expect(checkConservation(account)).toEqual([])
  expect(checkConservation({ ...account, drops: { authFailed: 2 } })).toHaveLength(1)
  expect(checkConservation({ ...account, drops: { egressFull: 2 } })).toHaveLength(2)
  expect(checkConservation({ ...account, drops: {}, diedWithRestart: 1 })).toEqual([])
  expect(checkConservation({ ...account, sent: 11 })).toHaveLength(1)
  expect(checkConservation({ ...account, dataArrived: 9 })).toHaveLength(1)
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

describe.each(['adaptive', 'weighted', 'redundant'] as const)(
  'a faulty core is found out, %s:',
  (scheduler) => {
    /** Faults of a run with a stream each way, over a link that loses packets and one that does not. */
    const run = (sabotage?: (world: World) => void): string => {
      const world = new World({ seed: 3, primitives, scheduler, links: [{ up: { loss: 0.02 } }, {}] })
      const flows = (['client', 'server'] as const).map(
        (from) =>
          new DatagramFlow(
            world.clock,
            world.ledger,
            world[from],
            world[from === 'client' ? 'server' : 'client'],
            {
              name: `from ${from}`,
              bytes: 500,
              intervalUs: 10 * MILLISECOND,
              until: 3 * SECOND,
            },
          ),
      )
      world.clock.call(1 * SECOND, () => sabotage?.(world))
      world.run(3 * SECOND)
      const faults = flows.flatMap(({ record }) => checkProgress(record, world.clock.now, SECOND / 2))
      return [...faults, ...world.rest()].join('\n')
    }

    test('and a good one is not', () => {
      expect(run()).toBe('')
    })

    test('it swallows a packet on the way out', () => {
      const found = run((world) => {
        const { device, pool } = world.client.end
        const handle = device.handleTun.bind(device)
        let left = 3
        device.handleTun = (batch, now) => {
          if (left-- > 0) pool.release(batch.slots[--batch.count]!)
          handle(batch, now)
        }
      })
      expect(found).toContain('packets not on the wire, only')
      expect(found).toContain('packets never left')
    })

    test('it swallows a packet on the way in', () => {
      const found = run((world) => {
        const { device, pool } = world.server.end
        const poll = device.pollDeliver.bind(device)
        let left = 3
        device.pollDeliver = (out) => {
          if (poll(out) > 0 && left-- > 0) pool.release(out.slots[--out.count]!)
          return out.count
        }
      })
      // Copies of it that are dropped as duplicates are counted, and make up for nothing.
      expect(found).toMatch(/at \d+: \d+ datagrams with data arrived, only/)
      expect(found).toMatch(/^\d+ datagrams with data arrived, \d+ delivered/m)
    })

    test('it hands a packet out twice', () => {
      const found = run((world) => {
        const { device, pool } = world.server.end
        const poll = device.pollDeliver.bind(device)
        let left = 1
        device.pollDeliver = (out) => {
          if (poll(out) === 1 && left-- > 0) {
            pool.hold(out.slots[0]!)
            out.slots[out.count++] = out.slots[0]!
          }
          return out.count
        }
      })
      expect(found).toContain('delivered twice')
    })

    test('it changes a packet', () => {
      const found = run((world) => {
        const { device, pool } = world.server.end
        const poll = device.pollDeliver.bind(device)
        device.pollDeliver = (out) => {
          const count = poll(out)
          if (count > 0) pool.slab[pool.packetAt(out.slots[0]!) + 40]! ^= 1
          return count
        }
      })
      expect(found).toContain('that were changed')
    })

    test('it uses a nonce twice', () => {
      const found = run((world) => {
        world.client.end.device.peers[0]!.paths[1]!.channel!.sent.next--
      })
      expect(found).toContain('nonce used twice')
    })

    test('it never gives a slot back, or takes more than its limits', () => {
      expect(run((world) => void world.server.end.pool.take())).toContain('still held')
      const grown = run((world) => {
        const { resequencer } = world.server.end.device.peers[0]!
        Object.defineProperty(resequencer, 'heldCount', { get: () => 9_000 })
      })
      expect(grown).toContain('9000 packets held for order, more than 8192')
    })

    test('it stops sending though a link is good', () => {
      const found = run((world) => {
        world.client.end.device.hasTransmit = () => false
      })
      expect(found).toContain('flow from client: nothing delivered for')
    })
  },
)
