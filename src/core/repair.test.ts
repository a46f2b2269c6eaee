import { beforeAll, beforeEach, describe, expect, it, test } from 'vitest'
import { ProtocolNumber, writePacket, writeSegment } from '../../sim/inner-packet.js'
import { emptyFields } from '../../sim/tcp-segment.js'
import { DatagramFlow } from '../../sim/traffic.js'
import { World } from '../../sim/world.js'
import { DatagramBatch } from '../base/datagram-batch.js'
import { PacketBatch, type PacketPool } from '../base/packet-pool.js'
import { type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import type { Primitives } from '../noise/primitives.js'
import type { Device } from './device.js'
import type { Link } from './link.js'
import { moveTo } from './path-keeper.js'
import type { Peer } from './peer.js'
import { MissingRanges, settleReported } from './repair.js'
import type { Channel } from './session.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

type Kind = 'tcp' | 'ack' | 'icmp'

/** A real device with a session over two links, whose datagrams go nowhere from now on: its fate is ours to tell. */
class Sender {
  readonly world = new World({ seed: 9, primitives, scheduler: 'adaptive', links: [{}, {}] })
  readonly device: Device
  readonly pool: PacketPool
  readonly peer: Peer
  readonly channel: Channel
  now: Instant
  private readonly out = new DatagramBatch(256 * 2048, 256, 8)
  private readonly missing = new MissingRanges()

  constructor() {
    this.world.run(2 * SECOND)
    const { end } = this.world.client
    this.device = end.device
    this.pool = end.pool
    this.peer = this.device.peers[0]!
    this.channel = this.peer.paths[0]!.channel!
    // What is told of contexts would take counters of its own.
    this.peer.contextsOut.enabled = false
    this.now = end.local(this.world.clock.now)
    for (const { channel } of this.peer.paths) this.settleAll(channel!)
  }

  /** Sends packets of `bytes`, `bytes` + 1, … on the first link; returns their counters. */
  send(count: number, kind: Kind = 'tcp', bytes = 200): number[] {
    this.device.handleLinkBlocked(1, true, this.now)
    const batch = new PacketBatch(count)
    for (let i = 0; i < count; i++) batch.slots[batch.count++] = this.packet(kind, bytes + i)
    const first = this.channel.sent.next
    this.device.handleTun(batch, this.now)
    this.drain()
    this.device.handleLinkBlocked(1, false, this.now)
    expect(this.channel.sent.next).toBe(first + count)
    return Array.from({ length: count }, (_, i) => first + i)
  }

  /** The other end reports everything up to `newest` but the counters `missing`; returns how many count as lost. */
  report(newest: number, missing: number[] = []): number {
    const ranges = this.missing
    ranges.count = 0
    ranges.completeFrom = 0
    for (const counter of [...missing].sort((a, b) => b - a)) {
      ranges.from[ranges.count] = counter
      ranges.to[ranges.count++] = counter
    }
    return settleReported(this.device, this.channel, newest, ranges, this.now)
  }

  /** Lengths of the packets that wait to be sealed, by link. */
  waiting(): number[][] {
    const lengths = (link: Link): number[] => {
      const found: number[] = []
      for (let i = link.first; i < link.end; i++) found.push(this.pool.length[link.slotAt(i)]!)
      return found
    }
    return this.device.links.map(lengths)
  }

  drain(): void {
    for (let link = 0; link < 2; link++) {
      this.out.clear()
      this.device.pollTransmit(link, this.out, this.now)
    }
  }

  /** Slots that somebody holds once the session is gone: none may be left. */
  slotsLost(): number {
    this.drain()
    this.peer.egress.expire(Number.POSITIVE_INFINITY)
    for (const session of [...this.peer.sessions]) this.device.endSession(session, 'the test', this.now)
    return this.pool.slotCount - this.pool.freeCount
  }

  private settleAll(channel: Channel): void {
    const { sent } = channel
    for (let counter = sent.settled; counter < sent.next; counter++) {
      if (sent.fateOf(counter) === 0) sent.arrived(counter)
    }
    sent.settle()
  }

  private packet(kind: Kind, bytes: number): number {
    const slot = this.pool.take()
    const { view } = this.world.client.end
    const at = this.pool.packetAt(slot)
    const protocol = kind === 'icmp' ? ProtocolNumber.icmp : ProtocolNumber.tcp
    const header = { family: 4, protocol, source: 1, destination: 2, dscp: 0, flow: 0 } as const
    const segment = {
      ...emptyFields(),
      sequence: 1,
      acknowledgement: 1,
      payloadBytes: kind === 'ack' ? 0 : bytes - 52,
    }
    if (kind === 'icmp') writePacket(view, at, header, bytes, 1)
    else writeSegment(view, at, header, segment, 1)
    this.pool.length[slot] = kind === 'ack' ? 52 : bytes
    return slot
  }
}

describe('what is reported missing', () => {
  let sender: Sender
  beforeEach(() => {
    sender = new Sender()
  })

  it('is sent again once, what arrived never', () => {
    const counters = sender.send(8)
    sender.now += 10 * MILLISECOND
    const [later] = sender.send(1, 'tcp', 300)
    expect(sender.report(later!, [counters[2]!, counters[3]!])).toBe(2)
    expect(sender.waiting().flat().sort()).toEqual([202, 203])
    expect(sender.peer.repairs).toBe(2)
    expect(sender.report(later!, [counters[2]!, counters[3]!])).toBe(0)
    expect(sender.peer.repairs).toBe(2)
    expect(sender.slotsLost()).toBe(0)
  })

  it('may have been overtaken while it is as young as the newest that arrived', () => {
    const counters = sender.send(3)
    expect(sender.report(counters[2]!, [counters[1]!])).toBe(0)
    sender.now += 10 * MILLISECOND
    const [later] = sender.send(1)
    expect(sender.report(later!, [counters[1]!])).toBe(1)
    expect(sender.slotsLost()).toBe(0)
  })

  it('is lost once 64 younger ones arrived, however young it is', () => {
    const counters = sender.send(66)
    expect(sender.report(counters[64]!, [counters[0]!, counters[1]!])).toBe(1)
    expect(sender.waiting().flat()).toEqual([200])
    expect(sender.slotsLost()).toBe(0)
  })

  it('was only late if it is missing no more: its repair is dropped and the next loss is waited for longer', () => {
    const { health } = sender.channel.path
    const patience = health.reorderingUs
    const counters = sender.send(3)
    sender.now += 10 * MILLISECOND
    const [later] = sender.send(1)
    // No link has room, so the repair waits in the queue.
    sender.device.handleLinkBlocked(0, true, sender.now)
    sender.device.handleLinkBlocked(1, true, sender.now)
    expect(sender.report(later!, [counters[1]!])).toBe(1)
    expect(sender.peer.egress.packets).toBe(1)
    expect(sender.report(later!)).toBe(0)
    expect(health.reorderingUs).toBeGreaterThan(patience)
    sender.device.handleLinkBlocked(0, false, sender.now)
    expect(sender.peer.egress.packets).toBe(0)
    expect(sender.waiting()).toEqual([[], []])
    expect(sender.slotsLost()).toBe(0)
  })

  it.each<[Kind, number, boolean]>([
    ['tcp', 240, true],
    ['tcp', 260, false],
    ['icmp', 55, true],
    ['icmp', 65, false],
    ['ack', 10, false],
  ])('%s of %i ms: sent again %s', (kind, ageMs, again) => {
    const counters = sender.send(2, kind)
    sender.now += ageMs * MILLISECOND
    const [later] = sender.send(1)
    expect(sender.report(later!, [counters[0]!])).toBe(1)
    expect(sender.waiting().flat()).toHaveLength(again ? 1 : 0)
    expect(sender.slotsLost()).toBe(0)
  })
})

test('a path that turns suspect gives what is under way to the other, in its order and before what waits', () => {
  const sender = new Sender()
  const { device, peer, channel } = sender
  const counters = sender.send(6)
  sender.report(counters[1]!, [counters[0]!])
  moveTo(channel.path, 'suspect', 'the test', sender.now)
  // The first is as young as the second, which arrived: its fate is open, too.
  expect(peer.egress.packets).toBe(5)
  expect(channel.sent.bytesOutstanding).toBe(0)
  device.handleTimeout(sender.now)
  expect(sender.waiting()).toEqual([[], [200, 202, 203, 204, 205]])
  expect(sender.slotsLost()).toBe(0)
})

test('of what has waited for another path for long a stream is sent still, a ping no longer', () => {
  const sender = new Sender()
  const { device, channel } = sender
  sender.send(2)
  sender.send(2, 'icmp', 300)
  device.handleLinkBlocked(1, true, sender.now)
  moveTo(channel.path, 'suspect', 'the test', sender.now)
  sender.now += 600 * MILLISECOND
  device.handleLinkBlocked(1, false, sender.now)
  device.handleTimeout(sender.now)
  expect(sender.waiting()[1]).toEqual([200, 201])
  expect(sender.slotsLost()).toBe(0)
})

test('a packet under way on two paths that both turn suspect waits once', () => {
  const sender = new Sender()
  const { device, peer, pool, channel } = sender
  const [counter, other] = sender.send(2)
  const twin = peer.paths[1]!
  for (const each of [counter!, other!]) {
    const slot = channel.sent.slotOf(each)
    pool.hold(slot)
    twin.channel!.take(200, slot, device.retention.ticketOf(slot), true, sender.now)
  }
  for (const path of [channel.path, twin]) moveTo(path, 'suspect', 'the test', sender.now)
  expect(peer.egress.packets).toBe(2)
  device.handleTimeout(sender.now)
  expect(sender.waiting().flat()).toEqual([200, 201])
  expect(sender.slotsLost()).toBe(0)
})

test('nothing of a stream is lost where packets are, each is sent again about once', () => {
  const bad = { loss: 0.05, delayUs: 8_000 }
  const world = new World({ seed: 5, primitives, scheduler: 'adaptive', links: [{ up: bad }, { up: bad }] })
  const flow = new DatagramFlow(world.clock, world.ledger, world.client, world.server, {
    name: 'stream',
    bytes: 1_000,
    intervalUs: MILLISECOND,
    from: SECOND,
    until: 11 * SECOND,
  })
  world.run(13 * SECOND)
  expect(world.faultsAtRest()).toEqual([])
  expect(flow.record.delivered).toBe(flow.record.sent)
  const lost = world.line(0).up!.counts.lost + world.line(1).up!.counts.lost
  const { repairs } = world.client.end.device.peers[0]!
  // Control packets are lost, too, and not sent again.
  expect(repairs).toBeLessThanOrEqual(lost)
  expect(repairs).toBeGreaterThan(0.8 * lost)
})
