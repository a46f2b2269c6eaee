import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Primitives } from '../noise/primitives.js'
import { loadPrimitives } from './primitives.js'

interface X25519Case {
  tcId: number
  comment: string
  public: string
  private: string
  shared: string
  result: string
}

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'))

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

describe('libsodium primitives', () => {
  it('pass the 518 X25519 cases of Wycheproof, and refuse every all-zero shared secret', () => {
    const file = readFileSync(new URL('../../test/vectors/wycheproof_x25519.json', import.meta.url), 'utf8')
    const groups = (JSON.parse(file) as { testGroups: { tests: X25519Case[] }[] }).testGroups
    const cases = groups.flatMap((group) => group.tests)
    expect(cases).toHaveLength(518)
    let refused = 0
    for (const one of cases) {
      const shared = primitives.dh(hex(one.private), hex(one.public))
      if (/^0+$/.test(one.shared)) {
        expect(shared, `case ${one.tcId}, ${one.comment}`).toBeUndefined()
        refused++
      } else expect(shared, `case ${one.tcId}, ${one.comment}`).toEqual(hex(one.shared))
    }
    expect(refused).toBe(31)
  })

  it('hash like another BLAKE2b, in one part or several', () => {
    const data = Uint8Array.from(randomBytes(300))
    const expected = Uint8Array.from(createHash('blake2b512').update(data).digest())
    expect(primitives.hash(data)).toEqual(expected)
    expect(primitives.hash(data.subarray(0, 7), data.subarray(7, 7), data.subarray(7))).toEqual(expected)
  })

  it('make macs that depend on the key and on every byte', () => {
    // BLAKE2b keyed, 16 bytes of output, key 00..1f, of "abc": as Python's hashlib gives it.
    const key = Uint8Array.from({ length: 32 }, (_, index) => index)
    const abc = hex('616263')
    expect(Buffer.from(primitives.mac(key, abc)).toString('hex')).toBe('1a64be47e4729d951c302ee543f97cf3')
    expect(primitives.mac(key, abc.subarray(0, 1), abc.subarray(1))).toEqual(primitives.mac(key, abc))
  })

  it('open what they seal, and nothing else', () => {
    const key = Uint8Array.from(randomBytes(32))
    const associated = Uint8Array.from(randomBytes(9))
    const plaintext = Uint8Array.from(randomBytes(20))
    for (const [seal, open, nonceBytes] of [
      [primitives.seal, primitives.open, 12],
      [primitives.sealX, primitives.openX, 24],
    ] as const) {
      const nonce = Uint8Array.from(randomBytes(nonceBytes))
      const sealed = seal(key, nonce, associated, plaintext)
      expect(sealed).toHaveLength(36)
      expect(open(key, nonce, associated, sealed)).toEqual(plaintext)
      for (let at = 0; at < sealed.length; at++) {
        const forged = sealed.slice()
        forged[at]! ^= 4
        expect(open(key, nonce, associated, forged)).toBeUndefined()
        expect(open(key, nonce, associated, sealed.subarray(0, at))).toBeUndefined()
      }
      expect(open(key, nonce, new Uint8Array(0), sealed)).toBeUndefined()
      expect(() => seal(key.subarray(1), nonce, associated, plaintext)).toThrow('wrong size')
    }
  })

  it('compare and erase', () => {
    expect(primitives.equal(hex('0102'), hex('0102'))).toBe(true)
    expect(primitives.equal(hex('0102'), hex('0103'))).toBe(false)
    expect(primitives.equal(hex('0102'), hex('010203'))).toBe(false)
    const secret = hex('0102')
    primitives.erase(secret)
    expect(secret).toEqual(hex('0000'))
  })
})
