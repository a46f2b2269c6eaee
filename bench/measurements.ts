import { native } from '../src/io/native.js'
import { twoGigAchievable } from './achievable.js'
import { coreCost } from './core.js'
import { endurance, rekeys, statusRequests } from './endurance.js'
import { roundTripsUs } from './latency.js'
import { ENDS, LAN_HOST, Network } from './network.js'
import { startOpenvpn } from './openvpn.js'
import { Plait, type PlaitOptions } from './plait.js'
import { rssMiB } from './process-figures.js'
import { median, quantile, rounded } from './statistics.js'
import { DIRECTIONS, type Direction, TcpServer, tcpFlow } from './tcp.js'
import { bareLink, type Tunnel } from './tunnel.js'
import { udpCapacity } from './udp.js'

export interface Options {
  readonly runs: number
  readonly seconds: number
  readonly minutes: number
  readonly scheduler: string | undefined
}

export interface Bench {
  readonly network: Network
  readonly options: Options
  readonly say: (text: string) => void
  /** What stands behind the figures: every run, both directions. */
  readonly detail: Record<string, unknown>
}

/** A measurement gives one or several of the figures; `extra` ones are made when they are named. */
export interface Measurement {
  readonly extra?: true
  run(bench: Bench): Promise<Record<string, unknown>>
}

export const MEASUREMENTS: Record<string, Measurement> = {
  throughput: { run: throughput },
  twoGigLinks: { run: twoGigLinks },
  udp: { run: udp },
  latency: { run: latency },
  forwarded: { run: forwarded, extra: true },
  core: { run: core, extra: true },
  endurance: { run: endurance, extra: true },
  rekeys: { run: rekeys, extra: true },
  status: { run: statusRequests, extra: true },
}

export const veth = (): Tunnel =>
  bareLink('link1', { a: Network.linkAddress('a', 1), b: Network.linkAddress('b', 1) })

export function startPlait(bench: Bench, options: PlaitOptions): Promise<Plait> {
  const { scheduler } = bench.options
  const config = [...(scheduler === undefined ? [] : [`scheduler: ${scheduler}`]), ...(options.config ?? [])]
  return Plait.start(bench.network, { ...options, config })
}

/** One TCP flow through each, up and down, in turn: bare link, OpenVPN, the tunnel as it is by default, its variants. */
async function throughput(bench: Bench): Promise<Record<string, unknown>> {
  const { network, options, say, detail } = bench
  const links = ['link1']
  const tunnel = await startPlait(bench, { name: 'tunnel', number: 0, links })
  const chaCha = ['testing: { cipher: chacha20-poly1305 }']
  const subjects: Tunnel[] = [
    veth(),
    await startOpenvpn(network),
    tunnel,
    await startPlait(bench, { name: 'tunnelChaCha', number: 1, links, config: chaCha }),
    await startPlait(bench, { name: 'noOffload', number: 2, links, config: ['offload: off'] }),
  ]
  const server = await TcpServer.start(network, 'b')
  const gbit: Record<string, Record<Direction, number[]>> = {}
  const cpu = { a: [] as number[], b: [] as number[] }
  const openvpnCpu: number[] = []
  for (const { name } of subjects) gbit[name] = { up: [], down: [] }
  for (let run = 0; run < options.runs; run++) {
    for (const direction of DIRECTIONS) {
      const said: string[] = []
      for (const subject of subjects) {
        const result = await tcpFlow(network, subject, direction, options.seconds)
        gbit[subject.name]![direction].push(rounded(result.gbit, 3))
        said.push(`${subject.name} ${result.gbit.toFixed(2)}`)
        if (subject === tunnel) for (const end of ENDS) cpu[end].push(rounded(result.secondsPerGB[end]!, 3))
        if (subject.name === 'openvpn') openvpnCpu.push(rounded(result.secondsPerGB.a!, 3))
      }
      say(`run ${run + 1} ${direction}: ${said.join(', ')} Gbit/s`)
    }
  }
  // Memory after all these flows, of the end that has more.
  const rss = Math.max(...ENDS.map((end) => rssMiB(tunnel.pids[end]!)))
  await server.stop()
  await Promise.all(subjects.map((subject) => subject.stop()))

  Object.assign(detail, { gbit, cpu, openvpnCpu })
  // Both directions have to be good: the lower one's median is the figure.
  const lower = (name: string): number =>
    Math.min(...DIRECTIONS.map((direction) => median(gbit[name]![direction])))
  const times = (name: string): number =>
    rounded(Math.min(...DIRECTIONS.map((each) => median(gbit[name]![each]) / median(gbit['openvpn']![each]))))
  return {
    veth: { gbit: rounded(lower('veth')) },
    openvpn: { gbit: rounded(lower('openvpn')) },
    tunnel: { gbit: rounded(lower('tunnel')), timesOpenvpn: times('tunnel'), cipher: aesName() },
    tunnelChaCha: {
      gbit: rounded(lower('tunnelChaCha')),
      timesOpenvpn: times('tunnelChaCha'),
      cipher: 'ChaCha20-Poly1305',
    },
    noOffload: { gbit: rounded(lower('noOffload')) },
    cpu: { secondsPerGB: rounded(Math.max(median(cpu.a), median(cpu.b))) },
    rssMiB: rounded(rss, 0),
  }
}

function aesName(): string {
  const library = native.gcmLibrary()
  return library === undefined ? 'AES-256-GCM' : `AES-256-GCM, IPsec MB ${library}`
}

