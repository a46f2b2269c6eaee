import { type Achievable, achievable, nativeFraming, timelines, tunnelFraming } from './achievable.js'
import {
  counterGapMs,
  counterTimeToFullMs,
  packetMeasure,
  type SpanNs,
  tcpGoodput,
  tcpTimeToFullMs,
} from './measures.js'
import type { Phase } from './phase.js'
import type { Expectation, Limit, Measure, Scenario, Traffic } from './scenario.js'
import { formatRate, type Window } from './units.js'

/** One expectation held against one run, or against the middle of several. */
export interface Verdict {
  readonly what: Measure
  readonly of: readonly string[]
  /** Seconds of the scenario. */
  readonly window: readonly [number, number]
  /** "at least 98 %", for people. */
  readonly limit: string
  /** The measure in the unit of its name: bit/s, ms, packets; null: it could not be taken. */
  readonly value: number | null
  /** Goodput over what is achievable. */
  readonly share?: number | undefined
  readonly achievable?: Achievable | undefined
  readonly ok: boolean
  /** Why there is no value. */
  readonly reason?: string | undefined
}

export function judge(scenario: Scenario, seed: number, phase: Phase): Verdict[] {
  return scenario.expect.map((expectation) => judgeOne(scenario, seed, phase, expectation))
}

function judgeOne(scenario: Scenario, seed: number, phase: Phase, expectation: Expectation): Verdict {
  const base = {
    what: expectation.what,
    of: expectation.of,
    window: [expectation.window.fromUs / 1e6, expectation.window.toUs / 1e6] as const,
    limit: formatLimit(expectation.limit),
  }
  const failed = expectation.of.map((name) => phase.failures.get(name)).find((reason) => reason !== undefined)
  if (failed !== undefined) return { ...base, value: null, ok: false, reason: failed }
  const traffic = scenario.traffic.filter((t) => expectation.of.includes(t.name))
  if (expectation.what === 'goodput') {
    const value = sum(traffic.map((t) => goodputOf(phase, t, spanOf(phase, expectation.window))))
    const best = achievableFor(scenario, seed, phase, traffic, expectation.window)
    const share = value / best.bitsPerSec
    return { ...base, value, share, achievable: best, ok: holds(expectation.limit, value, share) }
  }
  const values = traffic.map((t) => measure(scenario, seed, phase, t, expectation))
  const worst = values.some(Number.isNaN) ? Number.NaN : Math.max(...values)
  if (Number.isNaN(worst)) {
    const reason = expectation.what === 'time-to-full' ? 'not within the window' : 'nothing to measure'
    return { ...base, value: null, ok: false, reason }
  }
  return { ...base, value: worst, ok: holds(expectation.limit, worst, 0) }
}

export function spanOf(phase: Phase, window: Window): SpanNs {
  return { fromNs: phase.zeroNs + window.fromUs * 1e3, toNs: phase.zeroNs + window.toUs * 1e3 }
}

export function goodputOf(phase: Phase, traffic: Traffic, span: SpanNs): number {
  const record = phase.records.get(traffic.name)
  if (record?.kind === 'tcp') return tcpGoodput(record, span)
  if (record?.kind !== 'udp' || traffic.kind === 'tcp' || traffic.kind === 'ping') return Number.NaN
  let packets = 0
  for (const at of record.packets.arrivedNs) if (at >= span.fromNs && at < span.toNs) packets++
  return (packets * traffic.bytes * 8e9) / (span.toNs - span.fromNs)
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
      : nativeFraming(scenario.links[0]!.mtu, mode.kind === 'mptcp')
  const best =
    mode.kind === 'single'
      ? achievable(
          {
            ...scenario,
            links: scenario.links.map((l) => (l.name === mode.link ? l : { ...l, site: 'c' as const })),
          },
          seed,
          first.way,
          'a',
          window,
          frame,
        )
      : achievable(scenario, seed, first.way, first.site, window, frame)
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
  expectation: Expectation,
): number {
  const span = spanOf(phase, expectation.window)
  const record = phase.records.get(traffic.name)
  if (!record) return Number.NaN
  if (record.kind !== 'tcp') return packetMeasure(record, expectation.what, span)
  const counters = phase.counters[traffic.way === 'up' ? 'b' : traffic.site]
  if (expectation.what === 'gap') return counters ? counterGapMs(counters, span) : Number.NaN
  const lines = timelines(scenario, seed)
  const frame = counters
    ? tunnelFraming(traffic, phase.tunMtu, scenario.outer)
    : nativeFraming(scenario.links[0]!.mtu, phase.mode.kind === 'mptcp')
  // In the tunnel whole inner packets are counted, without it payload.
  const counted = counters ? phase.tunMtu : frame.payloadBytes
  const enough = (half: SpanNs): number => {
    const window = { fromUs: (half.fromNs - phase.zeroNs) / 1e3, toUs: (half.toNs - phase.zeroNs) / 1e3 }
    const wire = scenario.links.map((link, i) =>
      link.site === traffic.site ? lines[i]!.meanBitsPerSec(traffic.way, window) : 0,
    )
    return (expectation.share * sum(wire) * counted) / frame.wireBytes
  }
  return counters ? counterTimeToFullMs(counters, span, enough) : tcpTimeToFullMs(record, span, enough)
}

export function holds(limit: Limit, value: number, share: number): boolean {
  switch (limit.kind) {
    case 'share':
      // To the tenth of a percent that is shown.
      return Math.round(share * 1000) >= Math.round(limit.min * 1000)
    case 'rate':
      return value >= limit.minBitsPerSec
    case 'time':
      return value <= limit.maxMs
    case 'count':
      return value <= limit.max
  }
}

export function formatLimit(limit: Limit): string {
  switch (limit.kind) {
    case 'share':
      return `at least ${Number((limit.min * 100).toFixed(1))} % of achievable`
    case 'rate':
      return `at least ${formatRate(limit.minBitsPerSec)}`
    case 'time':
      return `at most ${limit.maxMs} ms`
    case 'count':
      return `at most ${limit.max}`
  }
}

/**
 * Several runs as one: the median of goodput, delay and time to full rate; of gaps and losses the worst, for a single
 * one is one too many.
 */
export function combine(
  runs: readonly (readonly Verdict[])[],
  expectations: readonly Expectation[],
): Verdict[] {
  return expectations.map((expectation, index) => {
    const verdicts = runs.map((run) => run[index]!)
    const broken = verdicts.find((verdict) => verdict.value === null)
    if (broken || verdicts.length === 1) return broken ?? verdicts[0]!
    const rising = [...verdicts].sort((a, b) => (a.share ?? a.value!) - (b.share ?? b.value!))
    const worst = expectation.what === 'gap' || expectation.what === 'lost'
    const chosen = worst ? rising.at(-1)! : rising[Math.floor((rising.length - 1) / 2)]!
    return chosen
  })
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
