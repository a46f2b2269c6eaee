import { PACKET_BYTES_MAX, type PacketPool, SLOT_HEADROOM, SLOT_WORDS } from '../base/packet-pool.js'
import { innerLength, Protocol, swap16 } from './ip.js'
import { TRAILER_LENGTH_BYTES } from './message.js'

/**
 * Header compression: of the headers of a flow's packets most words are the same each time. Both ends keep those as a
 * context, and a compressed packet names it in the place of them.
 *
 *     +------+---------+------------------+---------------------------------------+------------------+
 *     | form | context | identification 2 | TCP: sequence, acknowledgement,       | options, payload |
 *     | 1    | 1       | IPv4 only        | flags, window, checksum (4 to 17) 14  |                  |
 *     |      |         |                  | UDP: checksum 2                       | payload          |
 *     +------+---------+------------------+---------------------------------------+------------------+
 *
 * Unlike ROHC (RFC 5795) and Van Jacobson's (RFC 1144), no field is told as its difference from an earlier packet: here
 * packets are lost, overtaken and sent twice, and each must be readable by itself. What is expanded has the very bytes of
 * what was compressed; what would not is left as it is: fragments, IP options, extension headers, urgent data, other
 * protocols.
 */

/** The first byte, of which {@link FORM_MASK} is where a packet has its version. */
const FORM = 0x10
const FORM_MASK = 0xf8
/** Bits of the form: ECN of the packet; and whether the TCP options began with {@link TIMESTAMPS}, which was left out. */
const FORM_ECN = 3
const FORM_TIMESTAMPS = 4

/** Words that a context has at most, see {@link readStatic}. */
export const STATIC_WORDS_MAX = 11

/**
 * What of the headers is static, and part of the context. IPv4: version and header length, DSCP | flags and fragment
 * offset | time to live, protocol | addresses; IPv6: all but ECN and length. Then the two ports.
 */
const STATIC_V4 = Uint32Array.of(0x0000_fcff, 0xffff_0000, 0x0000_ffff, ~0, ~0, ~0)
const STATIC_V6 = Uint32Array.of(~0x3000, 0xffff_0000, ~0, ~0, ~0, ~0, ~0, ~0, ~0, ~0, ~0)

const HEADROOM_WORDS = SLOT_HEADROOM / 4
const IPV4_BYTES = 20
const IPV6_BYTES = 40
const UDP_BYTES = 8
const TCP_BYTES = 20
/** What of a TCP header is carried: from behind the ports to before the urgent pointer. */
const TCP_CARRIED_AT = 4
const TCP_CARRIED_BYTES = 14
/** NOP, NOP, and the head of the option (RFC 7323 appendix A), as a little-endian word. */
const TIMESTAMPS = 0x0a08_0101
const TIMESTAMPS_BYTES = 4
/** More fragments, or an offset: in the upper half of a little-endian word. */
const FRAGMENT_BITS = 0xff3f_0000

/**
 * The static words of the packet in `slot` go to `out` from `at` on. Returns how many, 6 or 11; 0 if the packet cannot be
 * compressed.
 */
export function readStatic(pool: PacketPool, slot: number, out: Uint32Array, at: number): number {
  const { words } = pool
  const bytes = pool.length[slot]!
  // A packet fills its slot: what may follow it would be lost.
  if (innerLength(pool, slot) !== bytes) return 0
  const first = slot * SLOT_WORDS + HEADROOM_WORDS
  const isIpv4 = (words[first]! & 0xff) === 0x45
  let protocol: number
  let ipBytes: number
  if (isIpv4) {
    if ((words[first + 1]! & FRAGMENT_BITS) !== 0) return 0
    // Of the two ways to write a checksum of zero only one comes back.
    if (sumOfHeader(words, first) !== 0xffff || words[first + 2]! >>> 16 === 0xffff) return 0
    protocol = (words[first + 2]! >>> 8) & 0xff
    ipBytes = IPV4_BYTES
  } else {
    if ((words[first]! & 0xf0) !== 0x60) return 0
    protocol = (words[first + 1]! >>> 16) & 0xff
    ipBytes = IPV6_BYTES
  }
  const transport = first + (ipBytes >>> 2)
  if (protocol === Protocol.Tcp) {
    // No urgent pointer.
    if (bytes < ipBytes + TCP_BYTES || words[transport + 4]! >>> 16 !== 0) return 0
  } else if (protocol !== Protocol.Udp || bytes < ipBytes + UDP_BYTES) {
    return 0
  } else if (swap16(words[transport + 1]! & 0xffff) !== bytes - ipBytes) {
    return 0
  }
  const masks = isIpv4 ? STATIC_V4 : STATIC_V6
  for (let i = 0; i < masks.length; i++) out[at + i] = words[first + i]! & masks[i]!
  return masks.length
}

