import { assert } from '../base/assert.js'
import type { RandomSource } from '../base/prng.js'
import { type Instant, SECOND } from '../base/time.js'
import { CookieReply, Initiation, MAC_BYTES, MessageType, Response } from '../wire/message.js'
import { LoadGauge } from './load-gauge.js'
import { cookieKey, mac1Key, mac1Offset } from './mac.js'
import type { Primitives } from './primitives.js'
import { SourceLimiter } from './source-limiter.js'

/** Ours (WireGuard's figure): a cookie secret older than this is replaced, and its cookies are worth nothing. */
export const COOKIE_SECRET_LIFETIME_US = 120 * SECOND
const COOKIE_SECRET_BYTES = 32

export type GateVerdict = 'pass' | 'badLength' | 'badMac' | 'cookieRequired' | 'handshakeLimited'

/**
 * What every initiation and response must pass before anything dear is done for it. Holds no state of anybody who has
 * not proved his address. By verdict: `pass`, go on; `cookieRequired`, send {@link cookieReply} and forget the
 * message; any other, count it and stay silent.
 */
export class MacGate {
  readonly load = new LoadGauge()
  private readonly limiter = new SourceLimiter()
  private readonly mac1Key: Uint8Array
  private readonly cookieKey: Uint8Array
  private readonly secret = new Uint8Array(COOKIE_SECRET_BYTES)
  private secretUntil: Instant = Number.NEGATIVE_INFINITY

  constructor(
    private readonly primitives: Primitives,
    ownPublicKey: Uint8Array,
    private readonly random: RandomSource,
  ) {
    this.mac1Key = mac1Key(primitives, ownPublicKey)
    this.cookieKey = cookieKey(primitives, ownPublicKey)
  }

  /**
   * `source`: the first five words of the sender's address record (base/datagram-batch.ts); undefined for a message
   * that came sealed inside a live session, which is neither counted nor rationed.
   */
  check(message: Uint8Array, source: Uint32Array | undefined, now: Instant): GateVerdict {
    const at = mac1Offset(message)
    if (at < 0) return 'badLength'
    const mac1 = this.primitives.mac(this.mac1Key, message.subarray(0, at))
    if (!this.primitives.equal(mac1, message.subarray(at, at + MAC_BYTES))) return 'badMac'
    if (source === undefined) return 'pass'

    this.load.countHandshake(now)
    if (!this.load.underLoad(now)) return 'pass'
    const mac2 = this.primitives.mac(this.cookie(source, now), message.subarray(0, at + MAC_BYTES))
    if (!this.primitives.equal(mac2, message.subarray(at + MAC_BYTES))) return 'cookieRequired'
    return this.limiter.allow(source, now) ? 'pass' : 'handshakeLimited'
  }

  /** The answer to a message of verdict `cookieRequired`: shorter than it, so that nothing is amplified. */
  cookieReply(message: Uint8Array, source: Uint32Array, now: Instant): Uint8Array {
    const at = mac1Offset(message)
    assert(at >= 0, 'a cookie for something else than a handshake message')
    const indexAt = message[0] === MessageType.Initiation ? Initiation.senderIndex : Response.senderIndex
    const reply = new Uint8Array(CookieReply.bytes)
    reply[0] = MessageType.CookieReply
    reply.set(message.subarray(indexAt, indexAt + 3), CookieReply.receiverIndex)
    const nonce = reply.subarray(CookieReply.nonce, CookieReply.cookie)
    this.random.fill(nonce)
    const mac1 = message.subarray(at, at + MAC_BYTES)
    reply.set(
      this.primitives.sealX(this.cookieKey, nonce, mac1, this.cookie(source, now)),
      CookieReply.cookie,
    )
    return reply
  }

  private cookie(source: Uint32Array, now: Instant): Uint8Array {
    if (now >= this.secretUntil) {
      this.random.fill(this.secret)
      this.secretUntil = now + COOKIE_SECRET_LIFETIME_US
    }
    return this.primitives.mac(
      this.secret,
      new Uint8Array(source.buffer, source.byteOffset, source.byteLength),
    )
  }
}
