import { assert } from '../base/assert.js'
import { type Instant, SECOND } from '../base/time.js'
import { CookieReply, Initiation, MAC_BYTES, MessageType, Response, readIndex } from '../wire/message.js'
import type { HandshakeFailure } from './failure.js'
import { COOKIE_BYTES, cookieKey, mac1Key, mac1Offset } from './mac.js'
import type { Primitives } from './primitives.js'

/** Both ends: how long a cookie is worth keeping (WireGuard's figure). */
export const COOKIE_LIFETIME_US = 120 * SECOND
/** Ours: paths to one peer that may hold a cookie at once, the oldest goes first. */
const COOKIES_MAX = 64

/**
 * The macs that one remote end wants on our handshake messages, and the cookies it gave us. A cookie is worth
 * something only on the path it came by, since it proves our address there: the same message raced over several links
 * carries another mac2 on each. Paths are told apart by a number of the caller's.
 */
export class PeerMacs {
  private readonly mac1Key: Uint8Array
  private readonly cookieKey: Uint8Array
  private readonly cookies = new Map<number, { cookie: Uint8Array; until: Instant }>()

  constructor(
    private readonly primitives: Primitives,
    remotePublicKey: Uint8Array,
  ) {
    this.mac1Key = mac1Key(primitives, remotePublicKey)
    this.cookieKey = cookieKey(primitives, remotePublicKey)
  }

  /** Writes mac1, and zero for mac2. */
  writeMac1(message: Uint8Array): void {
    const at = mac1Offset(message)
    assert(at >= 0, 'a mac on something else than a handshake message')
    message.set(this.primitives.mac(this.mac1Key, message.subarray(0, at)), at)
    message.fill(0, at + MAC_BYTES)
  }

  /** Writes mac2 for `path`, right before the message is sent there: of a cookie if there is one, else zero. */
  writeMac2(message: Uint8Array, path: number, now: Instant): void {
    const at = mac1Offset(message) + MAC_BYTES
    assert(at >= MAC_BYTES, 'a mac on something else than a handshake message')
    const held = this.cookies.get(path)
    if (held !== undefined && now < held.until) {
      message.set(this.primitives.mac(held.cookie, message.subarray(0, at)), at)
    } else {
      this.cookies.delete(path)
      message.fill(0, at)
    }
  }

  /**
   * A cookie reply that came by `path`, to `message` (our newest initiation or response; its mac2 does not matter).
   * Returns undefined when the cookie was taken: it goes on the next message; nothing is to be sent at once.
   */
  handleCookieReply(
    reply: Uint8Array,
    message: Uint8Array,
    path: number,
    now: Instant,
  ): HandshakeFailure | undefined {
    if (reply[0] !== MessageType.CookieReply || reply.length !== CookieReply.bytes) return 'badLength'
    const at = mac1Offset(message)
    assert(at >= 0, 'a cookie for something else than a handshake message')
    const indexAt = message[0] === MessageType.Initiation ? Initiation.senderIndex : Response.senderIndex
    if (readIndex(reply, CookieReply.receiverIndex) !== readIndex(message, indexAt))
      return 'handshakeUnexpected'
    const cookie = this.primitives.openX(
      this.cookieKey,
      reply.subarray(CookieReply.nonce, CookieReply.cookie),
      message.subarray(at, at + MAC_BYTES),
      reply.subarray(CookieReply.cookie),
    )
    if (cookie?.length !== COOKIE_BYTES) return 'handshakeFailed'
    this.cookies.delete(path)
    if (this.cookies.size >= COOKIES_MAX) this.cookies.delete(this.cookies.keys().next().value!)
    this.cookies.set(path, { cookie, until: now + COOKIE_LIFETIME_US })
    return undefined
  }
}
