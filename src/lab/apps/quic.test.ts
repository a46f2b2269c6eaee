import { expect, test } from 'vitest'
import { Prng } from '../../base/prng.js'
import { QuicReceiver } from './quic-receiver.js'
import { type AckRange, QuicSender } from './quic-sender.js'

interface Line {
  readonly packetsPerSec: number
  readonly delayUs: number
  readonly queuePackets: number
  readonly loss?: number
  /** Every tenth packet is overtaken by so many. */
  readonly overtakenBy?: number
}

interface Outcome {
  readonly chunks: number
  readonly sender: QuicSender
}

const STEP_US = 100

/** A transfer over a line with a queue, in steps of a tenth of a millisecond. */
function transfer(line: Line, seconds: number): Outcome {
  const random = new Prng(1)
  const sender = new QuicSender()
  const receiver = new QuicReceiver()
  const onWire: { atUs: number; number: number; chunk: number }[] = []
  const acks: { atUs: number; ranges: AckRange[]; delayUs: number }[] = []
  let freeAtUs = 0
  let chunks = 0
  for (let now = 0; now < seconds * 1e6; now += STEP_US) {
    while ((acks[0]?.atUs ?? Number.POSITIVE_INFINITY) <= now) {
      const ack = acks.shift()!
      sender.onAck(now, ack.ranges, ack.delayUs)
    }
    if (now % 1000 === 0) sender.onTime(now)
    while (sender.maySend(now)) {
      const packet = sender.take(now)
      freeAtUs = Math.max(freeAtUs, now)
      if ((freeAtUs - now) * line.packetsPerSec > line.queuePackets * 1e6) continue
      freeAtUs += 1e6 / line.packetsPerSec
      if (random.next() < (line.loss ?? 0)) continue
      const late = packet.number % 10 === 0 ? ((line.overtakenBy ?? 0) * 1e6) / line.packetsPerSec : 0
      onWire.push({ ...packet, atUs: freeAtUs + line.delayUs + late })
    }
    onWire.sort((x, y) => x.atUs - y.atUs)
    while ((onWire[0]?.atUs ?? Number.POSITIVE_INFINITY) <= now) {
      const packet = onWire.shift()!
      if (receiver.onPacket(now, packet.number, packet.chunk)) chunks++
      if (!receiver.ackDue(now)) continue
      const { ranges, delayUs } = receiver.takeAck(now)
      acks.push({ atUs: now + line.delayUs, ranges: ranges.map((range) => ({ ...range })), delayUs })
    }
  }
  return { chunks, sender }
}

const line: Line = { packetsPerSec: 2000, delayUs: 20_000, queuePackets: 100 }

test('a transfer fills a line, and every chunk arrives but those under way', () => {
  const { chunks, sender } = transfer(line, 5)
  expect(chunks).toBeGreaterThan(0.9 * 10_000)
  expect(sender.sentPackets - sender.lostPackets - chunks).toBeLessThan(300)
})

test('a loss in two hundred costs CUBIC its share, and nothing is missing in the end', () => {
  const { chunks, sender } = transfer({ ...line, loss: 0.005 }, 10)
  expect(chunks).toBeGreaterThan(3000)
  expect(chunks).toBeLessThan(0.9 * 20_000)
  expect(sender.lostPackets).toBeGreaterThan(10)
})

test('packets overtaken by two are no loss, by ten they are', () => {
  const quiet = { ...line, packetsPerSec: 500, queuePackets: 1000 }
  expect(transfer({ ...quiet, overtakenBy: 2 }, 3).sender.lostPackets).toBe(0)
  expect(transfer({ ...quiet, overtakenBy: 10 }, 3).sender.lostPackets).toBeGreaterThan(5)
})

test('after a silence probes go out, whatever the window', () => {
  const sender = new QuicSender()
  let sent = 0
  for (let now = 0; now < 30e6; now += 1000) {
    sender.onTime(now)
    while (sender.maySend(now)) {
      sender.take(now)
      sent++
    }
  }
  // Ten of the first window, then two each time the patience has doubled.
  expect(sent).toBeGreaterThanOrEqual(16)
  expect(sent).toBeLessThan(40)
})

test('an acknowledgement of what was never sent has no effect', () => {
  const sender = new QuicSender()
  sender.take(0)
  sender.onAck(1000, [{ low: 0, high: 4_000_000_000 }], 0)
  sender.onAck(1000, [], 0)
  expect(sender.windowPackets).toBe(10)
})

test('the receiver merges what arrives out of order into ranges, the highest first', () => {
  const receiver = new QuicReceiver()
  const order = [0, 1, 5, 3, 9, 4, 8, 2]
  const fresh = order.map((number) => receiver.onPacket(0, number, number))
  expect(fresh.every((isNew) => isNew)).toBe(true)
  expect(receiver.ackDue(0)).toBe(true)
  expect(receiver.takeAck(0).ranges).toEqual([
    { low: 8, high: 9 },
    { low: 0, high: 5 },
  ])
  expect(receiver.ackDue(1e6)).toBe(false)
  // A chunk that comes again in another packet is not new.
  expect(receiver.onPacket(1e6, 10, 3)).toBe(false)
  expect(receiver.ackDue(1e6)).toBe(false)
  expect(receiver.ackDue(1_025_000)).toBe(true)
})
