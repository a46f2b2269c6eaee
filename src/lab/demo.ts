/**
 * The demo: two ends, two links of 50 Mbit/s, one tunnel. Measures one TCP flow over each link alone and over both,
 * pings, and blackholes a link during a transfer.
 *
 *     node dist/src/lab/demo.js [--json]      scripts/demo prepares the machine first
 *
 * Leaves nothing behind, however it ends; what a killed one left is swept by the next.
 */
import { pathToFileURL } from 'node:url'
import { OperatorError } from '../base/errors.js'
import { DemoNetwork, INNER, LINK_MBIT, LINKS, removeAll } from './demo-network.js'
import { type DemoFigures, demoJson, demoTable } from './demo-report.js'
import { DemoView, RateMeter } from './demo-view.js'
import { LabError } from './lab-error.js'
import { delay, monotonicNs, type Task, taskIn } from './processes.js'
import { probeProgram, requireDaemon, requireLab } from './programs.js'
import { longestGapMs, readPacketRecords } from './records.js'
import { LabState, sweepDeadRuns } from './state-directory.js'

const SINGLE_S = 4
const BONDED_S = 8
/** Left out at the start of each measurement: TCP is finding the rate. */
const RAMP_S = 1
const PINGS = 20
const TRANSFER_S = 9
const BLACKHOLE_AT_S = 3
const RETURN_AT_S = 6
/** Numbered packets beside the transfer: five in each bin of 10 ms. */
const PACKETS_PER_SEC = 500
const PACKET_BYTES = 200
const SAMPLE_MS = 200

const PORT_TCP = '5201'
const PORT_PACKETS = '5300'

const USAGE = `Usage: scripts/demo [--json]

Two ends joined by two links of ${LINK_MBIT} Mbit/s, one tunnel over both: what it carries, and what happens when a link
dies. Takes root, and about 45 seconds.

  --json   the figures as one JSON object on the last line of standard output
`

class Demo {
  private readonly meter = new RateMeter()
  private readonly seenEvents = new Set<string>()
  private watching = true

  constructor(
    private readonly network: DemoNetwork,
    private readonly state: LabState,
    private readonly view: DemoView,
  ) {}

  async run(): Promise<DemoFigures> {
    const { network, view } = this
    const watch = this.watch()
    network.start('b', [])
    const singles: { name: string; mbit: number }[] = []
    for (const name of LINKS) {
      view.begin(`one TCP flow, link ${name} alone`)
      await this.startClient([name])
      singles.push({ name, mbit: await this.measureTcp(SINGLE_S) })
      await network.stop('a')
    }
    view.begin('one TCP flow, both links')
    await this.startClient(LINKS)
    const mbit = await this.measureTcp(BONDED_S)
    view.begin('ping')
    const pingMs = await this.ping()
    view.begin('a transfer')
    const blackhole = await this.blackhole()
    this.watching = false
    await watch
    await Promise.all([network.stop('a'), network.stop('b')])
    return { singles, mbit, pingMs, blackhole }
  }

  private async startClient(links: readonly string[]): Promise<void> {
    this.network.start('a', links)
    await this.network.untilUp(links)
  }

  /** Goodput of one TCP flow from the client to the server, Mbit/s, after its first second. */
  private async measureTcp(seconds: number): Promise<number> {
    const { client, server } = await this.startTcp(seconds, ['-O', String(RAMP_S)])
    await client.ended
    await server.stop('SIGTERM', 500)
    const bitsPerSec = resultOf(client).end?.sum_received?.bits_per_second
    if (bitsPerSec === undefined) throw new LabError(`iperf3 measured nothing: ${client.lastWords}`)
    return bitsPerSec / 1e6
  }

  private async startTcp(seconds: number, words: string[]): Promise<{ client: Task; server: Task }> {
    const [a, b] = [this.network.namespace('a'), this.network.namespace('b')]
    const server = taskIn(b, 'iperf3', ['-s', '-1', '-p', PORT_TCP, '--forceflush'])
    await Promise.race([new Promise<void>((resolve) => server.onLine(() => resolve())), server.ended])
    if (server.exit) throw new LabError(`iperf3 -s ended at once: ${server.lastWords}`)
    const all = ['-c', INNER.b, '-p', PORT_TCP, '-t', String(seconds), '-i', '0.1', '-J', ...words]
    return { client: taskIn(a, 'iperf3', all), server }
  }

