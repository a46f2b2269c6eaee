/**
 * Which flows have their headers compressed, and what both ends know of them. An end that has seen some packets of a
 * flow tells the other its context, repeatedly until that says it knows it; from then on the flow's packets go compressed.
 *
 * A compressed packet is smaller wherever it is sent, again or twice, and it is expanded before anything else looks at it.
 * It costs each end 0.1 µs a packet, and rests where much is sent by a processor that has no time for it.
 */

import type { PacketPool } from '../base/packet-pool.js'
import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import {
  compress,
  contextOf,
  expand,
  isStatic,
  readStatic,
  STATIC_WORDS_MAX,
} from '../wire/header-compression.js'
import { Feature, FrameKind, HeaderContext } from '../wire/message.js'
import { REJECT_AFTER_US } from './constants.js'
import type { Device } from './device.js'
import type { Peer } from './peer.js'
import type { Channel } from './session.js'

/** All that one byte can name. */
const CONTEXTS = 256
/** A flow may have one of so many contexts, by its hash. */
const WAYS = 8
/** A flow shows so many packets before its context is told: what that costs is soon saved. */
const TOLD_AFTER_PACKETS = 16
const TELL_AGAIN_US: DurationUs = 250 * MILLISECOND
/** Its flow silent for so long, a context may become another's: no packet that names it is under way any more. */
const CONTEXT_IDLE_US: DurationUs = 10 * SECOND
/** A peer that is sent more than this, 2.5 Gbit/s, is sent nothing compressed, */
const COMPRESSED_BYTES_PER_SEC_MAX = 312_500_000
/** ... nor one that is sent more than this, 1 Gbit/s, by a processor that is busy for more than this share of the time; */
const COMPRESSED_BYTES_PER_SEC_ALWAYS = 125_000_000
const BUSY_SHARE_MAX = 0.85
/** ... and once it was, until it is for less than this: compressing takes some of it. */
const BUSY_SHARE_AGAIN = 0.7

const NONE = -1

/** Of a context of an {@link OutgoingContexts}. */
const State = { Free: 0, Counting: 1, Told: 2, Known: 3 } as const

/**
 * The contexts of the packets to one peer. All memory is taken by the constructor: 17 KiB.
 */
export class OutgoingContexts {
  /** Whether {@link shorten} is worth calling: see {@link review}. */
  enabled = false
  /** Result of {@link shorten}: the context to be told now, or -1. */
  due = NONE
  /** Bytes that packets were shorter than they came. */
  savedBytes = 0

  private readonly statics = new Uint32Array(CONTEXTS * STATIC_WORDS_MAX)
  private readonly wordCounts = new Uint8Array(CONTEXTS)
  private readonly states = new Uint8Array(CONTEXTS)
  private readonly packets = new Uint8Array(CONTEXTS)
  /** Tells one use of a context from the next, u16. */
  private readonly numbers = new Uint16Array(CONTEXTS)
  private readonly usedAt = new Float64Array(CONTEXTS)
  private readonly toldAt = new Float64Array(CONTEXTS)
  private readonly wanted = new Uint32Array(STATIC_WORDS_MAX)
  /** Of the last packet: most follow one of their own flow. */
  private last = 0
  private nextNumber = 0
  private bytesBefore = 0
  private reviewedAt: Instant = Number.NEGATIVE_INFINITY

  constructor(private readonly pool: PacketPool) {}

  /** The other end knows none of them: it has restarted. */
  reset(): void {
    for (let index = 0; index < CONTEXTS; index++) this.forgotten(index)
  }

  /**
   * Called a few times a second.
   *
   * @param features of the other end
   * @param bytesOut sent to it so far
   * @param busyShare of the time, the processor's
   */
  review(features: number, bytesOut: number, busyShare: number, now: Instant): void {
    const bytesPerSec = ((bytesOut - this.bytesBefore) * SECOND) / (now - this.reviewedAt)
    this.bytesBefore = bytesOut
    this.reviewedAt = now
    const understood = (features & Feature.HeaderCompression) !== 0
    const hasTime = busyShare < (this.enabled ? BUSY_SHARE_MAX : BUSY_SHARE_AGAIN)
    const bytesPerSecMax = hasTime ? COMPRESSED_BYTES_PER_SEC_MAX : COMPRESSED_BYTES_PER_SEC_ALWAYS
    this.enabled = understood && bytesPerSec < bytesPerSecMax
  }

