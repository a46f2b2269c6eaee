import { LabError } from './lab-error.js'
import { delay, monotonicNs, type Task, taskIn } from './processes.js'
import { probeProgram } from './programs.js'
import { QuicDriver } from './quic-driver.js'
import { type PacketRecords, readPacketRecords } from './records.js'
import { RequestDriver } from './request-driver.js'
import type { PingTraffic, TcpTraffic, Traffic, UdpTraffic } from './scenario.js'

/** Where traffic runs: namespaces of its client's and its server's end, and the server's address. */
export interface Route {
  readonly clientNamespace: string
  readonly serverNamespace: string
  readonly clientAddress: string | undefined
  readonly serverAddress: string
  /** Address of the client for traffic downwards that is no TCP. */
  readonly returnAddress: string
  /** Words before iperf3, such as mptcpize run. */
  readonly wrapper: readonly string[]
}

/** Bytes of payload that arrived in a span of the lab's time. */
export interface Interval {
  readonly fromNs: number
  readonly toNs: number
  readonly bytes: number
  /** Of each stream, where there are several. */
  readonly streams?: readonly number[]
}

/** What a bulk transfer's receiver got, by tenths of a second (half seconds for many streams). */
interface BulkRecord {
  readonly startNs: number
  readonly intervals: readonly Interval[]
  /** Segments or packets that the sender held to be lost, in all. */
  readonly retransmits: number
}
export interface TcpRecord extends BulkRecord {
  readonly kind: 'tcp'
  /** Segments sent again, by the sender's intervals; undefined: not recorded. */
  readonly resent?: readonly { readonly fromNs: number; readonly toNs: number; readonly count: number }[]
}
export interface QuicRecord extends BulkRecord {
  readonly kind: 'quic'
}
export interface UdpRecord {
  readonly kind: 'udp'
  readonly startNs: number
  readonly packetsPerSec: number
  readonly sent: number
  readonly packets: PacketRecords
}
export interface PingRecord {
  readonly kind: 'ping'
  readonly startNs: number
  readonly intervalNs: number
  readonly sent: number
  /** Round trip in ms by sequence number, from 1. */
  readonly rttMs: ReadonlyMap<number, number>
}
/** Small requests, in the order in which they were made. */
export interface RequestRecord {
  readonly kind: 'request'
  readonly startNs: number
  readonly sent: number
  /** Those that were answered: when they began, and how long until the last byte of the answer. */
  readonly answered: readonly { readonly atNs: number; readonly ms: number }[]
}
export type TrafficRecord = TcpRecord | QuicRecord | UdpRecord | PingRecord | RequestRecord

/** A running piece of traffic: made before the clock starts, started in time. */
export interface Driver {
  readonly traffic: Traffic
  /** Has the server's side ready. */
  prepare(): Promise<void>
  /** Runs to the end of the traffic. */
  run(): Promise<TrafficRecord>
}

export function driverFor(traffic: Traffic, route: Route, port: number, file: string): Driver {
  switch (traffic.kind) {
    case 'tcp':
      return new TcpDriver(traffic, route, port)
    case 'udp':
    case 'voip':
      return new UdpDriver(traffic, route, port, file)
    case 'ping':
      return new PingDriver(traffic, route)
    case 'quic':
      return new QuicDriver(traffic, route, port)
    case 'echo':
    case 'fetch':
      return new RequestDriver(traffic, route, port)
  }
}

const INTERVAL_S = 0.1
/** Of many streams: what iperf3 writes about each interval and stream would cost more than the traffic. */
const INTERVAL_MANY_S = 0.5
const MANY_STREAMS = 16
/** How long iperf3 may take beyond its time to exchange the results. */
const GRACE_S = 15

/**
 * One iperf3 test. The receiving side writes JSON, whose intervals are the goodput; the sending side writes lines as
 * it goes, of which the first tells when the test really began and the last how much was sent again.
 */
class TcpDriver implements Driver {
  private server: Task | undefined

  constructor(
    readonly traffic: TcpTraffic,
    private readonly route: Route,
    private readonly port: number,
  ) {}