/** One TCP flow over two links of 1 Gbit/s each. */
async function twoGigLinks(bench: Bench): Promise<Record<string, unknown>> {
  const { network, options, say, detail } = bench
  const both = await startPlait(bench, { name: 'both', number: 3, links: ['gig1', 'gig2'] })
  const one = await startPlait(bench, { name: 'one', number: 4, links: ['gig1'] })
  const server = await TcpServer.start(network, 'b')
  const gbit = { up: [] as number[], down: [] as number[], one: [] as number[] }
  for (let run = 0; run < options.runs; run++) {
    for (const direction of DIRECTIONS) {
      gbit[direction].push(rounded((await tcpFlow(network, both, direction, options.seconds)).gbit, 3))
    }
    gbit.one.push(rounded((await tcpFlow(network, one, 'up', options.seconds)).gbit, 3))
    say(
      `two links of 1 Gbit/s: up ${gbit.up.at(-1)}, down ${gbit.down.at(-1)}, one link alone ${gbit.one.at(-1)}`,
    )
  }
  await server.stop()
  await Promise.all([both.stop(), one.stop()])
  const value = Math.min(median(gbit.up), median(gbit.down))
  detail['twoGigLinks'] = {
    ...gbit,
    achievable: rounded(twoGigAchievable(), 3),
    share: rounded(value / twoGigAchievable(), 3),
  }
  return { twoGigLinks: { gbit: rounded(value) } }
}

async function udp(bench: Bench): Promise<Record<string, unknown>> {
  const { network, options, say, detail } = bench
  const tunnel = await startPlait(bench, { name: 'tunnel', number: 0, links: ['link1'] })
  const found: Record<number, number[]> = { 1400: [], 64: [] }
  for (let run = 0; run < options.runs; run++) {
    for (const bytes of [1400, 64]) {
      const pps = await udpCapacity(network, tunnel, bytes, Math.min(options.seconds, 3))
      found[bytes]!.push(Math.round(pps))
      say(`UDP of ${bytes} bytes: ${Math.round(pps)} packets/s with less than 0.5 % lost`)
    }
  }
  await tunnel.stop()
  detail['udp'] = found
  return { udp: { pps1400: median(found[1400]!), pps64: median(found[64]!) } }
}

/**
 * Pings a millisecond apart, so that what is measured is the tunnel; ten apart the processor falls asleep in between
 * and its caches are others' by the time it wakes, which on virtual machines shows even on the bare link.
 */
async function latency(bench: Bench): Promise<Record<string, unknown>> {
  const { network, options, say, detail } = bench
  const tunnel = await startPlait(bench, { name: 'tunnel', number: 0, links: ['link1'] })
  const bare = veth().addresses.b
  const times = { veth: [] as number[], tunnel: [] as number[] }
  const sleepy = { veth: [] as number[], tunnel: [] as number[] }
  // Until the compiler has seen it all.
  await roundTripsUs(network, tunnel.addresses.b, 3000, 1)
  for (let run = 0; run < options.runs; run++) {
    times.veth.push(...(await roundTripsUs(network, bare, 1000, 1)))
    times.tunnel.push(...(await roundTripsUs(network, tunnel.addresses.b, 1000, 1)))
    sleepy.veth.push(...(await roundTripsUs(network, bare, 100, 10)))
    sleepy.tunnel.push(...(await roundTripsUs(network, tunnel.addresses.b, 100, 10)))
  }
  await tunnel.stop()
  const vethUs = median(times.veth)
  const tunnelUs = median(times.tunnel)
  const p99Us = quantile(times.tunnel, 0.99)
  const tenApart = { vethUs: median(sleepy.veth), tunnelUs: median(sleepy.tunnel) }
  detail['latency'] = { p99AddedUs: rounded(p99Us - vethUs, 0), tenMsApart: tenApart }
  say(
    `round trip: ${vethUs.toFixed(0)} µs on the link, ${tunnelUs.toFixed(0)} µs in the tunnel, its p99 ${p99Us.toFixed(0)} µs; ` +
      `pings 10 ms apart: ${tenApart.vethUs.toFixed(0)} and ${tenApart.tunnelUs.toFixed(0)} µs`,
  )
  return {
    latency: {
      vethUs: rounded(vethUs, 0),
      tunnelUs: rounded(tunnelUs, 0),
      addedUs: rounded(tunnelUs - vethUs, 0),
    },
  }
}

/** From a host behind one end to a host behind the other, beside the same flow between the ends themselves. */
async function forwarded(bench: Bench): Promise<Record<string, unknown>> {
  const { network, options, say, detail } = bench
  const tunnel = await startPlait(bench, { name: 'tunnel', number: 0, links: ['link1'], lan: true })
  const servers = [await TcpServer.start(network, 'b'), await TcpServer.start(network, 'lan-b')]
  const gbit = { local: [] as number[], forwarded: [] as number[] }
  const through = { from: 'lan-a', address: LAN_HOST.b }
  for (let run = 0; run < options.runs; run++) {
    for (const direction of DIRECTIONS) {
      gbit.local.push(rounded((await tcpFlow(network, tunnel, direction, options.seconds)).gbit, 3))
      gbit.forwarded.push(
        rounded((await tcpFlow(network, tunnel, direction, options.seconds, through)).gbit, 3),
      )
    }
    say(`local ${gbit.local.at(-1)}, forwarded ${gbit.forwarded.at(-1)} Gbit/s`)
  }
  await Promise.all(servers.map((server) => server.stop()))
  await tunnel.stop()
  detail['forwarded'] = gbit
  return {
    forwarded: {
      gbit: rounded(median(gbit.forwarded)),
      share: rounded(median(gbit.forwarded) / median(gbit.local)),
    },
  }
}

async function core(bench: Bench): Promise<Record<string, unknown>> {
  const cost = await coreCost(bench.options.scheduler)
  bench.say(`core, per packet: ${cost.sendNs} ns to send, ${cost.receiveNs} ns to receive`)
  return { core: cost }
}
