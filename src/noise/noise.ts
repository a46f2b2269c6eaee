/**
 * The Noise Protocol Framework, revision 34, as far as plait needs it: CipherState, SymmetricState and HandshakeState
 * of sections 5 and 9, patterns IK and IKpsk2, X25519 and ChaChaPoly, the hash as the primitives have it. Names of
 * operations are the specification's.
 */
import { assert } from '../base/assert.js'
import { joinBytes } from '../base/bytes.js'
import type { RandomSource } from '../base/prng.js'
import { KEY_BYTES, NONCE_BYTES, type Primitives, TAG_BYTES } from './primitives.js'

export const DH_BYTES = 32
const NOTHING = new Uint8Array(0)

type Token = 'e' | 's' | 'ee' | 'es' | 'se' | 'ss' | 'psk'
/** Both patterns have the pre-message `<- s`. Section 7.5 and section 9.4. */
const PATTERNS = {
  IK: [
    ['e', 'es', 's', 'ss'],
    ['e', 'ee', 'se'],
  ],
  IKpsk2: [
    ['e', 'es', 's', 'ss'],
    ['e', 'ee', 'se', 'psk'],
  ],
} as const satisfies Record<string, readonly (readonly Token[])[]>
export type Pattern = keyof typeof PATTERNS

/** A key and its nonce counter. Without a key (before the first MixKey) it passes plaintext through. */
export class CipherState {
  private counter = 0
  private readonly nonce = new Uint8Array(NONCE_BYTES)

  constructor(
    private readonly primitives: Primitives,
    /** Owned by this object; erased by {@link erase}. */
    private key: Uint8Array | undefined = undefined,
  ) {}

  get hasKey(): boolean {
    return this.key !== undefined
  }

  initializeKey(key: Uint8Array): void {
    this.erase()
    this.key = key
    this.counter = 0
  }

  encryptWithAd(associated: Uint8Array, plaintext: Uint8Array): Uint8Array {
    if (this.key === undefined) return plaintext.slice()
    const ciphertext = this.primitives.seal(this.key, this.nonceOf(this.counter), associated, plaintext)
    this.counter++
    return ciphertext
  }

  /** Undefined when the tag is wrong; the counter then stays where it was. */
  decryptWithAd(associated: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined {
    if (this.key === undefined) return ciphertext.slice()
    const plaintext = this.primitives.open(this.key, this.nonceOf(this.counter), associated, ciphertext)
    if (plaintext !== undefined) this.counter++
    return plaintext
  }

  clone(): CipherState {
    const copy = new CipherState(this.primitives, this.key?.slice())
    copy.counter = this.counter
    return copy
  }

  erase(): void {
    if (this.key !== undefined) this.primitives.erase(this.key)
    this.key = undefined
  }

  /** ChaChaPoly, section 12.3: 32 bits of zeros and the counter as 64 bits, little-endian. */
  private nonceOf(counter: number): Uint8Array {
    assert(counter < Number.MAX_SAFE_INTEGER, 'nonces of a handshake key used up')
    const view = new DataView(this.nonce.buffer)
    view.setUint32(4, counter >>> 0, true)
    view.setUint32(8, Math.floor(counter / 2 ** 32), true)
    return this.nonce
  }
}

/** Chaining key, handshake hash and the cipher that the handshake encrypts with. */
export class SymmetricState {
  private chainingKey: Uint8Array
  /** h: what both ends have said so far. Not secret. */
  hash: Uint8Array
  private readonly cipher: CipherState

  private constructor(
    private readonly primitives: Primitives,
    chainingKey: Uint8Array,
    hash: Uint8Array,
    cipher: CipherState,
  ) {
    this.chainingKey = chainingKey
    this.hash = hash
    this.cipher = cipher
  }

  static initialize(primitives: Primitives, protocolName: string): SymmetricState {
    const name = ascii(protocolName)
    let hash: Uint8Array
    if (name.length <= primitives.hashBytes) {
      hash = new Uint8Array(primitives.hashBytes)
      hash.set(name)
    } else hash = primitives.hash(name)
    return new SymmetricState(primitives, hash.slice(), hash, new CipherState(primitives))
  }

