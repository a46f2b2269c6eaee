import { type Instant, NEVER } from '../base/time.js'
import { PATH_IDS } from '../wire/message.js'
import { REJECT_AFTER_PACKETS, REJECT_AFTER_US } from './constants.js'
import type { Cipher, PacketKey } from './packet-cipher.js'
import type { Path } from './path.js'
import type { Peer } from './peer.js'
import { ReplayWindow } from './replay-window.js'

/** Counters whose send time is remembered: 8192 packets are 90 ms at 1 Gbit/s, far more than a feedback interval. */
export const SENT_RING = 8192
const SENT_MASK = SENT_RING - 1

/**
 * A path's part in one session: its id there, its counters both ways and what each end received on it.
 * Nonce = path id (32 bits) followed by counter (64 bits), so that one key serves all paths without ever repeating.
 */
export class Channel {
  // ---- sending
  /** Counter of the next packet. */
  sendCounter = 0
  /** When each of the last {@link SENT_RING} counters was sent. */
  readonly sentAt = new Float64Array(SENT_RING)
  /** Newest counter the other end reported, -1 for none. */
  reportedNewest = -1
  /** Packets the other end reported as received. */
  reportedPackets = 0
  /** Newest counter that asks for a report (data, heartbeat), and when the oldest unreported one of them was sent. */
  newestAsking = -1
  askingSince: Instant = 0
  /** Something that asks for a report has not been reported yet. */
  get waiting(): boolean {
    return this.newestAsking > this.reportedNewest
  }

  // ---- receiving
  readonly replay = new ReplayWindow()
  /** Newest counter received, -1 for none. */
  newest = -1
  newestAt: Instant = 0
  packets = 0
  bytes = 0
  /** Least one-way delay (relative, µs) in the running and the former feedback interval. */
  owdMin = Number.POSITIVE_INFINITY
  owdMinBefore = Number.POSITIVE_INFINITY
  /** Something came since the last feedback. */
  fresh = false

  // ---- proof of address
  readonly challenge = new Uint8Array(8)
  challengeSentAt: Instant = Number.NEGATIVE_INFINITY
  /** Our challenge was answered: the path may be used with this session. */
  joined = false

  constructor(
    readonly session: Session,
    readonly id: number,
    public path: Path,
  ) {}

  /** Takes the next counter, remembering when it goes out. `asks`: the other end is to report it. */
  nextCounter(now: Instant, asks: boolean): number {
    const counter = this.sendCounter++
    this.sentAt[counter & SENT_MASK] = now
    this.session.packetsSent++
    if (asks) {
      this.session.peer.asked(now)
      if (!this.waiting) this.askingSince = now
      this.newestAsking = counter
    }
    return counter
  }

  /** The other end reported `newest`: what is still unreported is younger. */
  reported(newest: number): void {
    this.reportedNewest = newest
    if (this.waiting) this.askingSince = this.sentTime(Math.max(newest + 1, this.sendCounter - SENT_RING))
  }

  sentTime(counter: number): Instant {
    return this.sentAt[counter & SENT_MASK]!
  }

  /** Whether the send time of `counter` is still remembered. */
  remembers(counter: number): boolean {
    return counter >= 0 && counter < this.sendCounter && counter >= this.sendCounter - SENT_RING
  }
}

/** Keys and counters won by one handshake. */
export class Session {
  readonly channels: (Channel | undefined)[] = new Array(PATH_IDS).fill(undefined)
  packetsSent = 0
  /** The responder sends only after the initiator's first sealed packet proved that it has the keys. */
  confirmed: boolean
  destroyed = false
  /** Data bytes received and not yet reported, since when, and when the last report went. */
  unreportedBytes = 0
  unreportedSince: Instant = NEVER
  feedbackAt: Instant = Number.NEGATIVE_INFINITY
  feedbackNumber = 0
  /** Channels on which a heartbeat waits for its answer. */
  readonly answers: Channel[] = []
  private nextId: number
  /** Bit set of the ids whose channels were closed: a nonce must never come twice. */
  private closedIds = 0

  constructor(
    readonly peer: Peer,
    /** Our receiver index, 19 bits: what the other end writes on packets for us. */
    readonly localIndex: number,
    readonly remoteIndex: number,
    readonly initiator: boolean,
    readonly cipher: Cipher,
    readonly sendKey: PacketKey,
    readonly receiveKey: PacketKey,
    /** Random number of the other end's run: sequences belong to it. */
    readonly remoteBootId: string,
    readonly createdAt: Instant,
  ) {
    this.confirmed = initiator
    this.nextId = initiator ? 0 : 1
  }

  /** A channel of ours for `path`; undefined when all our ids are used up, which calls for a new session. */
  openChannel(path: Path): Channel | undefined {
    if (this.nextId >= PATH_IDS) return undefined
    const channel = new Channel(this, this.nextId, path)
    this.nextId += 2
    this.channels[channel.id] = channel
    return channel
  }

  /** The other end opened `id`, which {@link remoteMayOpen}. */
  acceptChannel(id: number, path: Path): Channel {
    const channel = new Channel(this, id, path)
    this.channels[id] = channel
    return channel
  }

  /** Ids the other end may open: the initiator's are even, the responder's odd. */
  remoteMayOpen(id: number): boolean {
    return (id & 1) === (this.initiator ? 1 : 0) && (this.closedIds & (1 << id)) === 0
  }

  /** Its id is not used again in this session: packets on it are refused from now on. */
  closeChannel(channel: Channel): void {
    this.channels[channel.id] = undefined
    this.closedIds |= 1 << channel.id
  }

  get idsLeft(): boolean {
    return this.nextId < PATH_IDS
  }

  expired(now: Instant): boolean {
    return now - this.createdAt >= REJECT_AFTER_US || this.packetsSent >= REJECT_AFTER_PACKETS
  }

  destroy(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.sendKey.destroy()
    this.receiveKey.destroy()
  }
}
