import { assert } from '../src/base/assert.js'
import {
  Cipher,
  OPEN_FAILED,
  type PacketCiphers,
  type PacketKey,
  SEAL_OVERHEAD_BYTES,
  SEAL_WORDS,
} from '../src/core/packet-cipher.js'
import { MessageType } from '../src/wire/message.js'

const HEADER_BYTES = 8

/** Views of slabs are kept, as batches use the same few all the time; control packets are arrays of their own. */
const SLAB_BYTES_MIN = 1 << 15
const views = new WeakMap<Uint8Array, DataView>()
const recentArrays: (Uint8Array | undefined)[] = [undefined, undefined, undefined, undefined]
const recentViews: DataView[] = [0, 1, 2, 3].map(() => new DataView(new ArrayBuffer(0)))
let oldest = 0

export function viewOf(array: Uint8Array): DataView {
  for (let i = 0; i < 4; i++) if (recentArrays[i] === array) return recentViews[i]!
  if (array.byteLength < SLAB_BYTES_MIN) return new DataView(array.buffer, array.byteOffset, array.byteLength)
  let view = views.get(array)
  if (!view) {
    view = new DataView(array.buffer, array.byteOffset, array.byteLength)
    views.set(array, view)
  }
  recentArrays[oldest] = array
  recentViews[oldest] = view
  oldest = (oldest + 1) & 3
  return view
}

/** Running checksum of {@link copyAndSum}. */
const sum = new Int32Array(4)

/** Copies `bytes` bytes, which are few: `set` of a piece of an array has to make an object for the piece first. */
export function copyBytes(to: DataView, at: number, from: DataView, start: number, bytes: number): void {
  let i = 0
  for (; i + 16 <= bytes; i += 16) {
    const w0 = from.getInt32(start + i, true)
    const w1 = from.getInt32(start + i + 4, true)
    const w2 = from.getInt32(start + i + 8, true)
    const w3 = from.getInt32(start + i + 12, true)
    to.setInt32(at + i, w0, true)
    to.setInt32(at + i + 4, w1, true)
    to.setInt32(at + i + 8, w2, true)
    to.setInt32(at + i + 12, w3, true)
  }
  for (; i + 4 <= bytes; i += 4) to.setInt32(at + i, from.getInt32(start + i, true), true)
  for (; i < bytes; i++) to.setUint8(at + i, from.getUint8(start + i))
}

/**
 * Copies `bytes` and sums them: four lanes of multiply and xor. Each step is one to one in the word read, so a single
 * damaged word always changes the result, and a key that differs changes it nearly always.
 */
function copyAndSum(to: DataView, at: number, from: DataView, start: number, bytes: number): void {
  let a = sum[0]!
  let b = sum[1]!
  let c = sum[2]!
  let d = sum[3]!
  let i = 0
  for (; i + 16 <= bytes; i += 16) {
    const w0 = from.getInt32(start + i, true)
    const w1 = from.getInt32(start + i + 4, true)
    const w2 = from.getInt32(start + i + 8, true)
    const w3 = from.getInt32(start + i + 12, true)
    to.setInt32(at + i, w0, true)
    to.setInt32(at + i + 4, w1, true)
    to.setInt32(at + i + 8, w2, true)
    to.setInt32(at + i + 12, w3, true)
    a = Math.imul(a ^ w0, 0x01000193)
    b = Math.imul(b ^ w1, 0x01000193)
    c = Math.imul(c ^ w2, 0x01000193)
    d = Math.imul(d ^ w3, 0x01000193)
    a ^= a >>> 15
    b ^= b >>> 15
    c ^= c >>> 15
    d ^= d >>> 15
  }
  for (; i + 4 <= bytes; i += 4) {
    const word = from.getInt32(start + i, true)
    to.setInt32(at + i, word, true)
    a = Math.imul(a ^ word, 0x01000193)
    a ^= a >>> 15
  }
  for (; i < bytes; i++) {
    const byte = from.getUint8(start + i)
    to.setUint8(at + i, byte)
    a = Math.imul(a ^ byte, 0x01000193)
    a ^= a >>> 15
  }
  sum[0] = a
  sum[1] = b
  sum[2] = c ^ bytes
  sum[3] = d
}

/** Mixes the lanes, so that each word of the tag depends on all of them. */
function finish(): void {
  let a = sum[0]!
  let b = sum[1]!
  let c = sum[2]!
  let d = sum[3]!
  for (let round = 0; round < 2; round++) {
    a = mix(a, d)
    b = mix(b, a)
    c = mix(c, b)
    d = mix(d, c)
  }
  sum[0] = a
  sum[1] = b
  sum[2] = c
  sum[3] = d
}

function mix(word: number, before: number): number {
  const z = (word + Math.imul(before, 0x9e3779b1)) | 0
  const y = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
  return y ^ (y >>> 15)
}

/**
 * Of a full data packet the middle tells nothing: model traffic has its marks in the headers and at the end. So these
 * many bytes of the datagram are enough at its head (8 sealed ones of the tunnel, then IPv6 and TCP with all its
 * options) and tail, where time matters more than what a damaged byte does. Smaller ones may carry more than the
 * packet, and are taken whole.
 */
const FULL_DATAGRAM_BYTES = 1400
const HEAD_BYTES = 120
const TAIL_BYTES = 32
const PLAIN_HEAD_BYTES = HEAD_BYTES - HEADER_BYTES
const PLAIN_TAIL_BYTES = TAIL_BYTES - (SEAL_OVERHEAD_BYTES - HEADER_BYTES)
/** Of the head so much goes into the checksum: up to the marks of the packet. */
const SUMMED_BYTES = 64

