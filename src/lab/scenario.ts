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
  /** Scheduler written into the daemons' configuration; undefined: plait's default. */
  readonly scheduler: string | undefined
  readonly traffic: readonly Traffic[]
  readonly events: readonly LabEvent[]
  readonly expect: readonly Expectation[]
}

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
  readonly congestion: 'cubic' | 'bbr' | 'reno'
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
export type Traffic = TcpTraffic | UdpTraffic | PingTraffic

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
 * - gap: the longest time in which nothing of it arrived, in bins of 10 ms (TCP: nothing came out of the tunnel)
 * - lost: packets (udp, voip) or replies (ping) that never arrived
 * - delay-p50, delay-p99: one way (udp, voip); rtt-p50, rtt-p99 of ping
 * - time-to-full: from the window's start until goodput over half a second reaches `share` of what is achievable
 */
export type Measure =
  | 'goodput'
  | 'gap'
  | 'lost'
  | 'delay-p50'
  | 'delay-p99'
  | 'rtt-p50'
  | 'rtt-p99'
  | 'time-to-full'
export const MEASURES: readonly Measure[] = [
  'goodput',
  'gap',
  'lost',
  'delay-p50',
  'delay-p99',
  'rtt-p50',
  'rtt-p99',
  'time-to-full',
]

export interface Expectation {
  readonly what: Measure
  /** Names of traffic; goodput adds them up, the others take the worst. */
  readonly of: readonly string[]
  readonly window: Window
  readonly limit: Limit
  /** Of time-to-full. */
  readonly share: number
}

/** `min` for goodput, `max` for everything else. Times in ms. */
export type Limit =
  | { readonly kind: 'share'; readonly min: number }
  | { readonly kind: 'rate'; readonly minBitsPerSec: number }
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

/** Share of the times in a scenario that a quick run keeps. */
export const QUICK_FACTOR = 0.4

/** The same scenario with all its times shortened; what is expected stays as it is. */
export function quickened(scenario: Scenario): Scenario {
  const shorter = (us: number): number => us * QUICK_FACTOR
  return {
    ...scenario,
    traffic: scenario.traffic.map((t) => ({ ...t, fromUs: shorter(t.fromUs), forUs: shorter(t.forUs) })),
    events: scenario.events.map((e) => ({ ...e, atUs: shorter(e.atUs) })),
    expect: scenario.expect.map((e) => ({
      ...e,
      window: { fromUs: shorter(e.window.fromUs), toUs: shorter(e.window.toUs) },
    })),
  }
}
