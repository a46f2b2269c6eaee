import fc from 'fast-check'
import { beforeEach, expect, it } from 'vitest'
import { PACKET_BYTES_MAX, PacketPool, SLOT_BYTES } from '../base/packet-pool.js'
import {
  compress,
  contextOf,
  expand,
  isCompressed,
  isStatic,
  readStatic,
  STATIC_WORDS_MAX,
} from './header-compression.js'

const SLOT = 1
let pool: PacketPool
const statics = new Uint32Array(2 * STATIC_WORDS_MAX)

beforeEach(() => {
  pool = new PacketPool(3 * SLOT_BYTES)
})

function put(bytes: ArrayLike<number>): void {
  pool.slab.fill(0xee)
  pool.slab.set(bytes, pool.packetAt(SLOT))
  pool.length[SLOT] = bytes.length
}

const packetIn = (slot: number): number[] => [
  ...pool.slab.subarray(pool.packetAt(slot), pool.packetAt(slot) + pool.length[slot]!),
]

interface Headers {
  family: 4 | 6
  protocol: number
  trafficClass: number
  /** Addresses, ports, life, flow label and the transport header's own bytes. */
  filling: Uint8Array
  timestamps: boolean
  payload: Uint8Array
}

/** A packet with right lengths and checksum; all else as `filling` has it. */
function packet({ family, protocol, trafficClass, filling, timestamps, payload }: Headers): Uint8Array {
  const ipBytes = family === 4 ? 20 : 40
  const isTcp = protocol === 6
  const options = isTcp && timestamps ? [1, 1, 8, 10] : []
  const headerBytes = ipBytes + (isTcp ? 20 : 8)
  const bytes = new Uint8Array(headerBytes + options.length + payload.length)
  const view = new DataView(bytes.buffer)
  bytes.set(filling.subarray(0, headerBytes))
  bytes.set(options, headerBytes)
  bytes.set(payload, headerBytes + options.length)
  if (isTcp) view.setUint16(ipBytes + 18, 0)
  else view.setUint16(ipBytes + 4, bytes.length - ipBytes)
  if (family === 6) {
    view.setUint16(0, 0x6000 | (trafficClass << 4) | (filling[1]! & 15))
    view.setUint16(4, bytes.length - ipBytes)
    bytes[6] = protocol
    return bytes
  }
  view.setUint16(0, 0x4500 | trafficClass)
  view.setUint16(2, bytes.length)
  view.setUint16(6, filling[6]! & 0x40 ? 0x4000 : 0)
  bytes[9] = protocol
  view.setUint16(10, 0)
  let sum = 0
  for (let i = 0; i < 20; i += 2) sum += view.getUint16(i)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  view.setUint16(10, ~sum & 0xffff)
  return bytes
}

const headers = fc.record<Headers>({
  family: fc.constantFrom(4, 6),
  protocol: fc.constantFrom(6, 17),
  trafficClass: fc.nat(255),
  filling: fc.uint8Array({ minLength: 60, maxLength: 60 }),
  timestamps: fc.boolean(),
  payload: fc.uint8Array({ maxLength: 100 }),
})

/** Compresses `bytes` in the pool's slot; the context's words are in `statics` from 3 on. */
function compressed(bytes: Uint8Array, context: number): { words: number; saved: number } {
  put(bytes)
  const words = readStatic(pool, SLOT, statics, 3)
  expect(words).toBeGreaterThan(0)
  return { words, saved: compress(pool, SLOT, context) }
}

it('gives back the very bytes, from the context of any other packet of the flow', () => {
  fc.assert(
    fc.property(
      headers,
      fc.uint8Array({ minLength: 60, maxLength: 60 }),
      fc.nat(255),
      (one, other, context) => {
        const bytes = packet(one)
        const { words, saved } = compressed(bytes, context)
        expect(isCompressed(pool, SLOT)).toBe(true)
        expect(contextOf(pool, SLOT)).toBe(context)
        expect(pool.length[SLOT]).toBe(bytes.length - saved)
        const isTcp = one.protocol === 6
        expect(saved).toBe((one.family === 4 ? 22 : 44) + (isTcp && one.timestamps ? 4 : 0))
        expect(isStatic(statics.slice(3, 3 + words))).toBe(true)

        // Of the same flow, with another number, window, payload and mark: it has the same static words.
        const second = bytes.slice()
        const ipBytes = one.family === 4 ? 20 : 40
        second.set(other.subarray(0, isTcp ? 14 : 0), ipBytes + 4)
        const ecn = other[59]! & 3
        if (one.family === 6) second[1] = (second[1]! & 0xcf) | (ecn << 4)
        const short = packetIn(SLOT)
        put(second)
        const again = new Uint32Array(STATIC_WORDS_MAX)
        expect(readStatic(pool, SLOT, again, 0)).toBe(words)
        expect([...again.subarray(0, words)]).toEqual([...statics.subarray(3, 3 + words)])

        put(short)
        expect(expand(pool, SLOT, again, 0)).toBe(true)
        expect(packetIn(SLOT)).toEqual([...bytes])
      },
    ),
  )
})

it('touches nothing beyond the packet', () => {
  fc.assert(
    fc.property(headers, (one) => {
      const bytes = packet(one)
      compressed(bytes, 7)
      expand(pool, SLOT, statics, 3)
      const outside = pool.slab.filter(
        (_, i) => i < pool.packetAt(SLOT) || i >= pool.packetAt(SLOT) + bytes.length,
      )
      expect(outside.every((byte) => byte === 0xee)).toBe(true)
    }),
  )
})

