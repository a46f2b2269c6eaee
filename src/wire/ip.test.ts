import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { PacketPool, SLOT_BYTES } from '../base/packet-pool.js'
import { Ecn, innerLength, markCe, PacketView, Protocol, TcpFlag } from './ip.js'

const SLOT = 1
let pool: PacketPool
let view: PacketView

beforeEach(() => {
  pool = new PacketPool(3 * SLOT_BYTES)
  view = new PacketView()
})

function put(bytes: ArrayLike<number>): void {
  pool.slab.fill(0xee)
  pool.slab.set(bytes, pool.packetAt(SLOT))
  pool.length[SLOT] = bytes.length
}

function ipv4(options: {
  payload: number[]
  protocol?: number
  tos?: number
  fragment?: number
  optionWords?: number
}): Uint8Array {
  const headerBytes = 20 + 4 * (options.optionWords ?? 0)
  const packet = new Uint8Array(headerBytes + options.payload.length)
  const data = new DataView(packet.buffer)
  packet[0] = 0x40 | (headerBytes / 4)
  packet[1] = options.tos ?? 0
  data.setUint16(2, packet.length)
  data.setUint16(6, options.fragment ?? 0x4000)
  packet[8] = 64
  packet[9] = options.protocol ?? Protocol.Udp
  packet.set([10, 1, 2, 3], 12)
  packet.set([192, 168, 200, 254], 16)
  data.setUint16(10, checksum(packet.subarray(0, headerBytes)))
  packet.set(options.payload, headerBytes)
  return packet
}

function ipv6(options: { payload: number[]; next?: number; trafficClass?: number }): Uint8Array {
  const packet = new Uint8Array(40 + options.payload.length)
  const data = new DataView(packet.buffer)
  data.setUint32(0, ((6 << 28) | ((options.trafficClass ?? 0) << 20) | 0x54321) >>> 0)
  data.setUint16(4, options.payload.length)
  packet[6] = options.next ?? Protocol.Udp
  packet[7] = 64
  for (let i = 0; i < 16; i++) {
    packet[8 + i] = 0x20 + i
    packet[24 + i] = 0x80 + i
  }
  packet.set(options.payload, 40)
  return packet
}

function tcp(flags: number, dataBytes: number, optionWords = 3): number[] {
  const segment = new Uint8Array(20 + optionWords * 4 + dataBytes)
  const data = new DataView(segment.buffer)
  data.setUint16(0, 50_000)
  data.setUint16(2, 443)
  segment[12] = (5 + optionWords) << 4
  segment[13] = flags
  return [...segment]
}

function udp(dataBytes: number): number[] {
  const datagram = new Uint8Array(8 + dataBytes)
  const data = new DataView(datagram.buffer)
  data.setUint16(0, 5060)
  data.setUint16(2, 53)
  data.setUint16(4, datagram.length)
  return [...datagram]
}

/** RFC 1071, the plain way. */
function checksum(header: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < header.length; i += 2) sum += (header[i]! << 8) | header[i + 1]!
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

function bytesAt(wordIndex: number, words: number): number[] {
  return [...pool.slab.subarray(wordIndex * 4, (wordIndex + words) * 4)]
}

describe('innerLength', () => {
  it('is what the header says, also with more bytes behind the packet', () => {
    put([...ipv4({ payload: udp(10) }), 1, 2, 3])
    expect(innerLength(pool, SLOT)).toBe(38)
    put([...ipv6({ payload: udp(10) }), 1, 2, 3])
    expect(innerLength(pool, SLOT)).toBe(58)
  })

  it.each([
    ['empty', []],
    ['19 bytes', ipv4({ payload: [] }).subarray(0, 19)],
    ['IPv4 cut short', ipv4({ payload: udp(10) }).subarray(0, 37)],
    ['IPv4 header length below 5', Uint8Array.of(0x44, ...ipv4({ payload: udp(10) }).subarray(1))],
    [
      'IPv4 total length below its header',
      Uint8Array.of(0x45, 0, 0, 19, ...ipv4({ payload: [] }).subarray(4)),
    ],
    ['IPv6 of 39 bytes', ipv6({ payload: [] }).subarray(0, 39)],
    ['IPv6 cut short', ipv6({ payload: udp(10) }).subarray(0, 57)],
    ['version 5', Uint8Array.of(0x55, ...ipv4({ payload: udp(10) }).subarray(1))],
  ])('is -1: %s', (_, bytes) => {
    put(bytes)
    expect(innerLength(pool, SLOT)).toBe(-1)
    expect(view.parse(pool, SLOT)).toBe(false)
  })
})