/** Whether `words` may be a context: {@link readStatic} of some packet. */
export function isStatic(words: Uint32Array): boolean {
  const first = words[0] ?? 0
  const isIpv4 = (first & 0xff) === 0x45
  if (!isIpv4 && (first & 0xf0) !== 0x60) return false
  const masks = isIpv4 ? STATIC_V4 : STATIC_V6
  if (words.length !== masks.length) return false
  if (isIpv4 && (words[1]! & FRAGMENT_BITS) !== 0) return false
  const protocol = isIpv4 ? (words[2]! >>> 8) & 0xff : (words[1]! >>> 16) & 0xff
  if (protocol !== Protocol.Tcp && protocol !== Protocol.Udp) return false
  return words.every((word, i) => (word & ~masks[i]!) === 0)
}

/** Compresses the packet in `slot`, which {@link readStatic} found fit for it. Returns how many bytes it has less. */
export function compress(pool: PacketPool, slot: number, context: number): number {
  const { slab, words } = pool
  const first = slot * SLOT_WORDS + HEADROOM_WORDS
  const at = first * 4
  const isIpv4 = (words[first]! & 0xf0) === 0x40
  const isTcp = (isIpv4 ? slab[at + 9] : slab[at + 6]) === Protocol.Tcp
  const transport = at + (isIpv4 ? IPV4_BYTES : IPV6_BYTES)
  const end = at + pool.length[slot]!
  let form = FORM | (isIpv4 ? slab[at + 1]! & FORM_ECN : (slab[at + 1]! >>> 4) & FORM_ECN)
  // From the front: what is still to be read lies behind what has been written.
  let to = at + 2
  if (isIpv4) {
    slab[to] = slab[at + 4]!
    slab[to + 1] = slab[at + 5]!
    to += 2
  }
  let rest: number
  if (isTcp) {
    for (let i = 0; i < TCP_CARRIED_BYTES; i++) slab[to + i] = slab[transport + TCP_CARRIED_AT + i]!
    to += TCP_CARRIED_BYTES
    rest = transport + TCP_BYTES
    if (rest + TIMESTAMPS_BYTES <= end && words[rest >>> 2] === TIMESTAMPS) {
      form |= FORM_TIMESTAMPS
      rest += TIMESTAMPS_BYTES
    }
  } else {
    slab[to] = slab[transport + 6]!
    slab[to + 1] = slab[transport + 7]!
    to += 2
    rest = transport + UDP_BYTES
  }
  slab[at] = form
  slab[at + 1] = context
  slab.copyWithin(to, rest, end)
  pool.length[slot] = to + (end - rest) - at
  return rest - to
}

/** Whether the packet in `slot` is a compressed one. */
export function isCompressed(pool: PacketPool, slot: number): boolean {
  return pool.length[slot]! >= 2 && (pool.slab[pool.packetAt(slot)]! & FORM_MASK) === FORM
}

