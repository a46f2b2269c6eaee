import type { Achievable } from './achievable.js'
import { type Figure, figureOf } from './figures.js'
import type { Phase } from './phase.js'
import type { Expectation, Limit, Measure, Scenario, Versus } from './scenario.js'
import { formatRate } from './units.js'

/** One expectation held against one run, or against the middle of several. */
export interface Verdict {
  readonly what: Measure
  readonly of: readonly string[]
  /** Seconds of the scenario. */
  readonly window: readonly [number, number]
  /** "at least 98 %", for people. */
  readonly limit: string
  /** The measure in the unit of its name: bit/s, ms, a count, an index; null: it could not be taken. */
  readonly value: number | null
  /** Goodput over what is achievable. */
  readonly share?: number | undefined
  readonly achievable?: Achievable | undefined
  /** The figure that it is held against, where that is another one of the same run. */
  readonly reference?: number | undefined
  readonly ok: boolean
  /** Why there is no value. */
  readonly reason?: string | undefined
}

/** Runs of the same scenario and seed through plait over one link alone, by the link's name, or by {@link bareKey}. */
export type References = ReadonlyMap<string, Phase>

/** Key of the run over a link without a tunnel. No link's name has a space. */
export const bareKey = (link: string): string => `bare ${link}`

export function judge(
  scenario: Scenario,
  seed: number,
  phase: Phase,
  references: References = new Map(),
): Verdict[] {
  return scenario.expect.map((expectation) => judgeOne(scenario, seed, phase, expectation, references))
}

/** What is expected, in words: "goodput of bulk, 15..45 s, at least 98 % of achievable". */
export function wordsOf({ what, of, window, limit, versus, share }: Expectation): string {
  const when = `${window.fromUs / 1e6}..${window.toUs / 1e6} s`
  const words = versus === undefined ? formatLimit(limit) : formatRelative(limit, versus)
  return `${what}${what.startsWith('time-to') ? ` (${share})` : ''} of ${of.join(' + ')}, ${when}, ${words}`
}

function judgeOne(
  scenario: Scenario,
  seed: number,
  phase: Phase,
  expectation: Expectation,
  references: References,
): Verdict {
  const { versus, limit } = expectation
  const figure = figureOf(scenario, seed, phase, expectation)
  const base = {
    what: expectation.what,
    of: expectation.of,
    window: [expectation.window.fromUs / 1e6, expectation.window.toUs / 1e6] as const,
    limit: versus === undefined ? formatLimit(limit) : formatRelative(limit, versus),
    ...figure,
  }
  if (figure.value === null) return { ...base, ok: false }
  if (versus === undefined) return { ...base, ok: holds(limit, figure.value, figure.share ?? 0) }
  const other =
    'window' in versus
      ? figureOf(scenario, seed, phase, { ...expectation, ...versus })
      : alone(scenario, seed, expectation, 'link' in versus ? versus.link : bareKey(versus.bare), references)
  if (other.value === null) return { ...base, value: null, ok: false, reason: other.reason }
  const ok =
    limit.kind === 'time'
      ? figure.value <= other.value + limit.maxMs
      : holds(limit, figure.value, figure.value / other.value)
  return { ...base, reference: other.value, ok }
}

/** The same measure over one link alone, or over the one that does best. */
function alone(
  scenario: Scenario,
  seed: number,
  expectation: Expectation,
  link: string,
  references: References,
): Figure {
  const phases = [...references].filter(([name, { mode }]) =>
    link === 'best' ? mode.kind === 'tunnel' : link === name,
  )
  const figures = phases.map(([, phase]) => figureOf(scenario, seed, phase, expectation))
  // Of links one of which was not measured none is known to be the best.
  const broken = figures.find((figure) => figure.value === null)
  if (broken) return broken
  const sign = expectation.limit.kind === 'time' ? -1 : 1
  const [best] = figures.sort((x, y) => sign * (y.value! - x.value!))
  return best ?? { value: null, reason: 'one link alone was not measured' }
}

function formatRelative(limit: Limit, versus: Versus): string {
  const other = otherInWords(versus)
  if (limit.kind === 'share') return `at least ${Number((limit.min * 100).toFixed(1))} % of ${other}`
  return limit.kind === 'time'
    ? `at most ${limit.maxMs} ms above ${other}`
    : `${formatLimit(limit)} (${other})`
}

function otherInWords(versus: Versus): string {
  if ('link' in versus) return `plait over ${versus.link === 'best' ? 'the best link' : versus.link} alone`
  if ('bare' in versus) return `${versus.bare} without a tunnel`
  return `${versus.of.join(' + ')}, ${versus.window.fromUs / 1e6}..${versus.window.toUs / 1e6} s`
}

export function holds(limit: Limit, value: number, share: number): boolean {
  switch (limit.kind) {
    case 'share':
      // To the tenth of a percent that is shown.
      return Math.round(share * 1000) >= Math.round(limit.min * 1000)
    case 'rate':
      return value >= limit.minBitsPerSec
    case 'index':
      return value >= limit.min
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
    case 'index':
      return `at least ${limit.min}`
    case 'time':
      return `at most ${limit.maxMs} ms`
    case 'count':
      return `at most ${limit.max}`
  }
}

const WORST_COUNTS: readonly Measure[] = ['gap', 'lost', 'retransmits']

/**
 * Several runs as one: the median of goodput, delay and time to full rate; of gaps, losses and segments sent again the
 * worst, for a single one is one too many.
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
    const worst = WORST_COUNTS.includes(expectation.what)
    // Of two in the middle the one that is worse.
    const middle = expectation.limit.kind === 'time' ? rising.length / 2 : (rising.length - 1) / 2
    return worst ? rising.at(-1)! : rising[Math.floor(middle)]!
  })
}