/** Whether a datagram is one of which head and tail are enough. */
export function isFullData(type: number, bytes: number): boolean {
  return type === MessageType.Data && bytes >= FULL_DATAGRAM_BYTES
}

/** Copies head and tail of a datagram. */
export function copyEnds(to: DataView, at: number, from: DataView, start: number, bytes: number): void {
  const tail = bytes - TAIL_BYTES
  copyBytes(to, at, from, start, HEAD_BYTES)
  copyBytes(to, at + tail, from, start + tail, TAIL_BYTES)
}

class NullKey implements PacketKey {
  private readonly words = new Int32Array(8)
  private destroyed = false

  constructor(
    cipher: Cipher,
    key: Uint8Array,
    private readonly endsOnly: boolean,
  ) {
    assert(key.length === 32, 'a packet key has 32 bytes')
    const view = new DataView(key.buffer, key.byteOffset, key.byteLength)
    for (let i = 0; i < 8; i++) this.words[i] = view.getInt32(4 * i, true)
    this.words[0]! ^= cipher
  }

  /** Starts a checksum with key, nonce and clear header. */
  private begin(rows: Uint32Array, row: number, header0: number, header1: number): void {
    const k = this.words
    sum[0] = Math.imul(k[0]! ^ rows[row + 5]!, 0x9e3779b1) + k[4]!
    sum[1] = Math.imul(k[1]! ^ rows[row + 6]!, 0x9e3779b1) + k[5]!
    sum[2] = Math.imul(k[2]! ^ rows[row + 7]!, 0x9e3779b1) + k[6]!
    sum[3] = Math.imul(k[3]! ^ header0, 0x9e3779b1) + (Math.imul(k[7]! ^ header1, 0x85ebca6b) | 0)
  }

  /** Copies and sums the plaintext of a datagram whose first byte is `type`. */
  private pass(to: DataView, at: number, from: DataView, start: number, bytes: number, type: number): void {
    if (this.endsOnly && isFullData(type, bytes + SEAL_OVERHEAD_BYTES)) {
      const tail = bytes - PLAIN_TAIL_BYTES
      copyAndSum(to, at, from, start, SUMMED_BYTES)
      copyBytes(to, at + SUMMED_BYTES, from, start + SUMMED_BYTES, PLAIN_HEAD_BYTES - SUMMED_BYTES)
      copyAndSum(to, at + tail, from, start + tail, PLAIN_TAIL_BYTES)
    } else copyAndSum(to, at, from, start, bytes)
  }

  seal(destination: Uint8Array, source: Uint8Array, rows: Uint32Array, from: number, count: number): void {
    assert(!this.destroyed, 'sealed with a key that is erased')
    const to = viewOf(destination)
    const view = viewOf(source)
    for (let i = 0; i < count; i++) {
      const row = (from + i) * SEAL_WORDS
      const bytes = rows[row + 1]!
      const at = rows[row + 2]!
      to.setUint32(at, rows[row + 3]!, true)
      to.setUint32(at + 4, rows[row + 4]!, true)
      this.begin(rows, row, rows[row + 3]!, rows[row + 4]!)
      this.pass(to, at + HEADER_BYTES, view, rows[row]!, bytes, rows[row + 3]! & 0xff)
      finish()
      for (let w = 0; w < 4; w++) to.setInt32(at + HEADER_BYTES + bytes + 4 * w, sum[w]!, true)
    }
  }

  open(destination: Uint8Array, source: Uint8Array, rows: Uint32Array, from: number, count: number): void {
    assert(!this.destroyed, 'opened with a key that is erased')
    const to = viewOf(destination)
    const view = viewOf(source)
    for (let i = 0; i < count; i++) {
      const row = (from + i) * SEAL_WORDS
      const at = rows[row]!
      const bytes = rows[row + 1]! - SEAL_OVERHEAD_BYTES
      if (bytes < 0) {
        rows[row + 1] = OPEN_FAILED
        continue
      }
      this.begin(rows, row, view.getUint32(at, true), view.getUint32(at + 4, true))
      this.pass(to, rows[row + 2]!, view, at + HEADER_BYTES, bytes, view.getUint8(at))
      finish()
      let differs = 0
      for (let w = 0; w < 4; w++) differs |= sum[w]! ^ view.getInt32(at + HEADER_BYTES + bytes + 4 * w, true)
      rows[row + 1] = differs === 0 ? bytes : OPEN_FAILED
    }
  }

  destroy(): void {
    assert(!this.destroyed, 'a key erased twice')
    this.destroyed = true
  }
}

/**
 * Copies instead of encrypting, but keeps a keyed checksum in the place of the tag and really checks it: damaged
 * packets and those of another key are refused. The plaintext can be read on the model wire, which lets the
 * simulator follow each inner packet.
 */
export class NullCiphers implements PacketCiphers {
  readonly preferred: readonly Cipher[]
  /** @param endsOnly the middle of full data packets is neither copied nor checked */
  constructor(
    preferred: readonly Cipher[] = [Cipher.Aes256Gcm, Cipher.ChaCha20Poly1305],
    private readonly endsOnly = false,
  ) {
    this.preferred = preferred
  }
  key(cipher: Cipher, key: Uint8Array): PacketKey {
    return new NullKey(cipher, key, this.endsOnly)
  }
}
