import { type PacketPool, SLOT_HEADROOM, SLOT_WORDS } from '../base/packet-pool.js'

/**
 * Just enough of IPv4 (RFC 791), IPv6 (RFC 8200), TCP, UDP and ICMP to route and classify the packet of a slot.
 *
 * Packets start on a 16-byte boundary, and every header up to the transport's is a multiple of 4 bytes long, so all
 * fields are read through the pool's little-endian words. An address is 1 or 4 such words: its bytes in network
 * order, as they stand in the packet.
 */

export const Protocol = {
  HopByHop: 0,
  Icmp: 1,
  Tcp: 6,
  Udp: 17,
  Routing: 43,
  Fragment: 44,
  Icmpv6: 58,
  Destination: 60,
} as const

export const TcpFlag = { Fin: 1, Syn: 2, Rst: 4, Psh: 8, Ack: 16, Urg: 32, Ece: 64, Cwr: 128 } as const

/** Expedited forwarding (RFC 3246). */
export const DSCP_EF = 46

export const Ecn = { NotEct: 0, Ect1: 1, Ect0: 2, Ce: 3 } as const

const HEADROOM_WORDS = SLOT_HEADROOM / 4
const IPV4_HEADER_BYTES_MIN = 20
const IPV6_HEADER_BYTES = 40
const TCP_HEADER_BYTES_MIN = 20
/** IPv4 without options, and the longest TCP header: what is longer has data. */
const HEADERS_BYTES_MAX = IPV4_HEADER_BYTES_MIN + 60
const UDP_HEADER_BYTES = 8
/** A packet with more extension headers than this is carried, but as a flow without ports. */
const EXTENSION_HEADERS_MAX = 8
/** Everything but ECE and CWR, which say something of congestion and nothing of the stream. */
const STREAM_FLAGS = 0x3f
const IPV4_FRAGMENT_BITS = 0x3fff

/**
 * Bytes of the IP packet in `slot` by its own header, or -1 if it is not IPv4 or IPv6, or if there are fewer bytes in
 * the slot than it says. There may be more: control frames can follow the packet.
 */
export function innerLength(pool: PacketPool, slot: number): number {
  const present = pool.length[slot]!
  if (present < IPV4_HEADER_BYTES_MIN) return -1
  const at = slot * SLOT_WORDS + HEADROOM_WORDS
  const first = pool.words[at]!
  const version = (first >>> 4) & 15
  if (version === 4) {
    const headerBytes = (first & 15) << 2
    const bytes = ((first >>> 8) & 0xff00) | (first >>> 24)
    return headerBytes >= IPV4_HEADER_BYTES_MIN && bytes >= headerBytes && bytes <= present ? bytes : -1
  }
  if (version !== 6) return -1
  const bytes = IPV6_HEADER_BYTES + swap16(pool.words[at + 1]! & 0xffff)
  return bytes <= present ? bytes : -1
}

/**
 * What the headers of one packet say. One object is filled again and again by {@link PacketView.parse}; it refers to
 * the slab and is right only until the slot changes hands.
 */
export class PacketView {
  /** The pool's words, to which {@link sourceAt} and {@link destinationAt} refer. */
  words: Uint32Array = new Uint32Array(0)
  /** 4 or 6. */
  version = 0
  /** Bytes of the IP packet. */
  length = 0
  /** Words of one address: 1 or 4. */
  addressWords = 0
  /** Index of the source address in {@link words}. */
  sourceAt = 0
  /** Index of the destination address in {@link words}. */
  destinationAt = 0
  /** Transport protocol: the one behind the extension headers that we know. */
  protocol = 0
  dscp = 0
  ecn = 0
  /** Any fragment, the first one too: fragments have no ports, so that all of a datagram are of one flow. */
  fragment = false
  /** Both ports as they stand in the packet, source in the low half, as an int32; 0 where there are none. */
  ports = 0
  /** {@link TcpFlag} bits, 0 for anything but TCP. */
  tcpFlags = 0
  /** Bytes behind the transport header of TCP or UDP, else behind the IP headers. */
  payloadBytes = 0

