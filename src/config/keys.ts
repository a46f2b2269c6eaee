import { createPrivateKey, createPublicKey } from 'node:crypto'

export const KEY_BYTES = 32

/** 32 bytes from canonical base64 (RFC 4648 section 4, with padding); undefined for anything else. */
export function decodeKey(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64')
  // The last character carries two spare bits, which must be 0: one key has one text.
  return bytes.length === KEY_BYTES && bytes.toString('base64') === text ? new Uint8Array(bytes) : undefined
}

export function encodeKey(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('base64')
}

/** PKCS #8 of an X25519 private key (RFC 8410) is this followed by the 32 bytes. */
const PKCS8_X25519 = Uint8Array.from([48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 110, 4, 34, 4, 32])

/** The X25519 public key of a private key of 32 bytes (clamping is part of X25519 itself). */
export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const der = Buffer.concat([PKCS8_X25519, privateKey])
  const spki = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({
    format: 'der',
    type: 'spki',
  })
  der.fill(0)
  return new Uint8Array(spki.subarray(spki.length - KEY_BYTES))
}

/** A private key from 32 random bytes, clamped as RFC 7748 section 5 says, so that its text is as other tools write it. */
export function clamp(random: Uint8Array): Uint8Array {
  const key = random.slice()
  key[0]! &= 248
  key[31]! = (key[31]! & 127) | 64
  return key
}