  mixKey(input: Uint8Array): void {
    const [chainingKey, key] = hkdf(this.primitives, this.chainingKey, input, 2)
    this.advance(chainingKey!)
    this.cipher.initializeKey(this.truncate(key!))
  }

  mixHash(data: Uint8Array): void {
    this.hash = this.primitives.hash(this.hash, data)
  }

  mixKeyAndHash(input: Uint8Array): void {
    const [chainingKey, hash, key] = hkdf(this.primitives, this.chainingKey, input, 3)
    this.advance(chainingKey!)
    this.mixHash(hash!)
    this.primitives.erase(hash!)
    this.cipher.initializeKey(this.truncate(key!))
  }

  encryptAndHash(plaintext: Uint8Array): Uint8Array {
    const ciphertext = this.cipher.encryptWithAd(this.hash, plaintext)
    this.mixHash(ciphertext)
    return ciphertext
  }

  decryptAndHash(ciphertext: Uint8Array): Uint8Array | undefined {
    const plaintext = this.cipher.decryptWithAd(this.hash, ciphertext)
    if (plaintext !== undefined) this.mixHash(ciphertext)
    return plaintext
  }

  /** Bytes that encryption adds at this point. */
  get tagBytes(): number {
    return this.cipher.hasKey ? TAG_BYTES : 0
  }

  /** The two transport keys, 32 bytes each: first of the initiator's direction, then of the responder's. */
  split(): [Uint8Array, Uint8Array] {
    const [first, second] = hkdf(this.primitives, this.chainingKey, NOTHING, 2)
    return [this.truncate(first!), this.truncate(second!)]
  }

  clone(): SymmetricState {
    return new SymmetricState(this.primitives, this.chainingKey.slice(), this.hash, this.cipher.clone())
  }

  erase(): void {
    this.primitives.erase(this.chainingKey)
    this.cipher.erase()
  }

  private advance(chainingKey: Uint8Array): void {
    this.primitives.erase(this.chainingKey)
    this.chainingKey = chainingKey
  }

  private truncate(secret: Uint8Array): Uint8Array {
    if (secret.length === KEY_BYTES) return secret
    const key = secret.slice(0, KEY_BYTES)
    this.primitives.erase(secret)
    return key
  }
}

export interface HandshakeOptions {
  pattern: Pattern
  initiator: boolean
  prologue: Uint8Array
  /** s: our key pair. Not copied and never erased here. */
  privateKey: Uint8Array
  publicKey: Uint8Array
  /** rs: known beforehand to the initiator, learnt from message 1 by the responder. */
  remotePublicKey?: Uint8Array | undefined
  random: RandomSource
}

/**
 * One handshake of two messages. A message that cannot be read changes nothing, so that a forged one cannot spoil the
 * handshake: the genuine one may still come. {@link erase} when the handshake is over or given up.
 */
export class HandshakeState {
  private symmetric: SymmetricState
  private ephemeralPrivate: Uint8Array | undefined
  private ephemeralPublic: Uint8Array | undefined
  private remoteEphemeral: Uint8Array | undefined
  private psk: Uint8Array | undefined
  private messageIndex = 0
  /** rs; the responder has it after message 1. */
  remotePublicKey: Uint8Array | undefined
  /** h right before the payload of the last message read: all that the two ends said up to there. */
  payloadHash: Uint8Array = NOTHING

  constructor(
    private readonly primitives: Primitives,
    private readonly options: HandshakeOptions,
  ) {
    const { pattern, initiator, prologue, publicKey, remotePublicKey } = options
    assert(initiator === (remotePublicKey !== undefined), 'in IK the initiator alone knows the other key')
    this.remotePublicKey = remotePublicKey
    const name = `Noise_${pattern}_25519_ChaChaPoly_${primitives.hashName}`
    this.symmetric = SymmetricState.initialize(primitives, name)
    this.symmetric.mixHash(prologue)
    this.symmetric.mixHash(initiator ? remotePublicKey! : publicKey)
  }

