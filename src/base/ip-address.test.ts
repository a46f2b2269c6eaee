import { isIP } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  cidrContains,
  formatCidr,
  formatHostPort,
  formatIpAddress,
  hasHostBits,
  networkOf,
  parseCidr,
  parseHostPort,
  parseIpAddress,
} from './ip-address.js'

const hex = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : Buffer.from(bytes).toString('hex')

describe('parseIpAddress', () => {
  it.each([
    ['0.0.0.0', 4, '00000000'],
    ['192.0.2.255', 4, 'c00002ff'],
    ['::', 6, '00000000000000000000000000000000'],
    ['::1', 6, '00000000000000000000000000000001'],
    ['1::', 6, '00010000000000000000000000000000'],
    ['2001:db8::8:800:200c:417a', 6, '20010db80000000000080800200c417a'],
    ['2001:DB8:0:0:8:800:200C:417A', 6, '20010db80000000000080800200c417a'],
    ['1:2:3:4:5:6:7::', 6, '00010002000300040005000600070000'],
    ['64:ff9b::192.0.2.33', 6, '0064ff9b0000000000000000c0000221'],
    ['1:2:3:4:5:6:1.2.3.4', 6, '00010002000300040005000601020304'],
    ['::13.1.68.3', 6, '0000000000000000000000000d014403'],
    ['::ffff:10.1.2.3', 4, '0a010203'],
    ['::ffff:a01:203', 4, '0a010203'],
  ])('reads %s', (text, family, bytes) => {
    const address = parseIpAddress(text)
    expect(address?.family).toBe(family)
    expect(hex(address?.bytes)).toBe(bytes)
  })

  it.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3.4 ',
    ':',
    ':::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '::1::',
    '12345::',
    'g::',
    'fe80::1%eth0',
    ':1.2.3.4',
    '::1.2.3',
    '1:2:3:4:5:6:7:1.2.3.4',
    '::1.2.3.4:5',
    '[::1]',
  ])('refuses %j', (text) => expect(parseIpAddress(text)).toBeUndefined())

  it('agrees with the system on any text of the alphabet', () => {
    const part = fc.constantFrom(
      '0',
      '1',
      'ff',
      'ffff',
      '255',
      '256',
      '10',
      ':',
      '::',
      '.',
      '1.2.3.4',
      'a:b:c',
    )
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        const text = parts.join('')
        expect(parseIpAddress(text) !== undefined, text).toBe(isIP(text) !== 0)
      }),
      { numRuns: 5000 },
    )
  })

  it('reads back what it writes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(0xffff), (random, mask) => {
        const bytes = random.map((byte, i) => (mask & (1 << i) ? 0 : byte))
        const mapped = hex(bytes)!.startsWith('00000000000000000000ffff')
        fc.pre(!mapped)
        expect(hex(parseIpAddress(formatIpAddress({ family: 6, bytes }))?.bytes)).toBe(hex(bytes))
      }),
    )
  })

  it.each([
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['2001:0db8:0:0:0:0:2:1', '2001:db8::2:1'],
  ])('writes %s as RFC 5952 says', (text, written) => {
    expect(formatIpAddress(parseIpAddress(text)!)).toBe(written)
  })
})

describe('parseCidr', () => {
  it.each([
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['fd00::1/64', 'fd00::1/64'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
  ])('reads %s', (text, written) => expect(formatCidr(parseCidr(text)!)).toBe(written))

  it.each([
    '10.0.0.0',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '::ffff:1.2.3.4/95',
    '/8',
  ])('refuses %s', (text) => expect(parseCidr(text)).toBeUndefined())

  it('knows networks', () => {
    const cidr = parseCidr('10.1.130.5/17')!
    expect(hasHostBits(cidr)).toBe(true)
    expect(formatCidr(networkOf(cidr))).toBe('10.1.128.0/17')
    expect(hasHostBits(networkOf(cidr))).toBe(false)
    expect(cidrContains(cidr, parseIpAddress('10.1.255.255')!)).toBe(true)
    expect(cidrContains(cidr, parseIpAddress('10.1.127.255')!)).toBe(false)
    expect(cidrContains(cidr, parseIpAddress('::')!)).toBe(false)
    expect(cidrContains(parseCidr('::/0')!, parseIpAddress('::1')!)).toBe(true)
  })
})

describe('parseHostPort', () => {
  it.each(['vpn.example.net:51820', '192.0.2.1:1', '[2001:db8::1]:65535', 'localhost:80', 'a_b.c-d:9'])(
    'reads %s',
    (text) => expect(formatHostPort(parseHostPort(text)!)).toBe(text),
  )

  it('tells addresses from names', () => {
    expect(parseHostPort('[::ffff:192.0.2.1]:1')?.address?.family).toBe(4)
    expect(parseHostPort('[::]:1')?.address?.family).toBe(6)
    expect(parseHostPort('example.net:1')?.address).toBeUndefined()
  })

  it.each([
    'host',
    'host:',
    ':1',
    'host:0',
    'host:65536',
    'fd00::1:51820',
    '[192.0.2.1]:1',
    '1.2.3:1',
    '999.1.1.1:1',
    '-a:1',
    'a..b:1',
    '[::1]',
    '[]:1',
    'a b:1',
  ])('refuses %s', (text) => expect(parseHostPort(text)).toBeUndefined())
})
