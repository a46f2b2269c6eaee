import { type Achievable, achievable, nativeFraming, timelines, tunnelFraming } from './achievable.js'
import {
  bulkGoodput,
  bulkTimeToFullMs,
  counterGapMs,
  counterTimeToFullMs,
  jainIndex,
  packetMeasure,
  resentWithin,
  type SpanNs,
  timeToUseMs,
} from './measures.js'
import type { Phase, PhaseMode } from './phase.js'
import { type Expectation, isBulk, type Scenario, type ScenarioLink, type Traffic } from './scenario.js'
import { formatRate, type Window } from './units.js'

/** What was measured in one run, in the unit of the measure's name: bit/s, ms, a count, an index; null: nothing. */
export interface Figure {
  readonly value: number | null
  /** Why there is none. */
  readonly reason?: string
  /** Of goodput: over what is achievable. */
  readonly share?: number
  readonly achievable?: Achievable
}

/** Which measure, of what, when. */
export type Question = Pick<Expectation, 'what' | 'of' | 'window' | 'share'>

export function figureOf(scenario: Scenario, seed: number, phase: Phase, question: Question): Figure {
  const { what, of, window } = question
  const failed = of.map((name) => phase.failures.get(name)).find((reason) => reason !== undefined)
  if (failed !== undefined) return { value: null, reason: failed }
  const span = spanOf(phase, window)
  const traffic = scenario.traffic.filter((t) => of.includes(t.name))
  if (what === 'goodput') {
    const value = sum(traffic.map((t) => goodputOf(phase, t, span)))
    if (Number.isNaN(value)) return { value: null, reason: 'nothing to measure' }
    const best = achievableFor(scenario, seed, phase, traffic, window)
    return { value, share: value / best.bitsPerSec, achievable: best }
  }
  if (what === 'jain') {
    const records = traffic.flatMap((t) => phase.records.get(t.name) ?? [])
    return measured(jainIndex(records, span))
  }
  if (what === 'time-to-use' && phase.samples.length < 2) {
    return { value: null, reason: 'the links were not watched' }
  }
  const values =
    what === 'time-to-use'
      ? of.map((name) => timeToUse(scenario, seed, phase, name, question))
      : traffic.map((t) => measure(scenario, seed, phase, t, question))
  const worst = values.some(Number.isNaN) ? Number.NaN : Math.max(...values)
  return measured(worst, what.startsWith('time-to') ? 'not within the window' : 'nothing to measure')
}

const measured = (value: number, reason = 'nothing to measure'): Figure =>
  Number.isNaN(value) ? { value: null, reason } : { value }

export function spanOf(phase: Phase, window: Window): SpanNs {
  return { fromNs: phase.zeroNs + window.fromUs * 1e3, toNs: phase.zeroNs + window.toUs * 1e3 }
}

export function goodputOf(phase: Phase, traffic: Traffic, span: SpanNs): number {
  const record = phase.records.get(traffic.name)
  if (record?.kind === 'tcp' || record?.kind === 'quic') return bulkGoodput(record, span)
  if (record?.kind !== 'udp' || (traffic.kind !== 'udp' && traffic.kind !== 'voip')) return Number.NaN
  let packets = 0
  for (const at of record.packets.arrivedNs) if (at >= span.fromNs && at < span.toNs) packets++
  return (packets * traffic.bytes * 8e9) / (span.toNs - span.fromNs)
}

/** The links that traffic of a site can take in this mode. */
export function linksInUse(
  scenario: Scenario,
  mode: PhaseMode,
  site: 'a' | 'c',
): readonly (readonly [link: ScenarioLink, index: number])[] {
  const only = mode.kind === 'mptcp' ? undefined : mode.link
  return [...scenario.links.entries()].flatMap(([index, link]) =>
    link.site === site && (only === undefined || link.name === only) ? [[link, index] as const] : [],
  )
}

/** What the traffic together could reach at best in a window; UDP no more than it offers. */
export function achievableFor(
  scenario: Scenario,
  seed: number,
  phase: Phase,
  traffic: readonly Traffic[],
  window: Window,
): Achievable {
  const first = traffic[0]!
  const { mode } = phase
  const frame =
    mode.kind === 'tunnel'
      ? tunnelFraming(first, phase.tunMtu, scenario.outer)
      : nativeFraming(scenario.links[0]!.mtu, mode.kind === 'mptcp' ? first.way : undefined)
  const links = linksInUse(scenario, mode, first.site).map(([, index]) => index)
  const best = achievable(scenario, seed, first.way, links, window, frame)
  if (first.kind !== 'udp') return best
  const offered = sum(traffic.map((t) => (t.kind === 'udp' ? t.bytes * 8 * t.packetsPerSec : 0)))
  if (offered >= best.bitsPerSec) return best
  return { bitsPerSec: offered, how: `all that is offered = ${formatRate(offered)}` }
}

function measure(
  scenario: Scenario,
  seed: number,
  phase: Phase,
  traffic: Traffic,
  { what, window, share }: Question,
): number {
  const span = spanOf(phase, window)
  const record = phase.records.get(traffic.name)
  if (!record) return Number.NaN
  if (record.kind !== 'tcp' && record.kind !== 'quic') return packetMeasure(record, what, span)
  if (what === 'retransmits') return record.kind === 'tcp' ? resentWithin(record, span) : Number.NaN
  const counters = phase.counters[traffic.way === 'up' ? 'b' : traffic.site]
  if (what === 'gap') return counters ? counterGapMs(counters, span) : Number.NaN
  const lines = timelines(scenario, seed)
  const frame = counters
    ? tunnelFraming(traffic, phase.tunMtu, scenario.outer)
    : nativeFraming(scenario.links[0]!.mtu, phase.mode.kind === 'mptcp' ? traffic.way : undefined)
  // In the tunnel whole inner packets are counted, without it payload.
  const counted = counters ? frame.innerBytes : frame.payloadBytes
  const links = linksInUse(scenario, phase.mode, traffic.site)
  const enough = (half: SpanNs): number => {
    const at = { fromUs: (half.fromNs - phase.zeroNs) / 1e3, toUs: (half.toNs - phase.zeroNs) / 1e3 }
    const wire = sum(links.map(([, index]) => lines[index]!.meanBitsPerSec(traffic.way, at)))
    return (share * wire * counted) / frame.wireBytes
  }
  return counters ? counterTimeToFullMs(counters, span, enough) : bulkTimeToFullMs(record, span, enough)
}

/** Of a link: in the direction of the bulk traffic. */
function timeToUse(scenario: Scenario, seed: number, phase: Phase, name: string, question: Question): number {
  const index = scenario.links.findIndex((link) => link.name === name)
  const way = scenario.traffic.find(isBulk)?.way ?? 'down'
  const line = timelines(scenario, seed)[index]!
  const { fromUs, toUs } = question.window
  const looks = phase.samples.flatMap(({ timeUs, wan }) => {
    const stats = wan[index]
    if (!stats || timeUs < fromUs || timeUs > toUs) return []
    return [{ timeUs, bytes: way === 'up' ? stats.ab.outBytes : stats.ba.outBytes }]
  })
  return timeToUseMs(looks, fromUs, (timeUs) => question.share * line.bitsPerSecAt(way, timeUs))
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
