import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { testing } from '../../test/native/testing.js'
import { Cipher, OPEN_FAILED, SEAL_OVERHEAD_BYTES, SEAL_WORDS } from '../core/packet-cipher.js'
import { NativePacketCiphers } from './packet-ciphers.js'

interface Case {
  tcId?: number
  name?: string
  key: string
  iv: string
  aad: string
  msg: string
  ct: string
  tag: string
  result: string
}

function vectors(file: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../test/vectors/${file}`, import.meta.url), 'utf8'))
}

/** Wycheproof cases with our key and nonce sizes. */
function wycheproof(file: string): Case[] {
  const { testGroups } = vectors(file) as { testGroups: { ivSize: number; keySize: number; tests: Case[] }[] }
  return testGroups.filter((g) => g.ivSize === 96 && g.keySize === 256).flatMap((g) => g.tests)
}

function rfc8439(): Case[] {
  const file = vectors('rfc8439_aead.json') as {
    vectors: (Record<'key' | 'nonce' | 'aad' | 'plaintext' | 'ciphertext' | 'tag', string> & {
      name: string
    })[]
  }
  return file.vectors.map((v) => ({ ...v, iv: v.nonce, msg: v.plaintext, ct: v.ciphertext, result: 'valid' }))
}

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'))
const hex = (data: Uint8Array | undefined): string | undefined => data && Buffer.from(data).toString('hex')

describe.each([
  ['AES-256-GCM', Cipher.Aes256Gcm, wycheproof('wycheproof_aes_gcm.json'), 60],
  ['ChaCha20-Poly1305', Cipher.ChaCha20Poly1305, wycheproof('wycheproof_chacha20_poly1305.json'), 300],
  ['ChaCha20-Poly1305, RFC 8439', Cipher.ChaCha20Poly1305, rfc8439(), 1],
] as const)('%s', (_, cipher, cases, casesMin) => {
  it('agrees with the published vectors', () => {
    expect(cases.length).toBeGreaterThanOrEqual(casesMin)
    for (const c of cases) {
      const [key, nonce, associated] = [bytes(c.key), bytes(c.iv), bytes(c.aad)]
      const opened = testing.aeadOnce(cipher, key, nonce, associated, bytes(c.ct + c.tag), true)
      expect(hex(opened), `case ${c.tcId ?? c.name}`).toBe(c.result === 'valid' ? c.msg : undefined)
      if (c.result !== 'valid') continue
      const sealed = testing.aeadOnce(cipher, key, nonce, associated, bytes(c.msg), false)
      expect(hex(sealed), `case ${c.tcId ?? c.name}`).toBe(c.ct + c.tag)
    }
  })
})

const ciphers = new NativePacketCiphers()
const byOpenssl = new NativePacketCiphers(false, true)
const KEY = Uint8Array.from({ length: 32 }, (_, i) => i)

describe.each([
  ['AES-256-GCM', Cipher.Aes256Gcm, ciphers],
  ['AES-256-GCM of OpenSSL', Cipher.Aes256Gcm, byOpenssl],
  ['ChaCha20-Poly1305', Cipher.ChaCha20Poly1305, ciphers],
] as const)('packets under %s', (_, cipher, ciphers) => {
  it('are sealed as the general function seals them, and open again', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 1600, size: 'max' }), { minLength: 1, maxLength: 8 }),
        fc.array(fc.nat(0xffffffff), { minLength: 5, maxLength: 5 }),
        (texts, words) => {
          const key = ciphers.key(cipher, KEY)
          const source = new Uint8Array(texts.length * 1700)
          const sealed = new Uint8Array(texts.length * 1700)
          const rows = new Uint32Array(texts.length * SEAL_WORDS)
          texts.forEach((text, i) => {
            source.set(text, i * 1700 + 3)
            rows.set([i * 1700 + 3, text.length, i * 1700 + 5, ...words], i * SEAL_WORDS)
            rows[i * SEAL_WORDS + 7] = i
          })
          key.seal(sealed, source, rows, 0, texts.length)
          const opened = new Uint8Array(texts.length * 1700)
          const openRows = rows.slice()
          texts.forEach((text, i) => {
            const row = new Uint8Array(rows.buffer, i * SEAL_WORDS * 4, SEAL_WORDS * 4)
            const [header, nonce] = [row.slice(12, 20), row.slice(20, 32)]
            const length = text.length + SEAL_OVERHEAD_BYTES
            const packet = sealed.subarray(i * 1700 + 5, i * 1700 + 5 + length)
            const alone = testing.aeadOnce(cipher, KEY, nonce, header, text, false)
            expect(hex(packet)).toBe(hex(header)! + hex(alone)!)
            openRows.set([i * 1700 + 5, length, i * 1700 + 7, 0, 0], i * SEAL_WORDS)
          })
          key.open(opened, sealed, openRows, 0, texts.length)
          texts.forEach((text, i) => {
            expect(openRows[i * SEAL_WORDS + 1]).toBe(text.length)
            expect(hex(opened.subarray(i * 1700 + 7, i * 1700 + 7 + text.length))).toBe(hex(text))
          })
          key.destroy()
        },
      ),
      { numRuns: 100 },
    )
  })

  it('do not open with any bit changed, and leave nothing readable', () => {
    const key = ciphers.key(cipher, KEY)
    const sealed = new Uint8Array(64)
    const text = Uint8Array.from({ length: 20 }, () => 0xaa)
    key.seal(sealed, text, Uint32Array.of(0, 20, 0, 1, 2, 3, 4, 5), 0, 1)
    for (let bit = 0; bit < (20 + SEAL_OVERHEAD_BYTES) * 8; bit++) {
      const damaged = sealed.slice()
      damaged[bit >> 3]! ^= 1 << (bit & 7)
      const row = Uint32Array.of(0, 20 + SEAL_OVERHEAD_BYTES, 0, 0, 0, 3, 4, 5)
      const out = new Uint8Array(20).fill(1)
      key.open(out, damaged, row, 0, 1)
      expect(row[1], `bit ${bit}`).toBe(OPEN_FAILED)
      expect(out.every((byte) => byte === 0)).toBe(true)
    }
    const short = Uint32Array.of(0, SEAL_OVERHEAD_BYTES - 1, 0, 0, 0, 3, 4, 5)
    key.open(new Uint8Array(20), sealed, short, 0, 1)
    expect(short[1]).toBe(OPEN_FAILED)
  })

  it('cannot be sealed with an erased key', () => {
    const key = ciphers.key(cipher, KEY)
    key.destroy()
    key.destroy()
    expect(() => key.seal(new Uint8Array(64), new Uint8Array(8), new Uint32Array(SEAL_WORDS), 0, 1)).toThrow(
      RangeError,
    )
  })
})

it('prefers AES only where the processor has it', () => {
  expect(ciphers.preferred).toEqual(
    testing.hasAes() ? [Cipher.Aes256Gcm, Cipher.ChaCha20Poly1305] : [Cipher.ChaCha20Poly1305],
  )
})
