import { afterAll, describe, expect, it } from 'vitest'
import { ADDRESS_WORDS } from '../../src/base/datagram-batch.js'
import { testing } from './testing.js'

const SEAL_WORDS = 8
const key = testing.keyCreate(2, new Uint8Array(32), false)
const udp = testing.udpOpen({
  device: '',
  address: '127.0.0.1',
  port: 0,
  receiveBufferBytes: 0,
  sendBufferBytes: 0,
  offload: true,
  reuseAddress: false,
})
afterAll(() => testing.udpClose(udp.handle))

describe('keys', () => {
  it.each<[string, () => unknown]>([
    ['an unknown cipher', () => testing.keyCreate(3, new Uint8Array(32), false)],
    ['a short key', () => testing.keyCreate(1, new Uint8Array(31), false)],
    ['a long key', () => testing.keyCreate(1, new Uint8Array(33), false)],
  ])('are refused with %s', (_, call) => expect(call).toThrow(RangeError))
})

/** source offset, bytes, destination offset; source and destination have 100 bytes. */
const WRONG_SEAL_ROWS: [number, number, number][] = [
  [0, 101, 0],
  [1, 100, 0],
  [100, 1, 0],
  [0xffffffff, 1, 0],
  [0, 0xffffffff, 0],
  [0, 77, 0],
  [0, 10, 67],
  [0, 0, 77],
  [0, 10, 0xffffffff],
]