  get sourcePort(): number {
    return swap16(this.ports & 0xffff)
  }

  get destinationPort(): number {
    return swap16(this.ports >>> 16)
  }

  /** TCP that carries an acknowledgement and nothing else: no data, and no flag that moves the stream. */
  get isPureAck(): boolean {
    return (
      this.payloadBytes === 0 &&
      this.protocol === Protocol.Tcp &&
      (this.tcpFlags & STREAM_FLAGS) === TcpFlag.Ack
    )
  }

  /**
   * Reads the packet in `slot`. False if it is malformed, in the sense of {@link innerLength}. A damaged transport
   * header is none of a tunnel's business: such a packet is a flow without ports.
   */
  parse(pool: PacketPool, slot: number): boolean {
    const length = innerLength(pool, slot)
    if (length < 0) return false
    const words = pool.words
    const at = slot * SLOT_WORDS + HEADROOM_WORDS
    const first = words[at]!
    this.words = words
    this.length = length
    this.ports = 0
    this.tcpFlags = 0
    if (((first >>> 4) & 15) === 4) {
      const headerBytes = (first & 15) << 2
      this.version = 4
      this.addressWords = 1
      this.sourceAt = at + 3
      this.destinationAt = at + 4
      this.dscp = (first >>> 10) & 63
      this.ecn = (first >>> 8) & 3
      this.protocol = (words[at + 2]! >>> 8) & 0xff
      this.fragment = (swap16(words[at + 1]! >>> 16) & IPV4_FRAGMENT_BITS) !== 0
      this.payloadBytes = length - headerBytes
      if (!this.fragment) this.parseTransport(at + (headerBytes >>> 2))
      return true
    }
    this.version = 6
    this.addressWords = 4
    this.sourceAt = at + 2
    this.destinationAt = at + 6
    this.dscp = ((first & 15) << 2) | ((first >>> 14) & 3)
    this.ecn = (first >>> 12) & 3
    this.protocol = (words[at + 1]! >>> 16) & 0xff
    this.fragment = false
    this.payloadBytes = length - IPV6_HEADER_BYTES
    const transportAt = at + IPV6_HEADER_BYTES / 4
    if (this.protocol === Protocol.Tcp || this.protocol === Protocol.Udp) this.parseTransport(transportAt)
    else this.parseExtensions(transportAt)
    return true
  }

  /** Shows a packet of the same connection that goes the other way: addresses and ports change places. */
  reverse(): void {
    const { sourceAt, ports } = this
    this.sourceAt = this.destinationAt
    this.destinationAt = sourceAt
    this.ports = (ports << 16) | (ports >>> 16)
  }

  /** Walks the extension headers from word `at`. Stops at a fragment, at the unknown, and at the end of the packet. */
  private parseExtensions(at: number): void {
    let headerAt = at
    for (let i = 0; i < EXTENSION_HEADERS_MAX; i++) {
      const protocol = this.protocol
      const isFragment = protocol === Protocol.Fragment
      const isExtension =
        protocol === Protocol.HopByHop || protocol === Protocol.Routing || protocol === Protocol.Destination
      if (!isFragment && !isExtension) {
        this.parseTransport(headerAt)
        return
      }
      if (this.payloadBytes < 8) return
      const header = this.words[headerAt]!
      const bytes = isFragment ? 8 : (((header >>> 8) & 0xff) + 1) * 8
      if (bytes > this.payloadBytes) return
      this.protocol = header & 0xff
      this.payloadBytes -= bytes
      headerAt += bytes >>> 2
      // An "atomic" fragment (RFC 6946) is a whole packet: offset 0 and no more to come.
      if (isFragment && (swap16(header >>> 16) & 0xfff9) !== 0) {
        this.fragment = true
        return
      }
    }
  }

