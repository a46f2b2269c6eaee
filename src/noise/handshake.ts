/**
 * plait's handshake, Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b with message frames of wire/message.ts, as building blocks
 * without clock, timers or tables. Whoever holds the peers (core/peer.ts) calls them in this order.
 *
 * Initiator
 *   1. `InitiatorHandshake.start`: `message` is the same for all links.
 *   2. for each path `peerMacs.writeMac2(message, path, now)`, send. To retry, start anew; the old one may be kept
 *      a while, for its answer may be under way.
 *   3. a response whose receiver index is ours: `gate.check`, then `consumeResponse`. A failure leaves everything
 *      as it was: count it and wait on, the genuine response may still come. A cookie reply:
 *      `peerMacs.handleCookieReply` with `message`, then wait for the next retry.
 *   4. `erase` when done or given up.
 * Responder
 *   1. `gate.check`; at `cookieRequired` send `gate.cookieReply`.
 *   2. `seen.lookUp`: send the answer found again, or go on.
 *   3. `consumeInitiation`: reads and proves the message, with the psk of the peer it names, and changes nothing
 *      anywhere. After a failure count it and forget the message: nothing is answered.
 *   4. find the peer by `remotePublicKey`, check its limits, `respond`, `seen.remember` with the answer
 *      (without one if the peer is over its limits), send. Keys go into a pending slot until the initiator's first
 *      sealed packet proves that the message was no replay; `remoteBootId` and the like take effect then.
 *   5. `erase` if it was not answered (`respond` erases by itself).
 *
 * The prologue is "plait 2" and the clear bytes before message 1, so a changed sender index is a failed handshake even
 * for somebody who can make macs; the clear bytes before message 2 are mixed into the hash ahead of it alike.
 */
import { assert } from '../base/assert.js'
import type { RandomSource } from '../base/prng.js'
import {
  Cipher,
  HandshakePayload,
  INDEX_PATH_BITS,
  INDEX_SESSION_BITS,
  Initiation,
  InitiationPayload,
  MessageType,
  PATH_IDS,
  Response,
  readIndex,
  VERSION,
  writeIndex,
} from '../wire/message.js'
import type { HandshakeFailure } from './failure.js'
import { ascii, HandshakeState } from './noise.js'
import type { PeerMacs } from './peer-macs.js'
import type { Primitives } from './primitives.js'
import { pskProof } from './psk-proof.js'

export const PROLOGUE = 'plait 2'
const PSK_BYTES = 32
const INDEX_LIMIT = 1 << (INDEX_SESSION_BITS + INDEX_PATH_BITS)

/** Our long-term key pair, 32 bytes each. */
export interface Identity {
  privateKey: Uint8Array
  publicKey: Uint8Array
}

/** What an end says of itself inside the handshake. */
export interface Offer {
  /** {@link Cipher} set of what this end does well; ChaCha20Poly1305 is always in it. */
  ciphers: number
  /** 16 bits. */
  features: number
  /** 64 random bits of this run of the program. */
  bootId: bigint
}

/** A handshake that succeeded: all that a session needs. */
export interface HandshakeResult {
  initiator: boolean
  remotePublicKey: Uint8Array
  /** The other end's index of the session, 24 bits with path bits 0: receiver index of what we send. */
  remoteIndex: number
  /** 32 bytes each; the caller erases them. */
  sendKey: Uint8Array
  receiveKey: Uint8Array
  /** 64 bytes, the same at both ends and never again. */
  handshakeHash: Uint8Array
  remoteBootId: bigint
  remoteFeatures: number
  cipher: Cipher
}

/** The initiator's side of one attempt. */
export class InitiatorHandshake {
  private constructor(
    private state: HandshakeState | undefined,
    private readonly offer: Offer,
    readonly senderIndex: number,
    /** {@link Initiation}.bytes with mac1; mac2 is written before each sending. */
    readonly message: Uint8Array,
  ) {}

