import { columns } from './result-text.js'
import type { ScenarioResult } from './runner.js'

const HEAD = ['case', 'links', 'together', 'of achievable', 'best alone', 'ratio', 'verdict']

/** One pair or triple of links: over all of them, beside the best of them alone through plait. */
export interface RandomOutcome {
  readonly name: string
  readonly links: string
  /** null: it could not be measured, for the reason. */
  readonly bitsPerSec: number | null
  readonly share: number | null
  readonly bestAlone: { readonly link: string; readonly bitsPerSec: number } | null
  readonly ratio: number | null
  readonly ok: boolean
  readonly reason: string | null
}

export function randomOutcome(result: ScenarioResult): RandomOutcome {
  const { scenario } = result
  const verdict = result.verdicts[0]!
  const singles = result.comparisons
    .flatMap(({ link, bitsPerSec }) =>
      link === undefined || bitsPerSec === null ? [] : [{ link, bitsPerSec }],
    )
    .sort((x, y) => y.bitsPerSec - x.bitsPerSec)
  const { value, reference } = verdict
  return {
    name: scenario.name,
    links: scenario.about,
    bitsPerSec: value,
    share: verdict.share ?? null,
    bestAlone: singles[0] ?? null,
    ratio: value === null || reference === undefined ? null : value / reference,
    ok: verdict.ok,
    reason: verdict.reason ?? null,
  }
}

export function failedOutcome(name: string, links: string, reason: string): RandomOutcome {
  return { name, links, bitsPerSec: null, share: null, bestAlone: null, ratio: null, ok: false, reason }
}

const mbit = (bitsPerSec: number): string => `${(bitsPerSec / 1e6).toFixed(1)} Mbit/s`

function rowOf(outcome: RandomOutcome): string[] {
  const { name, links, bitsPerSec, share, bestAlone, ratio, ok, reason } = outcome
  return [
    name,
    links,
    bitsPerSec === null ? (reason ?? 'none') : mbit(bitsPerSec),
    share === null ? '' : `${(share * 100).toFixed(1)} %`,
    bestAlone === null ? '' : `${bestAlone.link} ${mbit(bestAlone.bitsPerSec)}`,
    ratio === null ? '' : ratio.toFixed(3),
    ok ? 'holds' : 'fails',
  ]
}

/** All cases in a table, and how many fall short. */
export function randomTable(outcomes: readonly RandomOutcome[], markdown: boolean): string {
  const rows = outcomes.map(rowOf)
  const table = markdown
    ? [HEAD, HEAD.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
    : columns([HEAD, ...rows])
  const failing = outcomes.filter((outcome) => !outcome.ok).length
  const ratios = outcomes.flatMap((outcome) => outcome.ratio ?? [])
  const lowest = ratios.length === 0 ? '' : `, the lowest ratio is ${Math.min(...ratios).toFixed(3)}`
  return `${table}\n\n${outcomes.length - failing} of ${outcomes.length} hold${lowest}\n`
}
