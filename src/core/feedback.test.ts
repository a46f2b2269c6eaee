import { beforeAll, describe, expect, it, test } from 'vitest'
import { Shuttle } from '../../sim/shuttle.js'
import { DatagramBatch, ROW_ADDRESS, ROW_LENGTH, ROW_OFFSET } from '../base/datagram-batch.js'
import { PacketBatch } from '../base/packet-pool.js'
import { Prng } from '../base/prng.js'
import { MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import type { Primitives } from '../noise/primitives.js'
import {
  DATA_OVERHEAD_BYTES,
  Feature,
  Feedback,
  FeedbackPath,
  FRAME_HEADER_BYTES,
  FrameKind,
  HEADER_BYTES,
  headerWord,
  INNER_HEADER_BYTES,
  MessageType,
  PacketFlag,
  receiverIndexOf,
  TAG_BYTES,
  TRAILED_BYTES_MAX,
} from '../wire/message.js'
import { feedbackDue, sendFeedback } from './feedback.js'
import { SEAL_OVERHEAD_BYTES, SEAL_WORDS } from './packet-cipher.js'
import { OUTER_BYTES, type Session } from './session.js'

/** One path's frame without missing ranges. */
const FRAME_BYTES = FRAME_HEADER_BYTES + Feedback.bytes + FeedbackPath.bytes

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

describe('feedback alone is due', () => {
  const session = (fields: Partial<Session>): Session =>
    ({
      feedbackAt: 0,
      unreportedSince: NEVER,
      unreportedBytes: 0,
      gapAt: NEVER,
      riddenSince: NEVER,
      peer: { paths: [] },
      ...fields,
    }) as unknown as Session

  it('never while there is nothing to tell', () => {
    expect(feedbackDue(session({}))).toBe(NEVER)
  })
  it('5 ms after the last, where much came', () => {
    expect(feedbackDue(session({ unreportedSince: 1_000, unreportedBytes: 1e5 }))).toBe(5 * MILLISECOND)
    expect(feedbackDue(session({ unreportedSince: 9_000, unreportedBytes: 1e5 }))).toBe(9_000)
  })
  it('within 50 ms, where its own bytes would be too large a share', () => {
    expect(feedbackDue(session({ unreportedSince: 1_000, unreportedBytes: 100 }))).toBe(51_000)
  })
  it('half a millisecond after a gap, so that a burst of losses shares a frame', () => {
    const due = feedbackDue(session({ unreportedSince: 1_000, unreportedBytes: 100, gapAt: 2_000 }))
    expect(due).toBe(2_500)
    expect(feedbackDue(session({ feedbackAt: 3_000, gapAt: 2_000 }))).toBe(3_500)
  })
})

/** A server that has received much and said nothing of it yet, the last time it spoke being long ago. */
function withNews(links = 1): Shuttle {
  const shuttle = new Shuttle(primitives, links)
  // Reports of the trains of the start go alone, with the first frames.
  for (let i = 0; i < 3; i++) {
    shuttle.send(200, () => true)
    shuttle.feedback(60 * MILLISECOND)
  }
  shuttle.send(200, () => true)
  return shuttle
}

describe('a packet with room', () => {
  it('carries feedback that is nearly due, and no datagram is spent on it', () => {
    const shuttle = withNews()
    const { client, server, channel } = shuttle
    shuttle.feedback(6 * MILLISECOND)
    const newest = shuttle.send(200, () => true) + 199
    shuttle.now += 4_200
    server.handleTimeout(shuttle.now)
    shuttle.give(server, 3, 120)
    const { datagrams, delivered } = shuttle.carry(server)
    const plain = 120 + DATA_OVERHEAD_BYTES
    expect(datagrams.map((each) => each.length)).toEqual([plain + FRAME_BYTES, plain, plain])
    expect(datagrams.map((each) => each[HEADER_BYTES]! & PacketFlag.Trailer)).toEqual([
      PacketFlag.Trailer,
      0,
      0,
    ])
    // What follows the packet never comes to the TUN.
    expect(delivered).toEqual([120, 120, 120])
    expect(channel.reportedNewest).toBe(newest)
    expect(channel.sent.settled).toBe(newest + 1)
    expect(shuttle.feedback(1_000).datagrams).toEqual([])
    expect(client.drops.snapshot()).toEqual({})
  })

  it('carries none where it has no room, nor before it is nearly due, nor to an end that does not read it', () => {
    const shuttle = withNews()
    const { server } = shuttle
    shuttle.feedback(6 * MILLISECOND)
    shuttle.send(200, () => true)
    const lengths = (bytes: number): number[] => {
      shuttle.give(server, 1, bytes)
      return shuttle.carry(server).datagrams.map((each) => each.length - DATA_OVERHEAD_BYTES)
    }
    shuttle.now += 3 * MILLISECOND
    expect(lengths(200)).toEqual([200])
    shuttle.now += 1_500
    expect(lengths(1440)).toEqual([1440])
    expect(lengths(TRAILED_BYTES_MAX - FRAME_BYTES + 1)).toEqual([TRAILED_BYTES_MAX - FRAME_BYTES + 1])
    const session = server.peers[0]!.current as { remoteFeatures: number }
    session.remoteFeatures &= ~Feature.Trailers
    expect(lengths(200)).toEqual([200])
    session.remoteFeatures |= Feature.Trailers
    expect(lengths(TRAILED_BYTES_MAX - FRAME_BYTES)).toEqual([TRAILED_BYTES_MAX])
  })

  it('tells nothing where what came may still stand in the sockets', () => {
    const shuttle = withNews()
    const { server } = shuttle
    shuttle.feedback(6 * MILLISECOND)
    shuttle.send(200, () => true)
    server.handleTimeout(shuttle.now)
    shuttle.now += 7 * MILLISECOND
    shuttle.give(server, 1, 120)
    expect(shuttle.carry(server).datagrams.map((each) => each.length)).toEqual([120 + DATA_OVERHEAD_BYTES])
  })

  it('tells of a gap sooner', () => {
    const shuttle = withNews()
    const { server } = shuttle
    shuttle.feedback(6 * MILLISECOND)
    shuttle.send(20, (index) => index !== 7)
    shuttle.now += 400
    shuttle.give(server, 1, 120)
    expect(shuttle.carry(server).datagrams[0]!.length).toBe(120 + DATA_OVERHEAD_BYTES + FRAME_BYTES + 3)
  })
})

test('what rode on one path only, with one copy of a packet, is told on the other after 10 ms', () => {
  const shuttle = withNews(2)
  const { server } = shuttle
  const { paths, current } = server.peers[0]!
  shuttle.feedback(60 * MILLISECOND)
  shuttle.send(200, () => true)
  shuttle.now += 6 * MILLISECOND
  shuttle.give(server, 1, 120)
  const sent = shuttle.carry(server)
  expect(sent.datagrams.filter((each) => each[HEADER_BYTES]! & PacketFlag.Trailer)).toHaveLength(1)
  expect(sent.delivered).toEqual([120])
  const ridden = paths.find((path) => path.feedbackAt === shuttle.now)!
  const other = paths.find((path) => path !== ridden)!
  expect(current!.riddenOn).toBe(ridden)
  const due = feedbackDue(current!)
  expect(due).toBe(shuttle.now + 10 * MILLISECOND)
  const { datagrams } = shuttle.feedback(10 * MILLISECOND)
  expect(datagrams).toHaveLength(1)
  expect(datagrams[0]![0]).toBe(MessageType.Control)
  expect(other.feedbackAt).toBe(shuttle.now)
  expect(feedbackDue(current!)).toBe(NEVER)
})

describe('on a path of known rate, alone', () => {
  test.each([
    [0.5, 0.05],
    [1, 0.05],
    [1.9, 0.05],
    [3, 0.02],
    [8, 0.02],
  ])('%d Mbit/s: feedback takes at most its share, %d', (mbit, share) => {
    const shuttle = withNews()
    const { server } = shuttle
    const { path } = server.peers[0]!.paths[0]!.channel!
    const { rate } = path
    rate.known = true
    let bytes = 0
    let frames = 0
    const start = shuttle.now
    while (shuttle.now < start + 2 * SECOND) {
      rate.rateBytesPerSec = (mbit * 1e6) / 8
      shuttle.send(10, () => true)
      for (const datagram of shuttle.feedback(1 * MILLISECOND).datagrams) {
        // Nobody answers here what it asks: heartbeats are no feedback.
        if (datagram[HEADER_BYTES + INNER_HEADER_BYTES] !== FrameKind.Feedback) continue
        bytes += datagram.length + OUTER_BYTES
        frames++
      }
    }
    // What is saved up at the start is 50 ms of it.
    expect(bytes).toBeLessThan(((share * mbit * 1e6) / 8) * 2.06 + 130)
    // Never so seldom that the sender would be in the dark.
    expect(frames).toBeGreaterThan(18)
  })
})

test('where not all fits into a packet nothing is asked, and each path has its turn', () => {
  const shuttle = withNews(12)
  const { server } = shuttle
  const peer = server.peers[0]!
  const channels = peer.current!.channels.filter((each) => each !== undefined)
  expect(channels).toHaveLength(12)
  const told = (datagram: Uint8Array): number[] => {
    const ids: number[] = []
    let at = HEADER_BYTES + INNER_HEADER_BYTES
    while (at < datagram.length - TAG_BYTES) {
      if (datagram[at] === FrameKind.Feedback)
        ids.push(datagram[at + FRAME_HEADER_BYTES + Feedback.bytes + FeedbackPath.id]!)
      at += FRAME_HEADER_BYTES + datagram[at + 1]!
    }
    return ids
  }
  // With 27 to 28 gaps each they fill a packet to the last byte, to one of the last, and beyond.
  for (let gaps = 320; gaps < 400; gaps++) {
    channels.forEach(({ gaps: list, newest }, i) => {
      list.expire(0, shuttle.now + SECOND)
      const count = Math.floor((gaps + i) / channels.length)
      for (let n = count; n > 0; n--) list.add(newest - 2 * n, newest - 2 * n, shuttle.now + SECOND)
    })
    const ids = new Set<number>()
    for (let i = 0; i < 3; i++) {
      shuttle.now += 200 * MILLISECOND
      peer.activeAt = shuttle.now
      sendFeedback(server, peer.current!, channels[0]!, shuttle.now)
      for (const datagram of shuttle.carry(server).datagrams) for (const id of told(datagram)) ids.add(id)
    }
    expect([...ids].sort((a, b) => a - b)).toEqual(channels.map(({ id }) => id))
  }
})

test('nonsense behind packets, as by a faulty peer: counted, never thrown, and the packet itself is delivered', () => {
  const shuttle = withNews()
  const { client, server, channel } = shuttle
  const { session } = channel
  const random = new Prng(3)
  shuttle.give(client, 1, 200)
  const [original] = shuttle.carry(client, () => false).datagrams
  const inner = original!.subarray(HEADER_BYTES, HEADER_BYTES + INNER_HEADER_BYTES + 200)
  const batch = new DatagramBatch(2048, 1, 1)
  const row = new Uint32Array(SEAL_WORDS)
  const delivered = new PacketBatch(64)
  const out = new DatagramBatch(64 * 2048, 64, 8)
  const { world } = shuttle
  let wholes = 0
  for (let i = 0; i < 20_000; i++) {
    shuttle.now += 100
    const trailer = new Uint8Array(1 + random.below(120))
    random.fill(trailer)
    // Neither the end of the session nor a handshake, which have effects and reasons of their own.
    for (let n = 0; n < trailer.length; n++) if (trailer[n] === 5 || trailer[n] === 6) trailer[n] = 7
    // Kinds and lengths that are nearly right get further.
    if (random.next() < 0.7) trailer[0] = [4, 4, 4, 1, 2, 3, 8, 9][random.below(8)]!
    if (random.next() < 0.7 && trailer.length > 2) trailer[1] = random.below(trailer.length)
    const plain = new Uint8Array(inner.length + trailer.length)
    plain.set(inner)
    plain.set(trailer, inner.length)
    const flagged = random.next() < 0.9
    plain[0] = (plain[0]! & 0xf0) | (flagged ? PacketFlag.Trailer : 0)
    // Another sequence each, in the bucket without order.
    plain.set([i & 0xff, (i >> 8) & 0xff, 16, 0], 4)
    const counter = channel.take(plain.length, -1, 0, false, shuttle.now)
    row.set([
      0,
      plain.length,
      0,
      headerWord(MessageType.Data, receiverIndexOf(session.remoteIndex, channel.id)),
    ])
    row.set([counter, channel.id, counter, 0], 4)
    batch.clear()
    session.sendKey.seal(batch.slab, plain, row, 0, 1)
    batch.rows[ROW_OFFSET] = 0
    batch.rows[ROW_LENGTH] = plain.length + SEAL_OVERHEAD_BYTES
    batch.rows[ROW_ADDRESS] = 0
    batch.addresses.set(world.network.addresses.record(world.line(0).address))
    batch.addresses[5] = 1
    batch.addresses[6] = world.server.end.attachments[0]!.localWord
    batch.count = 1
    batch.addressCount = 1
    server.handleDatagrams(0, batch, shuttle.now)
    server.handleTimeout(shuttle.now)
    out.clear()
    server.pollTransmit(0, out, shuttle.now)
    delivered.count = 0
    server.pollDeliver(delivered)
    for (let n = 0; n < delivered.count; n++) {
      const slot = delivered.slots[n]!
      expect(server.pool.length[slot]).toBe(200)
      wholes++
      server.pool.release(slot)
    }
    while (server.pollEvent() !== undefined);
  }
  expect(wholes).toBe(20_000)
  const { malformedControl, ...others } = server.drops.snapshot()
  expect(malformedControl).toBeGreaterThan(2_000)
  expect(others).toEqual({})
})
