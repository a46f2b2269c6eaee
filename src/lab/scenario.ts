import type { DirectionModel, Way } from './link-model.js'
import type { LteModel } from './rate-trace.js'
import type { EndName, LinkPlan } from './topology.js'
import type { Window } from './units.js'

/** A case that the lab plays: links, what happens to them, what is sent, and what is expected of it. */
export interface Scenario {
  /** As the file is named. */
  readonly name: string
  readonly file: string
  readonly about: string
  readonly links: readonly ScenarioLink[]
  /** Ends with a host behind them. */
  readonly lan: readonly EndName[]
  /** IP version outside. */
  readonly outer: 4 | 6
  /** The traffic's TCP asks for ECN: a queue that is too long then marks packets instead of dropping them. */
  readonly ecn: boolean
  /** Scheduler written into the daemons' configuration; undefined: plait's default. */
  readonly scheduler: SchedulerName | undefined
  /** The same of the policy. */
  readonly policy: Policy | undefined
  readonly traffic: readonly Traffic[]
  readonly events: readonly LabEvent[]
  readonly expect: readonly Expectation[]
}

export type Policy = 'auto' | 'bond'
export const POLICIES: readonly Policy[] = ['auto', 'bond']
export type SchedulerName = 'adaptive' | 'weighted' | 'redundant'
export const SCHEDULERS: readonly SchedulerName[] = ['adaptive', 'weighted', 'redundant']
export type Congestion = 'cubic' | 'bbr' | 'reno'
export const CONGESTIONS: readonly Congestion[] = ['cubic', 'bbr', 'reno']

export interface ScenarioLink extends LinkPlan {
  /** For the weighted scheduler. */
  readonly weight: number | undefined
  readonly traces: Partial<Record<Way, TraceSpec>>
}

export type TraceSpec = { readonly lte: LteModel } | { readonly file: string }

interface TrafficBase {
  readonly name: string
  readonly way: Way
  /** The client's end: a, or the second site. */
  readonly site: 'a' | 'c'
  /** Between the hosts behind the ends instead of between the ends. */
  readonly lan: boolean
  /** When it begins and for how long, from the moment the tunnel is up. */
  readonly fromUs: number
  readonly forUs: number
}
export interface TcpTraffic extends TrafficBase {
  readonly kind: 'tcp'
  readonly congestion: Congestion
  readonly streams: number
}
/** Numbered packets at a steady pace; `voip` is 50 a second of 172 bytes, as G.711 in RTP. */
export interface UdpTraffic extends TrafficBase {
  readonly kind: 'udp' | 'voip'
  /** UDP payload. */
  readonly bytes: number
  readonly packetsPerSec: number
}
export interface PingTraffic extends TrafficBase {
  readonly kind: 'ping'
  readonly intervalUs: number
}
/** A bulk transfer over UDP with acknowledgements and a congestion control of its own, as QUIC has. */
export interface QuicTraffic extends TrafficBase {
  readonly kind: 'quic'
}
/**
 * Small requests over TCP, one at a time. `echo`: a keystroke on one connection, as in ssh, and its echo of the same
 * size. `fetch`: a new connection each time, a request, and an answer of `bytes`, as of a web page.
 */
export interface RequestTraffic extends TrafficBase {
  readonly kind: 'echo' | 'fetch'
  readonly intervalUs: number
  readonly bytes: number
}
export type Traffic = TcpTraffic | UdpTraffic | PingTraffic | QuicTraffic | RequestTraffic

/** Transfers that take all they can get. */
export const isBulk = (traffic: Traffic): traffic is TcpTraffic | QuicTraffic =>
  traffic.kind === 'tcp' || traffic.kind === 'quic'

export const VOIP = { bytes: 172, packetsPerSec: 50 }

/** Something that happens to a link or to an end, at a time after the tunnel is up. */
export type LabEvent = { readonly atUs: number } & (
  | { readonly link: string; readonly action: LinkAction; readonly way: Way | 'both' }
  | {
      readonly link: string
      readonly action: 'set'
      readonly way: Way | 'both'
      readonly set: Partial<DirectionModel>
    }
  | { readonly end: EndName; readonly action: EndAction }
)
/**
 * down, up: a silent black hole and its end. carrier-off, carrier-on: the client's cable is pulled and plugged.
 * address: the client has another address on the link. nat-rebind: its router has another one outside.
 */
export type LinkAction = 'down' | 'up' | 'carrier-off' | 'carrier-on' | 'address' | 'nat-rebind'
export const LINK_ACTIONS: readonly LinkAction[] = [
  'down',
  'up',
  'carrier-off',
  'carrier-on',
  'address',
  'nat-rebind',
]
/** kill: SIGKILL; stop: SIGTERM; start: again; restart: both. */
export type EndAction = 'kill' | 'stop' | 'start' | 'restart'
export const END_ACTIONS: readonly EndAction[] = ['kill', 'stop', 'start', 'restart']

