import { assert } from '../base/assert.js'
import type { DatagramBatch } from '../base/datagram-batch.js'
import type { PacketBatch, PacketPool } from '../base/packet-pool.js'
import type { RandomSource } from '../base/prng.js'
import { SlotRing } from '../base/slot-ring.js'
import { type DurationUs, type Instant, NEVER } from '../base/time.js'
import type { HandshakeResult, Identity, InitiatorHandshake, Offer } from '../noise/handshake.js'
import { MacGate } from '../noise/mac-gate.js'
import type { Primitives } from '../noise/primitives.js'
import { SeenInitiations } from '../noise/seen-initiations.js'
import { PacketView } from '../wire/ip.js'
import {
  CIPHER_NAMES,
  Cipher,
  Feature,
  FrameKind,
  INDEX_PATH_BITS,
  SESSION_INDEX_LIMIT,
} from '../wire/message.js'
import { AllowedIps } from './allowed-ips.js'
import {
  BATCH_PACKETS,
  LATE_WAKE_GRACE_US,
  LATE_WAKE_US,
  PENDING_SESSION_US,
  REKEY_AFTER_PACKETS,
  REKEY_AFTER_US,
} from './constants.js'
import { ControlWriter } from './control.js'
import { DropCounters } from './drop-reasons.js'
import { EgressSlots } from './egress-slots.js'
import type { Event } from './events.js'
import { feedbackDue, feedbackEarliest, sendDueFeedback, sendFeedback } from './feedback.js'
import { handleSealedHandshake } from './handshakes.js'
import { Link } from './link.js'
import { type PacketCiphers, SEAL_WORDS } from './packet-cipher.js'
import { followMtu, housekeep, openChannels } from './path-keeper.js'
import { addConfiguredPaths, followEndpoints } from './path-set.js'
import { Peer, type PeerConfig } from './peer.js'
import type { RateSample } from './rate-estimator.js'
import { OpenRun, receiveDatagrams } from './receive.js'
import { MissingRanges } from './repair.js'
import { Retention } from './retention.js'
import { BulkRun, schedule, seal, sendFromTun } from './send.js'
import { type Channel, Session } from './session.js'

export interface DeviceConfig {
  /** X25519 private key, 32 bytes. */
  privateKey: Uint8Array
  scheduler: 'adaptive' | 'weighted' | 'redundant'
  /** `bond`: all ordered packets get the delay of the slowest path, see equaliser.ts. Default `auto`: not. */
  policy?: 'auto' | 'bond'
  /** A link's id is its place here. */
  links: { name: string; weight: number }[]
  peers: PeerConfig[]
  /** Largest inner packet that is wanted, see {@link Device.handleMtu}. */
  mtu?: number
  /** Test hooks: renew keys sooner. */
  rekeyAfterUs?: number
  rekeyAfterPackets?: number
}

export interface DeviceEnv {
  now: Instant
  random: RandomSource
  primitives: Primitives
  ciphers: PacketCiphers
  pool: PacketPool
  /** Weighs handshake work against the rest of a wake-up; the only clock in the core, and nothing else reads it. */
  workClock?: () => Instant
}

/** Events kept when nobody fetches them: the oldest go. */
const EVENTS_WAITING_MAX = 1024
/** Slots that each path gives up when memory is short. */
const RELIEF_SLOTS = 64
/** Sessions end and handshakes are considered this often; their limits are in seconds. */
const SLOW_TICK_US = 250_000
/** Weight of the last of them in how busy the processor is. */
const BUSY_WEIGHT = 0.5
/** Fills 1500 bytes, IPv4 and UDP included. */
const MTU_DEFAULT = 1440

/**
 * The whole protocol of one end. No I/O, no clock, no randomness but what is handed in. `handle…` tells what happened
 * (`now` never goes back); after any of them drain with `poll…`: transmit for every link, then deliver, then events.
 * Before a handleTimeout every socket is to be drained, since it judges silence.
 */
