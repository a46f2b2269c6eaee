import { type Instant, NEVER, SECOND } from '../base/time.js'
import { type HandshakeFailure, isFailure } from '../noise/failure.js'
import { type HandshakeResult, InitiatorHandshake } from '../noise/handshake.js'
import { PeerMacs } from '../noise/peer-macs.js'
import { FrameKind, INDEX_PATH_BITS } from '../wire/message.js'
import {
  HANDSHAKE_ATTEMPT_US,
  HANDSHAKE_FAILURE_EVENT_US,
  HANDSHAKE_JITTER_US,
  HANDSHAKE_RETRY_US,
  HANDSHAKE_RETRY_US_MAX,
  SILENCE_HANDSHAKE_US,
} from './constants.js'
import type { Peer } from './peer.js'

/** The responder renews keys too, but lets the initiator go first. */
const RESPONDER_REKEY_LAG_US = 15 * SECOND
/** Tries inside the live session before the handshake goes out in the open, on every link. */
const SEALED_TRIES = 3

const NO_ANSWER =
  'no answer: the other end is not running or not reachable, or a public key or the preshared key is wrong at one end'

/** Starts handshakes with one peer and repeats them until one succeeds: first contact, rekey, a far end that restarted. */
export class HandshakeDriver {
  readonly macs: PeerMacs
  /** Attempts whose response may still come, newest first. */
  private attempts: { handshake: InitiatorHandshake; until: Instant }[] = []
  private retryAt: Instant = NEVER
  private retryUs = HANDSHAKE_RETRY_US
  private tries = 0
  private sealed = false
  /** When the present tries began, and whether the operator knows that nobody answers them. */
  private begunAt: Instant = 0
  private toldOfSilence = false
  /** When each failure was last told of, by its text: there are few of them. */
  private readonly toldAt = new Map<string, Instant>()

  constructor(
    private readonly peer: Peer,
    now: Instant,
  ) {
    this.macs = new PeerMacs(peer.device.primitives, peer.config.publicKey)
    if (peer.config.endpoints.length > 0) this.begin(false, now)
  }

  get inProgress(): boolean {
    return this.retryAt !== NEVER
  }

  /** `sealed`: inside the live session, as a rekey is. Does nothing while a handshake is in progress. */
  begin(sealed: boolean, now: Instant): void {
    if (this.inProgress) return
    this.sealed = sealed
    this.tries = 0
    this.begunAt = now
    this.toldOfSilence = false
    this.retryUs = HANDSHAKE_RETRY_US
    // Not at once: the caller is in the middle of something.
    this.retryAt = now
  }

  nextTimeout(): Instant {
    return this.retryAt
  }

  handleTimeout(now: Instant): void {
    while (this.attempts.length > 0 && this.attempts.at(-1)!.until <= now)
      this.drop(this.attempts.pop()!.handshake)
    if (now >= this.retryAt) this.attempt(now)
  }

  /** Whether keys are to be renewed, or the far end may have restarted. Called now and then. */
  consider(now: Instant): void {
    const { peer } = this
    const session = peer.current
    if (this.inProgress) return
    if (session === undefined) {
      if (peer.paths.some((path) => path.configured || peer.egress.packets > 0)) this.begin(false, now)
      return
    }
    const { rekeyAfterUs, rekeyAfterPackets } = peer.device
    const lag = session.initiator ? 0 : Math.min(RESPONDER_REKEY_LAG_US, rekeyAfterUs / 2)
    const used = now - session.createdAt >= rekeyAfterUs + lag || session.packetsSent >= rekeyAfterPackets
    if (used || (session.initiator && session.lacksIds)) {
      if (now - peer.heardAt < SILENCE_HANDSHAKE_US) this.begin(true, now)
    }
    // Nothing heard at all though something was asked: the other end may have lost our session.
    const silent =
      peer.askedAt > peer.heardAt && now - Math.max(peer.heardAt, peer.askedSince) > SILENCE_HANDSHAKE_US
    if (silent) this.begin(false, now)
  }

