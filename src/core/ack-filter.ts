import { type PacketPool, SLOT_HEADROOM, SLOT_WORDS } from '../base/packet-pool.js'

/** Places for flows, by hash: two flows in one place only means that less is thinned. */
const FLOWS = 1024
/** At most so many ACKs in a row give way to newer ones, unless the line is crowded. */
const THINNED_MAX = 8

const HEADROOM_WORDS = SLOT_HEADROOM / 4
const IPV4_WORDS = 5
const IPV6_WORDS = 10
const PROTOCOL_TCP = 6
const TCP_WORDS = 5
/** NOP, NOP, timestamps of 10 bytes, as everybody lays them out; and NOP, NOP, SACK: as little-endian words. */
const TIMESTAMPS_OPTION = 0x0a080101
const TIMESTAMPS_WORDS = 3
const SACK_OPTION = 0x050101
/** Flags and reserved bits of a TCP header, in its fourth word: not its length. */
const FLAGS_MASK = 0xff0f
const NONE = -1

/**
 * Thins the pure ACKs that stand in a line before a thin link (ACK filtering, RFC 3449 5.2.1): a newer one takes the
 * place in the line of the last one of its flow, if that tells nothing that the newer does not tell. So an uplink that
 * its ACKs would fill carries the newest always, and soon.
 *
 * Nothing is lost to the sender: the newer one acknowledges more, or holds more SACK blocks, and its SACK blocks and
 * acknowledgement together cover those of the older. All else must be the same but window, time stamps and checksums. So
 * duplicate ACKs, window updates, DSACK blocks, changes of ECN's flags, keepalives and multipath TCP's options are kept,
 * and the order within a flow is as it was.
 *
 * The caller tells of everything that enters and leaves the line: it is first in, first out, so that numbers in order
 * of entering tell what still stands in it. Memory, all taken by the constructor: 14 KiB.
 */
export class AckFilter {
  /** ACKs that gave way so far. */
  thinned = 0
  /** Result of {@link offer}: the slot whose packet gave way. */
  replaced = NONE

  private entered = 0
  private left = 0
  /** By flow: the last ACK of it in the line, its number, and how many gave way to what stands in that place. */
  private readonly slots = new Int32Array(FLOWS).fill(NONE)
  private readonly numbers = new Float64Array(FLOWS)
  private readonly gaveWay = new Uint8Array(FLOWS)

  constructor(private readonly pool: PacketPool) {}

  /** An ACK has entered the line. */
  enter(): void {
    this.entered++
  }

  /** The first of the line has left it. */
  leave(): void {
    this.left++
  }

  /**
   * Offers the well-formed pure ACK in `slot`, whose turn it is to enter the line. True: it has taken the place of the
   * one in {@link replaced}, in whose slot it now is, and `slot` is free to go. Otherwise it is to enter, and it is
   * remembered. Every ACK is to be offered as long as one that was offered stands in the line.
   *
   * @param crowded the line is so long that every ninth ACK would be too many
   */
  offer(slot: number, crowded: boolean): boolean {
    const { pool } = this
    const place = this.hash(slot)
    const last = this.slots[place]!
    if (
      last !== NONE &&
      this.numbers[place]! > this.left &&
      (crowded || this.gaveWay[place]! < THINNED_MAX) &&
      this.supersedes(slot, last)
    ) {
      const { words } = pool
      const from = slot * SLOT_WORDS + HEADROOM_WORDS
      const to = last * SLOT_WORDS + HEADROOM_WORDS
      const count = pool.length[slot]! >>> 2
      for (let i = 0; i < count; i++) words[to + i] = words[from + i]!
      pool.length[last] = pool.length[slot]!
      pool.flags[last] = pool.flags[slot]!
      if (this.gaveWay[place]! < THINNED_MAX) this.gaveWay[place]!++
      this.thinned++
      this.replaced = last
      return true
    }
    this.slots[place] = slot
    this.numbers[place] = this.entered + 1
    this.gaveWay[place] = 0
    return false
  }

  private hash(slot: number): number {
    const { words } = this.pool
    const at = slot * SLOT_WORDS + HEADROOM_WORDS
    const isIpv4 = (words[at]! & 0xf0) === 0x40
    const ports = words[at + (isIpv4 ? IPV4_WORDS : IPV6_WORDS)]!
    const source = words[at + (isIpv4 ? 3 : 5)]!
    const destination = words[at + (isIpv4 ? 4 : 9)]!
    const h = Math.imul(ports ^ Math.imul(source, 0x85ebca6b) ^ destination, 0x9e3779b1)
    return (h ^ (h >>> 15)) & (FLOWS - 1)
  }