/**
 * What is measured of traffic within a window.
 *
 * - goodput: bits of payload a second; a limit in percent is a share of what is achievable
 * - jain: how evenly the streams share it, Jain's index: 1 if all have the same, 1/n if one has all
 * - gap: the longest time in which nothing of it arrived, in bins of 10 ms (bulk: nothing came out of the tunnel)
 * - lost: packets (udp, voip) or replies (ping) that never arrived
 * - retransmits: segments that the sender's TCP sent again
 * - delay-p50, delay-p99: one way (udp, voip); rtt-p50, rtt-p99: there and back (ping, echo)
 * - fetch-p50, fetch-p99: from opening the connection to the last byte (fetch)
 * - time-to-full: from the window's start until goodput over half a second reaches `share` of what is achievable
 * - time-to-use: of a link: from the window's start until it carries `share` of its rate for a fifth of a second
 */
export type Measure =
  | 'goodput'
  | 'jain'
  | 'gap'
  | 'lost'
  | 'retransmits'
  | 'delay-p50'
  | 'delay-p99'
  | 'rtt-p50'
  | 'rtt-p99'
  | 'fetch-p50'
  | 'fetch-p99'
  | 'time-to-full'
  | 'time-to-use'
export const MEASURES: readonly Measure[] = [
  'goodput',
  'jain',
  'gap',
  'lost',
  'retransmits',
  'delay-p50',
  'delay-p99',
  'rtt-p50',
  'rtt-p99',
  'fetch-p50',
  'fetch-p99',
  'time-to-full',
  'time-to-use',
]

export interface Expectation {
  readonly what: Measure
  /** Names of traffic (links for time-to-use); goodput adds them up, jain takes all streams, the others the worst. */
  readonly of: readonly string[]
  readonly window: Window
  readonly limit: Limit
  /** Of time-to-full and time-to-use. */
  readonly share: number
  /** Expected only of runs whose TCP has one of these congestion controls, or that have this policy. */
  readonly congestion?: readonly Congestion[] | undefined
  readonly policy?: Policy | undefined
  /** The limit is held against another figure of the same run, instead of what is achievable or of nothing. */
  readonly versus?: Versus | undefined
}

/** The same measure of other traffic in another window, or of the same traffic over one link alone. */
export type Versus =
  | { readonly of: readonly string[]; readonly window: Window }
  | {
      /** Through plait. Name of the link, or "best": whichever does best alone. */
      readonly link: string
    }
  | {
      /** Name of the link, without a tunnel. */
      readonly bare: string
    }

/** `min` for goodput and jain, `max` for everything else. Times in ms; beside `versus` the time above that figure. */
export type Limit =
  | { readonly kind: 'share'; readonly min: number }
  | { readonly kind: 'rate'; readonly minBitsPerSec: number }
  | { readonly kind: 'index'; readonly min: number }
  | { readonly kind: 'time'; readonly maxMs: number }
  | { readonly kind: 'count'; readonly max: number }

/** When the last traffic and the last event are over. */
export function scenarioEndUs(scenario: Scenario): number {
  return Math.max(
    0,
    ...scenario.traffic.map((t) => t.fromUs + t.forUs),
    ...scenario.events.map((e) => e.atUs),
  )
}

/** Whether something is expected of a scenario as it is played, by its congestion control and policy. */
export function isExpected(
  expectation: Pick<Expectation, 'congestion' | 'policy'> & Partial<Pick<Expectation, 'of'>>,
  scenario: Scenario,
): boolean {
  const { congestion, policy, of = [] } = expectation
  if (policy !== undefined && policy !== (scenario.policy ?? 'auto')) return false
  if (congestion === undefined) return true
  const tcp = scenario.traffic.filter((t) => t.kind === 'tcp')
  const own = tcp.filter((t) => of.includes(t.name))
  return (own.length > 0 ? own : tcp).some((t) => congestion.includes(t.congestion))
}

/** Share of the times in a scenario that a quick run keeps. */
export const QUICK_FACTOR = 0.4

/** The same scenario with all its times shortened; what is expected stays as it is. */
export function quickened(scenario: Scenario): Scenario {
  const shorter = (us: number): number => us * QUICK_FACTOR
  const within = (w: Window): Window => ({ fromUs: shorter(w.fromUs), toUs: shorter(w.toUs) })
  return {
    ...scenario,
    traffic: scenario.traffic.map((t) => ({ ...t, fromUs: shorter(t.fromUs), forUs: shorter(t.forUs) })),
    events: scenario.events.map((e) => ({ ...e, atUs: shorter(e.atUs) })),
    expect: scenario.expect.map((e) => ({
      ...e,
      window: within(e.window),
      ...(e.versus && 'window' in e.versus
        ? { versus: { of: e.versus.of, window: within(e.versus.window) } }
        : {}),
    })),
  }
}
