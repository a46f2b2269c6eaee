import { type Instant, MILLISECOND } from '../src/base/time.js'
import type { CounterRecords } from '../src/lab/records.js'
import { COUNTERS_MS } from '../src/lab/records.js'
import type { PingTraffic, TcpTraffic, Traffic, UdpTraffic } from '../src/lab/scenario.js'
import type { Interval, TrafficRecord } from '../src/lab/traffic.js'
import type { Handler } from './clock.js'
import type { End } from './end.js'
import { type InnerHeader, ProtocolNumber } from './inner-packet.js'
import { TcpTransfer } from './tcp.js'
import type { TcpOptions } from './tcp-options.js'
import { type Host, sendDatagram } from './traffic.js'
import type { World } from './world.js'

/** IPv4 and UDP or ICMP headers of an inner packet. */
const INNER_HEADER_BYTES = 28
/** ping's default. */
const PING_BYTES = 84
const TENTH_US = 100 * MILLISECOND
const NS = 1000

/** Starts one piece of a scenario's traffic; the function returned gives its record as the lab's clients would. */
export function startTraffic(
  world: World,
  traffic: Traffic,
  zero: Instant,
  tcp: Pick<TcpOptions, 'mtuBytes' | 'ecn'>,
): () => TrafficRecord {
  switch (traffic.kind) {
    case 'tcp':
      return startTcp(world, traffic, zero, tcp)
    case 'ping':
      return startPing(world, traffic, zero)
    case 'udp':
    case 'voip':
      return startUdp(world, traffic, zero)
    default:
      throw new Error(`traffic "${traffic.kind}" has no model; checkPlayable refuses it`)
  }
}

/** Hosts behind the ends are as good as the ends: the way to them costs nothing in the model. */
function hostsOf(world: World, traffic: Traffic): readonly [from: Host, to: Host] {
  return traffic.way === 'up' ? [world.client, world.server] : [world.server, world.client]
}

function startTcp(
  world: World,
  traffic: TcpTraffic,
  zero: Instant,
  options: Pick<TcpOptions, 'mtuBytes' | 'ecn'>,
): () => TrafficRecord {
  const [from, to] = hostsOf(world, traffic)
  const start = zero + traffic.fromUs
  const until = start + traffic.forUs
  const transfers = Array.from(
    { length: traffic.streams },
    (_, i) =>
      new TcpTransfer(world.clock, world.ledger, from, to, {
        name: `${traffic.name}.${i}`,
        control: traffic.congestion === 'bbr' ? 'bbr' : 'cubic',
        ...options,
        from: start,
        until,
      }),
  )
  const retransmitted = (): number => transfers.reduce((sum, { sender }) => sum + sender.retransmissions, 0)
  const resent: { fromNs: number; toNs: number; count: number }[] = []
  let resentBefore = 0
  atPace(world, start, until + TENTH_US, TENTH_US, (_number, now) => {
    const count = retransmitted() - resentBefore
    resentBefore += count
    if (now > start) resent.push({ fromNs: (now - TENTH_US) * NS, toNs: now * NS, count })
  })
  return () => {
    const intervals: Interval[] = []
    let before = transfers.map(() => 0)
    for (let tenth = Math.floor(start / TENTH_US); tenth * TENTH_US < until; tenth++) {
      const now = transfers.map(
        ({ receiver, sender }) => receiver.segmentsBy(tenth * TENTH_US) * sender.segmentBytes,
      )
      const streams = now.map((bytes, i) => bytes - before[i]!)
      intervals.push({
        fromNs: tenth * TENTH_US * NS,
        toNs: (tenth + 1) * TENTH_US * NS,
        bytes: streams.reduce((sum, bytes) => sum + bytes, 0),
        streams,
      })
      before = now
    }
    return { kind: 'tcp', startNs: start * NS, intervals, resent, retransmits: retransmitted() }
  }
}

/** Calls `each(number)` at a steady pace, from 0 on, until the traffic is over. */
function atPace(
  world: World,
  start: Instant,
  until: Instant,
  intervalUs: number,
  each: (number: number, now: Instant) => void,
): void {
  const { clock } = world
  const handler: Handler = {
    id: clock.nextHandlerId(),
    fire: (number, now) => {
      each(number, now)
      const next = start + (number + 1) * intervalUs
      if (next < until) clock.at(next, handler, number + 1)
    },
  }
  if (start < until) clock.at(start, handler, 0)
}