describe('PacketView', () => {
  it('reads IPv4 with options', () => {
    put(ipv4({ payload: udp(10), optionWords: 2, tos: (46 << 2) | Ecn.Ect0 }))
    expect(view.parse(pool, SLOT)).toBe(true)
    expect(view).toMatchObject({
      version: 4,
      length: 46,
      addressWords: 1,
      protocol: Protocol.Udp,
      dscp: 46,
      ecn: 2,
    })
    expect(view).toMatchObject({ sourcePort: 5060, destinationPort: 53, payloadBytes: 10, fragment: false })
    expect(bytesAt(view.sourceAt, 1)).toEqual([10, 1, 2, 3])
    expect(bytesAt(view.destinationAt, 1)).toEqual([192, 168, 200, 254])
  })

  it('reads IPv6', () => {
    put(ipv6({ payload: tcp(TcpFlag.Ack, 7), next: Protocol.Tcp, trafficClass: (46 << 2) | Ecn.Ect1 }))
    expect(view.parse(pool, SLOT)).toBe(true)
    expect(view).toMatchObject({ version: 6, addressWords: 4, protocol: Protocol.Tcp, dscp: 46, ecn: 1 })
    expect(view).toMatchObject({
      sourcePort: 50_000,
      destinationPort: 443,
      payloadBytes: 7,
      isPureAck: false,
    })
    expect(bytesAt(view.sourceAt, 4)).toEqual(Array.from({ length: 16 }, (_, i) => 0x20 + i))
    expect(bytesAt(view.destinationAt, 4)).toEqual(Array.from({ length: 16 }, (_, i) => 0x80 + i))
  })

  it.each([
    ['ACK', TcpFlag.Ack, 0, true],
    ['ACK with ECE and CWR', TcpFlag.Ack | TcpFlag.Ece | TcpFlag.Cwr, 0, true],
    ['ACK with data', TcpFlag.Ack, 1, false],
    ['SYN', TcpFlag.Syn, 0, false],
    ['SYN ACK', TcpFlag.Syn | TcpFlag.Ack, 0, false],
    ['FIN ACK', TcpFlag.Fin | TcpFlag.Ack, 0, false],
    ['RST', TcpFlag.Rst, 0, false],
    ['RST ACK', TcpFlag.Rst | TcpFlag.Ack, 0, false],
    ['PSH ACK', TcpFlag.Psh | TcpFlag.Ack, 0, false],
    ['no flag', 0, 0, false],
  ])('tells a pure ACK: %s', (_, flags, dataBytes, isPureAck) => {
    put(ipv4({ payload: tcp(flags, dataBytes), protocol: Protocol.Tcp }))
    view.parse(pool, SLOT)
    expect(view.tcpFlags).toBe(flags)
    expect(view.payloadBytes).toBe(dataBytes)
    expect(view.isPureAck).toBe(isPureAck)
  })

  it('does not take a UDP datagram without data for an ACK', () => {
    put(ipv4({ payload: tcp(TcpFlag.Ack, 0), protocol: Protocol.Tcp }))
    view.parse(pool, SLOT)
    put(ipv4({ payload: udp(0) }))
    view.parse(pool, SLOT)
    expect(view.isPureAck).toBe(false)
  })

  it.each([
    ['first', 0x2000],
    ['middle', 0x2001],
    ['last', 0x0001],
  ])('gives no ports for a fragment: %s', (_, fragment) => {
    put(ipv4({ payload: udp(8), fragment }))
    expect(view.parse(pool, SLOT)).toBe(true)
    expect(view).toMatchObject({ fragment: true, ports: 0, protocol: Protocol.Udp })
    put(
      ipv6({
        payload: [Protocol.Udp, 0, fragment & 0x1fff ? 1 : 0, fragment >> 13 ? 1 : 0, 0, 0, 0, 1, ...udp(8)],
        next: 44,
      }),
    )
    expect(view.parse(pool, SLOT)).toBe(true)
    expect(view).toMatchObject({ fragment: true, ports: 0, protocol: Protocol.Udp })
  })

  it('walks extension headers', () => {
    const hopByHop = [Protocol.Destination, 1, ...new Array(14).fill(0)]
    const destination = [Protocol.Routing, 0, ...new Array(6).fill(0)]
    const routing = [Protocol.Fragment, 0, ...new Array(6).fill(0)]
    const atomicFragment = [Protocol.Tcp, 0, 0, 0, 0, 0, 0, 9]
    put(
      ipv6({
        payload: [...hopByHop, ...destination, ...routing, ...atomicFragment, ...tcp(TcpFlag.Ack, 0)],
        next: 0,
      }),
    )
    expect(view.parse(pool, SLOT)).toBe(true)
    expect(view).toMatchObject({
      protocol: Protocol.Tcp,
      destinationPort: 443,
      fragment: false,
      isPureAck: true,
    })
  })

  it('carries what it cannot read to the end as a flow without ports', () => {
    const endless: number[] = []
    for (let i = 0; i < 20; i++) endless.push(Protocol.Destination, 0, 0, 0, 0, 0, 0, 0)
    put(ipv6({ payload: endless, next: Protocol.Destination }))
    expect(view.parse(pool, SLOT)).toBe(true)
    expect(view).toMatchObject({ protocol: Protocol.Destination, ports: 0 })
    put(ipv6({ payload: [Protocol.Tcp, 200, 0, 0, 0, 0, 0, 0], next: 0 }))
    expect(view.parse(pool, SLOT)).toBe(true)
    expect(view.ports).toBe(0)
    put(ipv4({ payload: tcp(TcpFlag.Ack, 0).slice(0, 19), protocol: Protocol.Tcp }))
    expect(view.parse(pool, SLOT)).toBe(true)
    expect(view).toMatchObject({ ports: 0, isPureAck: false, payloadBytes: 19 })
    put(ipv4({ payload: tcp(TcpFlag.Ack, 0, 3).slice(0, 24), protocol: Protocol.Tcp }))
    expect(view.parse(pool, SLOT)).toBe(true)
    expect(view).toMatchObject({ ports: 0, isPureAck: false })
  })

  it('takes any bytes: never throws, and never speaks of bytes beyond the packet', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.uint8Array({ maxLength: 160 }).map((tail) => ipv6({ payload: [...tail], next: 0 })),
      fc
        .tuple(fc.uint8Array({ maxLength: 60 }), fc.constantFrom(0, 6, 17, 43, 44, 58, 60))
        .map(([tail, protocol]) => ipv4({ payload: [...tail], protocol })),
    )
    fc.assert(
      fc.property(bytes, (packet) => {
        put(packet)
        if (!view.parse(pool, SLOT)) return
        expect(view.length).toBeLessThanOrEqual(packet.length)
        expect(view.payloadBytes).toBeGreaterThanOrEqual(0)
        expect(view.payloadBytes).toBeLessThanOrEqual(view.length - (view.version === 4 ? 20 : 40))
      }),
    )
  })
})

