import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { beforeAll, describe, expect, test } from 'vitest'
import type { End } from '../../sim/end.js'
import { NullCiphers } from '../../sim/null-cipher.js'
import { DatagramFlow, Ping } from '../../sim/traffic.js'
import { World } from '../../sim/world.js'
import {
  ADDRESS_WORDS,
  DatagramBatch,
  ROW_ADDRESS,
  ROW_LENGTH,
  ROW_OFFSET,
  ROW_WORDS,
} from '../base/datagram-batch.js'
import { PacketBatch, PacketPool } from '../base/packet-pool.js'
import { Prng } from '../base/prng.js'
import { MILLISECOND, SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import { mac1Key, mac1Offset } from '../noise/mac.js'
import type { Primitives } from '../noise/primitives.js'
import {
  CookieReply,
  HEADER_BYTES,
  headerWord,
  INNER_HEADER_BYTES,
  Initiation,
  MessageType,
  PATH_IDS,
  Response,
  receiverIndexOf,
  TAG_BYTES,
} from '../wire/message.js'
import { Device, type DeviceConfig } from './device.js'
import type { DropReason } from './drop-reasons.js'
import { SEAL_OVERHEAD_BYTES, SEAL_WORDS } from './packet-cipher.js'

const MUTANTS = 100_000
const QUIET_AT = 3 * SECOND

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

interface Captured {
  bytes: Uint8Array
  source: Uint32Array
  /** Link of the end it was sent to. */
  link: number
  to: End
}

/** A live session, at rest after some traffic, and the datagrams that made it. */
class Victim {
  readonly world: World
  readonly captured: Captured[] = []
  readonly random = new Prng(20_261)
  /** Events that the next call of {@link receive} may bring. */
  expectedEvents = 0
  private readonly input = new DatagramBatch(512 * 2048, 512, 4)
  private readonly output = new DatagramBatch(64 * 2048, 64, 8)
  private readonly delivered = new PacketBatch(64)

  constructor(readonly primitives: Primitives) {
    const presharedKey = new Uint8Array(32).fill(7)
    this.world = new World({ seed: 4, primitives, presharedKey, links: [{}, {}], rekeyAfterUs: 1 * SECOND })
    const { world } = this
    const { store, addresses } = world.network
    world.network.watchers.push({
      arrived: (slot) => {
        const owner = addresses.owner(store.destination[slot]!)
        const to = world.ends.find((end) => end.attachments.includes(owner!))!
        const record = new Uint32Array(ADDRESS_WORDS)
        record.set(addresses.record(store.source[slot]!))
        record[5] = to.attachments.indexOf(owner!) + 1
        record[6] = owner!.localWord
        this.captured.push({
          bytes: store.bytes(slot).slice(),
          source: record,
          link: to.attachments.indexOf(owner!),
          to,
        })
      },
    })
    this.stream('before', 0, QUIET_AT)
    new Ping(world.clock, world.ledger, world.client, world.server, {
      name: 'ping',
      family: 6,
      bytes: 84,
      intervalUs: 20 * MILLISECOND,
      until: QUIET_AT,
    })
    world.run(QUIET_AT + 2 * SECOND)
  }

  /** A stream there and back. */
  stream(name: string, from: number, until: number): DatagramFlow[] {
    const { clock, ledger, client, server } = this.world
    return [
      [client, server],
      [server, client],
    ].map(
      ([source, destination]) =>
        new DatagramFlow(clock, ledger, source!, destination!, {
          name: `${name} ${source!.number}`,
          bytes: 400,
          intervalUs: 5 * MILLISECOND,
          from,
          until,
        }),
    )
  }

  ofType(type: number): Captured[] {
    return this.captured.filter(({ bytes }) => bytes[0] === type)
  }

  /** Gives datagrams to one end and takes what it has to say. Returns its answers. */
  receive(
    device: Device,
    link: number,
    source: Uint32Array,
    datagrams: Uint8Array[],
    now: number,
  ): Uint8Array[] {
    const { input, output, delivered } = this
    input.clear()
    input.addresses.set(source)
    input.addressCount = 1
    let at = 0
    for (const bytes of datagrams) {
      input.slab.set(bytes, at)
      const row = input.count++ * ROW_WORDS
      input.rows[row + ROW_OFFSET] = at
      input.rows[row + ROW_LENGTH] = bytes.length
      input.rows[row + ROW_ADDRESS] = 0
      at += bytes.length
    }
    input.bytes = at
    device.handleDatagrams(link, input, now)
    const answers: Uint8Array[] = []
    for (let each = 0; each < device.links.length; each++) {
      for (;;) {
        output.clear()
        device.pollTransmit(each, output, now)
        if (output.count === 0) break
        for (let i = 0; i < output.count; i++) {
          const offset = output.rows[i * ROW_WORDS + ROW_OFFSET]!
          answers.push(output.slab.slice(offset, offset + output.rows[i * ROW_WORDS + ROW_LENGTH]!))
        }
      }
    }
    delivered.count = 0
    expect(device.pollDeliver(delivered)).toBe(0)
    for (; this.expectedEvents > 0; this.expectedEvents--) expect(device.pollEvent()).toBeDefined()
    expect(device.pollEvent()).toBeUndefined()
    return answers
  }

  /** Lets the world run until nothing of the last test is left: no load, no session that nobody confirmed. */
  rest(): void {
    this.world.run(this.world.clock.now + 12 * SECOND)
  }

  now(end: End): number {
    return end.local(this.world.clock.now)
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** One of many ways to spoil `original`, never equal to it or to `other`. */
function mutate(random: Prng, original: Uint8Array, other: Uint8Array): Uint8Array {
  for (;;) {
    const mutant = mutateOnce(random, original, other)
    if (!same(mutant, original) && !same(mutant, other)) return mutant
  }
}

function mutateOnce(random: Prng, original: Uint8Array, other: Uint8Array): Uint8Array {
  const bytes = original.slice()
  const flip = (at: number): void => {
    bytes[at]! ^= 1 << random.below(8)
  }
  switch (random.below(9)) {
    case 0:
      flip(random.below(HEADER_BYTES))
      return bytes
    case 1:
      flip(random.below(bytes.length))
      return bytes
    case 2:
      return bytes.subarray(0, random.below(bytes.length))
    case 3: {
      const longer = new Uint8Array(Math.min(2048, bytes.length + 1 + random.below(300)))
      random.fill(longer)
      longer.set(bytes.subarray(0, longer.length))
      return longer
    }
    case 4: {
      // Nothing but the type is right, and perhaps not even the length.
      const noise = new Uint8Array(random.next() < 0.5 ? bytes.length : 1 + random.below(400))
      random.fill(noise)
      noise[0] = original[0]!
      return noise
    }
    case 5: {
      const cut = random.below(Math.min(bytes.length, other.length))
      const spliced = new Uint8Array(other.length)
      spliced.set(bytes.subarray(0, cut))
      spliced.set(other.subarray(cut), cut)
      return spliced
    }
    case 6: {
      const from = random.below(bytes.length)
      random.fill(bytes.subarray(from, from + 1 + random.below(16)))
      return bytes
    }
    case 7:
      random.fill(bytes.subarray(4, 8))
      return bytes
    default:
      random.fill(bytes.subarray(1, 4))
      return bytes
  }
}

function dropSum(device: Device): number {
  return device.drops.counts.reduce((sum, count) => sum + count, 0)
}

function dropsSince(device: Device, action: () => void): Partial<Record<DropReason, number>> {
  const before = device.drops.snapshot()
  action()
  const result: Partial<Record<DropReason, number>> = {}
  for (const [name, count] of Object.entries(device.drops.snapshot())) {
    const more = count - (before[name as DropReason] ?? 0)
    if (more > 0) result[name as DropReason] = more
  }
  return result
}

/** What must be as it was: packet memory, sessions, where each path leads. */
function stateOf(device: Device): object {
  return {
    free: device.pool.freeCount,
    sessions: device.peers.map((peer) => peer.sessions.map((session) => session.localIndex)),
    current: device.peers.map((peer) => peer.current?.localIndex),
    paths: device.peers.map((peer) => peer.paths.map((path) => [path.state, [...path.remote], path.link.id])),
  }
}

let victim: Victim
beforeAll(async () => {
  victim = new Victim(await loadPrimitives())
})

/** Up to mac2 it is the message that was captured: genuine, and judged as a replay. */
function onlyMac2Differs(mutant: Uint8Array, original: Uint8Array): boolean {
  const at = mac1Offset(mutant)
  return (
    at >= 0 &&
    mutant.length === original.length &&
    same(mutant.subarray(0, at + 16), original.subarray(0, at + 16))
  )
}

/** Sends mutants of the captured messages of one type to `device`, and checks what must hold after every batch. */
function bombard(device: Device, originals: Captured[], now: number): void {
  const { random } = victim
  const others = victim.captured
  const before = stateOf(device)
  const heap: number[] = []
  for (let sent = 0; sent < MUTANTS; ) {
    const { link, source } = originals[random.below(originals.length)]!
    const mutants: Uint8Array[] = []
    let genuine = 0
    while (mutants.length < 500) {
      const original = originals[random.below(originals.length)]!.bytes
      const other =
        random.next() < 0.5
          ? originals[random.below(originals.length)]!.bytes
          : others[random.below(others.length)]!.bytes
      const mutant = mutate(random, original, other)
      if (onlyMac2Differs(mutant, original) || onlyMac2Differs(mutant, other)) {
        // To an end that waits for this very message it would be no mutant at all.
        if (device !== victim.world.server.end.device && device !== victim.world.client.end.device) continue
        genuine++
      }
      mutants.push(mutant)
    }
    const counted = dropSum(device)
    const answers = victim.receive(device, link, source, mutants, now)
    // A genuine message with another mac2 may be asked for a cookie; nothing else is answered at all.
    expect(answers.length).toBeLessThanOrEqual(genuine)
    for (const answer of answers) expect(answer[0]).toBe(MessageType.CookieReply)
    expect(dropSum(device) - counted).toBe(mutants.length)
    sent += mutants.length
    if (sent === MUTANTS / 5 || sent === MUTANTS) {
      collectGarbage()
      heap.push(process.memoryUsage().heapUsed)
    }
  }
  expect(stateOf(device)).toEqual(before)
  expect(heap[1]! - heap[0]!).toBeLessThan(4 << 20)
}

describe('100,000 mutants of each message type: silence, a counted reason, no effect', () => {
  test.each([
    ['initiation', MessageType.Initiation, 'server'],
    ['response', MessageType.Response, 'client'],
    ['data', MessageType.Data, 'server'],
    ['control', MessageType.Control, 'client'],
  ] as const)(
    '%s',
    (_name, type, name) => {
      const { end } = victim.world[name]
      const originals = victim.ofType(type).filter(({ to }) => to === end)
      expect(originals.length).toBeGreaterThan(0)
      bombard(end.device, originals, victim.now(end))
    },
    60_000,
  )

  test('cookie reply, to an end that waits for one', () => {
    victim.rest()
    const { end } = victim.world.server
    const now = victim.now(end)
    const { device: caller, initiation } = callerOf(victim.world.client.end.config, now)
    const source = callersEndpoint(caller)
    const bytes = end.device.gate.cookieReply(initiation, new Uint32Array(5), now)
    bombard(caller, [{ bytes, source, link: 0, to: end }], now)
    // The genuine one is taken: so the mutants had their chance.
    expect(dropsSince(caller, () => victim.receive(caller, 0, source, [bytes], now))).toEqual({})
  }, 60_000)

  test('response, to an end that waits for one', () => {
    victim.rest()
    const { end } = victim.world.server
    const now = victim.now(end)
    const { device: caller, initiation } = callerOf(victim.world.client.end.config, now)
    const source = callersEndpoint(caller)
    const link = victim.ofType(MessageType.Initiation).find(({ to }) => to === end)!
    const [bytes] = victim.receive(end.device, 0, link.source, [initiation], now)
    expect(bytes!.length).toBe(Response.bytes)
    bombard(caller, [{ bytes: bytes!, source, link: 0, to: end }], now)
    expect(caller.peers[0]!.current).toBeUndefined()
    // The genuine one makes a session, unseen by the server until something is sent.
    victim.expectedEvents = 1
    victim.receive(caller, 0, source, [bytes!], now)
    expect(caller.peers[0]!.current).toBeDefined()
  }, 60_000)
})

/** Another device that has just begun to shake hands with the server. */
function callerOf(config: DeviceConfig, now: number): { device: Device; initiation: Uint8Array } {
  const device = new Device(config, {
    now,
    random: new Prng(victim.random.nextUint32()),
    primitives: victim.primitives,
    ciphers: new NullCiphers(),
    pool: new PacketPool(1 << 20),
  })
  device.handleTimeout(now)
  const sent = victim.receive(device, 0, new Uint32Array(ADDRESS_WORDS), [], now)
  const initiation = sent.find((bytes) => bytes[0] === MessageType.Initiation)!
  return { device, initiation }
}

function callersEndpoint(device: Device): Uint32Array {
  return device.peers[0]!.paths[0]!.remote
}

describe('what passes the mac gate goes no further either', () => {
  test('random noise under a right mac1: a Diffie-Hellman, then silence; a cookie when there is much of it', () => {
    const { random, primitives } = victim
    const { end } = victim.world.server
    const { device } = end
    const key = mac1Key(primitives, device.identity.publicKey)
    const original = victim.ofType(MessageType.Initiation).find(({ to }) => to === end)!
    const before = stateOf(device)
    const forged = (): Uint8Array => {
      const bytes = original.bytes.slice()
      const from = Initiation.senderIndex + random.below(Initiation.mac1 - 1)
      random.fill(bytes.subarray(from, Math.min(Initiation.mac1, from + 1 + random.below(60))))
      bytes.set(primitives.mac(key, bytes.subarray(0, Initiation.mac1)), Initiation.mac1)
      return bytes
    }
    let now = victim.now(end) + 2 * SECOND
    const slow = dropsSince(device, () => {
      for (let i = 0; i < 400; i++) {
        now += 20 * MILLISECOND
        expect(victim.receive(device, original.link, original.source, [forged()], now)).toEqual([])
      }
    })
    expect((slow.handshakeFailed ?? 0) + (slow.handshakeUnknownPeer ?? 0)).toBe(400)
    const fast = dropsSince(device, () => {
      const burst = Array.from({ length: 400 }, forged)
      const answers = victim.receive(device, original.link, original.source, burst, now)
      expect(answers.length).toBeGreaterThan(100)
      // Shorter than what it answers: nothing is amplified.
      for (const answer of answers) expect(answer.length).toBe(CookieReply.bytes)
    })
    expect(fast.cookieRequired).toBeGreaterThan(200)
    expect(stateOf(device)).toEqual(before)
    victim.rest()
  })

  test('an unknown key gets no answer, whatever it sends', () => {
    victim.rest()
    const { end } = victim.world.server
    const config = victim.world.client.end.config
    const now = victim.now(end)
    const privateKey = new Uint8Array(32).fill(99)
    const { initiation } = callerOf({ ...config, privateKey }, now)
    const before = stateOf(end.device)
    const source = victim.ofType(MessageType.Data).find(({ to }) => to === end)!.source
    const drops = dropsSince(end.device, () => {
      expect(victim.receive(end.device, 0, source, [initiation], now)).toEqual([])
    })
    expect(drops).toEqual({ handshakeUnknownPeer: 1 })
    expect(stateOf(end.device)).toEqual(before)
  })

  test('the right key with the wrong psk gets no answer, and the live session is not touched', () => {
    victim.rest()
    const { end } = victim.world.server
    const { device } = end
    const config = victim.world.client.end.config
    const now = victim.now(end)
    const peers = config.peers.map((peer) => ({ ...peer, presharedKey: new Uint8Array(32).fill(8) }))
    const { initiation: wrong } = callerOf({ ...config, peers }, now)
    const { initiation: right } = callerOf(config, now)
    const source = victim.ofType(MessageType.Data).find(({ to }) => to === end)!.source
    const before = stateOf(device)
    const remembered = device.seen.size
    const drops = dropsSince(device, () => {
      // The operator is told, once however often it happens.
      victim.expectedEvents = 1
      for (let i = 0; i < 20; i++) expect(victim.receive(device, 0, source, [wrong], now)).toEqual([])
    })
    expect(drops).toEqual({ handshakePsk: 20 })
    expect(stateOf(device)).toEqual(before)
    expect(device.seen.size).toBe(remembered)
    // The right one is answered right behind it.
    const answers = victim.receive(device, 0, source, [wrong, right], now)
    expect(answers.map((answer) => answer.length)).toEqual([Response.bytes])
    victim.rest()
  })

  test('replayed packets, from their own address and from another, are counted and do nothing', () => {
    for (const { end } of [victim.world.server, victim.world.client]) {
      const { device } = end
      const now = victim.now(end)
      const replays = victim.captured.filter(
        ({ to, bytes }) => to === end && (bytes[0] === MessageType.Data || bytes[0] === MessageType.Control),
      )
      const before = stateOf(device)
      const elsewhere = replays[0]!.source.slice()
      elsewhere[1]! ^= 0x0100
      let sent = 0
      const drops = dropsSince(device, () => {
        for (const { bytes, source, link } of replays) {
          for (const from of [source, elsewhere]) {
            expect(victim.receive(device, link, from, [bytes], now)).toEqual([])
            sent++
          }
        }
      })
      // Those of long replaced sessions are nobody's any more.
      expect((drops.replayed ?? 0) + (drops.unknownIndex ?? 0)).toBe(sent)
      expect(drops.replayed).toBeGreaterThan(100)
      expect(stateOf(device)).toEqual(before)
    }
  })

  test('after all of it the session carries traffic as before', () => {
    const { world } = victim
    const { now } = world.clock
    const flows = victim.stream('after', now, now + 2 * SECOND)
    world.run(now + 6 * SECOND)
    for (const { record } of flows) {
      expect(record.sent).toBe(400)
      expect(record.delivered).toBe(400)
    }
    expect(world.faults()).toEqual([])
  })
})

test('nonsense sealed with the right keys, as by a faulty peer: no exception, no leak, nothing false delivered', () => {
  const broken = new Victim(victim.primitives)
  const { random, world } = broken
  const sender = world.client.end.device
  const { end } = world.server
  const { device } = end
  const session = sender.peers[0]!.current!
  const channels = session.channels.filter((channel) => channel !== undefined)
  const originals = broken.captured.filter(({ to }) => to === end)
  const row = new Uint32Array(SEAL_WORDS)
  const batch = new DatagramBatch(2048, 1, 1)
  const delivered = new PacketBatch(64)
  const out = new DatagramBatch(512 * 2048, 512, 64)
  let now = broken.now(end)
  let accepted = 0
  for (let i = 0; i < 60_000; i++) {
    const { bytes, source, link } = originals[random.below(originals.length)]!
    const other = originals[random.below(originals.length)]!.bytes
    const sealedHeader = bytes.length - HEADER_BYTES - TAG_BYTES
    if (sealedHeader < 0 || other.length < HEADER_BYTES + TAG_BYTES) continue
    const plain = mutateOnce(
      random,
      bytes.subarray(HEADER_BYTES, bytes.length - TAG_BYTES),
      other.subarray(HEADER_BYTES, other.length - TAG_BYTES),
    )
    if (plain.length < INNER_HEADER_BYTES) continue
    const channel = channels[random.below(channels.length)]!
    // Any path id, also those that are not ours to open.
    const id = random.next() < 0.05 ? random.below(PATH_IDS) : channel.id
    const counter = id === channel.id ? channel.take(plain.length, -1, 0, false, now) : i
    const type = random.next() < 0.7 ? MessageType.Control : MessageType.Data
    row.set([
      0,
      plain.length,
      0,
      headerWord(type, receiverIndexOf(session.remoteIndex, id)),
      counter,
      id,
      counter,
      0,
    ])
    batch.clear()
    session.sendKey.seal(batch.slab, plain, row, 0, 1)
    batch.rows[ROW_LENGTH] = plain.length + SEAL_OVERHEAD_BYTES
    batch.rows[ROW_OFFSET] = 0
    batch.rows[ROW_ADDRESS] = 0
    batch.addresses.set(source)
    batch.count = 1
    batch.addressCount = 1
    now += 50
    device.handleDatagrams(link, batch, now)
    if (device.nextTimeout() <= now) device.handleTimeout(now)
    for (let each = 0; each < device.links.length; each++) {
      out.clear()
      device.pollTransmit(each, out, now)
    }
    delivered.count = 0
    device.pollDeliver(delivered)
    for (let n = 0; n < delivered.count; n++) device.pool.release(delivered.slots[n]!)
    accepted += delivered.count
    while (device.pollEvent() !== undefined);
  }
  // Mutated payloads of real packets are delivered: they were sealed by the peer, and a tunnel does not look inside.
  expect(accepted).toBeGreaterThan(0)
  expect(device.drops.snapshot().malformedControl).toBeGreaterThan(0)
  expect(device.drops.snapshot().malformedInner).toBeGreaterThan(0)
  for (let i = 0; i < 400; i++) {
    now += 10 * MILLISECOND
    device.handleTimeout(now)
    delivered.count = 0
    device.pollDeliver(delivered)
    for (let n = 0; n < delivered.count; n++) device.pool.release(delivered.slots[n]!)
    for (let each = 0; each < device.links.length; each++) {
      out.clear()
      device.pollTransmit(each, out, now)
    }
  }
  expect(device.pool.freeCount).toBe(device.pool.slotCount)
})