  private attempt(now: Instant): void {
    const { peer } = this
    const { device } = peer
    this.tellOfSilence(now)
    this.tries++
    if (this.tries > SEALED_TRIES) this.sealed = false
    this.retryAt = now + this.retryUs + device.random.next() * HANDSHAKE_JITTER_US
    this.retryUs = Math.min(HANDSHAKE_RETRY_US_MAX, this.retryUs * 2)
    const senderIndex = device.takeIndex()
    const handshake = InitiatorHandshake.start(device.primitives, {
      identity: device.identity,
      remotePublicKey: peer.config.publicKey,
      macs: this.macs,
      psk: peer.config.presharedKey,
      senderIndex: senderIndex << INDEX_PATH_BITS,
      offer: device.offer,
      random: device.random,
    })
    if (isFailure(handshake)) {
      // The configured public key is no usable point: configuration refuses the known ones, and trying on is harmless.
      device.releaseIndex(senderIndex)
      return
    }
    device.attempts.set(senderIndex, { peer, handshake })
    this.attempts.unshift({ handshake, until: now + HANDSHAKE_ATTEMPT_US })
    this.transmit(handshake.message, now)
  }

  private transmit(message: Uint8Array, now: Instant): void {
    const { peer } = this
    const { device } = peer
    if (this.sealed) {
      this.macs.writeMac2(message, 0, now)
      for (const path of peer.paths) {
        if (path.usable)
          device.control.begin().frame(FrameKind.Handshake, message).sendOn(path.channel!, true, now)
      }
      return
    }
    // Configured paths exist for every link × endpoint; learnt ones are where the peer was last seen.
    for (const path of peer.paths) {
      this.macs.writeMac2(message, path.id, now)
      path.link.pushReady(message.slice(), path.remote)
    }
  }

  /** A response to one of our attempts that proved genuine. */
  succeeded(handshake: InitiatorHandshake, result: HandshakeResult, now: Instant): void {
    const { peer } = this
    const { device } = peer
    const rekey = peer.current !== undefined
    const index = handshake.senderIndex >>> INDEX_PATH_BITS
    device.attempts.delete(index)
    this.attempts = this.attempts.filter((attempt) => attempt.handshake !== handshake)
    this.stop()
    device.startSession(peer, result, index, rekey, now)
  }

  /**
   * Once for all tries: a peer that is away for a day is no news every minute. Where a session is alive the keys were
   * right, and the paths say what became of it.
   */
  private tellOfSilence(now: Instant): void {
    const { peer } = this
    if (this.toldOfSilence || now - this.begunAt <= HANDSHAKE_ATTEMPT_US) return
    if (peer.current === undefined && peer.paths.length > 0) this.toldOfSilence = this.failed(NO_ANSWER, now)
  }

  /**
   * A handshake with this peer failed, for the operator to know, unless he was just told the same. Attempts go on:
   * whoever made a wrong response need not be the peer. Returns whether he was told.
   */
  failed(reason: string, now: Instant): boolean {
    const { peer } = this
    if (now - (this.toldAt.get(reason) ?? Number.NEGATIVE_INFINITY) < HANDSHAKE_FAILURE_EVENT_US) return false
    this.toldAt.set(reason, now)
    peer.device.emit({ kind: 'handshake-failed', at: now, peer: peer.name, reason })
    return true
  }

  /** A cookie reply that names one of our attempts. */
  cookie(
    reply: Uint8Array,
    handshake: InitiatorHandshake,
    pathId: number,
    now: Instant,
  ): HandshakeFailure | undefined {
    return this.macs.handleCookieReply(reply, handshake.message, pathId, now)
  }

  /** A session that the other end initiated is proved: trying on our own would only make a second one. */
  confirmed(): void {
    if (this.inProgress) this.stop()
  }

  /** Forgets every attempt, as when a session came about otherwise. */
  stop(): void {
    for (const attempt of this.attempts) this.drop(attempt.handshake)
    this.attempts = []
    this.retryAt = NEVER
  }

  private drop(handshake: InitiatorHandshake): void {
    const index = handshake.senderIndex >>> INDEX_PATH_BITS
    handshake.erase()
    this.peer.device.attempts.delete(index)
    this.peer.device.releaseIndex(index)
  }
}
