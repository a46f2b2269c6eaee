import { type Instant, NEVER } from '../base/time.js'
import { Feature } from '../wire/message.js'
import {
  EGRESS_BYTES_MAX,
  EGRESS_PACKETS_MAX,
  EGRESS_URGENT_US_MAX,
  EGRESS_US_MAX,
  FORMER_SESSION_US,
  FORMER_SESSIONS_MAX,
  HOLD_REPAIR_US_MAX,
  HOLD_US_MAX,
  PENDING_SESSIONS_MAX,
  SIMULTANEOUS_US,
  YOUNG_SESSIONS_MAX,
} from './constants.js'
import type { Device } from './device.js'
import { EgressQueue } from './egress-queue.js'
import { FlowTable } from './flow-table.js'
import { HandshakeDriver } from './handshake-driver.js'
import { IncomingContexts, OutgoingContexts } from './header-contexts.js'
import type { Link } from './link.js'
import type { Path } from './path.js'
import type { QueuePaths } from './queue-target.js'
import { RelativeClock } from './relative-clock.js'
import { Resequencer } from './resequencer.js'
import { REPAIR_AGE_US } from './retention.js'
import type { Scheduler } from './scheduler.js'
import { AdaptiveScheduler } from './schedulers/adaptive.js'
import { RedundantScheduler } from './schedulers/redundant.js'
import { WeightedScheduler } from './schedulers/weighted.js'
import type { Session } from './session.js'
import { SpacedAcks } from './spaced-acks.js'

/** A path carries bulk while it sends more than this share of what it could. */
const IN_USE_SHARE = 0.02

export interface PeerConfig {
  name: string
  publicKey: Uint8Array
  /** 32 bytes; zeros for none. */
  presharedKey: Uint8Array
  /** Address records (base/datagram-batch.ts); empty for a peer whose addresses are learnt. */
  endpoints: Uint32Array[]
  allowedIps: { family: 4 | 6; bytes: Uint8Array; bits: number }[]
  /** Heartbeat interval of an idle path, µs. */
  keepaliveUs: number
}

/** One remote end, known by its public key: its sessions, its paths, and what waits to go there or to be in order. */
export class Peer {
  readonly handshake: HandshakeDriver
  /** Every session whose keys still open packets, newest first. The one to send with is {@link current}. */
  readonly sessions: Session[] = []
  current: Session | undefined
  /** Boot id of the run that sequences now belong to. */
  remoteBootId = ''
  readonly paths: Path[] = []
  readonly scheduler: Scheduler
  readonly flows: FlowTable
  readonly egress: EgressQueue
  readonly resequencer: Resequencer
  readonly spacedAcks: SpacedAcks
  readonly clock = new RelativeClock()
  readonly contextsOut: OutgoingContexts
  readonly contextsIn: IncomingContexts

  /** Last data packet either way: decides how often idle paths are tried. */
  activeAt: Instant = Number.NEGATIVE_INFINITY
  /** Last authenticated packet. */
  heardAt: Instant = Number.NEGATIVE_INFINITY
  /** Last packet that asks for an answer, and the first of them since anything was heard. */
  askedAt: Instant = Number.NEGATIVE_INFINITY
  askedSince: Instant = 0
  /** When the newest feedback frame was made, in our terms (relative-clock.ts): never later than it truly was. */
  reportedAt: Instant = Number.NEGATIVE_INFINITY
  housekeepAt: Instant = NEVER
  /** Last time all paths were asked for evidence. */
  probedAt: Instant = Number.NEGATIVE_INFINITY
  /** Until then silence proves nothing, since we were late ourselves. */
  noVerdictUntil: Instant = Number.NEGATIVE_INFINITY
  rekeys = 0
  bytesOut = 0
  bytesIn = 0
  packetsOut = 0
  packetsIn = 0
  /** In the list of peers that have packets to schedule. */
  pending = false
  /** When a path may take what waits in the egress queue. */
  roomAt: Instant = NEVER
  /** Packets sent again. */
  repairs = 0

  constructor(
    readonly device: Device,
    readonly index: number,
    readonly config: PeerConfig,
    now: Instant,
  ) {
    const { pool, drops } = device
    this.scheduler = makeScheduler(device.config.scheduler)
    this.flows = new FlowTable(Math.floor(device.random.next() * 2 ** 32))
    const limits = {
      bytesMax: EGRESS_BYTES_MAX,
      packetsMax: EGRESS_PACKETS_MAX,
      ageUsMax: EGRESS_US_MAX,
      urgentAgeUsMax: EGRESS_URGENT_US_MAX,
    }
    this.egress = new EgressQueue(pool, drops, device.egressSlots, limits, this.scheduler.briefFlows)
    this.resequencer = new Resequencer(pool, drops, device.delivered, { holdUsMax: HOLD_US_MAX })
    this.spacedAcks = new SpacedAcks(pool, device.delivered)
    this.contextsOut = new OutgoingContexts(pool)
    this.contextsIn = new IncomingContexts(pool)
    this.handshake = new HandshakeDriver(this, now)
  }

  get name(): string {
    return this.config.name
  }

  /** A packet that asks for an answer goes out. */
  asked(now: Instant): void {
    if (this.askedAt <= this.heardAt) this.askedSince = now
    this.askedAt = now
  }

  pathsOnLink(link: Link): number {
    let count = 0
    for (const path of this.paths) if (path.link === link) count++
    return count
  }

