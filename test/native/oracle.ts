/** Slow and obvious: packets made and read field by field, GRO and GSO as the kernel's source says them. */

export const TCP = 6
export const UDP = 17
export const Flag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ece: 64, cwr: 128 } as const
export const Gso = { none: 0, tcp4: 1, tcp6: 4, udp: 5 } as const

export interface Packet {
  version: 4 | 6
  protocol: typeof TCP | typeof UDP
  /** Last byte of the source address, source port. */
  host: number
  port: number
  tos: number
  ttl: number
  flowLabel: number
  id: number
  dontFragment: boolean
  moreFragments: boolean
  ipOptions: boolean
  sequence: number
  acknowledgement: number
  flags: number
  window: number
  tcpOptions: number[]
  payload: Uint8Array
  /** How the transport checksum is. */
  checksum: 'partial' | 'complete' | 'wrong' | 'none'
  ipChecksumWrong: boolean
}

function sum16(bytes: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) {
    sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0)
    if (sum > 0xffff) sum -= 0xffff
  }
  return sum
}

function add16(a: number, b: number): number {
  return a + b > 0xffff ? a + b - 0xffff : a + b
}

/** Pseudo-header sum of a packet whose transport part starts at `transport`. */
export function pseudoSum(packet: Uint8Array, transport: number, protocol: number): number {
  const addresses = packet[0]! >> 4 === 4 ? packet.subarray(12, 20) : packet.subarray(8, 40)
  return add16(add16(sum16(addresses), protocol), packet.length - transport)
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = (value >> 8) & 0xff
  bytes[at + 1] = value & 0xff
}
function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16)
  put16(bytes, at + 2, value & 0xffff)
}
export function get16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!
}
export function get32(bytes: Uint8Array, at: number): number {
  return ((get16(bytes, at) << 16) | get16(bytes, at + 2)) >>> 0
}

export function encode(p: Packet): Uint8Array {
  const ipBytes = p.version === 6 ? 40 : p.ipOptions ? 24 : 20
  const headerBytes = p.protocol === UDP ? 8 : 20 + p.tcpOptions.length
  const bytes = new Uint8Array(ipBytes + headerBytes + p.payload.length)
  if (p.version === 4) {
    bytes[0] = 0x40 | (ipBytes / 4)
    bytes[1] = p.tos
    put16(bytes, 2, bytes.length)
    put16(bytes, 4, p.id)
    put16(bytes, 6, (p.dontFragment ? 0x4000 : 0) | (p.moreFragments ? 0x2000 : 0))
    bytes[8] = p.ttl
    bytes[9] = p.protocol
    bytes.set([10, 0, 0, p.host, 10, 0, 0, 1], 12)
    if (p.ipOptions) bytes.set([1, 1, 1, 0], 20)
    put16(bytes, 10, 0xffff - sum16(bytes.subarray(0, ipBytes)) + (p.ipChecksumWrong ? 1 : 0))
  } else {
    put32(bytes, 0, 0x60000000 | (p.tos << 20) | p.flowLabel)
    put16(bytes, 4, bytes.length - 40)
    bytes[6] = p.protocol
    bytes[7] = p.ttl
    bytes.set([0xfd, p.host], 8)
    bytes.set([0xfd, 1], 24)
  }
  put16(bytes, ipBytes, p.port)
  put16(bytes, ipBytes + 2, 5001)
  let checksumAt = ipBytes + 6
  if (p.protocol === TCP) {
    checksumAt = ipBytes + 16
    put32(bytes, ipBytes + 4, p.sequence)
    put32(bytes, ipBytes + 8, p.acknowledgement)
    bytes[ipBytes + 12] = (headerBytes / 4) << 4
    bytes[ipBytes + 13] = p.flags
    put16(bytes, ipBytes + 14, p.window)
    bytes.set(p.tcpOptions, ipBytes + 20)
  } else {
    put16(bytes, ipBytes + 4, headerBytes + p.payload.length)
  }
  bytes.set(p.payload, ipBytes + headerBytes)
  const pseudo = pseudoSum(bytes, ipBytes, p.protocol)
  let field = pseudo
  if (p.checksum === 'complete') field = 0xffff - add16(sum16(bytes.subarray(ipBytes)), pseudo) || 0xffff
  if (p.checksum === 'wrong') field = (0xffff - add16(sum16(bytes.subarray(ipBytes)), pseudo)) ^ 0x0101
  if (p.checksum === 'none') field = 0
  put16(bytes, checksumAt, field)
  return bytes
}

/** Where the transport header and the payload start, for packets of {@link encode}. */
export function offsets(packet: Uint8Array): { transport: number; payload: number; protocol: number } {
  const v4 = packet[0]! >> 4 === 4
  const transport = v4 ? (packet[0]! & 15) * 4 : 40
  const protocol = v4 ? packet[9]! : packet[6]!
  return {
    transport,
    protocol,
    payload: transport + (protocol === TCP ? (packet[transport + 12]! >> 4) * 4 : 8),
  }
}

/** The packet as it would be on a wire: a partial checksum finished. */
export function finished(packet: Uint8Array, partial: boolean): Uint8Array {
  if (!partial) return packet
  const { transport, protocol } = offsets(packet)
  const copy = packet.slice()
  const at = transport + (protocol === TCP ? 16 : 6)
  put16(copy, at, 0xffff - sum16(copy.subarray(transport)) || 0xffff)
  return copy
}