  private get intervalS(): number {
    return this.traffic.streams > MANY_STREAMS ? INTERVAL_MANY_S : INTERVAL_S
  }

  private words(role: 'client' | 'server'): string[] {
    const receiving = (role === 'client') === (this.traffic.way === 'down')
    return ['-p', String(this.port), '-i', String(this.intervalS), ...(receiving ? ['-J'] : ['--forceflush'])]
  }

  async prepare(): Promise<void> {
    const { wrapper, serverNamespace } = this.route
    const [program, ...rest] = [...wrapper, 'iperf3', '-s', '-1', ...this.words('server')] as [
      string,
      ...string[],
    ]
    this.server = taskIn(serverNamespace, program, rest)
    await delay(200)
    if (this.server.exit) throw new LabError(`iperf3 -s ended at once: ${this.server.lastWords}`)
  }

  async run(): Promise<TrafficRecord> {
    const { traffic, route } = this
    const seconds = traffic.forUs / 1e6
    const words = [
      '-c',
      route.serverAddress,
      ...this.words('client'),
      '-t',
      String(Math.max(1, Math.ceil(seconds))),
    ]
    words.push('-C', traffic.congestion, '-P', String(traffic.streams))
    if (traffic.way === 'down') words.push('-R')
    if (route.clientAddress !== undefined) words.push('-B', route.clientAddress)
    const [program, ...rest] = [...route.wrapper, 'iperf3', ...words] as [string, ...string[]]
    const client = taskIn(route.clientNamespace, program, rest)
    const server = this.server!
    const [sender, receiver] = traffic.way === 'up' ? [client, server] : [server, client]
    let startNs: number | undefined
    sender.onLine((line) => {
      if (startNs === undefined && /^\[\s*\d+\]\s+0\.00-/.test(line))
        startNs = monotonicNs() - this.intervalS * 1e9
    })
    const patience = setTimeout(() => client.kill('SIGINT'), (seconds + GRACE_S) * 1000)
    await client.ended
    clearTimeout(patience)
    await Promise.race([server.ended, delay(2000)])
    await server.stop('SIGINT', 1000)
    return { kind: 'tcp', ...this.parse(sender, receiver, startNs) }
  }

  private parse(sender: Task, receiver: Task, startNs: number | undefined): Omit<TcpRecord, 'kind'> {
    let json: {
      error?: string
      intervals?: { sum: { start: number; end: number; bytes: number }; streams: { bytes: number }[] }[]
    }
    try {
      json = JSON.parse(receiver.stdout)
    } catch {
      throw new LabError(
        `iperf3 for "${this.traffic.name}" gave no result: ${receiver.lastWords || sender.lastWords}`,
      )
    }
    if (startNs === undefined || !json.intervals || json.intervals.length === 0) {
      throw new LabError(
        `iperf3 for "${this.traffic.name}" did not get going: ${json.error ?? sender.lastWords}`,
      )
    }
    const finals = [...sender.stdout.matchAll(/^\[\s*(\d+|SUM)\].*\s(\d+)\s+sender/gm)]
    const total = finals.find((match) => match[1] === 'SUM') ?? finals[0]
    return {
      startNs,
      retransmits: Number(total?.[2] ?? Number.NaN),
      resent: resentBy(sender.stdout, startNs, this.traffic.streams > 1),
      intervals: json.intervals.map(({ sum, streams }) => ({
        fromNs: startNs + sum.start * 1e9,
        toNs: startNs + sum.end * 1e9,
        bytes: sum.bytes,
        ...(this.traffic.streams > 1 ? { streams: streams.map((stream) => stream.bytes) } : {}),
      })),
    }
  }
}

