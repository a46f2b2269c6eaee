import { type Command, InvalidArgumentError, Option } from 'commander'
import { LabError } from '../lab/lab-error.js'
import type { Sample } from '../lab/phase.js'
import { COMPARISONS, type Comparison, type RunHooks } from '../lab/runner.js'
import {
  CONGESTIONS,
  type Congestion,
  POLICIES,
  type Policy,
  SCHEDULERS,
  type SchedulerName,
} from '../lab/scenario.js'
import type { Terminal } from './terminal.js'

/** What the verbs of `plait lab` share: signals, progress, and the values of their options. */

/** Under what a scenario is played, in place of what it says itself. */
export interface ConditionFlags {
  readonly congestion?: Congestion
  readonly policy?: Policy
  readonly scheduler?: SchedulerName
}

export const schedulerOption = (): Option =>
  new Option('--scheduler <name>', 'scheduler of both ends').choices([...SCHEDULERS])

export function addConditions(command: Command): Command {
  return command
    .addOption(new Option('--congestion <name>', 'of all TCP traffic').choices([...CONGESTIONS]))
    .addOption(new Option('--policy <name>', 'policy of both ends').choices([...POLICIES]))
    .addOption(schedulerOption())
}

/** Runs a lab verb; the first signal ends it in an orderly way, a second one at once. */
export async function guarded(
  terminal: Terminal,
  work: (signal: AbortSignal) => Promise<number>,
  signals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'],
): Promise<number> {
  const abort = new AbortController()
  let status = 0
  const onSignal = (name: NodeJS.Signals): void => {
    const number = name === 'SIGINT' ? 2 : name === 'SIGHUP' ? 1 : 15
    if (status !== 0) process.exit(128 + number)
    status = 128 + number
    terminal.err('taking the lab down\n')
    abort.abort()
  }
  for (const name of signals) process.on(name, onSignal)
  try {
    return await work(abort.signal)
  } catch (error) {
    if (status !== 0) return status
    if (!(error instanceof LabError)) throw error
    terminal.err(`plait: ${error.message}\n`)
    return error.exitStatus
  } finally {
    for (const name of signals) process.removeListener(name, onSignal)
  }
}

/** A line a second where somebody looks, one every ten seconds where a file does. */
export function progressHooks(signal: AbortSignal, terminal: Terminal): RunHooks {
  const everyUs = process.stderr.isTTY === true ? 1e6 : 10e6
  let title = ''
  let said = 0
  return {
    signal,
    onPhase: (text, scenario) => {
      title = `${scenario.name}, ${text}`
      said = 0
    },
    onStage: (text) => terminal.err(`${title === '' ? '' : `${title}: `}${text}\n`),
    onSample: (sample: Sample, { endUs }) => {
      if (sample.timeUs < said) return
      said = sample.timeUs + everyUs
      terminal.err(`${title}: ${Math.round(sample.timeUs / 1e6)} of ${Math.round(endUs / 1e6)} s\n`)
    },
  }
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('expected a whole number')
  return Number(text)
}

/** A reader of lists of known words, such as "cubic,bbr". */
export function listOf<T extends string>(known: readonly T[]): (text: string) => T[] {
  return (text) => {
    const words = text.split(',')
    if (!words.every((word): word is T => known.includes(word as T)))
      throw new InvalidArgumentError(`expected some of ${known.join(', ')}`)
    return words as T[]
  }
}

export function wholeNumbers(text: string): number[] {
  return text.split(',').map(wholeNumber)
}

export const comparisons: (text: string) => Comparison[] = listOf(COMPARISONS)
