/**
 * A generator of UDP packets and their counter. Each packet is a datagram of its own to the kernel (no GSO, no GRO); a
 * call sends or takes many of them, so that the generator leaves the processor to what is measured.
 *
 *     node udp-load.js send ADDRESS PORT BYTES PACKETS_PER_SECOND SECONDS     prints {"sent":N} at the end
 *     node udp-load.js receive PORT                                           "ready", then {"received":N} at SIGTERM
 */
import {
  DatagramBatch,
  ROW_ADDRESS,
  ROW_AGE,
  ROW_LENGTH,
  ROW_OFFSET,
  ROW_WORDS,
} from '../src/base/datagram-batch.js'
import { monotonicNow, WakeTimer } from '../src/io/clock.js'
import { LinkSocket } from '../src/io/link-socket.js'
import { native, PollEvent } from '../src/io/native.js'

const BUFFER_BYTES = 8 << 20
/** Distance of the bursts in which packets leave; iperf3 has 1 ms. */
const TICK_US = 250
const BATCH = 512

const plain = { device: '', address: '', offload: false, reuseAddress: false }
const sizes = { receiveBufferBytes: BUFFER_BYTES, sendBufferBytes: BUFFER_BYTES }

function send(address: string, port: number, bytes: number, perSecond: number, seconds: number): void {
  const socket = new LinkSocket({ ...plain, ...sizes, address: '0.0.0.0', port: 0 })
  const batch = new DatagramBatch(BATCH * bytes, BATCH, 1)
  const octets = address.split('.').map(Number)
  batch.addresses[0] = 4 | (port << 16)
  new Uint8Array(batch.addresses.buffer).set(octets, 4)
  batch.addressCount = 1
  for (let i = 0; i < BATCH; i++) {
    const at = i * ROW_WORDS
    batch.rows[at + ROW_OFFSET] = i * bytes
    batch.rows[at + ROW_LENGTH] = bytes
    batch.rows[at + ROW_ADDRESS] = 0
    batch.rows[at + ROW_AGE] = 0
  }
  const startedAt = monotonicNow()
  let sent = 0
  const timer = new WakeTimer(() => {
    const now = monotonicNow()
    const elapsed = Math.min(now - startedAt, seconds * 1e6)
    let due = Math.floor((elapsed * perSecond) / 1e6) - sent
    while (due > 0) {
      batch.count = Math.min(due, BATCH)
      batch.sent = 0
      socket.send(batch)
      sent += batch.sent
      // What a full socket did not take is tried again at the next tick, as a blocked program would.
      if (batch.sent < batch.count) break
      due -= batch.count
    }
    if (now - startedAt < seconds * 1e6) {
      timer.armAt(now + TICK_US, monotonicNow())
      return
    }
    timer.stop()
    socket.close()
    console.log(JSON.stringify({ sent }))
  })
  timer.armAt(startedAt + TICK_US, startedAt)
}

function receive(port: number): void {
  const socket = new LinkSocket({ ...plain, ...sizes, address: '0.0.0.0', port })
  const batch = new DatagramBatch(64 * 16_384, 1024, 64)
  let received = 0
  const poll = native.pollStart(socket.fd, PollEvent.Readable, () => {
    for (let count = socket.receive(batch); count > 0; count = socket.receive(batch)) received += count
  })
  process.on('SIGTERM', () => {
    native.pollStop(poll)
    socket.close()
    console.log(JSON.stringify({ received }))
    process.exit(0)
  })
  console.log('ready')
}

const [verb, ...words] = process.argv.slice(2)
if (verb === 'send') {
  const [address, port, bytes, perSecond, seconds] = words
  send(address!, Number(port), Number(bytes), Number(perSecond), Number(seconds))
} else receive(Number(words[0]))
