import fc from 'fast-check'
import { beforeAll, describe, expect, it, test } from 'vitest'
import { ProtocolNumber, writePacket } from '../../sim/inner-packet.js'
import { World } from '../../sim/world.js'
import {
  ADDRESS_WORDS,
  DatagramBatch,
  ROW_ADDRESS,
  ROW_LENGTH,
  ROW_OFFSET,
  ROW_WORDS,
} from '../base/datagram-batch.js'
import { PacketBatch } from '../base/packet-pool.js'
import { type Instant, MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import type { Primitives } from '../noise/primitives.js'
import { Feedback, FeedbackPath, FRAME_HEADER_BYTES, FrameKind, INNER_HEADER_BYTES } from '../wire/message.js'
import { FEEDBACK_US_MAX } from './constants.js'
import type { Device } from './device.js'
import { feedbackDue } from './reports.js'
import { Fate } from './sent-packets.js'
import type { Channel, Session } from './session.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

describe('feedback is due', () => {
  const session = (fields: Partial<Session>): Session =>
    ({ feedbackAt: 0, unreportedSince: NEVER, unreportedBytes: 0, gapAt: NEVER, ...fields }) as Session

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

/** Two real devices with a session over one link, whose datagrams are carried, or not, by hand. */
class Shuttle {
  readonly world = new World({ seed: 6, primitives, scheduler: 'adaptive', links: [{}] })
  readonly channel: Channel
  now: Instant
  private readonly out = new DatagramBatch(1024 * 2048, 1024, 8)
  private readonly carried = new DatagramBatch(1024 * 2048, 1024, 8)

  constructor() {
    this.world.run(2 * SECOND)
    this.channel = this.client.peers[0]!.paths[0]!.channel!
    this.now = this.world.client.end.local(this.world.clock.now)
  }

  get client(): Device {
    return this.world.client.end.device
  }
  get server(): Device {
    return this.world.server.end.device
  }

  /** Sends `count` small packets, of which those arrive that `arrives` says; returns the counter of the first. */
  send(count: number, arrives: (index: number) => boolean): number {
    const { pool, view } = this.world.client.end
    const batch = new PacketBatch(count)
    const header = {
      family: 4,
      protocol: ProtocolNumber.icmp,
      source: 1,
      destination: 2,
      dscp: 0,
      flow: 0,
    } as const
    for (let i = 0; i < count; i++) {
      const slot = pool.take()
      writePacket(view, pool.packetAt(slot), header, 100, i)
      pool.length[slot] = 100
      batch.slots[batch.count++] = slot
    }
    const first = this.channel.sent.next
    this.client.handleTun(batch, this.now)
    this.carry(this.client, this.server, arrives)
    return first
  }

  /** What the server has to say, after the longest time it may keep a few bytes' arrival to itself. */
  feedback(): void {
    this.now += FEEDBACK_US_MAX + MILLISECOND
    this.server.handleTimeout(this.now)
    this.carry(this.server, this.client, () => true)
  }

  private carry(from: Device, to: Device, arrives: (index: number) => boolean): void {
    const { out, carried, world, now } = this
    const { addresses } = world.network
    const source = from === this.client ? world.line(0) : world.server.end.attachments[0]!
    const target = from === this.client ? world.server.end.attachments[0]! : world.line(0)
    out.clear()
    from.pollTransmit(0, out, now)
    carried.clear()
    carried.addresses.set(addresses.record(source.address))
    carried.addresses[5] = 1
    carried.addresses[6] = target.localWord
    carried.addresses.fill(0, 7, ADDRESS_WORDS)
    carried.addressCount = 1
    for (let i = 0; i < out.count; i++) {
      if (!arrives(i)) continue
      const row = carried.count++ * ROW_WORDS
      const at = out.rows[i * ROW_WORDS + ROW_OFFSET]!
      const bytes = out.rows[i * ROW_WORDS + ROW_LENGTH]!
      carried.slab.set(out.slab.subarray(at, at + bytes), at)
      carried.rows[row + ROW_OFFSET] = at
      carried.rows[row + ROW_LENGTH] = bytes
      carried.rows[row + ROW_ADDRESS] = 0
      carried.rows[row + ROW_ADDRESS + 1] = 0
    }
    to.handleDatagrams(0, carried, now)
    const delivered = new PacketBatch(1024)
    to.pollDeliver(delivered)
    to.pool.releaseMany(delivered.slots, 0, delivered.count)
  }
}

test('what a frame says missing is missing, and what it does not arrived, whatever was lost', () => {
  const shuttle = new Shuttle()
  const runs = fc.array(fc.record({ lost: fc.nat(300), arrived: fc.integer({ min: 1, max: 60 }) }), {
    minLength: 1,
    maxLength: 10,
  })
  fc.assert(
    fc.property(runs, (pattern) => {
      const arrives = pattern.flatMap(({ lost, arrived }) => [
        ...new Array<boolean>(lost).fill(false),
        ...new Array<boolean>(arrived).fill(true),
      ])
      const shown = arrives.slice(0, 500)
      shown[shown.length - 1] = true
      const { sent } = shuttle.channel
      const first = shuttle.send(shown.length, (index) => shown[index]!)
      shuttle.feedback()
      // One more, later: what is missing is old enough to be lost now.
      const last = shuttle.send(1, () => true)
      shuttle.feedback()
      expect(shuttle.channel.reportedNewest).toBeGreaterThanOrEqual(last)
      const fates = shown.map((_, index) => sent.fateOf(first + index))
      expect(fates).toEqual(shown.map((arrived) => (arrived ? Fate.Arrived : Fate.Lost)))
    }),
    { numRuns: 40 },
  )
})

test('nothing of an earlier control packet is left in a frame', () => {
  const shuttle = new Shuttle()
  shuttle.send(3, (index) => index !== 1)
  const { view } = shuttle.server.control
  for (let i = 0; i < view.byteLength; i++) view.setUint8(i, 0xff)
  shuttle.feedback()
  let frame = INNER_HEADER_BYTES
  while (view.getUint8(frame) !== FrameKind.Feedback) {
    expect(view.getUint8(frame)).toBe(FrameKind.TrainReport)
    frame += FRAME_HEADER_BYTES + view.getUint8(frame + 1)
  }
  expect(view.getUint8(frame + FRAME_HEADER_BYTES + Feedback.bytes + FeedbackPath.zero)).toBe(0)
})
