/**
 * Inner packets of the model traffic: real IPv4 and IPv6 headers with UDP, ICMP echo or TCP, each carrying the number
 * of its flow, its own number in it, and a checksum over both, so that whoever sees one can say which it is. UDP and
 * ICMP carry them in the payload; TCP in the timestamps option (value = number, echo = checksum) and in the port, so
 * that a pure acknowledgement stays one.
 */

import { Ecn } from '../src/wire/ip.js'

export const ProtocolNumber = { icmp: 1, tcp: 6, udp: 17, icmp6: 58 } as const

const MAGIC = 0x706c6169
const PORT_BASE = 10_000
const IPV4_BYTES = 20
const IPV6_BYTES = 40
const MARK_BYTES = 16
const TAIL_BYTES = 4
/** A packet of this many bytes has room for everything, in any protocol. */
export const INNER_BYTES_MIN = IPV6_BYTES + 8 + MARK_BYTES + TAIL_BYTES
/** TCP header with timestamps and three SACK blocks. */
export const TCP_HEADER_BYTES_MAX = 60

export interface InnerHeader {
  family: 4 | 6
  protocol: number
  /** Last byte of the inner address of each end; the rest is fixed. */
  source: number
  destination: number
  dscp: number
  /** Number of the flow: names its ports. */
  flow: number
}

/** What {@link identify} found. One object, filled again and again. */
export class Identity {
  flow = -1
  number = 0
  bytes = 0
  /** Where the transport header begins, relative to the packet. */
  transport = 0
}

export function checkWord(flow: number, number: number, bytes: number): number {
  let z = Math.imul(flow + 1, 0x9e3779b1) ^ Math.imul(number, 0x85ebca6b) ^ bytes
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
  return (z ^ (z >>> 15)) >>> 0
}

/** Which packets say that their checksum is partial: about half, known to the receiver. */
export function partialChecksum(number: number): boolean {
  return Math.imul(number, 0x9e3779b1) >>> 31 === 1
}

/** IP header, `ecn` being {@link Ecn}'s field; returns its length. */
function writeIp(
  v: DataView,
  at: number,
  header: InnerHeader,
  bytes: number,
  number: number,
  ecn: number,
): number {
  if (header.family === 4) {
    const kind = 0x4500 | (header.dscp << 2) | ecn
    const life = (64 << 8) | header.protocol
    const { source, destination } = header
    // Sum of the 16-bit words; the two addresses are 10.9.0.x.
    let sum = kind + bytes + (number & 0xffff) + 0x4000 + life + 2 * 0x0a09 + source + destination
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
    v.setUint32(at, (kind << 16) | bytes)
    v.setUint32(at + 4, ((number & 0xffff) << 16) | 0x4000)
    v.setUint32(at + 8, (life << 16) | (~sum & 0xffff))
    v.setUint32(at + 12, 0x0a090000 | source)
    v.setUint32(at + 16, 0x0a090000 | destination)
    return IPV4_BYTES
  }
  v.setUint32(at, 0x60000000 | (header.dscp << 22) | (ecn << 20))
  v.setUint16(at + 4, bytes - IPV6_BYTES)
  v.setUint16(at + 6, (header.protocol << 8) | 64)
  for (const [offset, host] of [
    [8, header.source],
    [24, header.destination],
  ] as const) {
    v.setUint32(at + offset, 0xfd000009)
    v.setUint32(at + offset + 4, 0)
    v.setUint32(at + offset + 8, 0)
    v.setUint32(at + offset + 12, host)
  }
  return IPV6_BYTES
}

/** A UDP or ICMP echo packet of `bytes` in all, at least {@link INNER_BYTES_MIN}. */
export function writePacket(
  v: DataView,
  at: number,
  header: InnerHeader,
  bytes: number,
  number: number,
): void {
  const transport = at + writeIp(v, at, header, bytes, number, Ecn.NotEct)
  if (header.protocol === ProtocolNumber.udp) {
    v.setUint16(transport, PORT_BASE + header.flow)
    v.setUint16(transport + 2, PORT_BASE + header.flow)
    v.setUint16(transport + 4, bytes - (transport - at))
    v.setUint16(transport + 6, 0)
  } else {
    v.setUint32(transport, (header.family === 4 ? 8 : 128) << 24)
    v.setUint16(transport + 4, header.flow)
    v.setUint16(transport + 6, number & 0xffff)
  }
  const check = checkWord(header.flow, number, bytes)
  v.setUint32(transport + 8, MAGIC)
  v.setUint32(transport + 12, header.flow)
  v.setUint32(transport + 16, number)
  v.setUint32(transport + 20, check)
  v.setUint32(at + bytes - TAIL_BYTES, ~check)
}

/** What a TCP segment of the model says beside its number. */
export interface SegmentFields {
  /** 32-bit sequence and acknowledgement numbers. */
  sequence: number
  acknowledgement: number
  payloadBytes: number
  syn: boolean
  fin: boolean
  /** Of its IP header: {@link Ecn}'s field. */
  ecn: number
  /** A mark came, and the window was reduced for one (RFC 3168). */
  ece: boolean
  cwr: boolean
  window: number
  /**
   * Time stamp (RFC 7323) in ms, 16 bits: of data its own, of an acknowledgement its echo. In the place of the
   * checksum, as the option's own holds the packet's number.
   */
  stampMs: number
  /** Pairs of left and right edges, at most three. */
  sack: Uint32Array
  sackCount: number
}

