import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { ADDRESS_WORDS, DatagramBatch, ROW_WORDS } from '../../src/base/datagram-batch.js'
import type { Native } from '../../src/io/native.js'
import { testing } from './testing.js'

const ERRNO = {
  EPERM: 1,
  EIO: 5,
  EAGAIN: 11,
  EINVAL: 22,
  EMSGSIZE: 90,
  ENOBUFS: 105,
  ECONNREFUSED: 111,
} as const
const LOOPBACK4 = [0x0100007f, 0, 0, 0]
const LOOPBACK6 = [0, 0, 0, 0x01000000]
/** 127.0.0.`last` as the word of an address record. */
const local4 = (last: number): number => (0x7f | (last << 24)) >>> 0

/** First word of an address record. */
const familyPort = (family: number, socket: { port: number }): number => (family | (socket.port << 16)) >>> 0

type Socket = ReturnType<Native['udpOpen']>
const sockets: Socket[] = []

function open(change: Partial<Parameters<Native['udpOpen']>[0]> = {}): Socket {
  const socket = testing.udpOpen({
    device: '',
    address: '',
    port: 0,
    receiveBufferBytes: 8 << 20,
    sendBufferBytes: 8 << 20,
    offload: true,
    reuseAddress: false,
    ...change,
  })
  sockets.push(socket)
  return socket
}

afterEach(() => {
  for (const socket of sockets.splice(0)) testing.udpClose(socket.handle)
})

interface Datagram {
  bytes: number
  fill: number
  ecn?: number
  record?: number
}

function batchOf(datagrams: Datagram[], records: number[][]): DatagramBatch {
  const total = datagrams.reduce((sum, datagram) => sum + datagram.bytes, 0)
  const batch = new DatagramBatch(total, datagrams.length, records.length)
  records.forEach((record, i) => {
    batch.addresses.set(record, i * ADDRESS_WORDS)
  })
  let at = 0
  datagrams.forEach(({ bytes, fill, ecn, record }, i) => {
    batch.slab.fill(fill, at, at + bytes)
    batch.rows.set([at, bytes, record ?? 0, (ecn ?? 0) << 24], i * ROW_WORDS)
    at += bytes
  })
  batch.count = datagrams.length
  return batch
}

function send(socket: Socket, batch: DatagramBatch, from = 0): number {
  return testing.udpSend(socket.handle, batch.slab, batch.rows, from, batch.count - from, batch.addresses)
}

interface Received extends Required<Omit<Datagram, 'record'>> {
  ageUs: number
  record: number[]
}

/** All that waits at the socket. Loopback delivers within the sending call. */
function receiveAll(socket: Socket, slabBytes = 1 << 20): Received[] {
  const batch = new DatagramBatch(slabBytes, 1024, 64)
  const counts = new Uint32Array(1)
  const result: Received[] = []
  for (;;) {
    const count = testing.udpReceive(socket.handle, batch.slab, batch.rows, batch.addresses, counts)
    expect(count).toBeGreaterThanOrEqual(0)
    if (count === 0) return result
    for (let i = 0; i < count; i++) {
      const [at, bytes, record, age] = Array.from(batch.rows.subarray(i * 4, i * 4 + 4)) as [
        number,
        number,
        number,
        number,
      ]
      expect(record).toBeLessThan(counts[0]!)
      const data = batch.slab.subarray(at, at + bytes)
      const fill = data[0] ?? 0
      expect(data.every((byte) => byte === fill)).toBe(true)
      result.push({
        bytes,
        fill,
        ecn: age >>> 24,
        ageUs: age & 0xffffff,
        record: Array.from(batch.addresses.subarray(record * ADDRESS_WORDS, (record + 1) * ADDRESS_WORDS)),
      })
    }
  }
}

const to = (socket: Socket, family = 4, remote = LOOPBACK4, local = [0, 0, 0, 0]): number[] => [
  familyPort(family, socket),
  ...remote,
  0,
  ...local,
]

const plain = (received: Received[]): Datagram[] =>
  received.map(({ bytes, fill, ecn }) => ({ bytes, fill, ecn }))
const train = (count: number, bytes = 1400): Datagram[] =>
  Array.from({ length: count }, (_, i) => ({ bytes, fill: i & 0xff, ecn: 0 }))