/** Bytes of the compressed packet in `slot`, without the frames behind it, whose last one says how many they are. -1: nonsense. */
export function compressedLength(pool: PacketPool, slot: number, hasTrailer: boolean): number {
  const present = pool.length[slot]!
  if (!hasTrailer) return present
  const end = pool.packetAt(slot) + present
  const trailerBytes = pool.slab[end - 2]! | (pool.slab[end - 1]! << 8)
  return trailerBytes >= TRAILER_LENGTH_BYTES && trailerBytes < present ? present - trailerBytes : -1
}

/** The context that the compressed packet in `slot` names. */
export function contextOf(pool: PacketPool, slot: number): number {
  return pool.slab[pool.packetAt(slot) + 1]!
}

/**
 * Makes of the compressed packet in `slot` what it was before {@link compress}. `statics`: its context, from `at` on,
 * as {@link isStatic} found right. False, and nothing changed, if it is too short or would be too long.
 */
export function expand(pool: PacketPool, slot: number, statics: Uint32Array, at: number): boolean {
  const { slab, words } = pool
  const first = slot * SLOT_WORDS + HEADROOM_WORDS
  const from = first * 4
  const bytes = pool.length[slot]!
  const form = slab[from]!
  const isIpv4 = (statics[at]! & 0xf0) === 0x40
  const masks = isIpv4 ? STATIC_V4 : STATIC_V6
  const ipBytes = isIpv4 ? IPV4_BYTES : IPV6_BYTES
  const isTcp = (isIpv4 ? (statics[at + 2]! >>> 8) & 0xff : (statics[at + 1]! >>> 16) & 0xff) === Protocol.Tcp
  const carriedAt = from + (isIpv4 ? 4 : 2)
  const carried = isTcp ? TCP_CARRIED_BYTES : 2
  const timestamps = isTcp && (form & FORM_TIMESTAMPS) !== 0 ? TIMESTAMPS_BYTES : 0
  const headerBytes = ipBytes + (isTcp ? TCP_BYTES : UDP_BYTES) + timestamps
  const restBytes = bytes - (carriedAt - from) - carried
  if (restBytes < 0 || headerBytes + restBytes > PACKET_BYTES_MAX) return false
  const total = headerBytes + restBytes
  const identification = slab[from + 2]! | (slab[from + 3]! << 8)
  // From behind: what is still to be read lies before what has been written.
  slab.copyWithin(from + headerBytes, carriedAt + carried, from + bytes)
  const transport = from + ipBytes
  if (isTcp) {
    slab.copyWithin(transport + TCP_CARRIED_AT, carriedAt, carriedAt + carried)
    slab[transport + 18] = 0
    slab[transport + 19] = 0
    if (timestamps > 0) words[(transport + TCP_BYTES) >>> 2] = TIMESTAMPS
  } else {
    slab.copyWithin(transport + 6, carriedAt, carriedAt + carried)
    slab[transport + 4] = (total - ipBytes) >>> 8
    slab[transport + 5] = (total - ipBytes) & 0xff
  }
  for (let i = 0; i < masks.length; i++) words[first + i] = statics[at + i]!
  const ecn = form & FORM_ECN
  if (isIpv4) {
    words[first] = (words[first]! | (ecn << 8) | (swap16(total) << 16)) >>> 0
    words[first + 1] = (words[first + 1]! | identification) >>> 0
    words[first + 2] = (words[first + 2]! | ((~sumOfHeader(words, first) & 0xffff) << 16)) >>> 0
  } else {
    words[first] = (words[first]! | (ecn << 12)) >>> 0
    words[first + 1] = (words[first + 1]! | swap16(total - ipBytes)) >>> 0
  }
  pool.length[slot] = total
  return true
}

/** Sum of the IPv4 header without options at word `first` (RFC 1071), with its bytes as they lie in a little-endian word. */
function sumOfHeader(words: Uint32Array, first: number): number {
  let sum = 0
  for (let i = first; i < first + IPV4_BYTES / 4; i++) sum += (words[i]! & 0xffff) + (words[i]! >>> 16)
  sum = (sum & 0xffff) + (sum >>> 16)
  return (sum & 0xffff) + (sum >>> 16)
}