describe('seal', () => {
  it.each(WRONG_SEAL_ROWS)('refuses row %d %d %d and touches nothing', (source, bytes, destination) => {
    const out = new Uint8Array(100)
    // A good row before the wrong one must not be sealed either.
    const rows = Uint32Array.of(0, 10, 0, 1, 2, 3, 4, 5, source, bytes, destination, 1, 2, 3, 4, 6)
    expect(() => testing.keySeal(key, out, new Uint8Array(100), rows, 0, 2)).toThrow(RangeError)
    expect(out.every((byte) => byte === 0)).toBe(true)
  })

  it('refuses rows that are not there', () => {
    const rows = new Uint32Array(2 * SEAL_WORDS)
    const seal = (from: number, count: number) => () =>
      testing.keySeal(key, new Uint8Array(100), new Uint8Array(100), rows, from, count)
    for (const [from, count] of [
      [0, 3],
      [1, 2],
      [2, 1],
      [0xffffffff, 1],
      [1, 0xffffffff],
    ] as const) {
      expect(seal(from, count), `${from} ${count}`).toThrow(RangeError)
    }
    for (const bad of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
      expect(seal(bad, 1)).toThrow(RangeError)
    expect(seal(2, 0)).not.toThrow()
  })
})

describe('open', () => {
  it.each<[number, number, number]>([
    [0, 101, 0],
    [1, 100, 0],
    [0xffffffff, 30, 0],
    [0, 0xffffffff, 0],
    [0, 100, 25],
    [0, 30, 95],
    [0, 30, 0xffffffff],
  ])('refuses row %d %d %d and touches nothing', (source, bytes, destination) => {
    const out = new Uint8Array(100).fill(9)
    const rows = Uint32Array.of(0, 30, 0, 0, 0, 3, 4, 5, source, bytes, destination, 0, 0, 3, 4, 6)
    expect(() => testing.keyOpen(key, out, new Uint8Array(100), rows, 0, 2)).toThrow(RangeError)
    expect(rows[1]).toBe(30)
    expect(out.every((byte) => byte === 9)).toBe(true)
  })
})

it('opens an empty packet into an empty array', () => {
  const rows = Uint32Array.of(0, 0, 0, 1, 2, 3, 4, 5)
  const sealed = new Uint8Array(24)
  testing.keySeal(key, sealed, new Uint8Array(0), rows, 0, 1)
  for (const [damage, length] of [
    [0, 0],
    [1, 0xffffffff],
  ] as const) {
    sealed[23]! ^= damage
    const open = Uint32Array.of(0, 24, 0, 0, 0, 3, 4, 5)
    testing.keyOpen(key, new Uint8Array(0), sealed, open, 0, 1)
    expect(open[1]).toBe(length)
  }
})

describe('udp', () => {
  const address = Uint32Array.of(4 | (9 << 16), 0x0100007f, 0, 0, 0, 0, 0, 0, 0, 0)
  const send = (row: number[], from = 0, count = 1, addresses = address) =>
    testing.udpSend(udp.handle, new Uint8Array(100), Uint32Array.from(row), from, count, addresses)

  it.each<[string, () => unknown]>([
    ['an offset outside the slab', () => send([100, 1, 0, 0])],
    ['a length outside the slab', () => send([0, 101, 0, 0])],
    ['a sum beyond 32 bits', () => send([0xffffffff, 1, 0, 0])],
    ['a record that is not there', () => send([0, 1, 1, 0])],
    ['a record cut short', () => send([0, 1, 0, 0], 0, 1, address.subarray(0, 9))],
    ['an unknown family', () => send([0, 1, 0, 0], 0, 1, new Uint32Array(10))],
    ['rows that are not there', () => send([0, 1, 0, 0], 0, 2)],
    ['a row cut short', () => send([0, 1, 0])],
    ['rows from beyond the end', () => send([0, 1, 0, 0], 2, 0)],
  ])('refuses to send with %s', (_, call) => {
    expect(call).toThrow(RangeError)
    expect(testing.udpStats(udp.handle).sentDatagrams).toBe(0)
  })

  it('refuses to receive into too little', () => {
    const receive = (slab: number, rows: number, records: number, counts: number) => () =>
      testing.udpReceive(
        udp.handle,
        new Uint8Array(slab),
        new Uint32Array(rows),
        new Uint32Array(records),
        new Uint32Array(counts),
      )
    expect(receive(65535, 256, ADDRESS_WORDS, 1)).toThrow(RangeError)
    expect(receive(65536, 255, ADDRESS_WORDS, 1)).toThrow(RangeError)
    expect(receive(65536, 256, ADDRESS_WORDS - 1, 1)).toThrow(RangeError)
    expect(receive(65536, 256, ADDRESS_WORDS, 0)).toThrow(RangeError)
    expect(receive(65536, 256, ADDRESS_WORDS, 1)()).toBe(0)
    expect(() => testing.udpError(udp.handle, new Uint32Array(ADDRESS_WORDS - 1))).toThrow(RangeError)
  })

  it('refuses to open nonsense', () => {
    const open = (change: object) => () =>
      testing.udpOpen({
        ...{ device: '', address: '', port: 0, receiveBufferBytes: 0, sendBufferBytes: 0 },
        ...{ offload: true, reuseAddress: false },
        ...change,
      })
    expect(open({ address: 'example.org' })).toThrow(RangeError)
    expect(open({ address: 'x'.repeat(100) })).toThrow(RangeError)
    expect(open({ device: 'x'.repeat(16) })).toThrow(RangeError)
    expect(open({ device: 'lo\0x' })).toThrow(RangeError)
    expect(open({ port: 65536 })).toThrow(RangeError)
    expect(open({ port: '9' })).toThrow(TypeError)
    expect(open({ device: 'nosuchdevice0' })).toThrow(
      expect.objectContaining({ code: 'ENODEV', syscall: 'setsockopt' }),
    )
    expect(open({ address: '192.0.2.1' })).toThrow(
      expect.objectContaining({ code: 'EADDRNOTAVAIL', syscall: 'bind' }),
    )
    // The address of a link may come later.
    testing.udpClose(open({ device: 'lo', address: '192.0.2.1' })().handle)
  })

  it('refuses a closed socket', () => {
    const other = testing.udpOpen({
      ...{ device: '', address: '127.0.0.1', port: 0, receiveBufferBytes: 0, sendBufferBytes: 0 },
      ...{ offload: false, reuseAddress: false },
    })
    testing.udpClose(other.handle)
    testing.udpClose(other.handle)
    expect(() => testing.udpError(other.handle, new Uint32Array(ADDRESS_WORDS))).toThrow(RangeError)
  })
})

describe('handles and arrays of the wrong kind', () => {
  const rows = new Uint32Array(8)
  it.each<[string, () => unknown]>([
    ['a socket for a key', () => testing.keyDestroy(udp.handle as never)],
    ['a number for a key', () => testing.keyDestroy(1 as never)],
    ['an object for a key', () => testing.keyDestroy({} as never)],
    ['nothing for a key', () => testing.keyDestroy(undefined as never)],
    ['a key for a socket', () => testing.udpStats(key as never)],
    ['a key for a tun', () => testing.tunStats(key as never)],
    ['a key for a poll', () => testing.pollStop(key as never)],
    ['a key for a timer', () => testing.timerArm(key as never, 1)],
    ['a DataView', () => testing.keyCreate(1, new DataView(new ArrayBuffer(32)) as never, false)],
    ['a plain array', () => testing.keyCreate(1, Array(32).fill(0) as never, false)],
    [
      'bytes for words',
      () => testing.keySeal(key, new Uint8Array(9), new Uint8Array(9), new Uint8Array(64) as never, 0, 1),
    ],
    ['too few arguments', () => (testing.keySeal as (...args: unknown[]) => void)(key, new Uint8Array(9))],
    [
      'a string for a number',
      () => testing.keySeal(key, new Uint8Array(9), new Uint8Array(9), rows, '0' as never, 1),
    ],
    ['no function for a poll', () => testing.pollStart(0, 1, undefined as never)],
  ])('are refused: %s', (_, call) => expect(call).toThrow(TypeError))

  it('are refused: memory that was given away', () => {
    const out = new Uint8Array(100)
    structuredClone(out.buffer, { transfer: [out.buffer] })
    expect(() => testing.keySeal(key, out, new Uint8Array(9), rows, 0, 1)).toThrow(RangeError)
  })
})

describe('polls, timers, descriptors', () => {
  it('refuse wrong numbers', () => {
    expect(() => testing.pollStart(0xffffffff, 1, () => {})).toThrow(RangeError)
    expect(() => testing.pollStart(987_654, 1, () => {})).toThrow(expect.objectContaining({ code: 'EBADF' }))
    expect(() => testing.pollStart(udp.fd, 4, () => {})).toThrow(RangeError)
    expect(() => testing.closeFd(0)).toThrow(RangeError)
    expect(() => testing.netlinkDrain(0)).toThrow(RangeError)
    const timer = testing.timerStart(() => {})
    expect(() => testing.timerArm(timer, Number.NaN)).toThrow(RangeError)
    testing.timerStop(timer)
    testing.timerStop(timer)
    expect(() => testing.timerArm(timer, 1)).toThrow(RangeError)
  })
})