describe('continues', () => {
  const OTHER = 2
  /** As {@link put}, into the slot behind. */
  const putOther = (bytes: ArrayLike<number>): void => {
    pool.slab.set(bytes, pool.packetAt(OTHER))
    pool.length[OTHER] = bytes.length
  }
  const first = (): Uint8Array => ipv4({ protocol: Protocol.Tcp, payload: tcp(TcpFlag.Ack, 1000) })

  it('knows the next segment of the same flow, and its length', () => {
    put(first())
    view.parse(pool, SLOT)
    putOther(ipv4({ protocol: Protocol.Tcp, payload: tcp(TcpFlag.Ack | TcpFlag.Psh, 500) }))
    expect(view.continues(pool, OTHER)).toBe(true)
    expect(view.length).toBe(20 + 32 + 500)
  })

  it('says yes only where the parser finds the same flow and data', () => {
    let yes = 0
    fc.assert(
      fc.property(
        fc.nat(63),
        fc.integer({ min: 0, max: 255 }),
        fc.boolean(),
        fc.constantFrom(0, 40, 1000),
        (at, value, cut, dataBytes) => {
          put(first())
          view.parse(pool, SLOT)
          const packet = ipv4({ protocol: Protocol.Tcp, payload: tcp(TcpFlag.Ack, dataBytes) })
          packet[at] = value
          putOther(cut ? packet.subarray(0, packet.length - 1) : packet)
          if (!view.continues(pool, OTHER)) return
          yes++
          const length = view.length
          const other = new PacketView()
          expect(other.parse(pool, OTHER)).toBe(true)
          expect(other.length).toBe(length)
          const flow = (v: PacketView): unknown => [
            ...[v.version, v.protocol, v.dscp, v.ecn, v.fragment, v.ports],
            ...[v.words[v.sourceAt], v.words[v.destinationAt]],
          ]
          expect(flow(other)).toEqual(flow(view))
          expect(other.payloadBytes).toBeGreaterThan(0)
        },
      ),
      { numRuns: 3000 },
    )
    expect(yes).toBeGreaterThan(100)
  })

  it('leaves IPv6, UDP and fragments to the parser', () => {
    const udpPacket = ipv4({ payload: udp(1000) })
    const fragment = ipv4({ protocol: Protocol.Tcp, payload: tcp(TcpFlag.Ack, 1000), fragment: 0x2000 })
    const version6 = ipv6({ next: Protocol.Tcp, payload: tcp(TcpFlag.Ack, 1000) })
    for (const packet of [udpPacket, fragment, version6]) {
      put(packet)
      view.parse(pool, SLOT)
      putOther(packet)
      expect(view.continues(pool, OTHER)).toBe(false)
    }
  })
})