  /** Median round trip, ms. */
  private async ping(): Promise<number> {
    const words = ['-n', '-c', String(PINGS), '-i', '0.05', '-W', '1', INNER.b]
    const ping = taskIn(this.network.namespace('a'), 'ping', words)
    await ping.ended
    const times = [...ping.stdout.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]))
    if (times.length < PINGS) this.view.event(`only ${times.length} of ${PINGS} pings were answered`)
    if (times.length === 0) throw new LabError(`no ping came back: ${ping.lastWords}`)
    return times.sort((x, y) => x - y)[times.length >> 1]!
  }

  private async blackhole(): Promise<DemoFigures['blackhole']> {
    const { network, view } = this
    const [a, b] = [network.namespace('a'), network.namespace('b')]
    const link = LINKS[1]
    const file = this.state.path('packets')
    const receiver = taskIn(b, probeProgram, ['receive', INNER.b, PORT_PACKETS, file])
    await Promise.race([new Promise<void>((resolve) => receiver.onLine(() => resolve())), receiver.ended])
    if (receiver.exit) throw new LabError(`plait-probe receive ended at once: ${receiver.lastWords}`)
    const { client, server } = await this.startTcp(TRANSFER_S, [])
    const packets = [INNER.b, PORT_PACKETS, PACKET_BYTES, PACKETS_PER_SEC, TRANSFER_S - 0.5].map(String)
    const sender = taskIn(a, probeProgram, ['send', ...packets])

    await delay(BLACKHOLE_AT_S * 1000)
    view.begin(`a transfer, link ${link} swallows everything`)
    const atNs = network.blackhole(link, true)
    view.event(`link ${link} swallows everything`)
    await delay((RETURN_AT_S - BLACKHOLE_AT_S) * 1000)
    view.begin(`a transfer, link ${link} is back`)
    const backNs = network.blackhole(link, false)
    view.event(`link ${link} is back`)
    await Promise.all([client.ended, sender.ended])
    await delay(500)
    await Promise.all([receiver.stop(), server.stop('SIGTERM', 500)])

    const records = readPacketRecords(file)
    if (records.count === 0) throw new LabError('none of the numbered packets came')
    const arrivals = records.arrivedNs
    const { sent } = JSON.parse(sender.stdout) as { sent: number }
    const noticed = await Promise.all(
      (['a', 'b'] as const).map((end) => this.firstChange(end, link, atNs, (to) => to === 'suspect')),
    )
    const usedAgain = await Promise.all(
      (['a', 'b'] as const).map((end) => this.firstChange(end, link, backNs, (to) => to === 'up')),
    )
    const transfer = resultOf(client)
    const tail = (transfer.intervals ?? []).slice(-5)
    return {
      link,
      gapMs: Math.round(longestGapMs(arrivals, arrivals[0]!, arrivals[arrivals.length - 1]!) * 10) / 10,
      lost: sent - new Set(records.number).size,
      sent,
      noticedMs: Math.max(...noticed),
      usedAgainMs: Math.max(...usedAgain),
      survived: transfer.error === undefined && tail.some((each) => (each.sum?.bytes ?? 0) > 0),
    }
  }

  /** Ms from `sinceNs` until an end's path on `link` first went to a state that `is` says yes to; NaN: never. */
  private async firstChange(
    end: 'a' | 'b',
    link: string,
    sinceNs: number,
    is: (to: string) => boolean,
  ): Promise<number> {
    // The client knows its path by the link, the server by the client's address on it.
    const path = end === 'a' ? link : this.network.clientAddress(link)
    const events = await this.network.events(end)
    const found = events.find(
      (event) =>
        event.kind === 'path-state' &&
        event.atNs >= sinceNs &&
        event.path?.includes(path) &&
        is(/→ (\w+):/.exec(event.text)?.[1] ?? ''),
    )
    return found ? (found.atNs - sinceNs) / 1e6 : Number.NaN
  }

  /** Feeds the view from the client's status until the run is over. */
  private async watch(): Promise<void> {
    while (this.watching) {
      const snapshot = await this.network.status('a')
      if (snapshot) {
        this.view.show(this.meter.measure(snapshot, monotonicNs() / 1e6, LINKS))
        for (const event of snapshot.events) {
          const id = `${snapshot.peers[0]?.publicKey} ${event.atS} ${event.path} ${event.text}`
          if (event.kind !== 'path-state' || this.seenEvents.has(id)) continue
          this.seenEvents.add(id)
          this.view.event(`${event.path}: ${event.text}`)
        }
      }
      await delay(SAMPLE_MS)
    }
  }
}

interface IperfResult {
  error?: string
  intervals?: { sum?: { bytes: number } }[]
  end?: { sum_received?: { bits_per_second: number } }
}

function resultOf(client: Task): IperfResult {
  try {
    return JSON.parse(client.stdout) as IperfResult
  } catch {
    throw new LabError(`iperf3 gave no result: ${client.lastWords}`)
  }
}

async function main(words: readonly string[]): Promise<number> {
  if (words.includes('--help') || words.includes('-h')) {
    process.stdout.write(USAGE)
    return 0
  }
  const unknown = words.find((word) => word !== '--json')
  if (unknown !== undefined) {
    process.stderr.write(`demo: unknown option ${unknown}\n${USAGE}`)
    return 2
  }
  const json = words.includes('--json')
  requireLab(['ip', 'tc', 'iperf3', 'ping'])
  requireDaemon()
  sweepDeadRuns()
  const state = LabState.create()
  const view = new DemoView(json ? process.stderr : process.stdout, LINKS.length * LINK_MBIT)
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ] as const) {
    process.on(signal, () => {
      view.end()
      removeAll(state)
      process.exit(128 + number)
    })
  }
  try {
    view.begin('two namespaces, two links')
    const figures = await new Demo(await DemoNetwork.build(state), state, view).run()
    view.end()
    ;(json ? process.stderr : process.stdout).write(demoTable(figures))
    if (json) process.stdout.write(`${demoJson(figures)}\n`)
    return figures.blackhole.survived ? 0 : 1
  } finally {
    view.end()
    removeAll(state)
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    process.exitCode = await main(process.argv.slice(2))
  } catch (error) {
    if (!(error instanceof LabError) && !(error instanceof OperatorError)) throw error
    process.stderr.write(`demo: ${error.message}\n`)
    process.exitCode = error.exitStatus
  }
}
