import { createHash } from 'node:crypto'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { OperatorError } from '../base/errors.js'
import { LabError } from './lab-error.js'
import { adjusted, type Comparison, type RunHooks, type RunOptions, runScenario } from './runner.js'
import { type Congestion, type Policy, type Scenario, type SchedulerName, scenarioEndUs } from './scenario.js'
import { type Verdict, wordsOf } from './verdict.js'

/** A set of scenarios, each under several conditions and seeds. */
export interface MatrixPlan {
  readonly scenarios: readonly Scenario[]
  readonly congestions: readonly Congestion[]
  /** Undefined: auto, and bond where something is expected of that alone. */
  readonly policies: readonly Policy[] | undefined
  readonly seeds: readonly number[]
  readonly compare: readonly Comparison[]
  /** Compare with MPTCP under the first seed alone: its figures hardly vary, and each takes as long as plait's. */
  readonly mptcpOnce: boolean
  readonly scheduler: SchedulerName | undefined
  readonly quick: boolean
}

/** One row of the table: a scenario under one congestion control and policy, as it is played. */
export interface MatrixCase {
  readonly given: Scenario
  /** With what is expected of it then. */
  readonly scenario: Scenario
  /** Undefined: it has no TCP. */
  readonly congestion: Congestion | undefined
  readonly policy: Policy
  readonly options: Omit<RunOptions, 'seed' | 'compare'>
  readonly compare: readonly Comparison[]
  readonly mptcpSeeds: readonly number[]
}

/** What a case is compared with under a seed. */
export const comparedWith = ({ compare, mptcpSeeds }: MatrixCase, seed: number): readonly Comparison[] =>
  compare.filter((comparison) => comparison !== 'mptcp' || mptcpSeeds.includes(seed))

/** What one run of a case gave: a line of the file. */
export interface MatrixEntry {
  readonly scenario: string
  readonly congestion: Congestion | null
  readonly policy: Policy
  readonly scheduler: string | null
  readonly seed: number
  readonly quick: boolean
  readonly compare: readonly Comparison[]
  /** Digest of links, traffic and events: an entry made with others says nothing of these. */
  readonly digest: string
  /** What was expected, in words: the same holds for expectations. */
  readonly expected: readonly string[]
  readonly verdicts: readonly Verdict[]
  /** Share of its achievable that kernel MPTCP reached in the first goodput window; null: not compared, or it failed. */
  readonly mptcpShare: number | null
  readonly notes: readonly string[]
  /** Mean number of processes that waited for the processor, over the minute before the run. */
  readonly loadBefore: number
}

export function casesOf(plan: MatrixPlan): MatrixCase[] {
  return plan.scenarios.flatMap((given) => {
    const hasTcp = given.traffic.some((traffic) => traffic.kind === 'tcp')
    return (hasTcp ? plan.congestions : [undefined]).flatMap((congestion) =>
      policiesFor(given, congestion, plan.policies).flatMap((policy) => {
        const { compare, quick, scheduler } = plan
        const options = { repeat: 1, quick, scheduler, congestion, policy }
        const scenario = adjusted(given, { ...options, compare, seed: 1 })
        const mptcpSeeds = plan.mptcpOnce ? plan.seeds.slice(0, 1) : plan.seeds
        const one = { given, scenario, congestion, policy, options, compare, mptcpSeeds }
        return scenario.expect.length === 0 ? [] : [one]
      }),
    )
  })
}

function policiesFor(
  scenario: Scenario,
  congestion: Congestion | undefined,
  asked: readonly Policy[] | undefined,
): readonly Policy[] {
  if (asked !== undefined) return asked
  const own = scenario.policy ?? 'auto'
  const bondAlone = scenario.expect.some(
    (e) =>
      e.policy === 'bond' &&
      (e.congestion === undefined || (congestion !== undefined && e.congestion.includes(congestion))),
  )
  return bondAlone && own === 'auto' ? ['auto', 'bond'] : [own]
}

/** The entries of one case that say something of it, one a seed. */
export function entriesOf(
  one: MatrixCase,
  entries: readonly MatrixEntry[],
  seeds: readonly number[],
): MatrixEntry[] {
  const { options } = one
  const expected = JSON.stringify(one.scenario.expect.map(wordsOf))
  const digest = digestOf(one.scenario)
  return seeds.flatMap((seed) => {
    const found = entries.findLast(
      (entry) =>
        entry.scenario === one.scenario.name &&
        entry.congestion === (one.congestion ?? null) &&
        entry.policy === one.policy &&
        entry.scheduler === (options.scheduler ?? null) &&
        entry.seed === seed &&
        entry.quick === options.quick &&
        comparedWith(one, seed).every((comparison) => entry.compare.includes(comparison)) &&
        entry.digest === digest &&
        JSON.stringify(entry.expected) === expected,
    )
    return found === undefined ? [] : [found]
  })
}