/** Cuts a superpacket as GSO does, each segment built anew with a partial checksum. */
export function cut(packet: Uint8Array, segmentBytes: number): Uint8Array[] {
  const { transport, payload, protocol } = offsets(packet)
  const segments: Uint8Array[] = []
  for (let at = payload; at < packet.length; at += segmentBytes) {
    const data = packet.subarray(at, Math.min(at + segmentBytes, packet.length))
    const last = at + segmentBytes >= packet.length
    const segment = new Uint8Array(payload + data.length)
    segment.set(packet.subarray(0, payload))
    segment.set(data, payload)
    if (packet[0]! >> 4 === 4) {
      put16(segment, 2, segment.length)
      put16(segment, 4, get16(packet, 4) + segments.length)
      put16(segment, 10, 0)
      put16(segment, 10, 0xffff - sum16(segment.subarray(0, transport)))
    } else {
      put16(segment, 4, segment.length - 40)
    }
    if (protocol === TCP) {
      put32(segment, transport + 4, get32(packet, transport + 4) + (at - payload))
      if (!last) segment[transport + 13]! &= ~(Flag.fin | Flag.psh)
      if (segments.length > 0) segment[transport + 13]! &= ~Flag.cwr
    } else {
      put16(segment, transport + 4, segment.length - transport)
    }
    put16(segment, transport + (protocol === TCP ? 16 : 6), pseudoSum(segment, transport, protocol))
    segments.push(segment)
  }
  return segments
}

export function sameFlow(a: Packet, b: Packet): boolean {
  return a.version === b.version && a.protocol === b.protocol && a.host === b.host && a.port === b.port
}

/** Whether the kernel would merge the packet with any other, before or behind it. */
export function mergeable(p: Packet): boolean {
  if (p.payload.length === 0) return false
  if (p.version === 4 && (p.ipOptions || p.moreFragments)) return false
  if (p.protocol === TCP) return (p.flags & (Flag.syn | Flag.rst | Flag.urg | Flag.cwr)) === 0
  return p.checksum !== 'none'
}

function valid(p: Packet): boolean {
  return (p.checksum === 'partial' || p.checksum === 'complete') && !(p.version === 4 && p.ipChecksumWrong)
}

function lengthOf(p: Packet): number {
  return encode(p).length
}

/** Whether `next` may follow `group` in one frame. */
export function joins(group: Packet[], next: Packet): boolean {
  const first = group[0]!
  const second = group[1]
  const partial = (p: Packet) => p.checksum === 'partial'
  if (!sameFlow(first, next) || !mergeable(first) || !mergeable(next) || !valid(first) || !valid(next))
    return false
  if (partial(first) !== partial(next)) return false
  if (next.payload.length > first.payload.length) return false
  if (first.tos !== next.tos || first.ttl !== next.ttl) return false
  const payloadBytes = group.reduce((total, p) => total + p.payload.length, next.payload.length)
  if (lengthOf(first) - first.payload.length + payloadBytes > 65535) return false
  if (group.length >= (first.protocol === UDP ? 64 : 128)) return false
  if (first.version === 6 && first.flowLabel !== next.flowLabel) return false
  if (first.version === 4) {
    if (first.dontFragment !== next.dontFragment) return false
    const counts = next.id === ((first.id + group.length) & 0xffff)
    const fixed = first.dontFragment && next.id === first.id
    if (second === undefined) {
      if (!counts && !fixed) return false
    } else if (second.id === first.id ? !fixed : !counts) return false
  }
  if (first.protocol === UDP) return true
  const expected = (first.sequence + payloadBytes - next.payload.length) >>> 0
  const ends = Flag.fin | Flag.psh
  return (
    next.sequence === expected &&
    next.acknowledgement === first.acknowledgement &&
    next.window === first.window &&
    (next.flags & ~ends) === (first.flags & ~ends) &&
    next.tcpOptions.join() === first.tcpOptions.join()
  )
}

/** Frames as lists of packet numbers, in the order in which they leave. `groups` may be open at a time. */
export function coalesce(packets: Packet[], groups: number): number[][] {
  const frames: number[][] = []
  let open: number[][] = []
  const leave = (group: number[]) => {
    frames.push(group)
    open = open.filter((other) => other !== group)
  }
  packets.forEach((packet, index) => {
    if (packet.version === 4 && packet.moreFragments) {
      for (const group of open) leave(group)
      leave([index])
      return
    }
    const group = open.find((members) => sameFlow(packets[members[0]!]!, packet))
    const ends = packet.protocol === TCP && (packet.flags & (Flag.fin | Flag.psh)) !== 0
    if (group !== undefined) {
      const members = group.map((member) => packets[member]!)
      if (joins(members, packet)) {
        group.push(index)
        if (ends || packet.payload.length < members[0]!.payload.length) leave(group)
        return
      }
      leave(group)
    }
    if (ends || !mergeable(packet)) {
      leave([index])
      return
    }
    if (open.length === groups) leave(open[0]!)
    open.push([index])
  })
  for (const group of open) leave(group)
  return frames
}
