import { assert } from '../base/assert.js'
import { PACKET_BYTES_MAX } from '../base/packet-pool.js'
import type { Instant } from '../base/time.js'
import {
  DATA_OVERHEAD_BYTES,
  FRAME_HEADER_BYTES,
  FrameKind,
  headerWord,
  INNER_HEADER_BYTES,
  MessageType,
  receiverIndexOf,
  stampWord,
} from '../wire/message.js'
import type { Link } from './link.js'
import { SEAL_WORDS } from './packet-cipher.js'
import { type Channel, OUTER_BYTES } from './session.js'

/** With all headers this fits every path that is used; only what is padded may be longer. */
const CONTROL_BYTES_MAX = 1288
/** Tells a probe among the packets sent: that it is lost says nothing but its size. */
export const PROBE_TICKET = -1

/**
 * Writes one control packet at a time: frames are appended, then the packet is sealed on a channel and handed to a
 * link. One instance serves a whole device, since nothing waits between begin and send.
 */
export class ControlWriter {
  private readonly plain = new Uint8Array(INNER_HEADER_BYTES + PACKET_BYTES_MAX)
  readonly view = new DataView(this.plain.buffer)
  private readonly row = new Uint32Array(SEAL_WORDS)
  private at = 0

  begin(): this {
    this.at = INNER_HEADER_BYTES
    return this
  }

  /** Bytes of the frames written so far. */
  get bytes(): number {
    return this.at - INNER_HEADER_BYTES
  }

  /** Copies the frames into `target`, as the trailer of a data packet. */
  copyTo(target: Uint8Array, offset: number): void {
    const { plain, bytes } = this
    for (let i = 0; i < bytes; i++) target[offset + i] = plain[INNER_HEADER_BYTES + i]!
  }

  /** Room for the body of one more frame. */
  get room(): number {
    return CONTROL_BYTES_MAX - this.at - FRAME_HEADER_BYTES
  }

  frame(kind: number, body?: Uint8Array): this {
    const bytes = body?.length ?? 0
    const at = this.reserve(kind, bytes)
    if (body) this.plain.set(body, at)
    return this
  }

  /** Starts a frame of `bytes` that the caller fills through {@link view}; returns where its body starts. */
  reserve(kind: number, bytes: number): number {
    assert(bytes <= 255 && bytes <= this.room, 'a control frame that is too long')
    return this.append(kind, bytes)
  }

  private append(kind: number, bytes: number): number {
    this.plain[this.at] = kind
    this.plain[this.at + 1] = bytes
    const at = this.at + FRAME_HEADER_BYTES
    this.at = at + bytes
    return at
  }

  /** Padding up to the length that a data packet with an inner packet of `bytes` has. */
  padTo(bytes: number): this {
    for (;;) {
      const left = bytes + INNER_HEADER_BYTES - this.at - FRAME_HEADER_BYTES
      if (left < 0) return this
      // A single byte that is left over would be too short for another frame.
      const length = left <= 255 ? left : Math.min(255, left - FRAME_HEADER_BYTES)
      const at = this.append(FrameKind.Padding, length)
      this.plain.fill(0, at, this.at)
    }
  }

  /**
   * Seals what was written and gives it to `link` for `remote`. `asks`: the other end is to report it. `ticket`: 0, or
   * {@link PROBE_TICKET}.
   */
  send(channel: Channel, link: Link, remote: Uint32Array, asks: boolean, now: Instant, ticket = 0): void {
    const { session } = channel
    if (session.destroyed) return
    this.view.setUint32(0, stampWord(now, 0), true)
    this.view.setUint32(4, 0, true)
    const bytes = new Uint8Array(this.at - INNER_HEADER_BYTES + DATA_OVERHEAD_BYTES)
    const counter = channel.take(bytes.length, -1, ticket, asks, now)
    const { row } = this
    row[0] = 0
    row[1] = this.at
    row[2] = 0
    row[3] = headerWord(MessageType.Control, receiverIndexOf(session.remoteIndex, channel.id))
    row[4] = counter
    row[5] = channel.id
    row[6] = counter
    row[7] = counter / 4_294_967_296
    session.sendKey.seal(bytes, this.plain, row, 0, 1)
    channel.path.pacer.sent(bytes.length + OUTER_BYTES, channel.path.rate.pacingBytesPerSec, now)
    channel.path.packetsOut++
    channel.path.bytesOut += bytes.length
    channel.path.lastSentAt = now
    link.pushReady(bytes, remote)
  }

  /** A packet of a size that the path may not carry, padded: its loss counts for nothing else. */
  sendProbe(channel: Channel, now: Instant): void {
    channel.probes.push(channel.sent.next)
    this.send(channel, channel.path.link, channel.path.remote, false, now, PROBE_TICKET)
  }

  /** On the path itself: the usual case. */
  sendOn(channel: Channel, asks: boolean, now: Instant): void {
    this.send(channel, channel.path.link, channel.path.remote, asks, now)
  }
}
