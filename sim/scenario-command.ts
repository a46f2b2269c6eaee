import { OperatorError } from '../src/base/errors.js'
import { columns, formatResult, resultJson } from '../src/lab/result-text.js'
import { adjusted, type ScenarioResult } from '../src/lab/runner.js'
import type { Scenario, SchedulerName } from '../src/lab/scenario.js'
import { findScenario, knownFailing, shippedNames } from '../src/lab/shipped.js'
import { combine } from '../src/lab/verdict.js'
import { replayCommand } from './outcome.js'
import { formatSpeed, type Player, type ScenarioPiece } from './piece.js'
import type { SimulatedRun } from './scenario-run.js'
import { checkPlayable } from './scenario-world.js'

export const CONGESTIONS = ['cubic', 'bbr'] as const
export const POLICIES = ['auto', 'bond'] as const

export interface ScenarioFlags {
  readonly seed: number
  readonly runs: number
  readonly congestion: (typeof CONGESTIONS)[number] | undefined
  readonly policy: (typeof POLICIES)[number] | undefined
  readonly scheduler: SchedulerName | undefined
  readonly quick: boolean
  readonly json: boolean
  readonly markdown: boolean
}

/** What becomes of one scenario: the lab's result, and what only the simulator knows. */
export interface SimulatedResult extends ScenarioResult {
  readonly runs: readonly SimulatedRun[]
  readonly faults: readonly string[]
  readonly virtualSeconds: number
  /** How long it took, all runs together. */
  readonly seconds: number
}

type Print = (text: string) => void

/**
 * Plays a scenario with rising seeds.
 *
 * @throws OperatorError if it has something that cannot be played in virtual time
 */
export async function simulate(
  given: Scenario,
  flags: ScenarioFlags,
  player: Player,
): Promise<SimulatedResult> {
  const scenario = adjusted(given, {
    seed: flags.seed,
    repeat: flags.runs,
    quick: flags.quick,
    compare: [],
    congestion: flags.congestion,
    scheduler: flags.scheduler,
    policy: flags.policy,
  })
  checkPlayable(scenario)
  const pieces = Array.from({ length: flags.runs }, (_, i): ScenarioPiece => {
    const policy = scenario.policy ?? 'auto'
    return { kind: 'scenario', scenario, seed: flags.seed + i, policy, how: howOf(given, flags) }
  })
  const played = await Promise.all(pieces.map((piece) => player.play(piece)))
  const runs = played.map(({ result }) => result)
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
    seconds: played.reduce((sum, { seconds }) => sum + seconds, 0),
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
export async function runOne(
  name: string,
  flags: ScenarioFlags,
  player: Player,
  print: Print,
): Promise<boolean> {
  const result = await simulate(findScenario(name), flags, player)
  if (flags.json) print(`${JSON.stringify(jsonOf(result))}\n`)
  else print(`${formatResult(result, knownFailing(result.scenario))}${detailsOf(result)}`)
  return result.ok
}

function jsonOf(result: SimulatedResult): object {
  return {
    ...resultJson(result, knownFailing(result.scenario)),
    simulated: true,
    faults: result.faults,
    traces: result.runs.map((run) => run.outcome.hash),
    virtualSeconds: result.virtualSeconds,
    seconds: result.seconds,
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
  lines.push(formatSpeed(result.virtualSeconds, result.seconds))
  return `${lines.join('\n')}\n`
}

/** `--all`: a table of all scenarios that come with plait, under both congestion controls unless one is chosen. */
export async function runAll(
  flags: ScenarioFlags,
  player: Player,
  print: Print,
  progress: Print,
): Promise<boolean> {
  const controls = flags.congestion === undefined ? CONGESTIONS : [flags.congestion]
  const asked = shippedNames().flatMap((name) => {
    const scenario = findScenario(name)
    const hasTcp = scenario.traffic.some((traffic) => traffic.kind === 'tcp')
    return (hasTcp ? controls : controls.slice(0, 1)).map((congestion) => ({
      name,
      label: hasTcp ? congestion : '',
      result: resultOrReason(simulate(scenario, { ...flags, congestion }, player)),
    }))
  })
  const rows: string[][] = []
  const results: object[] = []
  let ok = true
  for (const { name, label, result } of asked) {
    const played = await result
    progress(`${name} ${label}\n`)
    if (typeof played === 'string') {
      rows.push([name, label, '', '', '', played])
      continue
    }
    ok &&= played.ok
    for (const fault of played.faults) progress(`FAULT ${fault}\n`)
    rows.push(rowOf(played, label))
    results.push(jsonOf(played))
  }
  if (flags.json) print(`${JSON.stringify(results)}\n`)
  else print(table(['scenario', 'tcp', 'share', 'range', 'speed', 'what is expected'], rows, flags.markdown))
  return ok
}

/** What came of a scenario, or why it cannot be played. */
function resultOrReason(result: Promise<SimulatedResult>): Promise<SimulatedResult | string> {
  return result.catch((error: unknown) => {
    if (error instanceof OperatorError) return error.message
    throw error
  })
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
  const speed = `${(result.virtualSeconds / result.seconds).toFixed(0)} x`
  const range = known.length > 1 ? `${percent(known[0]!)}..${percent(known.at(-1)!)}` : ''
  const median = known.length === 0 ? '' : `${percent(known[(known.length - 1) >> 1]!)} %`
  const faults = result.faults.length > 0 ? [`**${result.faults.length} faults**`] : []
  const expected = !result.ok && knownFailing(result.scenario) !== undefined ? ['known to fail'] : []
  const texts = [...faults, ...expectations, ...expected]
  return [result.scenario.name, congestion, median, range, speed, texts.join('; ')]
}

function table(head: readonly string[], rows: readonly (readonly string[])[], markdown: boolean): string {
  if (!markdown) return `${columns([head, ...rows])}\n`
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return `${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}\n`
}