export class Device {
  readonly identity: Identity
  readonly offer: Offer
  readonly random: RandomSource
  readonly primitives: Primitives
  readonly ciphers: PacketCiphers
  readonly pool: PacketPool
  readonly drops = new DropCounters()
  readonly links: Link[]
  readonly peers: Peer[] = []
  readonly allowedIps = new AllowedIps()
  readonly gate: MacGate
  readonly seen: SeenInitiations
  readonly control = new ControlWriter()
  readonly rekeyAfterUs: number
  readonly rekeyAfterPackets: number
  readonly workClock: () => Instant
  /** Handshake attempts of ours by session index. */
  readonly attempts = new Map<number, { peer: Peer; handshake: InitiatorHandshake }>()
  handshakeWorkUs = 0

  // Scratch of the packet path, one of each per device.
  readonly view = new PacketView()
  readonly openRun = new OpenRun()
  readonly sealRows = new Uint32Array(64 * SEAL_WORDS)
  readonly bulkRun = new BulkRun()
  /** Peers that got packets from the TUN and are to be scheduled: the first {@link pendingCount}. */
  readonly pendingPeers: Peer[] = []
  pendingCount = 0
  readonly retention: Retention
  readonly missing = new MissingRanges()
  readonly sample: RateSample = {
    owdMinUs: 0,
    newestAt: 0,
    bytesReceived: 0,
    sentAt: 0,
    bytesSent: 0,
    idleUs: 0,
    bytesSince: 0,
    rttUs: 0,
    reportUs: 0,
    capped: false,
    packetBytes: 0,
  }
  /** Links of the egress queues' lists, by slot: one array serves every peer. */
  readonly egressSlots: EgressSlots
  /** Packets in order, for the TUN; has room for every slot there is. */
  readonly delivered: SlotRing
  /** Paths are asked whether they carry inner packets of so many bytes, */
  mtuWanted: number
  /** ... this is what all of them do, */
  mtuCarried: number
  /** ... and so large are those that come: a path that carries less is not used. */
  mtuPresent = 0
  /** When every socket had been read. */
  socketsReadAt: Instant = Number.NEGATIVE_INFINITY

  private readonly sessions = new Map<number, Session>()
  private readonly indices = new Set<number>()
  private lastIndex = -1
  private lastSession: Session | undefined
  private readonly events: Event[] = []
  private slowTickAt: Instant
  /** Share of the time that wake-ups take, of late, and what they have taken since it was last reckoned. */
  private busyShare = 0
  private wakeUpsUs: DurationUs = 0
  private busyReviewedAt: Instant
  private expectedTimeout: Instant = NEVER

  constructor(
    readonly config: DeviceConfig,
    env: DeviceEnv,
  ) {
    this.random = env.random
    this.primitives = env.primitives
    this.ciphers = env.ciphers
    this.pool = env.pool
    this.retention = new Retention(env.pool)
    this.egressSlots = new EgressSlots(env.pool.slotCount)
    this.delivered = new SlotRing(env.pool.slotCount)
    this.workClock = env.workClock ?? (() => 0)
    this.rekeyAfterUs = config.rekeyAfterUs ?? REKEY_AFTER_US
    this.rekeyAfterPackets = config.rekeyAfterPackets ?? REKEY_AFTER_PACKETS
    this.identity = { privateKey: config.privateKey, publicKey: env.primitives.publicKey(config.privateKey) }
    const bootId = new Uint8Array(8)
    env.random.fill(bootId)
    let ciphers: number = Cipher.ChaCha20Poly1305
    if (env.ciphers.preferred.includes(Cipher.Aes256Gcm)) ciphers |= Cipher.Aes256Gcm
    let features: number = Feature.Trailers | Feature.HeaderCompression
    if (config.scheduler === 'adaptive') features |= Feature.Repairs
    if (config.policy === 'bond') features |= Feature.Equalise
    this.offer = { ciphers, features, bootId: new DataView(bootId.buffer).getBigUint64(0, true) }
    this.gate = new MacGate(env.primitives, this.identity.publicKey, env.random)
    this.seen = new SeenInitiations(env.primitives, env.random)
    this.slowTickAt = env.now
    this.busyReviewedAt = env.now
    this.mtuWanted = config.mtu ?? MTU_DEFAULT
    this.mtuCarried = this.mtuWanted
    this.links = config.links.map(
      (link, id) => new Link(id, link.name, link.weight, env.pool, BATCH_PACKETS * 2, this.drops),
    )
    for (const peerConfig of config.peers) this.addPeer(peerConfig, env.now)
  }

