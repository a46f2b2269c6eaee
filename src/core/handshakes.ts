/** Handshake messages as they come in, in the open or sealed inside a live session. Nothing here is per packet. */
import { assert } from '../base/assert.js'
import { ADDRESS_REMOTE_WORDS } from '../base/datagram-batch.js'
import type { Instant } from '../base/time.js'
import { isFailure } from '../noise/failure.js'
import { consumeInitiation } from '../noise/handshake.js'
import {
  CookieReply,
  FrameKind,
  INDEX_PATH_BITS,
  Initiation,
  MessageType,
  Response,
  readIndex,
} from '../wire/message.js'
import { copyAddress } from './address.js'
import type { Device } from './device.js'
import { Drop, type DropReason } from './drop-reasons.js'
import type { Link } from './link.js'
import { findPath } from './path-set.js'
import type { Peer } from './peer.js'
import type { Channel } from './session.js'

/** How an answer goes back: as the message came. */
interface Return {
  send(message: Uint8Array): void
  /** Undefined when it came sealed. */
  source: Uint32Array | undefined
}

/** What a peer's initiation that has the right keys but the wrong psk tells the operator. */
const PSK_DIFFERS =
  'the other end has the right key but another preshared key (or only one end has any): make it the same at both ends'
/** What a wrong response tells him. */
const RESPONSE_FAULTS: Partial<Record<DropReason, string>> = {
  handshakeFailed: 'the answer does not decrypt: it was forged or damaged on its way',
  handshakeVersion: 'the other end speaks another version of the protocol',
}

export function handleHandshake(
  device: Device,
  link: Link,
  message: Uint8Array,
  addresses: Uint32Array,
  at: number,
  now: Instant,
): void {
  const remote = copyAddress(addresses, at)
  const source = remote.slice(0, ADDRESS_REMOTE_WORDS)
  const back: Return = { send: (answer) => link.pushReady(answer, remote), source }
  if (message[0] === MessageType.CookieReply) {
    handleCookieReply(device, link, message, addresses, at, now)
  } else {
    dispatch(device, message, back, now)
  }
}

/** A rekey: the answer goes back inside the session, on the same path. */
export function handleSealedHandshake(
  device: Device,
  channel: Channel,
  message: Uint8Array,
  now: Instant,
): void {
  const send = (answer: Uint8Array): void =>
    device.control.begin().frame(FrameKind.Handshake, answer).sendOn(channel, true, now)
  dispatch(device, message, { send, source: undefined }, now)
}

function dispatch(device: Device, message: Uint8Array, back: Return, now: Instant): void {
  const type = message[0]
  if (type !== MessageType.Initiation && type !== MessageType.Response) {
    device.drops.count(Drop.unknownType)
    return
  }
  if (message.length !== (type === MessageType.Initiation ? Initiation.bytes : Response.bytes)) {
    device.drops.count(Drop.badLength)
    return
  }
  const before = device.workClock()
  const verdict = device.gate.check(message, back.source, now)
  if (verdict === 'cookieRequired') back.send(device.gate.cookieReply(message, back.source!, now))
  if (verdict !== 'pass') {
    count(device, verdict)
    return
  }
  const failure =
    type === MessageType.Initiation
      ? handleInitiation(device, message, back, now)
      : handleResponse(device, message, now)
  if (failure) count(device, failure)
  device.handshakeWorkUs += device.workClock() - before
}

function handleInitiation(
  device: Device,
  message: Uint8Array,
  back: Return,
  now: Instant,
): DropReason | undefined {
  const seen = device.seen.lookUp(message, now)
  if (seen === 'handshakeReplayed') return seen
  if (seen !== 'new') {
    // The same message by another link: the same answer, since one session is to come of it.
    back.send(seen)
    return undefined
  }
  let peer: Peer | undefined
  const handshake = consumeInitiation(device.primitives, device.identity, message, device.random, (key) => {
    peer = device.peerByKey(key)
    return peer?.config.presharedKey
  })
  if (handshake === 'handshakePsk') peer!.handshake.failed(PSK_DIFFERS, now)
  if (isFailure(handshake)) return handshake
  assert(peer !== undefined, 'a handshake proved with the psk of no peer')
  const index = device.takeIndex()
  const answer = handshake.respond({
    macs: peer.handshake.macs,
    senderIndex: index << INDEX_PATH_BITS,
    offer: device.offer,
  })
  if (isFailure(answer)) {
    device.releaseIndex(index)
    return answer
  }
  device.seen.remember(message, answer.message, now)
  device.startSession(peer, answer.result, index, peer.current !== undefined, now)
  back.send(answer.message)
  return undefined
}

function handleResponse(device: Device, message: Uint8Array, now: Instant): DropReason | undefined {
  const at = Response.receiverIndex
  const index = readIndex(message, at) >>> INDEX_PATH_BITS
  const attempt = device.attempts.get(index)
  if (!attempt) return 'handshakeUnexpected'
  const result = attempt.handshake.consumeResponse(message)
  if (isFailure(result)) {
    attempt.peer.handshake.failed(RESPONSE_FAULTS[result] ?? result, now)
    return result
  }
  attempt.peer.handshake.succeeded(attempt.handshake, result, now)
  return undefined
}

/** Only initiations carry cookies: one for a response of ours names no attempt and is counted. */
function handleCookieReply(
  device: Device,
  link: Link,
  message: Uint8Array,
  addresses: Uint32Array,
  at: number,
  now: Instant,
): void {
  if (message.length !== CookieReply.bytes) {
    device.drops.count(Drop.badLength)
    return
  }
  const field = CookieReply.receiverIndex
  const index = readIndex(message, field) >>> INDEX_PATH_BITS
  const attempt = device.attempts.get(index)
  const path = attempt && findPath(attempt.peer, link, addresses, at)
  if (!attempt || !path) {
    device.drops.count(Drop.handshakeUnexpected)
    return
  }
  const failure = attempt.peer.handshake.cookie(message, attempt.handshake, path.id, now)
  if (failure) count(device, failure)
}

function count(device: Device, reason: DropReason): void {
  device.drops.count(Drop[reason])
}
