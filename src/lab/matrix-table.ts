import { entriesOf, type MatrixCase, type MatrixEntry } from './matrix.js'
import { quantile } from './records.js'
import { columns, formatFigure } from './result-text.js'
import type { Expectation, Versus } from './scenario.js'
import { formatRate } from './units.js'
import { combine, type Verdict } from './verdict.js'

const HEAD = [
  'scenario',
  'TCP',
  'floor',
  'median',
  'min..max',
  'kernel MPTCP',
  'time to full',
  'voice p99 / lost',
  'other',
  'verdict',
]

/** The runs of each case in a line: what `docs/performance.md` shows. */
export function matrixTable(
  cases: readonly MatrixCase[],
  entries: readonly MatrixEntry[],
  seeds: readonly number[],
  markdown: boolean,
): string {
  const rows = cases.map((one) => rowOf(one, entriesOf(one, entries, seeds), seeds.length))
  const table = markdown
    ? [HEAD, HEAD.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
    : columns([HEAD, ...rows])
  const used = cases.flatMap((one) => entriesOf(one, entries, seeds))
  const loads = used.map((entry) => entry.loadBefore)
  const notes = [
    `Share of what is achievable, median of the seeds ${seeds.join(', ')}; of gaps, losses and segments sent again the worst.`,
    ...(used.some((entry) => entry.quick)
      ? ['Quick: all times at 40 %, so steady state is measured early.']
      : []),
    ...(loads.length > 0
      ? [
          `Load of the machine before the runs: ${quantile(loads, 0.5)} (median), ${Math.max(...loads)} at most.`,
        ]
      : []),
  ]
  return `${table}\n\n${notes.join('\n')}\n`
}

function rowOf(one: MatrixCase, entries: readonly MatrixEntry[], seeds: number): string[] {
  const { scenario, congestion, policy } = one
  const tcp = `${congestion === undefined ? '' : congestion.toUpperCase()}${policy === 'bond' ? ', bond' : ''}`
  const { expect } = scenario
  const main = expect.findIndex((expectation) => expectation.what === 'goodput')
  const floor = main < 0 ? '' : floorOf(expect[main]!)
  if (entries.length === 0) return [scenario.name, tcp, floor, '', '', '', '', '', '', 'not measured']
  const verdicts = combine(
    entries.map((entry) => entry.verdicts),
    expect,
  )
  const ofMain = main < 0 ? [] : entries.map((entry) => entry.verdicts[main]!)
  const taken = new Set(main < 0 ? [] : [verdicts[main]!])
  const take = (wanted: (verdict: Verdict) => boolean): Verdict[] => {
    const found = verdicts.filter((verdict) => !taken.has(verdict) && wanted(verdict))
    for (const verdict of found) taken.add(verdict)
    return found
  }
  const full = take((verdict) => verdict.what === 'time-to-full')
  const voices = new Set(scenario.traffic.filter((t) => t.kind === 'voip').map((t) => t.name))
  const voice = take(
    (v) => (v.what === 'delay-p99' || v.what === 'lost') && v.of.every((name) => voices.has(name)),
  )
  const mptcp = entries.flatMap((entry) => entry.mptcpShare ?? [])
  return [
    scenario.name,
    tcp,
    floor,
    main < 0 ? '' : mainFigure(verdicts[main]!, expect[main]!),
    main < 0 ? '' : rangeOf(ofMain, expect[main]!),
    mptcp.length === 0 ? '' : percent(median(mptcp)),
    full.map(figure).join(', '),
    voice.map(figure).join(' / '),
    take(() => true)
      .map((verdict) => `${verdict.what} of ${verdict.of.join(' + ')} ${figure(verdict)}`)
      .join('; '),
    verdictOf(verdicts, entries.length, seeds),
  ]
}

function verdictOf(verdicts: readonly Verdict[], runs: number, seeds: number): string {
  const failing = verdicts.filter((verdict) => !verdict.ok).map((verdict) => verdict.what)
  const words = failing.length === 0 ? 'holds' : `fails: ${[...new Set(failing)].join(', ')}`
  return runs < seeds ? `${words} (${runs} of ${seeds} runs)` : words
}

function floorOf({ limit, versus }: Expectation): string {
  if (limit.kind === 'rate') return formatRate(limit.minBitsPerSec)
  if (limit.kind !== 'share') return ''
  return `${Number((limit.min * 100).toFixed(1))} %${versus === undefined ? '' : otherInShort(versus)}`
}

function otherInShort(versus: Versus): string {
  if ('link' in versus) return ` of ${versus.link === 'best' ? 'the best link' : versus.link} alone`
  if ('bare' in versus) return ` of ${versus.bare} without a tunnel`
  return ` of ${versus.of.join(' + ')}`
}

/** In the unit of the floor: a rate, a share of achievable, or a share of the other figure. */
function inUnit(verdict: Verdict, { limit, versus }: Expectation): number | undefined {
  if (verdict.value === null) return undefined
  if (limit.kind === 'rate') return verdict.value
  return versus === undefined ? verdict.share : verdict.value / (verdict.reference ?? Number.NaN)
}

function formatInUnit(value: number, { limit }: Expectation): string {
  return limit.kind === 'rate' ? formatRate(value) : percent(value)
}

function mainFigure(verdict: Verdict, expectation: Expectation): string {
  const value = inUnit(verdict, expectation)
  return value === undefined ? (verdict.reason ?? 'none') : formatInUnit(value, expectation)
}

function rangeOf(verdicts: readonly Verdict[], expectation: Expectation): string {
  const values = verdicts.flatMap((verdict) => inUnit(verdict, expectation) ?? [])
  if (values.length < 2) return ''
  return `${formatInUnit(Math.min(...values), expectation)}..${formatInUnit(Math.max(...values), expectation)}`
}

function figure(verdict: Verdict): string {
  if (verdict.value === null) return verdict.reason ?? 'none'
  const share = verdict.share === undefined ? '' : ` (${percent(verdict.share)})`
  return `${formatFigure(verdict.what, verdict.value)}${share}`
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`

function median(values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[(values.length - 1) >> 1]!
}
