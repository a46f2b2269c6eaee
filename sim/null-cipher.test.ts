import { expect, test } from 'vitest'
import { Prng } from '../src/base/prng.js'
import { Cipher, OPEN_FAILED, SEAL_OVERHEAD_BYTES, SEAL_WORDS } from '../src/core/packet-cipher.js'
import { NonceChecker } from './checkers.js'
import { NullCiphers } from './null-cipher.js'

const random = new Prng(11)
function bytes(length: number): Uint8Array {
  const out = new Uint8Array(length)
  random.fill(out)
  return out
}

function rowOf(source: number, length: number, destination: number, nonce: number): Uint32Array {
  const rows = new Uint32Array(SEAL_WORDS)
  rows.set([source, length, destination, 0x01020304, 0x05060708, nonce, 77, 0])
  return rows
}

test('what was sealed opens again, at any length and offset', () => {
  const secret = bytes(32)
  const ciphers = new NullCiphers()
  const key = ciphers.key(Cipher.Aes256Gcm, secret)
  for (const length of [0, 1, 8, 15, 16, 17, 63, 1400, 1408]) {
    const plain = bytes(length + 5)
    const wire = new Uint8Array(length + SEAL_OVERHEAD_BYTES + 3)
    key.seal(wire, plain, rowOf(5, length, 3, 1), 0, 1)
    expect([...wire.subarray(3, 11)]).toEqual([4, 3, 2, 1, 8, 7, 6, 5])
    const back = new Uint8Array(length + 1)
    const row = rowOf(3, length + SEAL_OVERHEAD_BYTES, 1, 1)
    key.open(back, wire, row, 0, 1)
    expect(row[1]).toBe(length)
    expect(back.subarray(1)).toEqual(plain.subarray(5))
  }
})

test('any flipped bit, another key, cipher or nonce, and a short packet are refused', () => {
  const secret = bytes(32)
  const ciphers = new NullCiphers()
  const key = ciphers.key(Cipher.Aes256Gcm, secret)
  const plain = bytes(70)
  const wire = new Uint8Array(70 + SEAL_OVERHEAD_BYTES)
  key.seal(wire, plain, rowOf(0, 70, 0, 9), 0, 1)
  const opens = (packet: Uint8Array, nonce = 9, by = key): boolean => {
    const row = rowOf(0, packet.length, 0, nonce)
    by.open(new Uint8Array(100), packet, row, 0, 1)
    return row[1] !== OPEN_FAILED
  }
  expect(opens(wire)).toBe(true)
  for (let bit = 0; bit < wire.length * 8; bit++) {
    const damaged = wire.slice()
    damaged[bit >> 3]! ^= 1 << (bit & 7)
    expect(opens(damaged)).toBe(false)
  }
  for (let length = 0; length < wire.length; length++) expect(opens(wire.subarray(0, length))).toBe(false)
  expect(opens(wire, 10)).toBe(false)
  for (let bit = 0; bit < 256; bit++) {
    const other = secret.slice()
    other[bit >> 3]! ^= 1 << (bit & 7)
    expect(opens(wire, 9, ciphers.key(Cipher.Aes256Gcm, other))).toBe(false)
  }
  expect(opens(wire, 9, ciphers.key(Cipher.ChaCha20Poly1305, secret))).toBe(false)
  key.destroy()
  expect(() => opens(wire)).toThrow('erased')
})

test('the nonce checker sees a nonce used twice, also by another key object with the same bytes', () => {
  const checker = new NonceChecker(new NullCiphers())
  const secret = bytes(32)
  const ends = [checker.ciphers(), checker.ciphers()].map((each) => each.key(Cipher.Aes256Gcm, secret))
  const seal = (end: number, counter: number): void =>
    ends[end]!.seal(new Uint8Array(100), new Uint8Array(10), rowOf(0, 10, 0, counter), 0, 1)
  // The counter is in words 6 and 7 (77 here); word 5 is the path.
  const other = (path: number): void => seal(0, path)
  other(0)
  other(1)
  expect(checker.faults).toEqual([])
  seal(1, 0)
  expect(checker.faults).toEqual(['nonce used twice: path 0 counter 77'])
  expect(checker.sealed).toBe(3)
})
