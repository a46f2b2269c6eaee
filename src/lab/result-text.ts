import type { ScenarioResult } from './runner.js'
import type { PingRecord, RequestRecord, UdpRecord } from './traffic.js'
import type { Verdict } from './verdict.js'

const MEASURE_NAMES: Record<Verdict['what'], string> = {
  goodput: 'goodput',
  jain: "Jain's index",
  gap: 'longest gap',
  lost: 'packets lost',
  retransmits: 'segments sent again',
  'delay-p50': 'one-way delay p50',
  'delay-p99': 'one-way delay p99',
  'rtt-p50': 'round trip p50',
  'rtt-p99': 'round trip p99',
  'fetch-p50': 'time to fetch p50',
  'fetch-p99': 'time to fetch p99',
  'time-to-full': 'time to full rate',
  'time-to-use': 'time until used',
}

/** The figure of a verdict, or why there is none. */
export function formatValue(verdict: Verdict): string {
  if (verdict.value === null) return verdict.reason ?? 'none'
  const value = formatFigure(verdict.what, verdict.value)
  const share = verdict.share === undefined ? '' : ` (${(verdict.share * 100).toFixed(1)} %)`
  if (verdict.reference === undefined) return `${value}${share}`
  return `${value}${share}, the other ${formatFigure(verdict.what, verdict.reference)}`
}

/** A measured value in the unit of its measure. */
export function formatFigure(what: Verdict['what'], value: number): string {
  switch (what) {
    case 'goodput':
      return `${(value / 1e6).toFixed(2)} Mbit/s`
    case 'jain':
      return value.toFixed(3)
    case 'lost':
    case 'retransmits':
      return String(value)
    default:
      return `${value.toFixed(value < 100 ? 1 : 0)} ms`
  }
}

export function describeMeasure(verdict: Verdict): string {
  const [from, to] = verdict.window.map((s) => Number(s.toFixed(1)))
  return `${MEASURE_NAMES[verdict.what]} of ${verdict.of.join(' + ')}, ${from}..${to} s`
}

/** Rows in columns, each as wide as its widest cell. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(i === row.length - 1 ? 0 : widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** The table at the end of a run. */
export function formatResult(result: ScenarioResult, knownFailing: string | undefined): string {
  const { scenario, runs } = result
  const rows = result.verdicts.map((verdict) => [
    verdict.ok ? '  ok  ' : '  FAIL',
    describeMeasure(verdict),
    formatValue(verdict),
    `expected ${verdict.limit}`,
  ])
  const lines = [`${scenario.name}: ${scenario.about}`, '', columns(rows)]
  for (const [through, title] of [
    ['plain', 'Without plait, on the same links:'],
    ['plait', 'Plait over one link alone:'],
  ] as const) {
    const table = result.comparisons
      .filter((comparison) => comparison.through === through)
      .map((c) => [
        '      ',
        `${c.title}, ${c.traffic}, ${c.window[0]}..${c.window[1]} s`,
        c.bitsPerSec === null
          ? (c.reason ?? 'none')
          : `${(c.bitsPerSec / 1e6).toFixed(2)} Mbit/s (${(c.share! * 100).toFixed(1)} % of its achievable)`,
      ])
    if (table.length > 0) lines.push('', title, columns(table))
  }
  const hows = new Set(result.verdicts.flatMap((v) => (v.achievable ? [v.achievable.how] : [])))
  if (hows.size > 0) lines.push('', ...[...hows].map((how) => `achievable: ${how}`))
  const notes = new Set(runs.flatMap((run) => run.phase.notes))
  lines.push(...[...notes].map((note) => `note: ${note}`))
  if (runs.length > 1) {
    lines.push(`${runs.length} runs: the median; of gaps, losses and segments sent again the worst`)
  }
  if (result.quick)
    lines.push('quick: all times are shortened, the figures are not those of the full scenario')
  if (knownFailing !== undefined) {
    lines.push(
      result.ok
        ? `listed in known-failing.yaml (${knownFailing}) but holds: take it off the list`
        : `known to fail: ${knownFailing}`,
    )
  }
  return `${lines.join('\n')}\n`
}

/** The result as one JSON object: figures, not the time series. */
export function resultJson(result: ScenarioResult, knownFailing: string | undefined): object {
  return {
    scenario: result.scenario.name,
    ok: result.ok,
    knownFailing: knownFailing ?? null,
    quick: result.quick,
    seeds: result.runs.map((run) => run.seed),
    expectations: result.verdicts.map(plainVerdict),
    runs: result.runs.map((run) => ({
      seed: run.seed,
      tunMtu: run.phase.tunMtu,
      expectations: run.verdicts.map(plainVerdict),
      events: run.phase.events.map((event) => ({ atS: event.timeUs / 1e6, text: event.text })),
      notes: run.phase.notes,
      traffic: trafficJson(run.phase),
      links: linksJson(result, run.phase),
    })),
    comparisons: result.comparisons,
  }
}

function plainVerdict(verdict: Verdict): object {
  const { achievable, ...rest } = verdict
  return {
    ...rest,
    ...(achievable === undefined
      ? {}
      : { achievableBitsPerSec: achievable.bitsPerSec, achievableHow: achievable.how }),
  }
}

function trafficJson({ records, zeroNs }: ScenarioResult['runs'][number]['phase']): object[] {
  return [...records].map(([name, record]) => {
    if (record.kind === 'tcp' || record.kind === 'quic') {
      const bytes = record.intervals.reduce((sum, interval) => sum + interval.bytes, 0)
      const base = { name, kind: record.kind, bytes, retransmits: record.retransmits }
      if (record.kind === 'quic' || record.resent === undefined) return base
      const resent = record.resent.filter(({ count }) => count > 0)
      return {
        ...base,
        resent: resent.map(({ fromNs, count }) => ({ fromS: (fromNs - zeroNs) / 1e9, count })),
      }
    }
    return { name, kind: record.kind, sent: record.sent, received: receivedOf(record) }
  })
}

function receivedOf(record: UdpRecord | PingRecord | RequestRecord): number {
  switch (record.kind) {
    case 'udp':
      return record.packets.count
    case 'ping':
      return record.rttMs.size
    case 'request':
      return record.answered.length
  }
}

function linksJson(result: ScenarioResult, phase: ScenarioResult['runs'][number]['phase']): object[] {
  const last = phase.samples.at(-1)
  return result.scenario.links.map((link, index) => {
    const stats = last?.wan[index]
    return { name: link.name, up: stats?.ab ?? null, down: stats?.ba ?? null }
  })
}
