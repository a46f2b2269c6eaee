/**
 * The two macs at the end of a handshake message, after WireGuard (section 5.4.4 of its paper):
 * mac1 = mac(hash("plait 2 mac1" ‖ receiver's public key), message up to mac1) proves that the sender knows whom it
 * talks to; mac2 = mac(cookie, message up to mac2) that it receives at the address it sends from, and is zero without
 * a cookie. The receiver checks both before any Diffie-Hellman.
 */
import { Initiation, MessageType, Response } from '../wire/message.js'
import { ascii } from './noise.js'
import type { Primitives } from './primitives.js'

export const COOKIE_BYTES = 16
export const COOKIE_KEY_BYTES = 32

const LABEL_MAC1 = ascii('plait 2 mac1')
const LABEL_COOKIE = ascii('plait 2 cookie')

/** Key of mac1 on messages to the owner of `receiverPublicKey`, 64 bytes. */
export function mac1Key(primitives: Primitives, receiverPublicKey: Uint8Array): Uint8Array {
  return primitives.hash(LABEL_MAC1, receiverPublicKey)
}

/** Key of the cookie replies that the owner of `senderPublicKey` gives, 32 bytes. */
export function cookieKey(primitives: Primitives, senderPublicKey: Uint8Array): Uint8Array {
  return primitives.hash(LABEL_COOKIE, senderPublicKey).slice(0, COOKIE_KEY_BYTES)
}

/** Where mac1 starts, for an initiation or a response of the right length; -1 for anything else. */
export function mac1Offset(message: Uint8Array): number {
  if (message[0] === MessageType.Initiation && message.length === Initiation.bytes) return Initiation.mac1
  if (message[0] === MessageType.Response && message.length === Response.bytes) return Response.mac1
  return -1
}