  /** The pre-shared key, 32 bytes: needed before message 2, which is when the responder knows whose it is. */
  setPsk(psk: Uint8Array): void {
    assert(psk.length === KEY_BYTES, 'a pre-shared key has 32 bytes')
    this.psk = psk
  }

  /** h at this point: after the last message the name of this session for both ends, and for nobody else. */
  get handshakeHash(): Uint8Array {
    return this.symmetric.hash
  }

  get complete(): boolean {
    return this.messageIndex === 2
  }

  /** Binds clear bytes that stand before the next message to it, as the prologue does for the first one. */
  bind(clear: Uint8Array): void {
    this.symmetric.mixHash(clear)
  }

  /**
   * The next message; undefined when the other end's key is a point of low order. A payload that depends on what
   * stands before it is made from h at that point: the reader's {@link payloadHash}.
   */
  writeMessage(payload: Uint8Array | ((hash: Uint8Array) => Uint8Array)): Uint8Array | undefined {
    const parts: Uint8Array[] = []
    for (const token of this.tokens(this.options.initiator)) {
      switch (token) {
        case 'e':
          this.ephemeralPrivate = new Uint8Array(DH_BYTES)
          this.options.random.fill(this.ephemeralPrivate)
          this.ephemeralPublic = this.primitives.publicKey(this.ephemeralPrivate)
          parts.push(this.ephemeralPublic)
          this.mixEphemeral(this.symmetric, this.ephemeralPublic)
          break
        case 's':
          parts.push(this.symmetric.encryptAndHash(this.options.publicKey))
          break
        case 'psk':
          this.mixPsk(this.symmetric)
          break
        default:
          if (!this.mixDh(this.symmetric, token, this.remoteEphemeral, this.remotePublicKey)) return undefined
      }
    }
    const bytes = typeof payload === 'function' ? payload(this.symmetric.hash) : payload
    parts.push(this.symmetric.encryptAndHash(bytes))
    this.messageIndex++
    return joinBytes(parts)
  }

  /**
   * The payload of the next message, or undefined when it is not genuine; nothing has changed then.
   * `accept` is asked as soon as the other end's key is read, one Diffie-Hellman before it is proved: a no costs less.
   */
  readMessage(
    message: Uint8Array,
    clear: Uint8Array = NOTHING,
    accept: (remotePublicKey: Uint8Array) => boolean = () => true,
  ): Uint8Array | undefined {
    const symmetric = this.symmetric.clone()
    let remoteEphemeral = this.remoteEphemeral
    let remotePublicKey = this.remotePublicKey
    let payloadHash = this.payloadHash
    let at = 0
    const take = (bytes: number): Uint8Array => {
      const part = message.subarray(at, at + bytes)
      at += bytes
      return part
    }
    const read = (): Uint8Array | undefined => {
      if (clear.length > 0) symmetric.mixHash(clear)
      for (const token of this.tokens(!this.options.initiator)) {
        switch (token) {
          case 'e':
            remoteEphemeral = take(DH_BYTES).slice()
            if (remoteEphemeral.length < DH_BYTES) return undefined
            this.mixEphemeral(symmetric, remoteEphemeral)
            break
          case 's':
            remotePublicKey = symmetric.decryptAndHash(take(DH_BYTES + symmetric.tagBytes))
            if (remotePublicKey?.length !== DH_BYTES || !accept(remotePublicKey)) return undefined
            break
          case 'psk':
            this.mixPsk(symmetric)
            break
          default:
            if (!this.mixDh(symmetric, token, remoteEphemeral, remotePublicKey)) return undefined
        }
      }
      payloadHash = symmetric.hash
      return symmetric.decryptAndHash(take(Math.max(0, message.length - at)))
    }
    const payload = read()
    if (payload === undefined) {
      symmetric.erase()
      return undefined
    }
    this.symmetric.erase()
    this.symmetric = symmetric
    this.remoteEphemeral = remoteEphemeral
    this.remotePublicKey = remotePublicKey
    this.payloadHash = payloadHash
    this.messageIndex++
    return payload
  }

