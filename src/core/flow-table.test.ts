import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { PacketPool, SLOT_BYTES } from '../base/packet-pool.js'
import { type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { PacketView, Protocol, TcpFlag } from '../wire/ip.js'
import { BUCKETS, SEQUENCE_MASK } from '../wire/message.js'
import { FLOW_IDLE_US, FlowTable, PacketClass } from './flow-table.js'

interface Packet {
  protocol?: number
  source?: number
  destination?: number
  sourcePort?: number
  destinationPort?: number
  payloadBytes?: number
  tcpFlags?: number
  dscp?: number
  fragment?: number
  version?: 4 | 6
}

const pool = new PacketPool(SLOT_BYTES)
const view = new PacketView()
let table: FlowTable

beforeEach(() => {
  table = new FlowTable(0x1234567)
})

function parse(packet: Packet): void {
  const protocol = packet.protocol ?? Protocol.Tcp
  const headerBytes = packet.version === 6 ? 40 : 20
  const transportBytes = protocol === Protocol.Tcp ? 20 : 8
  const bytes = new Uint8Array(headerBytes + transportBytes + (packet.payloadBytes ?? 1000))
  const data = new DataView(bytes.buffer)
  if (packet.version === 6) {
    data.setUint32(0, ((6 << 28) | ((packet.dscp ?? 0) << 22)) >>> 0)
    data.setUint16(4, bytes.length - 40)
    bytes[6] = protocol
    data.setUint32(20, packet.source ?? 1)
    data.setUint32(36, packet.destination ?? 2)
  } else {
    bytes[0] = 0x45
    bytes[1] = (packet.dscp ?? 0) << 2
    data.setUint16(2, bytes.length)
    data.setUint16(6, packet.fragment ?? 0)
    bytes[9] = protocol
    data.setUint32(12, packet.source ?? 1)
    data.setUint32(16, packet.destination ?? 2)
  }
  data.setUint16(headerBytes, packet.sourcePort ?? 1000)
  data.setUint16(headerBytes + 2, packet.destinationPort ?? 443)
  if (protocol === Protocol.Tcp) {
    bytes[headerBytes + 12] = 5 << 4
    bytes[headerBytes + 13] = packet.tcpFlags ?? TcpFlag.Ack
  }
  pool.slab.set(bytes, pool.packetAt(0))
  pool.length[0] = bytes.length
  if (!view.parse(pool, 0)) throw new Error('the test made a malformed packet')
}

/** Bucket of a packet. */
function bucketOf(packet: Packet, now = 0): number {
  parse(packet)
  table.classify(view, now)
  return table.bucket
}

describe('FlowTable', () => {
  it.each([
    ['TCP data', {}, PacketClass.Bulk, true],
    ['TCP data, IPv6', { version: 6 as const }, PacketClass.Bulk, true],
    ['TCP SYN', { payloadBytes: 0, tcpFlags: TcpFlag.Syn }, PacketClass.Bulk, true],
    ['TCP data marked EF', { dscp: 46 }, PacketClass.Bulk, true],
    ['a TCP fragment', { fragment: 0x2000 }, PacketClass.Bulk, true],
    ['a pure ACK', { payloadBytes: 0 }, PacketClass.PureAck, false],
    ['ICMP', { protocol: Protocol.Icmp }, PacketClass.RealTime, false],
    ['ICMPv6', { protocol: Protocol.Icmpv6, version: 6 as const }, PacketClass.RealTime, false],
    ['sparse UDP', { protocol: Protocol.Udp }, PacketClass.RealTime, false],
    ['ESP', { protocol: 50 }, PacketClass.RealTime, false],
  ])('classifies %s', (_, packet, packetClass, ordered) => {
    expect(bucketOf(packet) !== 0).toBe(ordered)
    expect(table.packetClass).toBe(packetClass)
  })

  it('gives each TCP flow a bucket of its own, the same each time', () => {
    const flows: Packet[] = [
      {},
      { sourcePort: 1001 },
      { destinationPort: 80 },
      { source: 9 },
      { destination: 9 },
      { version: 6 },
      { version: 6, source: 9 },
      { version: 6, destination: 9 },
      { fragment: 0x2000 },
    ]
    const buckets = flows.map((flow) => bucketOf(flow))
    expect(new Set(buckets).size).toBe(flows.length)
    expect(buckets).not.toContain(0)
    expect(flows.map((flow) => bucketOf(flow))).toEqual(buckets)
    expect(bucketOf({ fragment: 1 })).toBe(bucketOf({ fragment: 0x2000 }))
    expect(table.flows).toBe(flows.length)
  })

  it('keeps pure ACKs and DNS out of the table, whatever their number', () => {
    for (let i = 0; i < 100; i++) {
      bucketOf({ payloadBytes: 0, source: i })
      bucketOf({ protocol: Protocol.Udp, destinationPort: 53, source: i })
      bucketOf({ protocol: Protocol.Udp, sourcePort: 53, source: i, payloadBytes: 1400 })
    }
    expect(table.flows).toBe(0)
  })

  /** Time at which a UDP flow of this rate becomes ordered, or undefined if it does not in 60 s. */
  function orderedAfter(bytesPerSec: number, packet: Packet): number | undefined {
    const bytes = 28 + 1000
    for (let now = 0; now < 60 * SECOND; now += (bytes / bytesPerSec) * SECOND) {
      if (bucketOf({ ...packet, protocol: Protocol.Udp }, now) !== 0) return now
    }
    return undefined
  }

  it('orders UDP above 1 Mbit/s, soon', () => {
    expect(orderedAfter(110_000, { source: 1 })).toBeUndefined()
    expect(orderedAfter(250_000, { source: 2 })).toBeLessThan(1 * SECOND)
    expect(orderedAfter(2_500_000, { source: 3 })).toBeLessThan(0.1 * SECOND)
    expect(orderedAfter(250_000, { source: 4, dscp: 46 })).toBeUndefined()
    expect(orderedAfter(250_000, { source: 5, destinationPort: 53 })).toBeUndefined()
  })

  it('knows whether a bucket is one of TCP', () => {
    expect(table.isTcp(bucketOf({ version: 6 }))).toBe(true)
    for (let i = 0; i < 200; i++) bucketOf({ protocol: Protocol.Udp })
    const bulk = bucketOf({ protocol: Protocol.Udp })
    expect(bulk).toBeGreaterThan(0)
    expect(table.isTcp(bulk)).toBe(false)
  })

  it.each([4, 6] as const)(
    'finds the flow of which a packet comes back, without entering one (IPv%i)',
    (version) => {
      const bucket = bucketOf({ version, source: 1, destination: 2, sourcePort: 1000, destinationPort: 443 })
      const flows = table.flows
      const back = {
        version,
        source: 2,
        destination: 1,
        sourcePort: 443,
        destinationPort: 1000,
        payloadBytes: 0,
      }
      parse(back)
      view.reverse()
      expect(table.bucketOf(view)).toBe(bucket)
      parse({ ...back, destinationPort: 1001 })
      view.reverse()
      expect(table.bucketOf(view)).toBe(0)
      parse(back)
      expect(table.bucketOf(view)).toBe(0)
      expect(table.flows).toBe(flows)
    },
  )

  it('keeps bulk UDP ordered until it was idle for long', () => {
    const packet = { protocol: Protocol.Udp }
    let now = 0
    for (; now < 200 * MILLISECOND; now += MILLISECOND) bucketOf(packet, now)
    const bucket = bucketOf(packet, now)
    expect(bucket).not.toBe(0)
    expect(table.packetClass).toBe(PacketClass.Bulk)
    for (; now < 100 * SECOND; now += 10 * SECOND) expect(bucketOf(packet, now)).toBe(bucket)
    expect(bucketOf(packet, now + FLOW_IDLE_US + SECOND)).toBe(0)
    expect(table.packetClass).toBe(PacketClass.RealTime)
  })

  it('makes bulk of a flood of pings', () => {
    const flood = { protocol: Protocol.Icmp }
    for (let now = 0; now < 100 * MILLISECOND; now += 2 * MILLISECOND) expect(bucketOf(flood, now)).toBe(0)
    for (let now = 100 * MILLISECOND; now < SECOND; now += MILLISECOND) bucketOf(flood, now)
    expect(table.packetClass).toBe(PacketClass.Bulk)
    expect(bucketOf({ ...flood, source: 8 }, SECOND)).toBe(0)
  })

  it('makes bulk of the largest of many small UDP flows that are too much together, and leaves a call alone', () => {
    const from = (source: number, payloadBytes: number, now: Instant): number =>
      bucketOf({ protocol: Protocol.Udp, source, payloadBytes }, now)
    let now = 0
    /** 20 flows of 112 kB/s and a call of 9 kB/s, where so much can be carried. Returns how many are bulk. */
    const swarm = (seconds: number, bytesPerSec: number): number => {
      const bulk = new Set<number>()
      for (const end = now + seconds * SECOND; now < end; now += 20 * MILLISECOND) {
        for (let flow = 0; flow < 20; flow++) {
          if (from(flow, 1092, now) !== 0) bulk.add(flow)
          from(flow, 1092, now)
        }
        if (from(99, 152, now) !== 0) bulk.add(99)
        if (now % (200 * MILLISECOND) === 0) table.review(bytesPerSec, now)
      }
      return bulk.size
    }
    expect(swarm(10, 0)).toBe(0)
    expect(swarm(10, 3_000_000)).toBe(0)
    expect(swarm(2, 2_000_000)).toBe(20)
    // Later ones are small again.
    table.reset()
    expect(swarm(20, 3_000_000)).toBe(0)
  })

  it('shares buckets when all are in use, and then gives idle ones away, the oldest first', () => {
    const owners = new Map<number, number>()
    for (let source = 0; source < BUCKETS - 1; source++) owners.set(bucketOf({ source }, source), source)
    expect(owners.size).toBe(BUCKETS - 1)
    const shared = bucketOf({ source: 5000 }, 2000)
    expect(owners.has(shared)).toBe(true)
    // Flow 0 goes on, the rest is idle: the first of the rest lose their buckets.
    bucketOf({ source: 0 }, 20 * SECOND)
    const later = FLOW_IDLE_US + SECOND
    const taken = bucketOf({ source: 6000 }, later)
    expect([1, 2, 3, 4]).toContain(owners.get(taken))
    expect(owners.get(bucketOf({ source: 0 }, later))).toBe(0)
  })

  it('gives no bucket away while a flow that shares it goes on', () => {
    const owners = new Map<number, number>()
    for (let source = 0; source < BUCKETS - 1; source++) owners.set(bucketOf({ source }), source)
    const shared = bucketOf({ source: 5000 })
    // Its owner is the last of the idle ones to be forgotten, so that what it gives back would be taken next.
    bucketOf({ source: owners.get(shared)! }, 10 * SECOND)
    bucketOf({ source: 5000 }, 20 * SECOND)
    const later = 10 * SECOND + FLOW_IDLE_US + SECOND
    const taken = new Set<number>()
    for (let source = 6000; source < 6000 + BUCKETS - 2; source++) taken.add(bucketOf({ source }, later))
    expect(bucketOf({ source: 5000 }, later)).toBe(shared)
    expect(taken.size).toBe(BUCKETS - 2)
    expect(taken.has(shared)).toBe(false)
  })

  it('forgets the flow that was silent for longest when it is full', () => {
    table = new FlowTable(1, 16)
    const packet = (source: number): Packet => ({ source })
    for (let source = 0; source < 16; source++) bucketOf(packet(source), source)
    const kept = bucketOf(packet(0), 200 * MILLISECOND)
    for (let source = 100; source < 115; source++) bucketOf(packet(source), 201 * MILLISECOND)
    expect(table.flows).toBe(16)
    expect(table.evicted).toBe(15)
    expect(bucketOf(packet(0), 202 * MILLISECOND)).toBe(kept)
    expect(table.evicted).toBe(15)
  })

  it('agrees with a plain map of flows, over any packets, with buckets that no two active flows share', () => {
    const packet = fc.record({
      protocol: fc.constantFrom(Protocol.Tcp, Protocol.Tcp, Protocol.Udp, 50),
      version: fc.constantFrom(4 as const, 6 as const),
      source: fc.nat(2),
      destination: fc.nat(2),
      sourcePort: fc.constantFrom(1000, 1001),
      fragment: fc.constantFrom(0, 0, 0x2000, 1),
      payloadBytes: fc.constantFrom(0, 1, 1400),
      tcpFlags: fc.constantFrom(TcpFlag.Ack, TcpFlag.Syn),
      gapUs: fc.constantFrom(0, 10, 100 * MILLISECOND, 5 * SECOND, FLOW_IDLE_US + 2 * SECOND),
    })
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 80 }), fc.integer(), (packets, seed) => {
        table = new FlowTable(seed, 16_384)
        const oracle = new Map<string, { bucket: number; at: number }>()
        let now = 0
        for (const each of packets) {
          now += each.gapUs
          const bucket = bucketOf(each, now)
          const isTcp = each.protocol === Protocol.Tcp
          const isFragment = each.version === 4 && each.fragment !== 0
          const isPureAck = isTcp && !isFragment && each.payloadBytes === 0 && each.tcpFlags === TcpFlag.Ack
          if (!isTcp || isPureAck) {
            // A handful of packets is sparse, and an ACK is never ordered.
            expect(bucket).toBe(0)
            continue
          }
          expect(bucket).toBeGreaterThan(0)
          const ports = isFragment ? 'fragment' : each.sourcePort
          const key = `${each.version} ${each.source} ${each.destination} ${ports}`
          const known = oracle.get(key)
          if (known !== undefined && now - known.at <= FLOW_IDLE_US) expect(bucket).toBe(known.bucket)
          oracle.set(key, { bucket, at: now })
          for (const [otherKey, other] of oracle) {
            if (otherKey !== key && now - other.at <= FLOW_IDLE_US) expect(bucket).not.toBe(other.bucket)
          }
        }
      }),
      { numRuns: 200 },
    )
  })

  it('counts sequences per bucket, wraps at 22 bits, and starts anew only on reset', () => {
    expect([table.nextSequence(1), table.nextSequence(1), table.nextSequence(2)]).toEqual([0, 1, 0])
    for (let i = 2; i <= SEQUENCE_MASK; i++) table.nextSequence(1)
    expect(table.nextSequence(1)).toBe(0)
    const bucket = bucketOf({})
    table.reset()
    expect(table.nextSequence(1)).toBe(0)
    expect(table.flows).toBe(0)
    expect(bucketOf({})).toBe(bucket)
  })
})
