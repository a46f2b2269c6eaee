import {
  Cipher,
  OPEN_FAILED,
  type PacketCiphers,
  type PacketKey,
  SEAL_OVERHEAD_BYTES,
  SEAL_WORDS,
} from '../src/core/packet-cipher.js'

const HEADER_BYTES = 8
/** Of larger packets only this much is copied: the sealed header and those of IP and TCP, which the core reads. */
const COPIED_BYTES = 80
const COPIED_WHOLE_BYTES = 400

/**
 * No cipher at all, and hardly a copy: what is left is the core's own work. Control messages are carried in full,
 * so that the two ends talk as they do in earnest; of data only the headers.
 */
class HeaderKey implements PacketKey {
  seal(destination: Uint8Array, source: Uint8Array, rows: Uint32Array, from: number, count: number): void {
    for (let i = from; i < from + count; i++) {
      const row = i * SEAL_WORDS
      const to = rows[row + 2]!
      putWord(destination, to, rows[row + 3]!)
      putWord(destination, to + 4, rows[row + 4]!)
      copy(destination, to + HEADER_BYTES, source, rows[row]!, rows[row + 1]!)
    }
  }

  open(destination: Uint8Array, source: Uint8Array, rows: Uint32Array, from: number, count: number): void {
    for (let i = from; i < from + count; i++) {
      const row = i * SEAL_WORDS
      const bytes = rows[row + 1]! - SEAL_OVERHEAD_BYTES
      rows[row + 1] = bytes < 0 ? OPEN_FAILED : bytes
      if (bytes > 0) copy(destination, rows[row + 2]!, source, rows[row]! + HEADER_BYTES, bytes)
    }
  }

  destroy(): void {}
}

function putWord(out: Uint8Array, at: number, word: number): void {
  out[at] = word
  out[at + 1] = word >>> 8
  out[at + 2] = word >>> 16
  out[at + 3] = word >>> 24
}

function copy(to: Uint8Array, toAt: number, from: Uint8Array, fromAt: number, bytes: number): void {
  const count = bytes > COPIED_WHOLE_BYTES ? COPIED_BYTES : bytes
  for (let i = 0; i < count; i++) to[toAt + i] = from[fromAt + i]!
}

export class HeaderCiphers implements PacketCiphers {
  readonly preferred = [Cipher.Aes256Gcm]
  key(): PacketKey {
    return new HeaderKey()
  }
}