  /** Compresses the packet in `slot` if the other end knows the context of its flow. */
  shorten(slot: number, now: Instant): void {
    this.due = NONE
    const count = readStatic(this.pool, slot, this.wanted, 0)
    if (count === 0) return
    const index = this.find(count, now)
    if (index === NONE) return
    this.usedAt[index] = now
    if (this.states[index] === State.Known) {
      this.savedBytes += compress(this.pool, slot, index)
      return
    }
    if (this.states[index] === State.Counting) {
      if (++this.packets[index]! < TOLD_AFTER_PACKETS) return
      this.states[index] = State.Told
      this.numbers[index] = this.nextNumber++
    } else if (now - this.toldAt[index]! < TELL_AGAIN_US) {
      return
    }
    this.toldAt[index] = now
    this.due = index
  }

  /** Writes the body of the frame that tells of context `index`. */
  describe(index: number, view: DataView, at: number): void {
    view.setUint8(at + HeaderContext.index, index)
    view.setUint16(at + HeaderContext.number, this.numbers[index]!, true)
    const from = index * STATIC_WORDS_MAX
    for (let i = 0; i < this.wordCounts[index]!; i++) {
      view.setUint32(at + HeaderContext.bytes + 4 * i, this.statics[from + i]!, true)
    }
  }

  /** Bytes of {@link describe}. */
  describedBytes(index: number): number {
    return HeaderContext.bytes + 4 * this.wordCounts[index]!
  }

  /** The other end knows context `index` as it was told with `number`. */
  known(index: number, number: number): void {
    if (this.states[index] === State.Told && this.numbers[index] === number) this.states[index] = State.Known
  }

  /** The other end does not know context `index`: it is told again. It stays its flow's, as packets that name it may be under way. */
  forgotten(index: number): void {
    if (this.states[index] !== State.Known) return
    this.states[index] = State.Told
    this.toldAt[index] = Number.NEGATIVE_INFINITY
  }

  /** The context of the flow of {@link wanted}, of so many words; -1 if it has none and can have none. */
  private find(count: number, now: Instant): number {
    if (this.matches(this.last, count)) return this.last
    const { wanted, states } = this
    let hash = count
    for (let i = 0; i < count; i++) hash = Math.imul(hash ^ wanted[i]!, 0x9e3779b1) ^ (hash >>> 15)
    const first = ((hash ^ (hash >>> 16)) & (CONTEXTS / WAYS - 1)) * WAYS
    let free = NONE
    for (let index = first; index < first + WAYS; index++) {
      if (this.matches(index, count)) {
        this.last = index
        return index
      }
      if (this.mayGo(index, now) && (free === NONE || this.silentUs(index, now) > this.silentUs(free, now)))
        free = index
    }
    if (free === NONE) return NONE
    this.statics.set(wanted, free * STATIC_WORDS_MAX)
    this.wordCounts[free] = count
    this.packets[free] = 0
    states[free] = State.Counting
    this.last = free
    return free
  }

  private matches(index: number, count: number): boolean {
    if (this.states[index] === State.Free || this.wordCounts[index] !== count) return false
    const { statics, wanted } = this
    const from = index * STATIC_WORDS_MAX
    for (let i = 0; i < count; i++) if (statics[from + i] !== wanted[i]) return false
    return true
  }

  /** Packets of a flow that was not told of name nothing. */
  private mayGo(index: number, now: Instant): boolean {
    return this.states[index]! < State.Told || now - this.usedAt[index]! > CONTEXT_IDLE_US
  }

  private silentUs(index: number, now: Instant): number {
    return this.states[index] === State.Free ? Number.POSITIVE_INFINITY : now - this.usedAt[index]!
  }
}

/** The contexts that one peer has told of. All memory is taken by the constructor: 11 KiB. */
export class IncomingContexts {
  /** When the other end was last told that it named one that is not known. */
  complainedAt: Instant = Number.NEGATIVE_INFINITY