  /** A session won by a handshake. It is used for sending once confirmed, see {@link chooseSession}. */
  addSession(session: Session, now: Instant): void {
    this.sessions.unshift(session)
    const pending = this.sessions.filter((each) => !each.confirmed)
    for (const old of pending.slice(PENDING_SESSIONS_MAX))
      this.device.endSession(old, 'too many unconfirmed', now)
    this.chooseSession()
    const former = this.sessions.filter((each) => each.confirmed && each !== this.current)
    former.forEach((old, newer) => {
      const isOld = newer >= FORMER_SESSIONS_MAX && now - old.createdAt > FORMER_SESSION_US
      if (isOld || newer >= YOUNG_SESSIONS_MAX) this.device.endSession(old, 'long replaced', now)
    })
  }

  /**
   * The session to send with: the newest confirmed one. Of two born at once, because both ends initiated, both ends
   * take the one initiated by the smaller public key, so that they agree.
   */
  chooseSession(): void {
    let best: Session | undefined
    for (const session of this.sessions) {
      if (!session.confirmed || session.destroyed) continue
      if (best === undefined || this.prefers(session, best)) best = session
    }
    this.current = best
  }

  /** Whether `a` is to be used rather than `b`. */
  prefers(a: Session, b: Session): boolean {
    if (Math.abs(a.createdAt - b.createdAt) < SIMULTANEOUS_US && a.initiator !== b.initiator) {
      return a.initiator === this.device.keyBefore(this.config.publicKey)
    }
    return a.createdAt > b.createdAt
  }

  /** Another run of the far end: sequences, order and delays of the former one mean nothing any more. */
  startAnew(now: Instant): void {
    this.flows.reset()
    this.egress.startAnew(now)
    this.resequencer.reset(now)
    this.clock.reset()
    this.contextsOut.reset()
    this.contextsIn.reset()
    for (const path of this.paths) {
      path.health.reset()
      path.rate.resetDelays()
    }
  }

  /** The other end's way of sending decides how long a hole is worth waiting for. */
  follow(session: Session): void {
    this.resequencer.repairs = (session.remoteFeatures & Feature.Repairs) !== 0
    const wishes = session.remoteFeatures | this.device.offer.features
    this.resequencer.equalise = (wishes & Feature.Equalise) !== 0
    this.resequencer.holdUsMax = this.resequencer.repairs ? HOLD_REPAIR_US_MAX : HOLD_US_MAX
  }

  /** A lost packet is worth sending again until it is this old. */
  get repairAgeUs(): number {
    let slowest = 0
    for (const path of this.paths)
      if (path.usable) slowest = Math.max(slowest, path.health.rtt.smoothedUs || 0)
    return Math.max(REPAIR_AGE_US, slowest + 100_000)
  }

  /**
   * Much waits, and no socket takes it: the machine is the limit, and what is to come waits better where it comes from.
   * Bulk that waits for slow paths is not stuck: it waits by itself, and loses what is too much (`egressFull`), while a
   * call beside it goes at once.
   */
  get isStuck(): boolean {
    const { bytes, packets } = this.egress
    if (bytes <= EGRESS_BYTES_MAX / 2 && packets <= EGRESS_PACKETS_MAX / 2) return false
    let isUsable = false
    for (const { usable, link } of this.paths) {
      if (usable && link.hasRoom) return false
      if (usable) isUsable = true
    }
    return isUsable
  }

  /** Called a few times a second; tells what of the paths is left out since the last time, or used again. */
  reviewPaths(now: Instant): void {
    this.scheduler.review(this.resequencer.equalise, now)
    for (const path of this.paths) {
      const { leftOut, leftOutTold, usable, name } = path
      if (leftOut === leftOutTold || !usable) continue
      path.leftOutTold = leftOut
      this.device.emit({ kind: 'path-left-out', at: now, peer: this.name, path: name, leftOut })
    }
  }

  /** What the egress queue has to know of the paths. */
  get queuePaths(): QueuePaths {
    let roundTripUs = 0
    let bytesPerSec = 0
    let capacityBytesPerSec = 0
    for (const { usable, leftOut, rate, rateOutBytesPerSec } of this.paths) {
      if (!usable) continue
      if (rateOutBytesPerSec > IN_USE_SHARE * rate.rateBytesPerSec)
        roundTripUs = Math.max(roundTripUs, rate.rttUsMin)
      if (!leftOut && !rate.startup) bytesPerSec += rate.rateBytesPerSec
      if (this.scheduler.repairs) capacityBytesPerSec += rate.rateBytesPerSec
    }
    return { roundTripUs, bytesPerSec, capacityBytesPerSec, waitUs: this.scheduler.waitUsMax }
  }

  /** A session ended: paths must not go on using it. */
  sessionEnded(): void {
    for (const path of this.paths) if (path.channel?.session.destroyed) path.useChannel(undefined)
    this.housekeepAt = Number.NEGATIVE_INFINITY
    this.pathsChanged()
  }

  /** The set of usable paths changed. When none is well, suspect ones are better than nothing. */
  pathsChanged(): void {
    let usable = this.paths.filter((path) => path.usable)
    if (usable.length === 0) usable = this.paths.filter((path) => path.state === 'suspect' && path.channel)
    this.scheduler.setPaths(usable)
    this.resequencer.setPaths(this.paths.filter((path) => path.usable).map((path) => path.id))
  }
}

function makeScheduler(name: 'adaptive' | 'weighted' | 'redundant'): Scheduler {
  if (name === 'redundant') return new RedundantScheduler()
  return name === 'weighted' ? new WeightedScheduler() : new AdaptiveScheduler()
}
