/**
 * A bulk transfer over UDP as QUIC makes one, for the lab: traffic that is no TCP and yet fills the links.
 *
 *     quic-main.js receive ADDRESS PORT         "ready" once it listens; at SIGTERM {"intervals":[...]}
 *     quic-main.js send ADDRESS PORT SECONDS    at the end {"sent":N,"lost":N}
 *
 * Data: type 0, number u32, chunk u32, filled up to 1380 bytes. Acknowledgement: type 1, count u8, delay µs u32, and per
 * range high u32, low u32. Big endian.
 */
import { createSocket, type Socket } from 'node:dgram'
import { constants, setPriority } from 'node:os'
import { delay, monotonicNs } from '../processes.js'
import { QUIC_DATAGRAM_BYTES, QUIC_PAYLOAD_BYTES } from './quic-framing.js'
import { QuicReceiver } from './quic-receiver.js'
import { type AckRange, QuicSender } from './quic-sender.js'

const DATA = 0
const ACK = 1
const ACK_HEADER_BYTES = 6
const SOCKET_BUFFER_BYTES = 4 << 20
const INTERVAL_NS = 100e6
const TICK_MS = 1

const nowUs = (): number => monotonicNs() / 1e3

function opened(socket: Socket, open: (done: () => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    open(() => {
      socket.removeListener('error', reject)
      // Refusals of the network show as packets that are missing.
      socket.on('error', () => {})
      socket.setRecvBufferSize(SOCKET_BUFFER_BYTES)
      socket.setSendBufferSize(SOCKET_BUFFER_BYTES)
      resolve()
    })
  })
}

function ackDatagram(ranges: readonly AckRange[], delayUs: number): Buffer {
  const bytes = Buffer.alloc(ACK_HEADER_BYTES + ranges.length * 8)
  bytes.writeUInt8(ACK, 0)
  bytes.writeUInt8(ranges.length, 1)
  bytes.writeUInt32BE(Math.round(delayUs), 2)
  for (const [index, { low, high }] of ranges.entries()) {
    bytes.writeUInt32BE(high, ACK_HEADER_BYTES + index * 8)
    bytes.writeUInt32BE(low, ACK_HEADER_BYTES + index * 8 + 4)
  }
  return bytes
}

function readAck(bytes: Buffer): { ranges: AckRange[]; delayUs: number } | undefined {
  if (bytes.length < ACK_HEADER_BYTES || bytes[0] !== ACK) return undefined
  const count = bytes[1]!
  if (bytes.length < ACK_HEADER_BYTES + count * 8) return undefined
  const ranges = Array.from({ length: count }, (_, index) => ({
    high: bytes.readUInt32BE(ACK_HEADER_BYTES + index * 8),
    low: bytes.readUInt32BE(ACK_HEADER_BYTES + index * 8 + 4),
  }))
  return { ranges, delayUs: bytes.readUInt32BE(2) }
}

async function send(address: string, port: number, seconds: number): Promise<void> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  await opened(socket, (done) => socket.connect(port, address, done))
  const sender = new QuicSender()
  const pump = (): void => {
    for (let now = nowUs(); sender.maySend(now); now = nowUs()) {
      const { number, chunk } = sender.take(now)
      const bytes = Buffer.allocUnsafe(QUIC_DATAGRAM_BYTES)
      bytes.writeUInt8(DATA, 0)
      bytes.writeUInt32BE(number, 1)
      bytes.writeUInt32BE(chunk, 5)
      socket.send(bytes, () => {})
    }
  }
  socket.on('message', (bytes) => {
    const ack = readAck(bytes)
    if (!ack) return
    sender.onAck(nowUs(), ack.ranges, ack.delayUs)
    pump()
  })
  const end = nowUs() + seconds * 1e6
  while (nowUs() < end) {
    sender.onTime(nowUs())
    pump()
    await delay(TICK_MS)
  }
  socket.close()
  process.stdout.write(`${JSON.stringify({ sent: sender.sentPackets, lost: sender.lostPackets })}\n`)
}

async function receive(address: string, port: number): Promise<void> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  await opened(socket, (done) => socket.bind(port, address, done))
  const receiver = new QuicReceiver()
  const intervals: { fromNs: number; toNs: number; bytes: number }[] = []
  let peer: { port: number; address: string } | undefined
  let stopped = false
  const acknowledge = (): void => {
    if (!peer || !receiver.ackDue(nowUs())) return
    const { ranges, delayUs } = receiver.takeAck(nowUs())
    socket.send(ackDatagram(ranges, delayUs), peer.port, peer.address, () => {})
  }
  socket.on('message', (bytes, from) => {
    if (bytes.length < QUIC_DATAGRAM_BYTES || bytes[0] !== DATA) return
    peer = from
    const now = monotonicNs()
    const isNew = receiver.onPacket(now / 1e3, bytes.readUInt32BE(1), bytes.readUInt32BE(5))
    const fromNs = Math.floor(now / INTERVAL_NS) * INTERVAL_NS
    let interval = intervals.at(-1)
    if (interval?.fromNs !== fromNs) {
      interval = { fromNs, toNs: fromNs + INTERVAL_NS, bytes: 0 }
      intervals.push(interval)
    }
    if (isNew) interval.bytes += QUIC_PAYLOAD_BYTES
    acknowledge()
  })
  process.once('SIGTERM', () => {
    stopped = true
  })
  process.stdout.write('ready\n')
  while (!stopped) {
    acknowledge()
    await delay(5)
  }
  socket.close()
  process.stdout.write(`${JSON.stringify({ intervals })}\n`)
}

// TCP's half of the work is done by the kernel, whom no other program keeps waiting.
setPriority(constants.priority.PRIORITY_HIGH)
const [verb, address, port, seconds] = process.argv.slice(2)
if (verb === 'send') await send(address!, Number(port), Number(seconds))
else await receive(address!, Number(port))
