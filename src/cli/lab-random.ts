import type { Command } from 'commander'
import { ExitStatus } from '../base/errors.js'
import { LabError } from '../lab/lab-error.js'
import { randomScenarios } from '../lab/random-links.js'
import { failedOutcome, type RandomOutcome, randomOutcome, randomTable } from '../lab/random-runs.js'
import { runScenario } from '../lab/runner.js'
import {
  addConditions,
  type ConditionFlags,
  guarded,
  progressHooks,
  wholeNumber,
  wholeNumbers,
} from './lab-session.js'
import type { Terminal } from './terminal.js'

interface RandomFlags extends ConditionFlags {
  readonly seed: number
  readonly count: number
  readonly only?: number[]
  readonly quick?: boolean
  readonly json?: boolean
  readonly markdown?: boolean
}

/** Makes `plait lab random` of a command. */
export function addRandom(command: Command, terminal: Terminal, result: (status: number) => void): void {
  addConditions(command)
    .option('--seed <n>', 'of the links, and of what is random in them', wholeNumber, 1)
    .option('--count <n>', 'so many pairs and triples', wholeNumber, 20)
    .option('--only <list>', 'play these of them alone, by number from 1', wholeNumbers)
    .option('--quick', 'shorten all times to 40 %')
    .option('--json', 'print the result as one JSON object')
    .option('--markdown', 'print the table as markdown')
    .action(async (flags: RandomFlags) =>
      result(await guarded(terminal, (signal) => labRandom(flags, terminal, signal))),
    )
}

async function labRandom(flags: RandomFlags, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const { seed, congestion, policy, scheduler, only } = flags
  const quick = flags.quick === true
  const all = randomScenarios(seed, Math.max(flags.count, ...(only ?? [])))
  const wanted = all.filter((_, index) => only === undefined || only.includes(index + 1))
  const hooks = progressHooks(signal, terminal)
  const options = { seed, repeat: 1, quick, compare: [], congestion, policy, scheduler }
  const outcomes: RandomOutcome[] = []
  for (const scenario of wanted) {
    terminal.err(`${scenario.name}: ${scenario.about}\n`)
    try {
      outcomes.push(randomOutcome(await runScenario(scenario, options, hooks)))
    } catch (error) {
      if (!(error instanceof LabError) || signal.aborted) throw error
      outcomes.push(failedOutcome(scenario.name, scenario.about, error.message))
    }
    // What is measured is seen at once: the whole takes long.
    if (flags.json !== true) terminal.err(randomTable(outcomes.slice(-1), false))
  }
  if (flags.json === true) terminal.out(`${JSON.stringify({ seed, quick, cases: outcomes })}\n`)
  else terminal.out(randomTable(outcomes, flags.markdown === true))
  return outcomes.every((outcome) => outcome.ok) ? ExitStatus.Good : ExitStatus.Failed
}