/** The column Retr of what the sending iperf3 writes as it goes: the kernel's own count for the connection. */
export function resentBy(lines: string, startNs: number, several: boolean): NonNullable<TcpRecord['resent']> {
  const stream = several ? 'SUM' : '\\s*\\d+'
  // The last line, of the whole time, ends with the word "sender".
  const line = new RegExp(
    `^\\[${stream}\\]\\s+([\\d.]+)-([\\d.]+)\\s+sec .*bits/sec +(\\d+)\\b(?! +sender)`,
    'gm',
  )
  return [...lines.matchAll(line)].map(([, from, to, count]) => ({
    fromNs: startNs + Number(from) * 1e9,
    toNs: startNs + Number(to) * 1e9,
    count: Number(count),
  }))
}

/** How long packets may still be on their way after the last was sent. */
const TAIL_MS = 1500

class UdpDriver implements Driver {
  private receiver: Task | undefined

  constructor(
    readonly traffic: UdpTraffic,
    private readonly route: Route,
    private readonly port: number,
    private readonly file: string,
  ) {}

  private get ends(): { from: string; to: string; address: string } {
    const { clientNamespace, serverNamespace, serverAddress, returnAddress } = this.route
    return this.traffic.way === 'up'
      ? { from: clientNamespace, to: serverNamespace, address: serverAddress }
      : { from: serverNamespace, to: clientNamespace, address: returnAddress }
  }

  async prepare(): Promise<void> {
    const { to, address } = this.ends
    const receiver = taskIn(to, probeProgram, ['receive', address, String(this.port), this.file])
    this.receiver = receiver
    const ready = new Promise<void>((resolve) => receiver.onLine(() => resolve()))
    await Promise.race([ready, receiver.ended, delay(3000)])
    if (receiver.exit) throw new LabError(`plait-probe receive ended at once: ${receiver.lastWords}`)
  }

  async run(): Promise<TrafficRecord> {
    const { bytes, packetsPerSec, forUs } = this.traffic
    const { from, address } = this.ends
    const startNs = monotonicNs()
    const words = [
      'send',
      address,
      String(this.port),
      String(bytes),
      String(packetsPerSec),
      String(forUs / 1e6),
    ]
    const sender = taskIn(from, probeProgram, words)
    await sender.ended
    if (sender.exit?.code !== 0) throw new LabError(`plait-probe send failed: ${sender.lastWords}`)
    await delay(TAIL_MS)
    await this.receiver!.stop()
    const packets = readPacketRecords(this.file)
    const { sent } = JSON.parse(sender.stdout) as { sent: number }
    // The first packet to arrive tells when number 0 was sent, to the microsecond.
    const exact =
      packets.count > 0 ? packets.sentNs[0]! - (packets.number[0]! * 1e9) / packetsPerSec : startNs
    return { kind: 'udp', startNs: exact, packetsPerSec, sent, packets }
  }
}

class PingDriver implements Driver {
  constructor(
    readonly traffic: PingTraffic,
    private readonly route: Route,
  ) {}

  async prepare(): Promise<void> {}

  async run(): Promise<TrafficRecord> {
    const { intervalUs, forUs } = this.traffic
    const sent = Math.max(1, Math.floor(forUs / intervalUs))
    const words = ['-n', '-i', (intervalUs / 1e6).toFixed(4), '-c', String(sent), '-W', '2']
    // Without -w a ping that lost its last answers waits for one more.
    words.push('-w', String(Math.ceil(forUs / 1e6) + 2), this.route.serverAddress)
    const startNs = monotonicNs()
    const ping = taskIn(this.route.clientNamespace, 'ping', words)
    await ping.ended
    const rttMs = new Map<number, number>()
    for (const match of ping.stdout.matchAll(/icmp_seq=(\d+) .*time=([\d.]+) ms/g)) {
      rttMs.set(Number(match[1]), Number(match[2]))
    }
    if (rttMs.size === 0 && !ping.stdout.includes('transmitted')) {
      throw new LabError(`ping for "${this.traffic.name}" did not run: ${ping.lastWords}`)
    }
    const transmitted = Number(/(\d+) packets transmitted/.exec(ping.stdout)?.[1] ?? sent)
    return { kind: 'ping', startNs, intervalNs: intervalUs * 1000, sent: Math.min(sent, transmitted), rttMs }
  }
}