  /** Transport keys by direction. Afterwards {@link erase}. */
  split(): { sendKey: Uint8Array; receiveKey: Uint8Array } {
    assert(this.complete, 'transport keys before the end of the handshake')
    const [fromInitiator, fromResponder] = this.symmetric.split()
    return this.options.initiator
      ? { sendKey: fromInitiator, receiveKey: fromResponder }
      : { sendKey: fromResponder, receiveKey: fromInitiator }
  }

  /** Erases the ephemeral key and the chaining key; the handshake hash stays readable. */
  erase(): void {
    if (this.ephemeralPrivate !== undefined) this.primitives.erase(this.ephemeralPrivate)
    this.ephemeralPrivate = undefined
    this.psk = undefined
    this.symmetric.erase()
    this.messageIndex = Number.POSITIVE_INFINITY
  }

  private tokens(fromInitiator: boolean): readonly Token[] {
    const tokens = PATTERNS[this.options.pattern][this.messageIndex]
    assert(
      tokens !== undefined && (this.messageIndex === 0) === fromInitiator,
      'a handshake message out of turn',
    )
    return tokens
  }

  /** Section 9.2: with a pre-shared key, ephemeral keys are mixed into the key as well. */
  private mixEphemeral(symmetric: SymmetricState, publicKey: Uint8Array): void {
    symmetric.mixHash(publicKey)
    if (this.options.pattern === 'IKpsk2') symmetric.mixKey(publicKey)
  }

  private mixPsk(symmetric: SymmetricState): void {
    assert(this.psk !== undefined, 'no pre-shared key given before message 2')
    symmetric.mixKeyAndHash(this.psk)
  }

  /** The first letter is the initiator's key, the second the responder's. False: all-zero secret. */
  private mixDh(
    symmetric: SymmetricState,
    token: 'ee' | 'es' | 'se' | 'ss',
    remoteEphemeral: Uint8Array | undefined,
    remoteStatic: Uint8Array | undefined,
  ): boolean {
    const own = this.options.initiator ? token[0] : token[1]
    const theirs = this.options.initiator ? token[1] : token[0]
    const privateKey = own === 'e' ? this.ephemeralPrivate : this.options.privateKey
    const publicKey = theirs === 'e' ? remoteEphemeral : remoteStatic
    assert(privateKey !== undefined && publicKey !== undefined, 'a handshake key used before it is there')
    const secret = this.primitives.dh(privateKey, publicKey)
    if (secret === undefined) return false
    symmetric.mixKey(secret)
    this.primitives.erase(secret)
    return true
  }
}

/** HMAC (RFC 2104) over the primitives' hash. */
export function hmac(primitives: Primitives, key: Uint8Array, ...parts: Uint8Array[]): Uint8Array {
  assert(key.length <= primitives.hashBlockBytes, 'an HMAC key longer than a block')
  const pad = new Uint8Array(primitives.hashBlockBytes).fill(0x36)
  for (let i = 0; i < key.length; i++) pad[i]! ^= key[i]!
  const inner = primitives.hash(pad, ...parts)
  for (let i = 0; i < pad.length; i++) pad[i]! ^= 0x36 ^ 0x5c
  const result = primitives.hash(pad, inner)
  primitives.erase(pad)
  primitives.erase(inner)
  return result
}

/** HKDF of section 4.3: `count` outputs of hashBytes each. */
export function hkdf(
  primitives: Primitives,
  chainingKey: Uint8Array,
  input: Uint8Array,
  count: 2 | 3,
): Uint8Array[] {
  const temporary = hmac(primitives, chainingKey, input)
  const outputs: Uint8Array[] = []
  for (let i = 1; i <= count; i++) {
    outputs.push(hmac(primitives, temporary, outputs[i - 2] ?? NOTHING, Uint8Array.of(i)))
  }
  primitives.erase(temporary)
  return outputs
}

export function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0))
}