  /** `senderIndex`: session index with path bits 0. `handshakeFailed`: the remote key is no usable point. */
  static start(
    primitives: Primitives,
    options: {
      identity: Identity
      remotePublicKey: Uint8Array
      /** Macs of the same remote end. */
      macs: PeerMacs
      /** 32 bytes, zeros if none was agreed on. */
      psk: Uint8Array
      senderIndex: number
      offer: Offer
      random: RandomSource
    },
  ): InitiatorHandshake | HandshakeFailure {
    const { identity, remotePublicKey, macs, psk, senderIndex, offer, random } = options
    assertIndex(senderIndex)
    assertPsk(psk)
    assert((offer.ciphers & Cipher.ChaCha20Poly1305) !== 0, 'every end offers ChaCha20-Poly1305')
    const message = new Uint8Array(Initiation.bytes)
    message[0] = MessageType.Initiation
    writeIndex(message, Initiation.senderIndex, senderIndex)
    const state = new HandshakeState(primitives, {
      pattern: 'IKpsk2',
      initiator: true,
      prologue: prologueOf(message),
      ...identity,
      remotePublicKey,
      random,
    })
    state.setPsk(psk)
    const noise = state.writeMessage((hash) => {
      const payload = new Uint8Array(InitiationPayload.bytes)
      writePayload(payload, offer, offer.ciphers)
      const proven = payload.subarray(0, InitiationPayload.pskProof)
      payload.set(pskProof(primitives, psk, hash, proven), InitiationPayload.pskProof)
      return payload
    })
    if (noise === undefined) {
      state.erase()
      return 'handshakeFailed'
    }
    assert(noise.length === Initiation.noiseBytes, 'the size of message 1 in wire/message.ts is wrong')
    message.set(noise, Initiation.noise)
    macs.writeMac1(message)
    return new InitiatorHandshake(state, offer, senderIndex, message)
  }

  /** `message`: a response that passed the gate. A failure leaves the attempt open; success closes it. */
  consumeResponse(message: Uint8Array): HandshakeResult | HandshakeFailure {
    if (message[0] !== MessageType.Response || message.length !== Response.bytes) return 'badLength'
    if (this.state === undefined) return 'handshakeUnexpected'
    if (readIndex(message, Response.receiverIndex) !== this.senderIndex) return 'handshakeUnexpected'
    const noise = message.subarray(Response.noise, Response.noise + Response.noiseBytes)
    const bytes = this.state.readMessage(noise, message.subarray(0, Response.noise))
    if (bytes === undefined) return 'handshakeFailed'

    const payload = readPayload(bytes)
    const remoteIndex = readIndex(message, Response.senderIndex)
    const offered = (payload.ciphers & this.offer.ciphers) === payload.ciphers
    // From here on the response is genuine: no other will come, whatever it says.
    if (payload.version !== VERSION || !isCipher(payload.ciphers) || !offered || pathOf(remoteIndex) !== 0) {
      this.erase()
      return 'handshakeVersion'
    }
    const result = finish(this.state, true, remoteIndex, payload, payload.ciphers)
    this.erase()
    return result
  }

  /** Still waiting for a response. */
  get open(): boolean {
    return this.state !== undefined
  }

  erase(): void {
    this.state?.erase()
    this.state = undefined
  }
}

/**
 * Reads and proves an initiation that passed the gate. `pskOf` gives the pre-shared key of a configured peer, zeros if
 * none was agreed on, undefined for a public key that is not configured; it is asked before the sender has proved to own
 * the key, so it must have no effect. `handshakePsk`: he has proved that, and has another psk.
 */
export function consumeInitiation(
  primitives: Primitives,
  identity: Identity,
  message: Uint8Array,
  random: RandomSource,
  pskOf: (remotePublicKey: Uint8Array) => Uint8Array | undefined,
): ResponderHandshake | HandshakeFailure {
  if (message[0] !== MessageType.Initiation || message.length !== Initiation.bytes) return 'badLength'
  const state = new HandshakeState(primitives, {
    pattern: 'IKpsk2',
    initiator: false,
    prologue: prologueOf(message),
    ...identity,
    random,
  })
  let psk: Uint8Array | undefined
  let named = false
  const bytes = state.readMessage(
    message.subarray(Initiation.noise, Initiation.noise + Initiation.noiseBytes),
    undefined,
    (remotePublicKey) => {
      named = true
      psk = pskOf(remotePublicKey)
      return psk !== undefined
    },
  )
  const refuse = (failure: HandshakeFailure): HandshakeFailure => {
    state.erase()
    return failure
  }
  if (named && psk === undefined) return refuse('handshakeUnknownPeer')
  if (bytes === undefined || psk === undefined) return refuse('handshakeFailed')
  const remoteIndex = readIndex(message, Initiation.senderIndex)
  const payload = readPayload(bytes)
  if (payload.version !== VERSION || pathOf(remoteIndex) !== 0) return refuse('handshakeVersion')
  assertPsk(psk)
  const at = InitiationPayload.pskProof
  const proof = pskProof(primitives, psk, state.payloadHash, bytes.subarray(0, at))
  if (!primitives.equal(proof, bytes.subarray(at))) return refuse('handshakePsk')
  state.setPsk(psk)
  return new ResponderHandshake(state, remoteIndex, payload)
}

/** The responder's side: an initiation that was read and proved, waiting for its answer. */
export class ResponderHandshake {
  readonly remotePublicKey: Uint8Array

