/** Sizes in bytes that an implementation holds its arguments to. */
export const KEY_BYTES = 32
export const NONCE_BYTES = 12
export const XNONCE_BYTES = 24
export { MAC_BYTES, TAG_BYTES } from '../wire/message.js'

/** The cryptography the handshake is made of. Implemented in src/io/primitives.ts by libsodium. */
export interface Primitives {
  /** X25519 (RFC 7748). Returns undefined for an all-zero shared secret: the caller must give up the handshake. */
  dh(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array | undefined
  /** The X25519 public key of a private key. */
  publicKey(privateKey: Uint8Array): Uint8Array
  /** The hash below by its name in Noise, its output and its block in bytes; the handshake uses BLAKE2b, 64, 128. */
  readonly hashName: string
  readonly hashBytes: number
  readonly hashBlockBytes: number
  /** BLAKE2b with 64 bytes of output (RFC 7693), of the parts one after the other. */
  hash(...parts: Uint8Array[]): Uint8Array
  /** Keyed BLAKE2b with 16 bytes of output, key of 16 to 64 bytes: message macs. */
  mac(key: Uint8Array, ...parts: Uint8Array[]): Uint8Array
  /** ChaCha20-Poly1305 (RFC 8439), 12-byte nonce; the tag follows the ciphertext. */
  seal(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array
  /** Undefined when the tag is wrong. */
  open(
    key: Uint8Array,
    nonce: Uint8Array,
    associated: Uint8Array,
    ciphertext: Uint8Array,
  ): Uint8Array | undefined
  /** XChaCha20-Poly1305, 24-byte nonce: cookies. */
  sealX(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array
  openX(
    key: Uint8Array,
    nonce: Uint8Array,
    associated: Uint8Array,
    ciphertext: Uint8Array,
  ): Uint8Array | undefined
  /** Equal in constant time. */
  equal(a: Uint8Array, b: Uint8Array): boolean
  /** Overwrites a secret. */
  erase(secret: Uint8Array): void
}