  private readonly statics = new Uint32Array(CONTEXTS * STATIC_WORDS_MAX)
  private readonly known = new Uint8Array(CONTEXTS)
  private readonly numbers = new Uint16Array(CONTEXTS)
  private readonly learntAt = new Float64Array(CONTEXTS)

  constructor(private readonly pool: PacketPool) {}

  reset(): void {
    this.known.fill(0)
  }

  /** Remembers the context of a frame, unless a later one came first; false if it can be none. */
  learn(body: Uint8Array, now: Instant): boolean {
    const bytes = body.length - HeaderContext.bytes
    if (bytes < 0 || bytes % 4 !== 0) return false
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
    const words = new Uint32Array(bytes / 4)
    for (let i = 0; i < words.length; i++) words[i] = view.getUint32(HeaderContext.bytes + 4 * i, true)
    if (!isStatic(words)) return false
    const index = body[HeaderContext.index]!
    const number = view.getUint16(HeaderContext.number, true)
    const ahead = ((number - this.numbers[index]!) << 16) >> 16
    // What a stalled path brings late is of a flow that had the index before. After as long as a key lasts numbers may have
    // come round, and nothing is that late.
    if (this.known[index] === 1 && ahead < 0 && now - this.learntAt[index]! < REJECT_AFTER_US) return true
    this.statics.set(words, index * STATIC_WORDS_MAX)
    this.known[index] = 1
    this.numbers[index] = number
    this.learntAt[index] = now
    return true
  }

  /** Expands the compressed packet in `slot`. False, and nothing changed, if its context is not known or does not fit. */
  expand(slot: number): boolean {
    const index = contextOf(this.pool, slot)
    return this.known[index] === 1 && expand(this.pool, slot, this.statics, index * STATIC_WORDS_MAX)
  }
}

/** Compresses the packet in `slot`, which is about to be sent for the first time, if it can; or tells its context on `channel`. */
export function compressHeaders(
  device: Device,
  peer: Peer,
  slot: number,
  channel: Channel,
  now: Instant,
): void {
  const { contextsOut } = peer
  contextsOut.shorten(slot, now)
  if (contextsOut.due === NONE) return
  const writer = device.control.begin()
  const at = writer.reserve(FrameKind.HeaderContext, contextsOut.describedBytes(contextsOut.due))
  contextsOut.describe(contextsOut.due, writer.view, at)
  writer.sendOn(channel, false, now)
}

/** The other end tells a context: it is answered on the same path. */
export function handleHeaderContext(
  device: Device,
  channel: Channel,
  body: Uint8Array,
  now: Instant,
): boolean {
  const { contextsIn } = channel.session.peer
  if (!contextsIn.learn(body, now)) return false
  const answer = device.control.begin()
  answer.frame(FrameKind.HeaderContextKnown, body.subarray(0, HeaderContext.bytes))
  answer.sendOn(channel, false, now)
  return true
}

/** What the other end says of a context that it was told, or named. */
export function handleHeaderContextAnswer(peer: Peer, kind: number, body: Uint8Array): void {
  const { contextsOut } = peer
  if (kind === FrameKind.HeaderContextUnknown) {
    if (body.length > 0) contextsOut.forgotten(body[0]!)
  } else if (body.length >= HeaderContext.bytes) {
    contextsOut.known(
      body[HeaderContext.index]!,
      body[HeaderContext.number]! | (body[HeaderContext.number + 1]! << 8),
    )
  }
}

/**
 * Makes the packet in `slot` what it was before it was compressed. False, and the other end told, if its context is not known,
 * which only a fault can be the reason of: the flow must not hang on it.
 */
export function expandHeaders(device: Device, channel: Channel, slot: number, now: Instant): boolean {
  const { contextsIn } = channel.session.peer
  if (contextsIn.expand(slot)) return true
  if (now - contextsIn.complainedAt >= TELL_AGAIN_US) {
    contextsIn.complainedAt = now
    const body = Uint8Array.of(contextOf(device.pool, slot))
    device.control.begin().frame(FrameKind.HeaderContextUnknown, body).sendOn(channel, false, now)
  }
  return false
}