describe('a batch', () => {
  it.each([
    ['IPv4', 4, LOOPBACK4, true],
    ['IPv6', 6, LOOPBACK6, true],
    ['IPv4 without offload', 4, LOOPBACK4, false],
  ] as const)('arrives as it was sent, over %s', (_, family, remote, offload) => {
    const [a, b] = [open({ offload }), open({ offload })]
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            bytes: fc.constantFrom(1, 100, 1400, 1400, 1400, 9000),
            fill: fc.nat(255),
            ecn: fc.constantFrom(0, 0, 0, 1, 2, 3),
          }),
          { maxLength: 60 },
        ),
        (datagrams) => {
          expect(send(a, batchOf(datagrams, [to(b, family, [...remote])]))).toBe(datagrams.length)
          expect(plain(receiveAll(b))).toEqual(datagrams)
        },
      ),
      { numRuns: 60 },
    )
    expect(testing.udpStats(a.handle)).toMatchObject({ gso: offload, sendRefused: 0 })
    expect(testing.udpStats(b.handle)).toMatchObject({ gro: offload, receiveDropped: 0, receiveOverflow: 0 })
  })

  it('of equal sizes travels as few messages', () => {
    const [a, b] = [open(), open()]
    const datagrams = [...train(100), { bytes: 500, fill: 1, ecn: 0 }]
    send(a, batchOf(datagrams, [to(b)]))
    expect(plain(receiveAll(b))).toEqual(datagrams)
    // 46 segments of 1400 bytes fill one message.
    expect(testing.udpStats(a.handle)).toMatchObject({ sentDatagrams: 101, sentMessages: 3 })
    expect(testing.udpStats(b.handle)).toMatchObject({ receivedDatagrams: 101, receivedMessages: 3 })
  })

  it('larger than one system call takes is sent whole', () => {
    const [a, b] = [open(), open()]
    const datagrams = Array.from({ length: 600 }, (_, i) => ({
      bytes: 10 + (i % 2) * 20,
      fill: i & 0xff,
      ecn: 0,
    }))
    expect(send(a, batchOf(datagrams, [to(b)]))).toBe(600)
    expect(plain(receiveAll(b))).toEqual(datagrams)
  })

  it('is received through a slab of one message', () => {
    const [a, b] = [open(), open()]
    send(a, batchOf(train(200), [to(b)]))
    expect(plain(receiveAll(b, 65536))).toEqual(train(200))
  })

  it('can have several destinations', () => {
    const [a, b, c] = [open(), open(), open()]
    const datagrams = train(30).map((datagram, i) => ({ ...datagram, record: i % 3 === 0 ? 1 : 0 }))
    send(a, batchOf(datagrams, [to(b), to(c, 6, LOOPBACK6)]))
    expect(receiveAll(b).map((r) => r.fill)).toEqual(
      datagrams.filter((d) => d.record === 0).map((d) => d.fill),
    )
    expect(receiveAll(c).map((r) => r.fill)).toEqual(
      datagrams.filter((d) => d.record === 1).map((d) => d.fill),
    )
  })
})

describe('addresses and times', () => {
  it('tell who sent to which of ours, and an answer leaves from there', () => {
    const [a, b] = [open(), open()]
    send(a, batchOf(train(1), [to(b, 4, [local4(3), 0, 0, 0], [local4(2), 0, 0, 0])]))
    const [got] = receiveAll(b)
    expect(got!.record).toEqual([
      familyPort(4, a),
      local4(2),
      0,
      0,
      0,
      expect.any(Number),
      local4(3),
      0,
      0,
      0,
    ])
    expect(got!.record[5]).toBeGreaterThan(0)
    const record = got!.record
    send(b, batchOf(train(1), [record]))
    expect(receiveAll(a)[0]!.record.slice(0, 2)).toEqual([familyPort(4, b), local4(3)])
  })

  it('show IPv6 in network order', () => {
    const [a, b] = [open(), open()]
    send(a, batchOf(train(1), [to(b, 6, LOOPBACK6, LOOPBACK6)]))
    expect(receiveAll(b)[0]!.record).toEqual([
      familyPort(6, a),
      ...LOOPBACK6,
      expect.any(Number),
      ...LOOPBACK6,
    ])
  })

  it('work on a socket of IPv4 alone', () => {
    const [a, b] = [open({ address: '127.0.0.1' }), open({ address: '127.0.0.1' })]
    send(a, batchOf([{ bytes: 9, fill: 1, ecn: 2 }], [to(b)]))
    expect(receiveAll(b)[0]).toMatchObject({
      bytes: 9,
      ecn: 2,
      record: [familyPort(4, a), local4(1), 0, 0, 0, 1, local4(1), 0, 0, 0],
    })
    // IPv6 cannot leave from there: refused and counted, and the next datagram is not held up.
    const both = [
      { ...train(1)[0]!, record: 1 },
      { ...train(1)[0]!, record: 0 },
    ]
    expect(send(a, batchOf(both, [to(b), to(b, 6, LOOPBACK6)]))).toBe(2)
    expect(receiveAll(b)).toHaveLength(1)
    expect(testing.udpStats(a.handle).sendRefused).toBe(1)
  })

  it('give the time spent in the kernel', async () => {
    const [a, b] = [open(), open()]
    send(a, batchOf(train(1), [to(b)]))
    await new Promise((resolve) => setTimeout(resolve, 50))
    const [{ ageUs }] = receiveAll(b) as [Received]
    expect(ageUs).toBeGreaterThan(45_000)
    expect(ageUs).toBeLessThanOrEqual(1_000_000)
  })

  it('are bound to a device when asked', () => {
    const [a, b] = [open({ device: 'lo' }), open({ device: 'lo', address: '::1' })]
    send(a, batchOf(train(2), [to(b, 6, LOOPBACK6)]))
    expect(receiveAll(b)).toHaveLength(2)
  })
})

