import { Cipher } from '../wire/message.js'

/** Part of this contract, for implementations that know nothing of the wire. */
export { Cipher }

/**
 * The cipher of data and control packets, a batch a call. Implemented by the addon (src/io/packet-ciphers.ts) and by
 * a null cipher in the simulator.
 *
 * One row per packet, {@link SEAL_WORDS} words: 0 source offset, 1 source bytes, 2 destination offset,
 * 3 and 4 the 8 bytes of clear header (associated data), 5..7 the 12-byte nonce; all words little-endian.
 *
 * Sealing reads the plaintext at the source and writes header, ciphertext and tag at the destination:
 * source bytes + {@link SEAL_OVERHEAD_BYTES} in all.
 * Opening reads header, ciphertext and tag at the source (words 3 and 4 are ignored, the header is where it stands),
 * writes the plaintext at the destination and puts its length into word 1, or {@link OPEN_FAILED}.
 */
export interface PacketKey {
  seal(destination: Uint8Array, source: Uint8Array, rows: Uint32Array, from: number, count: number): void
  open(destination: Uint8Array, source: Uint8Array, rows: Uint32Array, from: number, count: number): void
  /** Erases the key; using it afterwards is a fault of ours. */
  destroy(): void
}

export const SEAL_WORDS = 8
export const SEAL_OVERHEAD_BYTES = 24
export const OPEN_FAILED = 0xffffffff

export interface PacketCiphers {
  /** Ciphers this machine does well, best first. */
  readonly preferred: readonly Cipher[]
  /** A key for one direction. `key` is 32 bytes and may be erased afterwards. */
  key(cipher: Cipher, key: Uint8Array): PacketKey
}