/** Bytes of the packet that {@link writeSegment} makes. */
export function segmentBytes(family: 4 | 6, fields: SegmentFields): number {
  const options = 12 + (fields.sackCount > 0 ? 4 + 8 * fields.sackCount : 0)
  return (family === 4 ? IPV4_BYTES : IPV6_BYTES) + 20 + options + fields.payloadBytes
}

export function writeSegment(
  v: DataView,
  at: number,
  header: InnerHeader,
  fields: SegmentFields,
  number: number,
): number {
  const bytes = segmentBytes(header.family, fields)
  const transport = at + writeIp(v, at, header, bytes, number, fields.ecn)
  const headerBytes = bytes - fields.payloadBytes - (transport - at)
  const flags =
    0x10 | (fields.syn ? 2 : 0) | (fields.fin ? 1 : 0) | (fields.ece ? 0x40 : 0) | (fields.cwr ? 0x80 : 0)
  const client = header.source < header.destination
  const port = PORT_BASE + header.flow
  const check = checkWord(header.flow, number, bytes)
  v.setUint32(transport, client ? (port << 16) | 443 : (443 << 16) | port)
  v.setUint32(transport + 4, fields.sequence)
  v.setUint32(transport + 8, fields.acknowledgement)
  v.setUint32(transport + 12, (((headerBytes / 4) << 28) | (flags << 16)) + fields.window)
  v.setUint32(transport + 16, fields.stampMs << 16)
  // NOP NOP timestamps(10)
  v.setUint32(transport + 20, 0x0101080a)
  v.setUint32(transport + 24, number)
  v.setUint32(transport + 28, check)
  if (fields.sackCount > 0) {
    v.setUint32(transport + 32, 0x01010500 | (2 + 8 * fields.sackCount))
    for (let i = 0; i < 2 * fields.sackCount; i++) v.setUint32(transport + 36 + 4 * i, fields.sack[i]!)
  }
  if (fields.payloadBytes >= TAIL_BYTES) {
    v.setUint32(at + bytes - TAIL_BYTES, ~check)
  }
  return bytes
}

export function readSegment(v: DataView, at: number, identity: Identity, out: SegmentFields): void {
  const transport = at + identity.transport
  const headerBytes = (v.getUint8(transport + 12) >> 4) * 4
  const flags = v.getUint8(transport + 13)
  out.sequence = v.getUint32(transport + 4)
  out.acknowledgement = v.getUint32(transport + 8)
  out.payloadBytes = identity.bytes - identity.transport - headerBytes
  out.syn = (flags & 2) !== 0
  out.fin = (flags & 1) !== 0
  out.ece = (flags & 0x40) !== 0
  out.cwr = (flags & 0x80) !== 0
  const kind = v.getUint16(at)
  out.ecn = kind >> 12 === 4 ? kind & 3 : (kind >> 4) & 3
  out.window = v.getUint16(transport + 14)
  out.stampMs = v.getUint16(transport + 16)
  out.sackCount = headerBytes > 32 ? (v.getUint8(transport + 35) - 2) / 8 : 0
  for (let i = 0; i < 2 * out.sackCount; i++) out.sack[i] = v.getUint32(transport + 36 + 4 * i)
}

/**
 * Which packet the `length` bytes at `at` begin with (more may follow). Fills `out` and returns true; false for one
 * that is not ours or was changed.
 */
export function identify(v: DataView, at: number, length: number, out: Identity): boolean {
  if (length < IPV4_BYTES + 8 + MARK_BYTES) return false
  const version = v.getUint8(at) >> 4
  let protocol: number
  if (version === 4) {
    out.bytes = v.getUint16(at + 2)
    out.transport = IPV4_BYTES
    protocol = v.getUint8(at + 9)
  } else if (version === 6) {
    if (length < IPV6_BYTES + 8 + MARK_BYTES) return false
    out.bytes = v.getUint16(at + 4) + IPV6_BYTES
    out.transport = IPV6_BYTES
    protocol = v.getUint8(at + 6)
  } else return false
  if (out.bytes > length || out.bytes < out.transport + 24) return false
  const transport = at + out.transport
  let check: number
  let tail = true
  if (protocol === ProtocolNumber.tcp) {
    if (out.bytes < out.transport + 32 || v.getUint32(transport + 20) !== 0x0101080a) return false
    const sourcePort = v.getUint16(transport)
    out.flow = (sourcePort === 443 ? v.getUint16(transport + 2) : sourcePort) - PORT_BASE
    // The two directions of a connection are two flows: even from the client, odd from the server.
    out.number = v.getUint32(transport + 24)
    check = v.getUint32(transport + 28)
    if (sourcePort === 443) out.flow += 1
    tail = out.bytes - out.transport - (v.getUint8(transport + 12) >> 4) * 4 >= TAIL_BYTES
    const expected = checkWord(sourcePort === 443 ? out.flow - 1 : out.flow, out.number, out.bytes)
    if (check !== expected) return false
  } else {
    if (v.getUint32(transport + 8) !== MAGIC) return false
    out.flow = v.getUint32(transport + 12)
    out.number = v.getUint32(transport + 16)
    check = v.getUint32(transport + 20)
    if (check !== checkWord(out.flow, out.number, out.bytes)) return false
  }
  return !tail || v.getUint32(at + out.bytes - TAIL_BYTES) === ~check >>> 0
}
