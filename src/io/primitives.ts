import sodium from 'libsodium-wrappers'
import { assert } from '../base/assert.js'
import { joinBytes } from '../base/bytes.js'
import {
  KEY_BYTES,
  MAC_BYTES,
  NONCE_BYTES,
  type Primitives,
  TAG_BYTES,
  XNONCE_BYTES,
} from '../noise/primitives.js'

const HASH_BYTES = 64

/**
 * The handshake's cryptography by libsodium (WebAssembly). Arguments of a wrong size are faults of ours and throw;
 * wrong content gives undefined. {@link Primitives.erase} reaches JavaScript's copy only: what libsodium copied into
 * its own heap stays there until the heap is used again.
 */
export async function loadPrimitives(): Promise<Primitives> {
  await sodium.ready
  return {
    hashName: 'BLAKE2b',
    hashBytes: HASH_BYTES,
    hashBlockBytes: 128,

    dh(privateKey, publicKey) {
      assert(privateKey.length === KEY_BYTES && publicKey.length === KEY_BYTES, 'an X25519 key has 32 bytes')
      try {
        return sodium.crypto_scalarmult(privateKey, publicKey)
      } catch {
        // With the sizes right, libsodium refuses only points that give an all-zero secret.
        return undefined
      }
    },
    publicKey(privateKey) {
      assert(privateKey.length === KEY_BYTES, 'an X25519 key has 32 bytes')
      return sodium.crypto_scalarmult_base(privateKey)
    },
    hash(...parts) {
      return overJoined(parts, (message) => sodium.crypto_generichash(HASH_BYTES, message, null))
    },
    mac(key, ...parts) {
      assert(key.length >= 16 && key.length <= 64, 'a mac key has 16 to 64 bytes')
      return overJoined(parts, (message) => sodium.crypto_generichash(MAC_BYTES, message, key))
    },
    seal(key, nonce, associated, plaintext) {
      assert(key.length === KEY_BYTES && nonce.length === NONCE_BYTES, 'wrong size of key or nonce')
      return sodium.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, associated, null, nonce, key)
    },
    open(key, nonce, associated, ciphertext) {
      assert(key.length === KEY_BYTES && nonce.length === NONCE_BYTES, 'wrong size of key or nonce')
      if (ciphertext.length < TAG_BYTES) return undefined
      try {
        return sodium.crypto_aead_chacha20poly1305_ietf_decrypt(null, ciphertext, associated, nonce, key)
      } catch {
        return undefined
      }
    },
    sealX(key, nonce, associated, plaintext) {
      assert(key.length === KEY_BYTES && nonce.length === XNONCE_BYTES, 'wrong size of key or nonce')
      return sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, associated, null, nonce, key)
    },
    openX(key, nonce, associated, ciphertext) {
      assert(key.length === KEY_BYTES && nonce.length === XNONCE_BYTES, 'wrong size of key or nonce')
      if (ciphertext.length < TAG_BYTES) return undefined
      try {
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(null, ciphertext, associated, nonce, key)
      } catch {
        return undefined
      }
    },
    equal(a, b) {
      return a.length === b.length && sodium.memcmp(a, b)
    },
    erase(secret) {
      sodium.memzero(secret)
    },
  }
}

/** Calls `digest` with the parts put together, in a copy that is erased afterwards: the parts may be secrets. */
function overJoined(parts: Uint8Array[], digest: (message: Uint8Array) => Uint8Array): Uint8Array {
  if (parts.length === 1) return digest(parts[0]!)
  const joined = joinBytes(parts)
  const result = digest(joined)
  sodium.memzero(joined)
  return result
}
