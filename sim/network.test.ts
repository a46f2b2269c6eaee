import { expect, test } from 'vitest'
import { Prng } from '../src/base/prng.js'
import { Clock } from './clock.js'
import { type LinkParameters, PERFECT_LINK } from './link-direction.js'
import { addressOf, Network } from './network.js'

interface Arrival {
  at: number
  number: number
  bytes: number
  source: number
}

/** Sends `count` datagrams of 100 bytes, one each `everyUs`, over a line with these parameters. */
function send(
  parameters: Partial<LinkParameters>,
  count: number,
  everyUs: number,
  during?: (network: Network, i: number) => void,
): { arrivals: Arrival[]; network: Network } {
  const clock = new Clock()
  const network = new Network(clock, new Prng(5))
  const line = { up: { ...PERFECT_LINK, ...parameters }, down: { ...PERFECT_LINK } }
  const from = network.attach('a', addressOf(198, 51, 100, 1, 1), line)
  const to = network.attach('b', addressOf(192, 0, 2, 1, 2))
  const arrivals: Arrival[] = []
  to.socket = {
    open: true,
    receive: (slot, now) => {
      const bytes = network.store.bytes(slot)
      arrivals.push({
        at: now,
        number: bytes[0]! | (bytes[1]! << 8),
        bytes: bytes.length,
        source: network.store.source[slot]!,
      })
      network.store.length[slot] = 0
      network.store.release(slot)
    },
  }
  for (let i = 0; i < count; i++) {
    clock.call(i * everyUs, (now) => {
      during?.(network, i)
      const bytes = new Uint8Array(100)
      bytes[0] = i & 255
      bytes[1] = i >> 8
      network.send(from, bytes, 0, 100, to.address, now)
    })
  }
  clock.run(1e9)
  expect(network.store.taken).toBe(0)
  return { arrivals, network }
}

test('rate and delay: a burst leaves at line rate, headers counted, and the queue drops its tail', () => {
  // 142 bytes a frame at 142,000 bytes/s: 1 ms each.
  const { arrivals } = send(
    { rateBytesPerSec: 142_000, delayUs: 5_000, queueBytesMax: 142 * 10, overheadBytes: 42 },
    20,
    0,
  )
  expect(arrivals.map((a) => a.at)).toEqual(Array.from({ length: 11 }, (_, i) => 5_000 + (i + 1) * 1_000))
  // One is on the line, ten wait.
  expect(arrivals.map((a) => a.number)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
})

test('a queue has limits in packets and in time, too, and large frames vanish', () => {
  const line = { rateBytesPerSec: 142_000, queueBytesMax: 1e9 }
  expect(send({ ...line, queuePacketsMax: 4 }, 20, 0).arrivals.length).toBe(5)
  expect(send({ ...line, queueUsMax: 6_500 }, 20, 0).arrivals.length).toBe(7)
  const { arrivals, network } = send({ ...line, frameBytesMax: 141 }, 20, 0)
  expect(arrivals.length).toBe(0)
  expect(network.store.taken).toBe(0)
})

test('random and burst loss have their shares', () => {
  const random = send({ loss: 0.1 }, 5_000, 100).arrivals.length
  expect(random).toBeGreaterThan(4_350)
  expect(random).toBeLessThan(4_650)
  // Bad share = begin / (begin + end) = 3.2 %.
  const burst = send({ burstBegin: 0.01, burstEnd: 0.3 }, 20_000, 100).arrivals
  expect(burst.length).toBeGreaterThan(19_100)
  expect(burst.length).toBeLessThan(19_550)
  const runs = burst.filter((a, i) => i > 0 && a.number - burst[i - 1]!.number > 3).length
  expect(runs).toBeGreaterThan(30)
})

test('jitter keeps the order unless told otherwise; reordering and duplicates happen', () => {
  const disorder = (arrivals: Arrival[]): number =>
    arrivals.filter((a, i) => i > 0 && a.number < arrivals[i - 1]!.number).length
  expect(disorder(send({ jitterUs: 3_000 }, 3_000, 200).arrivals)).toBe(0)
  expect(
    disorder(send({ jitterUs: 3_000, jitterHoldUs: 0, keepOrder: false }, 3_000, 200).arrivals),
  ).toBeGreaterThan(500)
  const some = disorder(send({ reorder: 0.05, reorderUs: 2_000 }, 3_000, 200).arrivals)
  expect(some).toBeGreaterThan(50)
  expect(some).toBeLessThan(300)
  const doubled = send({ duplicate: 0.1 }, 3_000, 200).arrivals.length
  expect(doubled).toBeGreaterThan(3_200)
  expect(doubled).toBeLessThan(3_400)
})

test('a blackhole takes everything, and parameters change while it runs', () => {
  const parameters = { ...PERFECT_LINK }
  const clock = new Clock()
  const network = new Network(clock, new Prng(1))
  const from = network.attach('a', addressOf(10, 0, 0, 1, 1), { up: parameters, down: PERFECT_LINK })
  const to = network.attach('b', addressOf(10, 0, 0, 2, 2))
  let got = 0
  to.socket = {
    open: true,
    receive: (slot) => {
      got++
      network.store.release(slot)
    },
  }
  for (let i = 0; i < 100; i++) {
    clock.call(i * 1_000, (now) => {
      parameters.blackhole = i >= 30 && i < 60
      network.send(from, new Uint8Array(50), 0, 50, to.address, now)
    })
  }
  clock.run(1e9)
  // The five that were under way when it began are gone as well.
  expect(got).toBe(65)
  expect(from.up!.counts).toMatchObject({ entered: 100, passed: 65, swallowed: 35 })
})

test('after NAT rebinding the far end sees another source, and the old address leads nowhere', () => {
  const clock = new Clock()
  const network = new Network(clock, new Prng(1))
  const a = network.attach('a', addressOf(10, 0, 0, 1, 1), { up: PERFECT_LINK, down: PERFECT_LINK })
  const b = network.attach('b', addressOf(10, 0, 0, 2, 2))
  const sources: number[] = []
  let toA = 0
  a.socket = {
    open: true,
    receive: (slot) => {
      toA++
      network.store.release(slot)
    },
  }
  b.socket = {
    open: true,
    receive: (slot) => {
      sources.push(network.store.source[slot]!)
      network.store.release(slot)
    },
  }
  const old = a.address
  network.send(a, new Uint8Array(9), 0, 9, b.address, 0)
  network.send(b, new Uint8Array(9), 0, 9, old, 0)
  clock.run(10_000)
  a.setAddress(addressOf(10, 0, 0, 99, 7))
  network.send(a, new Uint8Array(9), 0, 9, b.address, clock.now)
  network.send(b, new Uint8Array(9), 0, 9, old, clock.now)
  network.send(b, new Uint8Array(9), 0, 9, a.address, clock.now)
  clock.run(20_000)
  expect(sources).toEqual([old, a.address])
  expect(a.address).not.toBe(old)
  expect(toA).toBe(2)
  expect(network.unroutable).toBe(1)
})
