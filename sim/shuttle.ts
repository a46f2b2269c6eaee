import {
  ADDRESS_WORDS,
  DatagramBatch,
  ROW_ADDRESS,
  ROW_LENGTH,
  ROW_OFFSET,
  ROW_WORDS,
} from '../src/base/datagram-batch.js'
import { PacketBatch } from '../src/base/packet-pool.js'
import { type DurationUs, type Instant, SECOND } from '../src/base/time.js'
import type { Device } from '../src/core/device.js'
import type { Channel } from '../src/core/session.js'
import type { Primitives } from '../src/noise/primitives.js'
import { ProtocolNumber, writePacket } from './inner-packet.js'
import { World } from './world.js'

/** What one end sent at a time. */
export interface Carried {
  /** Whole datagrams, sealed under the null cipher. */
  datagrams: Uint8Array[]
  /** Lengths of the packets that the other end gave to its TUN. */
  delivered: number[]
}

/** Two real devices with a session over the client's links, whose datagrams are carried, or not, by hand. */
export class Shuttle {
  readonly world: World
  now: Instant
  private readonly out = new DatagramBatch(1024 * 2048, 1024, 8)
  private readonly carried = new DatagramBatch(1024 * 2048, 1024, 8)

  constructor(primitives: Primitives, links = 1) {
    this.world = new World({ seed: 6, primitives, scheduler: 'adaptive', links: new Array(links).fill({}) })
    this.world.run(2 * SECOND)
    this.now = this.world.client.end.local(this.world.clock.now)
  }

  get client(): Device {
    return this.world.client.end.device
  }
  get server(): Device {
    return this.world.server.end.device
  }
  /** The client's on its first path. */
  get channel(): Channel {
    return this.client.peers[0]!.paths[0]!.channel!
  }

  /** Gives `count` pings of `bytes` to the TUN of one end, which is to be drained by {@link carry}. */
  give(from: Device, count: number, bytes = 100): void {
    const { world } = this
    const end = from === this.client ? world.client.end : world.server.end
    const batch = new PacketBatch(count)
    const header = {
      family: 4,
      protocol: ProtocolNumber.icmp,
      source: from === this.client ? 1 : 2,
      destination: from === this.client ? 2 : 1,
      // Expedited, so that they wait for nothing, however many they are.
      dscp: 46,
      flow: 0,
    } as const
    for (let i = 0; i < count; i++) {
      const slot = end.pool.take()
      writePacket(end.view, end.pool.packetAt(slot), header, bytes, i)
      end.pool.length[slot] = bytes
      end.pool.flags[slot] = 0
      batch.slots[batch.count++] = slot
    }
    from.handleTun(batch, this.now)
  }

  /** Sends `count` small packets, of which those arrive that `arrives` says; returns the counter of the first. */
  send(count: number, arrives: (index: number) => boolean): number {
    const first = this.channel.sent.next
    this.give(this.client, count)
    this.carry(this.client, arrives)
    return first
  }

  /** What the server has to say of itself a while later. */
  feedback(afterUs: DurationUs): Carried {
    this.now += afterUs
    this.server.handleTimeout(this.now)
    return this.carry(this.server)
  }

  /** Moves what one end has to send to the other. */
  carry(from: Device, arrives: (index: number) => boolean = () => true): Carried {
    const result: Carried = { datagrams: [], delivered: [] }
    for (let link = 0; link < from.links.length; link++) this.carryLink(from, link, arrives, result)
    return result
  }

  private carryLink(from: Device, link: number, arrives: (index: number) => boolean, result: Carried): void {
    const { out, carried, world, now } = this
    out.clear()
    from.pollTransmit(link, out, now)
    for (let i = 0; i < out.count; i++) {
      const at = out.rows[i * ROW_WORDS + ROW_OFFSET]!
      const bytes = out.rows[i * ROW_WORDS + ROW_LENGTH]!
      const datagram = out.slab.slice(at, at + bytes)
      result.datagrams.push(datagram)
      if (!arrives(i)) continue
      // The server has one socket, and knows the client's links by their addresses.
      const record = out.rows[i * ROW_WORDS + ROW_ADDRESS]! * ADDRESS_WORDS
      const owner = world.network.addresses.owner(world.network.addresses.number(out.addresses, record))
      const clientLink = from === this.client ? link : world.client.end.attachments.indexOf(owner!)
      const source = from === this.client ? world.line(link) : world.server.end.attachments[0]!
      const target = from === this.client ? world.server.end.attachments[0]! : world.line(clientLink)
      carried.clear()
      carried.addresses.set(world.network.addresses.record(source.address))
      carried.addresses[5] = (from === this.client ? 0 : clientLink) + 1
      carried.addresses[6] = target.localWord
      carried.addresses.fill(0, 7, ADDRESS_WORDS)
      carried.addressCount = 1
      carried.count = 1
      carried.slab.set(datagram)
      carried.rows.set([0, bytes, 0, 0])
      const to = from === this.client ? this.server : this.client
      to.handleDatagrams(from === this.client ? 0 : clientLink, carried, now)
      const delivered = new PacketBatch(1024)
      to.pollDeliver(delivered)
      for (let n = 0; n < delivered.count; n++) {
        const slot = delivered.slots[n]!
        result.delivered.push(to.pool.length[slot]!)
        to.pool.release(slot)
      }
    }
  }
}
