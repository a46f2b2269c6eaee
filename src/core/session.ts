import { type Instant, NEVER } from '../base/time.js'
import { type Cipher, PATH_IDS } from '../wire/message.js'
import { Challenges } from './challenges.js'
import { REJECT_AFTER_PACKETS, REJECT_AFTER_US } from './constants.js'
import { GapList } from './gap-list.js'
import type { PacketKey } from './packet-cipher.js'
import type { Path } from './path.js'
import type { Peer } from './peer.js'
import { ReplayWindow } from './replay-window.js'
import { SentPackets } from './sent-packets.js'
import { TrainArrival } from './train.js'

/** IP and UDP headers of a datagram, IPv4: the unit in which rates are reckoned counts them. */
export const OUTER_BYTES = 28
/** A burst of loss that is remembered whole; more are not checked for having been late. */
const LATELY_LOST = 128

/**
 * A path's part in one session: its id there, its counters both ways and what each end received on it.
 * Nonce = path id (32 bits) followed by counter (64 bits), so that one key serves all paths without ever repeating.
 */
export class Channel {
  // ---- sending
  readonly sent: SentPackets
  /** Newest counter the other end reported, -1 for none. */
  reportedNewest = -1
  /** Counters below went out while the path was down: their loss says nothing of it as it is. */
  lossFrom = -1
  /** Packets, and bytes of datagrams, that the other end reported as received: the low 32 bits it sent. */
  reportedPacketsLow = 0
  reportedBytesLow = 0
  /** Bytes that arrived, IP and UDP headers included. */
  bytesArrived = 0
  /** Newest counter that asks for a report (data, heartbeat), and when the oldest unreported one of them was sent. */
  newestAsking = -1
  askingSince: Instant = 0
  /** When the newest of them was sent. */
  askedAt: Instant = Number.NEGATIVE_INFINITY
  /** Something that asks for a report has not been reported yet. */
  get waiting(): boolean {
    return this.newestAsking > this.reportedNewest
  }
  /** Counters of probes of which nothing is reported yet, see path-mtu.ts. */
  readonly probes: number[] = []
  /** Counters lately taken for lost: one that comes after all was only late, see repair.ts. */
  readonly lately = new Float64Array(LATELY_LOST).fill(-1)
  latelyNext = 0
  /** Counters sent again when the path turned suspect, whose originals may have arrived all the same; none if equal. */
  reinjectedFrom = 0
  reinjectedTo = 0

  // ---- receiving
  readonly replay = new ReplayWindow()
  /** Newest counter received, -1 for none. */
  newest = -1
  newestAt: Instant = 0
  readonly gaps = new GapList()
  readonly train = new TrainArrival()
  packets = 0
  bytes = 0
  /** Least one-way delay (relative, µs) in the running and the former feedback interval. */
  owdMin = Number.POSITIVE_INFINITY
  owdMinBefore = Number.POSITIVE_INFINITY

  // ---- proof of address
  readonly challenges = new Challenges()
  /** One of them was answered: the path may be used with this session. */
  joined = false
  /** Its path was forgotten: nothing is sealed on it any more. */
  closed = false

  constructor(
    readonly session: Session,
    readonly id: number,
    public path: Path,
  ) {
    this.sent = new SentPackets(session.peer.device.pool)
  }

  /**
   * Takes the next counter for a datagram of `bytes`. `slot`: what is kept for sending it again, -1 nothing. `asks`:
   * the other end is to report it.
   */
  take(bytes: number, slot: number, ticket: number, asks: boolean, now: Instant): number {
    const counter = this.sent.add(bytes + OUTER_BYTES, slot, ticket, this.path.pacer.idleUs, now)
    this.session.packetsSent++
    if (asks) {
      this.session.peer.asked(now)
      if (!this.waiting) this.askingSince = now
      this.newestAsking = counter
      this.askedAt = now
    }
    return counter
  }

  /** Data packets were given the counters from `firstCounter` on, all of which the other end is to report. */
  sentRun(firstCounter: number, now: Instant): void {
    const { next } = this.sent
    this.session.packetsSent += next - firstCounter
    this.session.peer.asked(now)
    if (!this.waiting) this.askingSince = now
    this.newestAsking = next - 1
    this.askedAt = now
  }

  /** Forgets the probes up to `newest`, as a report of it came; returns how many. */
  takeProbes(newest: number): number {
    const { probes } = this
    let count = 0
    while (count < probes.length && probes[count]! <= newest) count++
    if (count > 0) probes.splice(0, count)
    return count
  }

  /** The other end reported `newest`: what is still unreported is younger. */
  reported(newest: number): void {
    this.reportedNewest = newest
    if (this.waiting) {
      const first = newest + 1
      if (this.sent.remembers(first)) this.askingSince = this.sent.sentAt(first)
    }
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
  /** A gap opened that no report has told of, since when. */
  gapAt: Instant = NEVER
  feedbackAt: Instant = Number.NEGATIVE_INFINITY
  feedbackNumber = 0
  /** Since when reports went behind packets only, all of them on {@link riddenOn}; see feedback.ts. */
  riddenSince: Instant = NEVER
  riddenOn: Path | undefined
  /** The channel whose feedback comes first: where not all fits, each has its turn. */
  feedbackFrom = 0
  /** Channels on which a heartbeat waits for its answer. */
  readonly answers: Channel[] = []
  /** A path wanted a channel when all our ids were used up, which calls for a new session. */
  lacksIds = false
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
    /** What the other end does: {@link Feature} bits of wire/message.ts. */
    readonly remoteFeatures: number,
    readonly createdAt: Instant,
  ) {
    this.confirmed = initiator
    this.nextId = initiator ? 0 : 1
  }

  /** A channel of ours for `path`; undefined when all our ids are used up. */
  openChannel(path: Path): Channel | undefined {
    if (this.nextId >= PATH_IDS) {
      this.lacksIds = true
      return undefined
    }
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
    channel.closed = true
    channel.sent.clear()
    this.channels[channel.id] = undefined
    this.closedIds |= 1 << channel.id
  }

  expired(now: Instant): boolean {
    return now - this.createdAt >= REJECT_AFTER_US || this.packetsSent >= REJECT_AFTER_PACKETS
  }

  destroy(): void {
    if (this.destroyed) return
    this.destroyed = true
    for (const channel of this.channels) channel?.sent.clear()
    this.sendKey.destroy()
    this.receiveKey.destroy()
  }
}