describe('a refusal', () => {
  it('EIO turns GSO off for the socket and loses nothing', () => {
    const [a, b, c] = [open(), open(), open()]
    testing.udpFault(a.handle, ERRNO.EIO, 1, true)
    expect(send(a, batchOf(train(100), [to(b)]))).toBe(100)
    expect(plain(receiveAll(b))).toEqual(train(100))
    expect(testing.udpStats(a.handle)).toMatchObject({
      gso: false,
      gsoErrno: ERRNO.EIO,
      sentMessages: 100,
      sendRefused: 0,
    })
    expect(testing.udpStats(c.handle).gso).toBe(true)
  })

  it.each([
    ['EINVAL', 1],
    ['EMSGSIZE', 2],
  ] as const)('%s of a GSO message sends it singly, and GSO stays', (name, times) => {
    const [a, b] = [open(), open()]
    testing.udpFault(a.handle, ERRNO[name], times, true)
    expect(send(a, batchOf(train(100), [to(b)]))).toBe(100)
    expect(plain(receiveAll(b))).toEqual(train(100))
    expect(testing.udpStats(a.handle)).toMatchObject({ gso: true, sentMessages: 46 + 2, sendRefused: 0 })
  })

  it.each(['EAGAIN', 'ENOBUFS'] as const)('%s returns what was taken, and the rest can follow', (name) => {
    const [a, b] = [open(), open()]
    const batch = batchOf([...train(3, 10), ...train(5, 20)], [to(b)])
    testing.udpFault(a.handle, ERRNO[name], 1, false)
    expect(send(a, batch)).toBe(0)
    expect(send(a, batch)).toBe(8)
    expect(receiveAll(b)).toHaveLength(8)
    expect(testing.udpStats(a.handle)).toMatchObject({ sentDatagrams: 8, sendRefused: 0 })
  })

  it('of a full socket is not a loss', () => {
    const a = open({ sendBufferBytes: 4096, offload: false })
    const b = open()
    // Nobody reads: loopback holds the bytes against the sender only while they are on their way, so all are taken.
    expect(send(a, batchOf(train(50), [to(b)]))).toBe(50)
    expect(receiveAll(b)).toHaveLength(50)
  })

  it('that stays is counted, and the others go', () => {
    const [a, b] = [open(), open()]
    testing.udpFault(a.handle, ERRNO.EPERM, 2, false)
    expect(send(a, batchOf([...train(1, 10), ...train(1, 20), ...train(1, 30)], [to(b)]))).toBe(3)
    expect(receiveAll(b).map((r) => r.bytes)).toEqual([20, 30])
    expect(testing.udpStats(a.handle)).toMatchObject({
      sendRefused: 1,
      lastSendErrno: ERRNO.EPERM,
      sentDatagrams: 2,
    })
  })

  it('by ICMP does not cost the next datagram, and can be read', () => {
    const [a, b, gone] = [open(), open(), open()]
    testing.udpClose(gone.handle)
    send(a, batchOf(train(1), [to(gone)]))
    expect(send(a, batchOf(train(1), [to(b)]))).toBe(1)
    expect(receiveAll(b)).toHaveLength(1)
    expect(testing.udpStats(a.handle).sendRefused).toBe(0)
    const address = new Uint32Array(ADDRESS_WORDS)
    expect(testing.udpError(a.handle, address)).toEqual({ errno: ERRNO.ECONNREFUSED, mtu: 0 })
    expect(Array.from(address.subarray(0, 2))).toEqual([familyPort(4, gone), local4(1)])
    expect(testing.udpError(a.handle, address)).toBeUndefined()
  })

  it('by ICMP does not hide what waits to be received', () => {
    const [a, b, gone] = [open(), open(), open()]
    testing.udpClose(gone.handle)
    send(b, batchOf(train(1), [to(a)]))
    send(a, batchOf(train(1), [to(gone)]))
    expect(receiveAll(a)).toHaveLength(1)
  })

  it('of what is too long for IP is counted', () => {
    const [a, b] = [open(), open()]
    expect(send(a, batchOf([{ bytes: 65535, fill: 1 }, ...train(1)], [to(b)]))).toBe(2)
    expect(testing.udpStats(a.handle)).toMatchObject({ sendRefused: 1, lastSendErrno: ERRNO.EMSGSIZE })
    expect(receiveAll(b)).toHaveLength(1)
  })
})

it('counts what the kernel dropped because nobody received', () => {
  const a = open()
  const b = open({ receiveBufferBytes: 20_000 })
  send(a, batchOf(train(500), [to(b)]))
  const first = receiveAll(b).length
  send(a, batchOf(train(1), [to(b)]))
  receiveAll(b)
  expect(first).toBeLessThan(500)
  expect(testing.udpStats(b.handle).receiveOverflow).toBeGreaterThan(0)
})