  private addPeer(config: PeerConfig, now: Instant): void {
    const peer = new Peer(this, this.peers.length, config, now)
    this.peers.push(peer)
    for (const { family, bytes, bits } of config.allowedIps) {
      const words = new Uint32Array(4)
      new Uint8Array(words.buffer).set(bytes)
      this.allowedIps.insert(words, 0, family === 4 ? 1 : 4, bits, peer.index)
    }
    addConfiguredPaths(peer, now)
  }

  // ---- something happened ------------------------------------------------------------------------------------------

  /** Packets from the TUN; takes over their slots and empties the batch. */
  handleTun(batch: PacketBatch, now: Instant): void {
    sendFromTun(this, batch, now)
    this.schedulePending(now)
  }

  /** Datagrams from the socket of `link`; the batch may be used again afterwards. */
  handleDatagrams(link: number, batch: DatagramBatch, now: Instant): void {
    receiveDatagrams(this, this.links[link]!, batch, now)
  }

  /** To be called at {@link nextTimeout}, and after every wake-up that brought datagrams: every socket has been read. */
  handleTimeout(now: Instant): void {
    this.socketsReadAt = now
    const late = now - this.expectedTimeout > LATE_WAKE_US
    for (const peer of this.peers) {
      if (late) peer.noVerdictUntil = now + LATE_WAKE_GRACE_US
      this.reportFor(peer, now)
      if (now >= peer.housekeepAt) housekeep(peer, now)
      if (now >= peer.handshake.nextTimeout()) peer.handshake.handleTimeout(now)
      if (now >= peer.resequencer.nextTimeout()) peer.resequencer.handleTimeout(now)
      if (now >= peer.spacedAcks.dueAt) peer.spacedAcks.release(now)
      if (peer.egress.packets > 0) schedule(this, peer, now)
      else peer.roomAt = NEVER
    }
    if (now >= this.slowTickAt) this.slowTick(now)
  }

  /** The socket of `link` took less than it was given, or takes more again. */
  handleLinkBlocked(link: number, blocked: boolean, now: Instant): void {
    this.links[link]!.blocked = blocked
    if (blocked) return
    for (const peer of this.peers) if (peer.egress.packets > 0) schedule(this, peer, now)
  }

  /** A wake-up of this length ends: how busy the processor is, and how much of that the handshakes are. */
  handleWakeUpEnd(wakeUpUs: DurationUs, now: Instant): void {
    this.wakeUpsUs += wakeUpUs
    if (this.handshakeWorkUs > 0) this.gate.load.noteWork(this.handshakeWorkUs, wakeUpUs, now)
    this.handshakeWorkUs = 0
  }

  /** The TUN gives packets of up to `present` bytes, and would of up to `wanted` if every path carried them. */
  handleMtu(wanted: number, present: number, now: Instant): void {
    this.mtuWanted = wanted
    this.mtuPresent = present
    followMtu(this, now)
  }

  /** The endpoints of a peer, by its place in the configuration, are these by now: see {@link followEndpoints}. */
  handleEndpoints(peer: number, endpoints: readonly Uint32Array[], now: Instant): void {
    followEndpoints(this.peers[peer]!, endpoints, now)
  }

  /** Says goodbye to every peer, so that they need not find out; drain pollTransmit afterwards. */
  close(now: Instant): void {
    for (const peer of this.peers) {
      const channel = peer.paths.find((path) => path.usable)?.channel
      if (channel) this.control.begin().frame(FrameKind.Close).sendOn(channel, false, now)
    }
  }

  // ---- what is to be done now --------------------------------------------------------------------------------------

  /** Appends sealed datagrams for `link` to `out`, as far as there is room. */
  pollTransmit(link: number, out: DatagramBatch, now: Instant): void {
    seal(this, this.links[link]!, out, now)
  }

