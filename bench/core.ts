/**
 * What the core itself costs per packet: two devices joined in memory, no system calls, no cipher (header-cipher.ts,
 * whose copying of headers is measured apart and taken off), one flow of full TCP segments, batches as a superpacket
 * gives them. Processor time is what counts, so that other work on the machine hardly shows.
 */
import { DatagramBatch } from '../src/base/datagram-batch.js'
import { PacketBatch, PacketPool } from '../src/base/packet-pool.js'
import { Prng } from '../src/base/prng.js'
import { Device, type DeviceConfig } from '../src/core/device.js'
import { SEAL_WORDS } from '../src/core/packet-cipher.js'
import { loadPrimitives } from '../src/io/primitives.js'
import { HeaderCiphers } from './header-cipher.js'
import { median } from './statistics.js'

const PACKET_BYTES = 1440
/** Segments of a superpacket of 64 KiB. */
const BATCH = 47
const BATCHES_PER_ROUND = 4000
const ROUNDS = 9
/** Of virtual time between batches: 47 packets of 1440 bytes at 6 Gbit/s. */
const BATCH_US = 90

class End {
  readonly pool = new PacketPool(32 << 20)
  readonly device: Device
  readonly out = new DatagramBatch(1024 * 2048, 1024, 64)
  private readonly delivered = new PacketBatch(1024)
  received = 0

  constructor(config: DeviceConfig, primitives: Awaited<ReturnType<typeof loadPrimitives>>, seed: number) {
    const random = new Prng(seed)
    const ciphers = new HeaderCiphers()
    this.device = new Device(config, { now: 0, random, primitives, ciphers, pool: this.pool })
  }

  drain(): void {
    const { device, delivered, pool } = this
    while (device.pollDeliver(delivered) > 0) {
      this.received += delivered.count
      pool.releaseMany(delivered.slots, 0, delivered.count)
      delivered.count = 0
    }
    while (device.pollEvent()) {}
  }
}

/** Moves everything that either end has to say to the other, at `now`. */
function exchange(from: End, to: End, now: number): void {
  while (from.device.hasTransmit(0)) {
    from.out.clear()
    from.device.pollTransmit(0, from.out, now)
    to.device.handleDatagrams(0, from.out, now)
  }
}

export async function coreCost(scheduler = 'adaptive'): Promise<{ sendNs: number; receiveNs: number }> {
  const primitives = await loadPrimitives()
  const keys = [1, 2].map((fill) => {
    const privateKey = new Uint8Array(32).fill(fill * 8)
    return { privateKey, publicKey: primitives.publicKey(privateKey) }
  })
  const address = (end: number): Uint8Array => Uint8Array.of(10, 0, 0, end + 1)
  // Word 0: IPv4 and the port; the core compares addresses and does not care which they are.
  const remote = Uint32Array.of(4 | (51_820 << 16), 0x0100_000a, 0, 0, 0, 0, 0, 0, 0, 0)
  const ends = [0, 1].map((end) => {
    const config: DeviceConfig = {
      privateKey: keys[end]!.privateKey,
      scheduler: scheduler as DeviceConfig['scheduler'],
      links: [{ name: 'link', weight: 1 }],
      peers: [
        {
          name: 'peer',
          publicKey: keys[1 - end]!.publicKey,
          presharedKey: new Uint8Array(32),
          endpoints: end === 0 ? [remote] : [],
          allowedIps: [{ family: 4, bytes: address(1 - end), bits: 32 }],
          keepaliveUs: 1_000_000,
        },
      ],
    }
    return new End(config, primitives, end + 1)
  })
  const [a, b] = ends as [End, End]
  let now = 1_000_000
  const turn = (): void => {
    for (const end of ends) end.device.handleTimeout(now)
    for (let i = 0; i < 4; i++) {
      exchange(a, b, now)
      exchange(b, a, now)
    }
    for (const end of ends) end.drain()
  }
  for (; now < 6_000_000; now += 5_000) turn()

  const packet = segment(address(0), address(1))
  const batch = new PacketBatch(BATCH)
  const fill = (): void => {
    batch.count = a.pool.takeMany(batch.slots, 0, BATCH)
    for (let i = 0; i < batch.count; i++) {
      const slot = batch.slots[i]!
      a.pool.length[slot] = PACKET_BYTES
      a.pool.slab.set(packet, a.pool.packetAt(slot))
    }
  }
  const send: number[] = []
  const receive: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    let sendNs = 0
    let receiveNs = 0
    const before = b.received
    for (let i = 0; i < BATCHES_PER_ROUND; i++) {
      now += BATCH_US
      fill()
      const startedAt = cpuNs()
      a.device.handleTimeout(now)
      a.device.handleTun(batch, now)
      a.out.clear()
      a.device.pollTransmit(0, a.out, now)
      a.device.nextTimeout()
      const sentAt = cpuNs()
      b.device.handleDatagrams(0, a.out, now)
      b.device.handleTimeout(now)
      b.device.nextTimeout()
      b.drain()
      const receivedAt = cpuNs()
      sendNs += sentAt - startedAt
      receiveNs += receivedAt - sentAt
      // Feedback, heartbeats, and what was left over.
      turn()
    }
    const packets = b.received - before
    if (packets < BATCH * BATCHES_PER_ROUND * 0.99) throw new Error(`only ${packets} packets came through`)
    // The first rounds are the compiler's.
    if (round >= 3) {
      send.push(sendNs / packets)
      receive.push(receiveNs / packets)
    }
  }
  const copying = copyNs()
  return {
    sendNs: Math.round(median(send) - copying),
    receiveNs: Math.round(median(receive) - copying),
  }
}

/** Processor time of this program. Counted in whole µs, which evens out over thousands of batches. */
function cpuNs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1000
}

/** A full segment of TCP between the two addresses, with time stamps, checksums left out. */
function segment(source: Uint8Array, destination: Uint8Array): Uint8Array {
  const packet = new Uint8Array(80)
  packet.set([0x45, 0, PACKET_BYTES >> 8, PACKET_BYTES & 0xff, 0, 0, 0x40, 0, 64, 6])
  packet.set(source, 12)
  packet.set(destination, 16)
  packet.set([0x9c, 0x40, 0x14, 0x51], 20)
  packet.set([0x80, 0x10, 0xff, 0xff], 32)
  return packet
}

/** What {@link HeaderCiphers} take for one packet. */
function copyNs(): number {
  const key = new HeaderCiphers().key()
  const [from, to] = [new Uint8Array(1 << 17), new Uint8Array(1 << 17)]
  const rows = new Uint32Array(BATCH * SEAL_WORDS)
  const rounds: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const startedAt = cpuNs()
    for (let i = 0; i < BATCHES_PER_ROUND; i++) {
      for (let n = 0; n < BATCH; n++) rows.set([n * 2048 + 8, PACKET_BYTES + 8, n * 1472], n * SEAL_WORDS)
      key.seal(to, from, rows, 0, BATCH)
    }
    rounds.push((cpuNs() - startedAt) / (BATCHES_PER_ROUND * BATCH))
  }
  return median(rounds)
}