  /** Whether the ACK in slot `newer` tells all that the one in `older` does, and more. */
  private supersedes(newer: number, older: number): boolean {
    const { words, length } = this.pool
    const a = newer * SLOT_WORDS + HEADROOM_WORDS
    const b = older * SLOT_WORDS + HEADROOM_WORDS
    const isIpv4 = (words[a]! & 0xff) === 0x45
    if (!isIpv4 && (words[a]! & 0xf0) !== 0x60) return false
    // Version, DSCP and ECN; of IPv6 the flow label. IPv4 with options, and IPv6 with extension headers, is let alone.
    if (((words[a]! ^ words[b]!) & (isIpv4 ? 0xffff : -1)) !== 0) return false
    if (
      !isIpv4 &&
      (nextHeader(words[a + 1]!) !== PROTOCOL_TCP || nextHeader(words[b + 1]!) !== PROTOCOL_TCP)
    ) {
      return false
    }
    const headerWords = isIpv4 ? IPV4_WORDS : IPV6_WORDS
    // Addresses, ports, and sequence number: a keepalive's is one less.
    for (let i = isIpv4 ? 3 : 2; i < headerWords + 2; i++) if (words[a + i] !== words[b + i]) return false
    const c = a + headerWords
    const d = b + headerWords
    if (((words[c + 3]! ^ words[d + 3]!) & FLAGS_MASK) !== 0) return false
    if (((length[newer]! | length[older]!) & 3) !== 0) return false
    return this.tellsMore(c, (length[newer]! >>> 2) - headerWords, d, (length[older]! >>> 2) - headerWords)
  }

  /** The same for the TCP headers at words `c` and `d`, of so many words. */
  private tellsMore(c: number, newerWords: number, d: number, olderWords: number): boolean {
    const { words } = this.pool
    const hasTimestamps = newerWords > TCP_WORDS && words[c + TCP_WORDS] === TIMESTAMPS_OPTION
    if (hasTimestamps) {
      if (olderWords < TCP_WORDS + TIMESTAMPS_WORDS || words[d + TCP_WORDS] !== TIMESTAMPS_OPTION)
        return false
      if (difference(words[c + TCP_WORDS + 1]!, words[d + TCP_WORDS + 1]!) < 0) return false
    }
    const options = TCP_WORDS + (hasTimestamps ? TIMESTAMPS_WORDS : 0)
    const newerBlocks = this.sackBlocks(c + options, newerWords - options)
    const olderBlocks = this.sackBlocks(d + options, olderWords - options)
    if (newerBlocks < 0 || olderBlocks < 0) return false
    const ack = words[c + 2]!
    const olderAck = words[d + 2]!
    const progress = difference(ack, olderAck)
    if (progress < 0) return false
    const e = c + options + 1
    const f = d + options + 1
    for (let i = 0; i < olderBlocks; i++) {
      const left = words[f + 2 * i]!
      const right = words[f + 2 * i + 1]!
      // DSACK (RFC 2883): the first block lies below the acknowledgement or within the second.
      if (difference(left, olderAck) < 0) return false
      if (i === 0 && olderBlocks > 1 && this.isCovered(left, right, f + 2, 1)) return false
      if (difference(right, ack) > 0 && !this.isCovered(left, right, e, newerBlocks)) return false
    }
    if (progress > 0) return true
    // As far as before: only a window that stays, and a first block, the newest, that is news.
    if (words[c + 3]! >>> 16 !== words[d + 3]! >>> 16 || newerBlocks === 0) return false
    return !this.isCovered(words[e]!, words[e + 1]!, f, olderBlocks)
  }

  /** SACK blocks of options that are `count` words at `at` and nothing else; -1 if they are anything else. */
  private sackBlocks(at: number, count: number): number {
    if (count === 0) return 0
    const word = this.pool.words[at]!
    const blocks = (count - 1) >>> 1
    return (word & 0xffffff) === SACK_OPTION && word >>> 24 === 2 + 8 * blocks && count === 1 + 2 * blocks
      ? blocks
      : -1
  }

  /** Whether one of the `count` blocks at `at` has all of `left`..`right`. */
  private isCovered(left: number, right: number, at: number, count: number): boolean {
    const { words } = this.pool
    for (let i = 0; i < count; i++) {
      if (difference(left, words[at + 2 * i]!) >= 0 && difference(right, words[at + 2 * i + 1]!) <= 0)
        return true
    }
    return false
  }
}

function nextHeader(word: number): number {
  return (word >>> 16) & 0xff
}

/** a - b of two 32-bit sequence numbers that stand in network order in little-endian words. */
function difference(a: number, b: number): number {
  return (big(a) - big(b)) | 0
}

function big(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)
}