function startUdp(world: World, traffic: UdpTraffic, zero: Instant): () => TrafficRecord {
  const [from, to] = hostsOf(world, traffic)
  const record = world.ledger.flow(traffic.name, false)
  const header: InnerHeader = {
    family: 4,
    protocol: ProtocolNumber.udp,
    source: from.number,
    destination: to.number,
    dscp: 0,
    flow: record.id,
  }
  const start = zero + traffic.fromUs
  // By the ledger's number, which a packet that found the TUN full does not get.
  const numbers: number[] = []
  let sent = 0
  const arrived: { number: number; sentNs: number; arrivedNs: number }[] = []
  atPace(world, start, start + traffic.forUs, 1e6 / traffic.packetsPerSec, (number, now) => {
    sent++
    const given = sendDatagram(from.end, header, record, traffic.bytes + INNER_HEADER_BYTES, now)
    if (given >= 0) numbers[given] = number
  })
  to.end.receivers[record.id] = (identity, _view, _at, now) => {
    const sentNs = record.sentAt[identity.number]! * NS
    arrived.push({ number: numbers[identity.number]!, sentNs, arrivedNs: now * NS })
  }
  return () => ({
    kind: 'udp',
    startNs: start * NS,
    packetsPerSec: traffic.packetsPerSec,
    sent,
    packets: {
      count: arrived.length,
      number: Float64Array.from(arrived, (a) => a.number),
      sentNs: Float64Array.from(arrived, (a) => a.sentNs),
      arrivedNs: Float64Array.from(arrived, (a) => a.arrivedNs),
    },
  })
}

function startPing(world: World, traffic: PingTraffic, zero: Instant): () => TrafficRecord {
  const { client, server, ledger } = world
  const requests = ledger.flow(traffic.name, false)
  const replies = ledger.flow(`${traffic.name} reply`, false)
  const header = (from: Host, to: Host, flow: number): InnerHeader => ({
    family: 4,
    protocol: ProtocolNumber.icmp,
    source: from.number,
    destination: to.number,
    dscp: 0,
    flow,
  })
  const there = header(client, server, requests.id)
  const back = header(server, client, replies.id)
  const start = zero + traffic.fromUs
  const sequences: number[] = []
  const asked: number[] = []
  const rttMs = new Map<number, number>()
  let sent = 0
  atPace(world, start, start + traffic.forUs, traffic.intervalUs, (number, now) => {
    sent++
    const given = sendDatagram(client.end, there, requests, PING_BYTES, now)
    if (given >= 0) sequences[given] = number + 1
  })
  server.end.receivers[requests.id] = (identity, _view, _at, now) => {
    const given = sendDatagram(server.end, back, replies, PING_BYTES, now)
    if (given >= 0) asked[given] = identity.number
  }
  client.end.receivers[replies.id] = (identity, _view, _at, now) => {
    const request = asked[identity.number]!
    rttMs.set(sequences[request]!, (now - requests.sentAt[request]!) / MILLISECOND)
  }
  return () => ({ kind: 'ping', startNs: start * NS, intervalNs: traffic.intervalUs * NS, sent, rttMs })
}

/** Looks at an end's TUN device every 10 ms, as `plait-probe counters` does. */
export class TunCounters {
  private readonly rows: number[][] = []

  constructor(world: World, end: End, until: Instant) {
    const { clock } = world
    const handler: Handler = {
      id: clock.nextHandlerId(),
      fire: (_argument, now) => {
        const { outBytes, inBytes, outPackets, inPackets } = end.tunCounts
        // What plait writes the device receives.
        const counts = end.running ? [outBytes, inBytes, outPackets, inPackets] : Array(4).fill(Number.NaN)
        this.rows.push([now * NS, ...counts])
        if (now < until) clock.at(now + COUNTERS_MS * MILLISECOND, handler)
      },
    }
    clock.at(clock.now, handler)
  }

  records(): CounterRecords {
    const column = (index: number): Float64Array => Float64Array.from(this.rows, (row) => row[index]!)
    return {
      count: this.rows.length,
      timeNs: column(0),
      rxBytes: column(1),
      txBytes: column(2),
      rxPackets: column(3),
      txPackets: column(4),
    }
  }
}