describe('markCe', () => {
  it('marks IPv4 and keeps its checksum right, whatever the header', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 20, maxLength: 20 }),
        fc.integer({ min: 0, max: 3 }),
        (random, ecn) => {
          const header = Uint8Array.from(random)
          header[0] = 0x45
          header[1] = (header[1]! & 0xfc) | ecn
          header.set([0, 20, 0, 0], 2)
          header.set([0, 0], 10)
          new DataView(header.buffer).setUint16(10, checksum(header))
          put(header)
          const before = pool.slab.slice()
          expect(markCe(pool, SLOT)).toBe(ecn !== Ecn.NotEct)
          const after = pool.slab.subarray(pool.packetAt(SLOT), pool.packetAt(SLOT) + 20)
          expect(after[1]! & 3).toBe(ecn === Ecn.NotEct ? Ecn.NotEct : Ecn.Ce)
          expect(checksum(after)).toBe(0)
          if (ecn === Ecn.NotEct || ecn === Ecn.Ce) expect(pool.slab).toEqual(before)
        },
      ),
    )
  })

  it.each([
    [0x0000, Ecn.Ect0],
    [0x0001, Ecn.Ect1],
  ])('carries over twice from checksum %i', (wanted, ecn) => {
    const header = ipv4({ payload: [], tos: ecn })
    const data = new DataView(header.buffer)
    data.setUint16(10, 0)
    while (checksum(header) !== wanted) data.setUint16(4, data.getUint16(4) + 1)
    data.setUint16(10, wanted)
    put(header)
    expect(markCe(pool, SLOT)).toBe(true)
    const at = pool.packetAt(SLOT)
    expect(checksum(pool.slab.subarray(at, at + 20))).toBe(0)
  })

  it.each([
    [Ecn.NotEct, false],
    [Ecn.Ect0, true],
    [Ecn.Ect1, true],
    [Ecn.Ce, true],
  ])('marks IPv6 with ECN %i: %s', (ecn, marked) => {
    const packet = ipv6({ payload: udp(3), trafficClass: (46 << 2) | ecn })
    put(packet)
    expect(markCe(pool, SLOT)).toBe(marked)
    const expected = ipv6({ payload: udp(3), trafficClass: (46 << 2) | (marked ? Ecn.Ce : ecn) })
    expect([...pool.slab.subarray(pool.packetAt(SLOT), pool.packetAt(SLOT) + packet.length)]).toEqual([
      ...expected,
    ])
  })
})