  /** Whether `link` has more for {@link pollTransmit}. */
  hasTransmit(link: number): boolean {
    const { waiting, ready } = this.links[link]!
    return waiting > 0 || ready.length > 0
  }

  /** Moves packets for the TUN into `out`; their slots become the caller's. Returns how many. */
  pollDeliver(out: PacketBatch): number {
    return this.delivered.drainTo(out)
  }

  pollEvent(): Event | undefined {
    return this.events.shift()
  }

  nextTimeout(): Instant {
    let next = this.slowTickAt
    for (const peer of this.peers) {
      next = Math.min(next, peer.housekeepAt, peer.handshake.nextTimeout(), peer.roomAt)
      next = Math.min(next, peer.resequencer.nextTimeout(), peer.spacedAcks.dueAt)
      for (const session of peer.sessions) {
        if (session.answers.length > 0) next = Number.NEGATIVE_INFINITY
        else if (feedbackEarliest(session) < next) next = Math.min(next, feedbackDue(session))
      }
    }
    this.expectedTimeout = next
    return next
  }

  /** How many packets may be read from the TUN: none while memory is short, or a peer takes nothing more. */
  get tunRoom(): number {
    for (const peer of this.peers) if (peer.isStuck) return 0
    const free = this.pool.freeCount - this.pool.slotCount / 4
    return Math.max(0, Math.min(BATCH_PACKETS, Math.floor(free)))
  }

  // ---- sessions ----------------------------------------------------------------------------------------------------

  /** The session that packets with our index `index` belong to; the last one asked for costs one comparison. */
  findSession(index: number): Session | undefined {
    if (index !== this.lastIndex) {
      this.lastIndex = index
      this.lastSession = this.sessions.get(index)
    }
    return this.lastSession
  }

  startSession(peer: Peer, result: HandshakeResult, index: number, rekey: boolean, now: Instant): void {
    const session = new Session(
      peer,
      index,
      result.remoteIndex >>> INDEX_PATH_BITS,
      result.initiator,
      result.cipher,
      this.ciphers.key(result.cipher, result.sendKey),
      this.ciphers.key(result.cipher, result.receiveKey),
      result.remoteBootId.toString(16),
      result.remoteFeatures,
      now,
    )
    this.primitives.erase(result.sendKey)
    this.primitives.erase(result.receiveKey)
    this.sessions.set(index, session)
    this.lastIndex = -1
    if (rekey) peer.rekeys++
    if (session.initiator) {
      this.adopt(session, rekey, now)
      openChannels(session, now)
    } else {
      peer.addSession(session, now)
    }
    peer.housekeepAt = Math.min(peer.housekeepAt, now)
  }

  /** The initiator's first sealed packet came: its message was no replay, and what it said takes effect. */
  confirmSession(session: Session, now: Instant): void {
    session.confirmed = true
    const { peer } = session
    const at = peer.sessions.indexOf(session)
    if (at >= 0) peer.sessions.splice(at, 1)
    this.adopt(session, peer.current !== undefined, now)
    peer.handshake.confirmed()
  }

  /** A session that is proved: of another run of the far end, and everything kept of the former one starts anew. */
  private adopt(session: Session, rekey: boolean, now: Instant): void {
    const { peer } = session
    if (peer.remoteBootId !== session.remoteBootId) {
      const restarted = peer.remoteBootId !== ''
      peer.remoteBootId = session.remoteBootId
      for (const old of [...peer.sessions]) {
        if (old.remoteBootId !== session.remoteBootId && old.confirmed)
          this.endSession(old, 'the other end restarted', now)
      }
      peer.startAnew(now)
      if (restarted) this.emit({ kind: 'peer-restarted', at: now, peer: peer.name })
    }
    peer.follow(session)
    peer.addSession(session, now)
    const cipher = CIPHER_NAMES[session.cipher]
    this.emit({ kind: 'session', at: now, peer: peer.name, cipher, initiator: session.initiator, rekey })
  }