  /** Made by {@link consumeInitiation}; `state` has the psk. */
  constructor(
    private state: HandshakeState | undefined,
    readonly remoteIndex: number,
    readonly payload: Readonly<Payload>,
  ) {
    this.remotePublicKey = state!.remotePublicKey!
  }

  /**
   * Answers, once: the message ({@link Response}.bytes with mac1; mac2 is written before each sending) and the session
   * it opens. Failures: no cipher in common, or an unusable ephemeral key.
   */
  respond(options: {
    /** Macs of the same remote end. */
    macs: PeerMacs
    senderIndex: number
    offer: Offer
  }): { message: Uint8Array; result: HandshakeResult } | HandshakeFailure {
    const { macs, senderIndex, offer } = options
    assertIndex(senderIndex)
    const state = this.state
    assert(state !== undefined, 'a handshake answered twice, or after it was erased')
    const cipher = chooseCipher(this.payload.ciphers, offer.ciphers)
    if (cipher === undefined) {
      this.erase()
      return 'handshakeVersion'
    }
    const message = new Uint8Array(Response.bytes)
    message[0] = MessageType.Response
    writeIndex(message, Response.receiverIndex, this.remoteIndex)
    writeIndex(message, Response.senderIndex, senderIndex)
    state.bind(message.subarray(0, Response.noise))
    const payload = new Uint8Array(HandshakePayload.bytes)
    writePayload(payload, offer, cipher)
    const noise = state.writeMessage(payload)
    if (noise === undefined) {
      this.erase()
      return 'handshakeFailed'
    }
    assert(noise.length === Response.noiseBytes, 'the size of message 2 in wire/message.ts is wrong')
    message.set(noise, Response.noise)
    macs.writeMac1(message)
    const result = finish(state, false, this.remoteIndex, this.payload, cipher)
    this.erase()
    return { message, result }
  }

  erase(): void {
    this.state?.erase()
    this.state = undefined
  }
}

/** AES-256-GCM when both ends do it well, which is when both offer it; else ChaCha20-Poly1305. */
export function chooseCipher(offered: number, own: number): Cipher | undefined {
  const common = offered & own
  if ((common & Cipher.Aes256Gcm) !== 0) return Cipher.Aes256Gcm
  if ((common & Cipher.ChaCha20Poly1305) !== 0) return Cipher.ChaCha20Poly1305
  return undefined
}

interface Payload {
  version: number
  ciphers: number
  features: number
  bootId: bigint
}

/** Writes {@link HandshakePayload} to the start of `bytes`. */
function writePayload(bytes: Uint8Array, offer: Offer, ciphers: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  view.setUint8(HandshakePayload.version, VERSION)
  view.setUint8(HandshakePayload.ciphers, ciphers)
  view.setUint16(HandshakePayload.features, offer.features, true)
  view.setBigUint64(HandshakePayload.bootId, offer.bootId, true)
}

/** `bytes` begins with a {@link HandshakePayload}, since the lengths of the messages are fixed. */
function readPayload(bytes: Uint8Array): Payload {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    version: view.getUint8(HandshakePayload.version),
    ciphers: view.getUint8(HandshakePayload.ciphers),
    features: view.getUint16(HandshakePayload.features, true),
    bootId: view.getBigUint64(HandshakePayload.bootId, true),
  }
}

function finish(
  state: HandshakeState,
  initiator: boolean,
  remoteIndex: number,
  payload: Payload,
  cipher: Cipher,
): HandshakeResult {
  return {
    initiator,
    remotePublicKey: state.remotePublicKey!,
    remoteIndex,
    ...state.split(),
    handshakeHash: state.handshakeHash,
    remoteBootId: payload.bootId,
    remoteFeatures: payload.features,
    cipher,
  }
}

/** `message`: an initiation. */
function prologueOf(message: Uint8Array): Uint8Array {
  const name = ascii(PROLOGUE)
  const prologue = new Uint8Array(name.length + Initiation.noise)
  prologue.set(name)
  prologue.set(message.subarray(0, Initiation.noise), name.length)
  return prologue
}

function isCipher(bits: number): bits is Cipher {
  return bits === Cipher.ChaCha20Poly1305 || bits === Cipher.Aes256Gcm
}

function pathOf(index: number): number {
  return index & (PATH_IDS - 1)
}

function assertIndex(index: number): void {
  assert(
    index >= 0 && index < INDEX_LIMIT && pathOf(index) === 0,
    'a sender index with path bits or too large',
  )
}

function assertPsk(psk: Uint8Array): void {
  assert(psk.length === PSK_BYTES, 'a pre-shared key has 32 bytes')
}
