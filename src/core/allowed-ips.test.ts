import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Prng } from '../base/prng.js'
import { AllowedIps } from './allowed-ips.js'

/** Addresses as arrays of bits; the longest prefix found by looking at all of them. */
class OracleTable {
  private entries: { bits: string; family: number; peer: number }[] = []
  insert(bytes: number[], length: number, peer: number): number {
    const bits = bitsOf(bytes).slice(0, length)
    const found = this.entries.find((entry) => entry.family === bytes.length && entry.bits === bits)
    if (found === undefined) {
      this.entries.push({ bits, family: bytes.length, peer })
      return -1
    }
    const former = found.peer
    found.peer = peer
    return former
  }
  lookup(bytes: number[]): number {
    const bits = bitsOf(bytes)
    let best = { bits: '', peer: -1 }
    for (const entry of this.entries) {
      const holds = entry.family === bytes.length && bits.startsWith(entry.bits)
      if (holds && (best.peer < 0 || entry.bits.length > best.bits.length)) best = entry
    }
    return best.peer
  }
  get size(): number {
    return this.entries.length
  }
}

function bitsOf(bytes: number[]): string {
  return bytes.map((byte) => byte.toString(2).padStart(8, '0')).join('')
}

function wordsOf(bytes: number[]): Uint32Array {
  return new Uint32Array(Uint8Array.from([0, 0, 0, 0, ...bytes]).buffer)
}

function v4(text: string): number[] {
  return text.split('.').map(Number)
}

describe('AllowedIps', () => {
  it('prefers the most specific prefix', () => {
    const table = new AllowedIps()
    const rows: [string, number, number][] = [
      ['0.0.0.0', 0, 1],
      ['10.0.0.0', 8, 2],
      ['10.1.0.0', 16, 3],
      ['10.1.2.3', 32, 4],
      ['128.0.0.0', 1, 5],
    ]
    for (const [address, bits, peer] of rows)
      expect(table.insert(wordsOf(v4(address)), 1, 1, bits, peer)).toBe(-1)
    const lookup = (address: string): number => table.lookup(wordsOf(v4(address)), 1, 1)
    expect(lookup('9.9.9.9')).toBe(1)
    expect(lookup('10.9.9.9')).toBe(2)
    expect(lookup('10.1.9.9')).toBe(3)
    expect(lookup('10.1.2.3')).toBe(4)
    expect(lookup('10.1.2.2')).toBe(3)
    expect(lookup('200.1.1.1')).toBe(5)
    expect(table.insert(wordsOf(v4('10.1.255.255')), 1, 1, 16, 7)).toBe(3)
    expect(lookup('10.1.9.9')).toBe(7)
    expect(table.size).toBe(5)
  })

  it('does not mix the families', () => {
    const table = new AllowedIps()
    table.insert(new Uint32Array(4), 0, 4, 0, 1)
    expect(table.lookup(new Uint32Array(4), 0, 1)).toBe(-1)
    expect(table.lookup(new Uint32Array(4), 0, 4)).toBe(1)
  })

  // Few distinct bytes, so that prefixes nest, meet and are looked up.
  const byte = fc.constantFrom(0, 1, 0x80, 0xff)
  const address = fc.oneof(
    fc.array(byte, { minLength: 4, maxLength: 4 }),
    fc.array(byte, { minLength: 16, maxLength: 16 }),
  )
  const operation = fc.record({
    address,
    length: fc.nat(128),
    peer: fc.nat(5),
  })

  it('agrees with a list, over any insertions', () => {
    fc.assert(
      fc.property(
        fc.array(operation, { maxLength: 60 }),
        fc.array(address, { maxLength: 20 }),
        (operations, asked) => {
          const table = new AllowedIps()
          const oracle = new OracleTable()
          for (const { address, length, peer } of operations) {
            const words = wordsOf(address)
            const family = address.length / 4
            const bits = length % (address.length * 8 + 1)
            expect(table.insert(words, 1, family, bits, peer)).toBe(oracle.insert(address, bits, peer))
            expect(table.size).toBe(oracle.size)
            for (const each of [...asked, address]) {
              expect(table.lookup(wordsOf(each), 1, each.length / 4)).toBe(oracle.lookup(each))
            }
          }
        },
      ),
      { numRuns: 300 },
    )
  })

  it('holds 130,000 prefixes in the memory it promises', () => {
    const random = new Prng(7)
    const table = new AllowedIps()
    const addresses = new Uint32Array(130_000)
    for (let i = 0; i < addresses.length; i++) {
      addresses[i] = random.nextUint32()
      table.insert(addresses, i, 1, 32, i % 1000)
    }
    expect(table.size).toBeGreaterThan(129_990)
    for (let i = 0; i < addresses.length; i += 1000) expect(table.lookup(addresses, i, 1)).toBe(0)
    expect(table.bytes).toBeLessThan(4.3 * 1024 * 1024)
  })
})