  endSession(session: Session, reason: string, now: Instant): void {
    if (session.destroyed) return
    const { peer } = session
    session.destroy()
    this.sessions.delete(session.localIndex)
    this.releaseIndex(session.localIndex)
    this.lastIndex = -1
    const at = peer.sessions.indexOf(session)
    if (at >= 0) peer.sessions.splice(at, 1)
    peer.chooseSession()
    peer.sessionEnded()
    if (session.confirmed && peer.current === undefined) {
      this.emit({ kind: 'session-ended', at: now, peer: peer.name, reason })
    }
  }

  handleSealedHandshake(channel: Channel, message: Uint8Array, now: Instant): void {
    handleSealedHandshake(this, channel, message, now)
  }

  /** Packet memory is used up: the oldest of what is kept for repair is let go. */
  relieve(): void {
    for (const peer of this.peers) {
      for (const session of peer.sessions) {
        for (const channel of session.channels) channel?.sent.relieve(RELIEF_SLOTS)
      }
    }
  }

  /** A session index nobody uses, at random: an index tells an observer nothing. */
  takeIndex(): number {
    assert(this.indices.size < SESSION_INDEX_LIMIT / 2, 'session indices are used up')
    for (;;) {
      const index = Math.floor(this.random.next() * SESSION_INDEX_LIMIT)
      if (this.indices.has(index)) continue
      this.indices.add(index)
      return index
    }
  }

  releaseIndex(index: number): void {
    this.indices.delete(index)
  }

  peerByKey(publicKey: Uint8Array): Peer | undefined {
    return this.peers.find((peer) => this.primitives.equal(peer.config.publicKey, publicKey))
  }

  /** Whether our public key is smaller than `other`: decides whose session both ends use. */
  keyBefore(other: Uint8Array): boolean {
    for (let i = 0; i < 32; i++) {
      const difference = this.identity.publicKey[i]! - other[i]!
      if (difference !== 0) return difference < 0
    }
    return false
  }

  emit(event: Event): void {
    if (this.events.length >= EVENTS_WAITING_MAX) this.events.shift()
    this.events.push(event)
  }

  private reportFor(peer: Peer, now: Instant): void {
    for (const session of peer.sessions) {
      while (session.answers.length > 0) sendFeedback(this, session, session.answers.pop()!, now)
      if (now >= feedbackEarliest(session) && now >= feedbackDue(session)) sendDueFeedback(this, session, now)
    }
  }

  private schedulePending(now: Instant): void {
    for (let i = 0; i < this.pendingCount; i++) {
      const peer = this.pendingPeers[i]!
      peer.pending = false
      schedule(this, peer, now)
    }
    this.pendingCount = 0
  }

  private reviewBusyShare(now: Instant): void {
    const share = Math.min(1, this.wakeUpsUs / Math.max(1, now - this.busyReviewedAt))
    this.busyShare += BUSY_WEIGHT * (share - this.busyShare)
    this.wakeUpsUs = 0
    this.busyReviewedAt = now
  }

  private slowTick(now: Instant): void {
    this.slowTickAt = now + SLOW_TICK_US
    this.reviewBusyShare(now)
    for (const peer of this.peers) {
      for (const session of [...peer.sessions]) {
        if (session.expired(now)) this.endSession(session, 'its key is too old', now)
        else if (!session.confirmed && now - session.createdAt > PENDING_SESSION_US)
          this.endSession(session, 'unconfirmed', now)
        else for (const channel of session.channels) channel?.sent.letGo(now - peer.repairAgeUs)
      }
      peer.handshake.consider(now)
      // Whoever waits for a peer that is away must not hold the memory that all share.
      if (peer.egress.packets > 0) peer.egress.expire(now)
      for (const path of peer.paths) {
        path.health.decayMargin()
        path.measure(now)
      }
      peer.reviewPaths(now)
      peer.contextsOut.review(peer.current?.remoteFeatures ?? 0, peer.bytesOut, this.busyShare, now)
      const { queuePaths } = peer
      peer.flows.review(queuePaths.capacityBytesPerSec, now)
      peer.egress.review(queuePaths, now)
      if (peer.sessions.length > 0 && peer.housekeepAt === NEVER) peer.housekeepAt = now
    }
  }
}
