import { OperatorError } from '../src/base/errors.js'
import { columns, formatResult, resultJson } from '../src/lab/result-text.js'
import { adjusted, type ScenarioResult } from '../src/lab/runner.js'
import type { Scenario } from '../src/lab/scenario.js'
import { findScenario, knownFailing, shippedNames } from '../src/lab/shipped.js'
import { combine } from '../src/lab/verdict.js'
import type { Primitives } from '../src/noise/primitives.js'
import { cpuSeconds, formatSpeed } from './cpu-time.js'
import { replayCommand } from './outcome.js'
import { playScenario, type SimulatedRun } from './scenario-run.js'

export const CONGESTIONS = ['cubic', 'bbr'] as const
export const POLICIES = ['auto', 'bond'] as const

export interface ScenarioFlags {
  readonly seed: number
  readonly runs: number
  readonly congestion: (typeof CONGESTIONS)[number] | undefined
  readonly policy: (typeof POLICIES)[number] | undefined
  readonly scheduler: string | undefined
  readonly quick: boolean
  readonly json: boolean
  readonly markdown: boolean
}

/** What becomes of one scenario: the lab's result, and what only the simulator knows. */
export interface SimulatedResult extends ScenarioResult {
  readonly runs: readonly SimulatedRun[]
  readonly faults: readonly string[]
  readonly virtualSeconds: number
  readonly cpuSeconds: number
}

type Print = (text: string) => void

/** Plays a scenario with rising seeds. */
export function simulate(given: Scenario, flags: ScenarioFlags, primitives: Primitives): SimulatedResult {
  const scenario = adjusted(given, {
    seed: flags.seed,
    repeat: flags.runs,
    quick: flags.quick,
    compare: [],
    congestion: flags.congestion,
    scheduler: flags.scheduler,
    policy: flags.policy,
  })
  const runs: SimulatedRun[] = []
  const before = cpuSeconds()
  for (let i = 0; i < flags.runs; i++) {
    runs.push(
      playScenario(scenario, flags.seed + i, scenario.policy ?? 'auto', primitives, howOf(given, flags)),
    )
  }
  const verdicts = combine(
    runs.map((run) => run.verdicts),
    scenario.expect,
  )
  const faults = runs.flatMap((run) => run.outcome.faults)
  return {
    scenario,
    quick: flags.quick,
    runs,
    verdicts,
    comparisons: [],
    ok: faults.length === 0 && verdicts.every((verdict) => verdict.ok),
    faults,
    virtualSeconds: runs.reduce((sum, run) => sum + run.outcome.virtualSeconds, 0),
    cpuSeconds: cpuSeconds() - before,
  }
}

/** Arguments that repeat a run, beside the seed. */
function howOf(scenario: Scenario, flags: ScenarioFlags): string {
  const words = ['--scenario', scenario.file]
  for (const key of ['congestion', 'policy', 'scheduler'] as const) {
    const value = flags[key]
    if (value !== undefined) words.push(`--${key}`, value)
  }
  if (flags.quick) words.push('--quick')
  return words.join(' ')
}

/** `--scenario NAME`: the lab's table for one scenario. Returns whether all of it holds. */
export function runOne(name: string, flags: ScenarioFlags, primitives: Primitives, print: Print): boolean {
  const result = simulate(findScenario(name), flags, primitives)
  if (flags.json) print(`${JSON.stringify(jsonOf(result))}\n`)
  else print(`${formatResult(result, undefined)}${detailsOf(result)}`)
  return result.ok
}

function jsonOf(result: SimulatedResult): object {
  return {
    ...resultJson(result, knownFailing(result.scenario)),
    simulated: true,
    faults: result.faults,
    traces: result.runs.map((run) => run.outcome.hash),
    virtualSeconds: result.virtualSeconds,
    cpuSeconds: result.cpuSeconds,
  }
}

/** What the simulator adds to the lab's table. */
function detailsOf(result: SimulatedResult): string {
  const lines: string[] = []
  for (const { seed, phase, outcome } of result.runs) {
    const tcp = [...phase.records].flatMap(([name, record]) =>
      record.kind === 'tcp' ? [`, ${name} sent ${record.retransmits} segments again`] : [],
    )
    const drops = Object.entries(outcome.drops).map(([reason, count]) => `${reason} ${count}`)
    lines.push(
      `seed ${seed}: trace ${outcome.hash}${tcp.join('')}; drops: ${drops.join(', ') || 'none'}`,
      ...outcome.faults.map((fault) => `FAULT ${fault}`),
    )
    if (outcome.faults.length > 0) lines.push(`repeat with: ${replayCommand(outcome)}`)
  }
  lines.push(formatSpeed(result.virtualSeconds, result.cpuSeconds))
  return `${lines.join('\n')}\n`
}

/** `--all`: a table of all scenarios that come with plait, under both congestion controls unless one is chosen. */
export function runAll(flags: ScenarioFlags, primitives: Primitives, print: Print, progress: Print): boolean {
  const controls = flags.congestion === undefined ? CONGESTIONS : [flags.congestion]
  const rows: string[][] = []
  const results: object[] = []
  let faultless = true
  for (const name of shippedNames()) {
    const scenario = findScenario(name)
    const tcp = scenario.traffic.some((traffic) => traffic.kind === 'tcp')
    for (const congestion of tcp ? controls : controls.slice(0, 1)) {
      progress(`${name}, ${congestion}\n`)
      try {
        const result = simulate(scenario, { ...flags, congestion }, primitives)
        faultless &&= result.faults.length === 0
        for (const fault of result.faults) progress(`FAULT ${fault}\n`)
        rows.push(rowOf(result, tcp ? congestion : ''))
        results.push(jsonOf(result))
      } catch (error) {
        if (!(error instanceof OperatorError)) throw error
        rows.push([name, congestion, '', '', '', error.message])
        break
      }
    }
  }
  if (flags.json) print(`${JSON.stringify(results)}\n`)
  else print(table(['scenario', 'tcp', 'share', 'range', 'speed', 'what is expected'], rows, flags.markdown))
  return faultless
}

/** One scenario in a line: share of achievable (median, range), and each expectation. */
function rowOf(result: SimulatedResult, congestion: string): string[] {
  const percent = (share: number): string => (100 * share).toFixed(1)
  const shares = result.runs.map((run) => run.verdicts.find((verdict) => verdict.share !== undefined)?.share)
  const known = shares.flatMap((share) => (share === undefined ? [] : [share])).sort((a, b) => a - b)
  const expectations = result.verdicts.map((verdict) => {
    const value =
      verdict.share === undefined
        ? verdict.value === null
          ? (verdict.reason ?? 'none')
          : `${Math.round(10 * verdict.value) / 10}`
        : `${percent(verdict.share)} %`
    return `${verdict.ok ? '' : '**'}${verdict.what} of ${verdict.of.join(' + ')} ${value} (${verdict.limit})${verdict.ok ? '' : '**'}`
  })
  const speed = `${(result.virtualSeconds / result.cpuSeconds).toFixed(0)} x`
  const range = known.length > 1 ? `${percent(known[0]!)}..${percent(known.at(-1)!)}` : ''
  const median = known.length === 0 ? '' : `${percent(known[(known.length - 1) >> 1]!)} %`
  const faults = result.faults.length > 0 ? [`**${result.faults.length} faults**`] : []
  return [result.scenario.name, congestion, median, range, speed, [...faults, ...expectations].join('; ')]
}

function table(head: readonly string[], rows: readonly (readonly string[])[], markdown: boolean): string {
  if (!markdown) return `${columns([head, ...rows])}\n`
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return `${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}\n`
}