/** What was played, in short. */
export function digestOf({ links, lan, outer, ecn, traffic, events }: Scenario): string {
  const text = JSON.stringify({ links, lan, outer, ecn, traffic, events })
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}

export interface MatrixHooks extends RunHooks {
  /** Before each run; `leftUs` is the time that traffic will take from here on. */
  onRun(title: string, leftUs: number): void
  onFailure(title: string, reason: string): void
}

/**
 * Plays whatever of the plan is not in the file yet, and adds it there as it is done. A run that fails is told of and
 * left out, so that the next call tries it again.
 *
 * @throws OperatorError where the machine lacks something, LabError where it was interrupted
 */
export async function playMatrix(
  plan: MatrixPlan,
  file: string | undefined,
  hooks: MatrixHooks,
): Promise<MatrixEntry[]> {
  const entries = file === undefined ? [] : openEntries(file)
  const missing = casesOf(plan).flatMap((one) =>
    plan.seeds
      .filter((seed) => entriesOf(one, entries, [seed]).length === 0)
      .map((seed) => ({
        one,
        seed,
        lengthUs: scenarioEndUs(one.scenario) * (1 + comparedWith(one, seed).length),
      })),
  )
  let leftUs = missing.reduce((sum, { lengthUs }) => sum + lengthUs, 0)
  for (const [index, { one, seed, lengthUs }] of missing.entries()) {
    const title = `${index + 1} of ${missing.length}: ${titleOf(one)}, seed ${seed}`
    hooks.onRun(title, leftUs)
    leftUs -= lengthUs
    try {
      const entry = await playOne(one, seed, hooks)
      entries.push(entry)
      if (file !== undefined) appendFileSync(file, `${JSON.stringify(entry)}\n`)
    } catch (error) {
      if (!(error instanceof LabError) || hooks.signal.aborted) throw error
      hooks.onFailure(title, error.message)
    }
  }
  return entries
}

export const titleOf = ({ scenario, congestion, policy }: MatrixCase): string =>
  [scenario.name, congestion, policy === 'auto' ? undefined : policy].filter(Boolean).join(', ')

async function playOne(one: MatrixCase, seed: number, hooks: RunHooks): Promise<MatrixEntry> {
  const loadBefore = Math.round(loadavg()[0]! * 100) / 100
  const compare = comparedWith(one, seed)
  const result = await runScenario(one.given, { ...one.options, compare, seed }, hooks)
  const mptcp = result.comparisons.find((comparison) => comparison.title === 'kernel MPTCP')
  return {
    scenario: one.scenario.name,
    congestion: one.congestion ?? null,
    policy: one.policy,
    scheduler: one.options.scheduler ?? null,
    seed,
    quick: one.options.quick,
    compare,
    digest: digestOf(one.scenario),
    expected: one.scenario.expect.map(wordsOf),
    verdicts: result.verdicts.map(({ achievable: _, ...verdict }) => verdict),
    mptcpShare: mptcp?.share ?? null,
    notes: result.runs.flatMap((run) => run.phase.notes),
    loadBefore,
  }
}

/**
 * Reads the file and makes it ready for more; a last line that was cut short by a crash is taken away.
 *
 * @throws OperatorError if it cannot be written, or a line of it is none of ours
 */
export function openEntries(file: string): MatrixEntry[] {
  try {
    appendFileSync(file, '')
  } catch (error) {
    throw new OperatorError('usage', `${file} cannot be written (${(error as NodeJS.ErrnoException).code})`, {
      remedy: 'give another file to --json',
    })
  }
  const text = readFileSync(file, 'utf8')
  const whole = text.slice(0, text.lastIndexOf('\n') + 1)
  const entries = whole.split('\n').flatMap((line, index) => {
    if (line === '') return []
    try {
      const entry = JSON.parse(line) as MatrixEntry
      if (typeof entry.scenario === 'string' && Array.isArray(entry.verdicts)) return [entry]
    } catch {
      // Told of below, as other lines that are no runs.
    }
    throw new OperatorError('configBadValue', 'is no run of plait lab matrix', {
      place: { file, line: index + 1, column: 1 },
      remedy: 'give another file to --json',
    })
  })
  if (whole.length < text.length) writeFileSync(file, whole)
  return entries
}