const TCP: Headers = {
  family: 4,
  protocol: 6,
  trafficClass: 0,
  filling: Uint8Array.from({ length: 60 }, (_, i) => i * 7),
  timestamps: true,
  payload: Uint8Array.of(1, 2, 3),
}

it.each<[string, Partial<Headers>, (bytes: Uint8Array) => void]>([
  ['a fragment', {}, (b) => (b[6] = 0x20)],
  ['a later fragment', {}, (b) => (b[7] = 1)],
  ['IP options', {}, (b) => (b[0] = 0x46)],
  ['a wrong checksum of the header', {}, (b) => b[11]!++],
  ['urgent data', {}, (b) => (b[39] = 1)],
  ['urgent data over IPv6', { family: 6 }, (b) => (b[58] = 1)],
  ['ICMP', { family: 6 }, (b) => (b[6] = 58)],
  ['an extension header', { family: 6 }, (b) => (b[6] = 0)],
  ['a wrong length of UDP', { protocol: 17 }, (b) => b[25]!++],
  ['neither IPv4 nor IPv6', {}, (b) => (b[0] = 0x15)],
  ['a length that is not its own', { family: 6 }, (b) => b[5]!--],
])('leaves alone %s', (what, change, damage) => {
  const bytes = packet({ ...TCP, ...change })
  put(bytes)
  expect(readStatic(pool, SLOT, statics, 0)).toBeGreaterThan(0)
  damage(bytes)
  put(bytes)
  // The checksum of IPv4 must not be the only reason.
  if (what.includes('fragment') || what === 'IP options') {
    const view = new DataView(bytes.buffer)
    view.setUint16(10, 0)
    let sum = 0
    for (let i = 0; i < (bytes[0]! & 15) * 4; i += 2) sum += view.getUint16(i)
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
    view.setUint16(10, ~sum & 0xffff)
    put(bytes)
  }
  expect(readStatic(pool, SLOT, statics, 0)).toBe(0)
})

it('leaves alone a header checksum of zero that is written as 0xffff', () => {
  const bytes = packet(TCP)
  const view = new DataView(bytes.buffer)
  // The identification takes what is missing to a sum of 0xffff, so that the checksum is 0.
  const lacking = view.getUint16(10)
  const identification = view.getUint16(4) + lacking
  view.setUint16(4, (identification & 0xffff) + (identification >>> 16))
  view.setUint16(10, 0)
  put(bytes)
  expect(readStatic(pool, SLOT, statics, 0)).toBeGreaterThan(0)
  view.setUint16(10, 0xffff)
  put(bytes)
  expect(readStatic(pool, SLOT, statics, 0)).toBe(0)
})

it('leaves alone a packet that is cut off within its headers', () => {
  for (const family of [4, 6] as const) {
    for (const protocol of [6, 17]) {
      const headerBytes = (family === 4 ? 20 : 40) + (protocol === 6 ? 20 : 8)
      const bytes = packet({ ...TCP, family, protocol, timestamps: false, payload: new Uint8Array(0) })
      expect(bytes).toHaveLength(headerBytes)
      for (let length = 0; length < headerBytes; length++) {
        put(bytes.subarray(0, length))
        if (family === 6 && length >= 40) pool.slab[pool.packetAt(SLOT) + 5] = length - 40
        expect(readStatic(pool, SLOT, statics, 0)).toBe(0)
      }
    }
  }
})

it('refuses what is shorter than its form, and what would not fit a slot', () => {
  fc.assert(
    fc.property(headers, (one) => {
      const { words } = compressed(packet({ ...one, payload: new Uint8Array(0) }), 7)
      const short = packetIn(SLOT)
      const least = short.length
      for (let length = 2; length < least; length++) {
        put(short.slice(0, length))
        // Time stamps left out are no bytes that could be missing.
        expect(expand(pool, SLOT, statics, 3)).toBe(false)
        expect(packetIn(SLOT)).toEqual(short.slice(0, length))
      }
      expect(words).toBeGreaterThan(0)
      const long = new Uint8Array(PACKET_BYTES_MAX)
      long.set(short)
      put(long)
      expect(expand(pool, SLOT, statics, 3)).toBe(false)
    }),
  )
})

it('survives any bytes under any context that may be one', () => {
  const words = fc.uint32Array({ minLength: 0, maxLength: STATIC_WORDS_MAX })
  const bytes = fc.uint8Array({ minLength: 2, maxLength: PACKET_BYTES_MAX })
  fc.assert(
    fc.property(words, bytes, fc.boolean(), (any, body, isIpv4) => {
      expect(isStatic(any)).toBe(false)
      const context = new Uint32Array(isIpv4 ? 6 : 11)
      context.set(any.subarray(0, context.length))
      context[0] = isIpv4 ? 0x45 : 0x60
      context[1] = isIpv4 ? 0x40_0000 : 0x4011_0000
      if (isIpv4) context[2] = 0x0640
      expect(isStatic(context)).toBe(true)
      put(body)
      if (!expand(pool, SLOT, context, 0)) return
      const expanded = packetIn(SLOT)
      // What came out is a packet that goes the same way again, unless its options are what is left out.
      expect(readStatic(pool, SLOT, statics, 0)).toBe(context.length)
      compress(pool, SLOT, body[1]!)
      expect(expand(pool, SLOT, statics, 0)).toBe(true)
      expect(packetIn(SLOT)).toEqual(expanded)
    }),
  )
})