  /**
   * Whether the packet in `slot` is another segment with data of the flow that was parsed last, by a look at the header
   * words that all pieces of a superpacket have in common; {@link length} is then its own, the rest stays. IPv4 without
   * options only; no does not mean that it is not.
   */
  continues(pool: PacketPool, slot: number): boolean {
    const { words, sourceAt } = this
    const last = sourceAt - 3
    const at = slot * SLOT_WORDS + HEADROOM_WORDS
    const first = words[at]!
    const bytes = ((first >>> 8) & 0xff00) | (first >>> 24)
    if (
      this.version !== 4 ||
      this.protocol !== Protocol.Tcp ||
      this.fragment ||
      (first & 15) !== IPV4_HEADER_BYTES_MIN / 4 ||
      bytes <= HEADERS_BYTES_MAX ||
      bytes !== pool.length[slot]
    ) {
      return false
    }
    // Version, header length, DSCP and ECN; fragments; protocol; addresses; ports; length of the TCP header.
    if (((first ^ words[last]!) & 0xffff) !== 0) return false
    if ((words[at + 1]! ^ words[last + 1]!) >>> 16 !== 0) return false
    if (((words[at + 2]! ^ words[last + 2]!) & 0xff00) !== 0) return false
    if (words[at + 3] !== words[last + 3] || words[at + 4] !== words[last + 4]) return false
    if (words[at + 5] !== words[last + 5]) return false
    if (((words[at + 8]! ^ words[last + 8]!) & 0xf0) !== 0) return false
    this.length = bytes
    return true
  }

  private parseTransport(at: number): void {
    if (this.protocol === Protocol.Tcp) {
      if (this.payloadBytes < TCP_HEADER_BYTES_MIN) return
      const offsetAndFlags = this.words[at + 3]!
      const headerBytes = (offsetAndFlags >>> 2) & 60
      if (headerBytes < TCP_HEADER_BYTES_MIN || headerBytes > this.payloadBytes) return
      this.ports = this.words[at]! | 0
      this.tcpFlags = (offsetAndFlags >>> 8) & 0xff
      this.payloadBytes -= headerBytes
    } else if (this.protocol === Protocol.Udp) {
      if (this.payloadBytes < UDP_HEADER_BYTES) return
      this.ports = this.words[at]! | 0
      this.payloadBytes -= UDP_HEADER_BYTES
    }
  }
}

/**
 * Marks the well-formed packet in `slot` as having met congestion (RFC 3168), IPv4 header checksum included. False,
 * and nothing changed, if its sender does not take part in ECN.
 */
export function markCe(pool: PacketPool, slot: number): boolean {
  const at = slot * SLOT_WORDS + HEADROOM_WORDS
  const words = pool.words
  const first = words[at]!
  if (((first >>> 4) & 15) === 6) {
    if ((first & 0x3000) === 0) return false
    words[at] = (first | 0x3000) >>> 0
    return true
  }
  const ecn = (first >>> 8) & 3
  if (ecn === Ecn.NotEct) return false
  if (ecn === Ecn.Ce) return true
  words[at] = (first | 0x300) >>> 0
  // RFC 1624, equation 3: HC' = ~(~HC + ~m + m'). The 16-bit word that holds ECN in its low bits grows by 3 - ecn,
  // and ~m + m' is that difference plus the "negative zero" 0xffff.
  const third = words[at + 2]!
  let sum = (~swap16(third >>> 16) & 0xffff) + 0xffff + (Ecn.Ce - ecn)
  sum = (sum & 0xffff) + (sum >>> 16)
  sum = (sum & 0xffff) + (sum >>> 16)
  words[at + 2] = ((third & 0xffff) | (swap16(~sum & 0xffff) << 16)) >>> 0
  return true
}

/** Of 16 bits: network order to the machine's, and back. */
export function swap16(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff)
}
