import { writeFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { ExitStatus, OperatorError } from '../base/errors.js'
import { formatAccuracy, measureAccuracy } from '../lab/accuracy.js'
import { LiveView } from '../lab/live-view.js'
import { requireLab } from '../lab/programs.js'
import { reportHtml } from '../lab/report.js'
import { columns, formatResult, resultJson } from '../lab/result-text.js'
import { type Comparison, type RunHooks, runScenario } from '../lab/runner.js'
import { labShell } from '../lab/shell.js'
import { findScenario, type KnownFailure, knownFailing, knownFailures, shippedNames } from '../lab/shipped.js'
import { sweepDeadRuns } from '../lab/state-directory.js'
import type { EndName } from '../lab/topology.js'
import { addMatrix } from './lab-matrix.js'
import { addRandom } from './lab-random.js'
import {
  addConditions,
  type ConditionFlags,
  comparisons,
  guarded,
  progressHooks,
  wholeNumber,
} from './lab-session.js'
import type { Terminal } from './terminal.js'

export interface LabRunFlags extends ConditionFlags {
  readonly json?: boolean
  readonly seed: number
  readonly repeat: number
  readonly report?: string
  readonly quick?: boolean
  readonly compare?: Comparison[]
  readonly live?: boolean
}

export type MakeCommand = (parent: Command, usage: string, description: string) => Command

/** Adds `plait lab` and its verbs. */
export function addLab(
  program: Command,
  command: MakeCommand,
  terminal: Terminal,
  result: (status: number) => void,
): void {
  const lab = command(
    program,
    'lab',
    'try plait on emulated links: needs root, changes nothing outside itself',
  )
  addRunOptions(command(lab, 'run', 'play a scenario and hold it against what it expects'))
    .option('--live', 'show it live in the terminal, as plait demo does')
    .action(async (given: string, flags: LabRunFlags) => result(await labRun(given, flags, terminal)))
  addMatrix(
    command(lab, 'matrix', 'play a set of scenarios and print a table of what they reach'),
    terminal,
    result,
  )
  addRandom(command(lab, 'random', 'play pairs and triples of links as chance makes them'), terminal, result)
  command(lab, 'list', 'show the scenarios that come with plait').action(() => labList(terminal))
  command(lab, 'shell', 'bring up links and tunnel of a scenario and give a shell at one end')
    .argument('<scenario>', 'file, or name of one that comes with plait')
    .addOption(new Option('--end <end>', 'at which end').choices(['a', 'b', 'c']).default('a'))
    .option('--seed <n>', 'seed of everything random', wholeNumber, 1)
    .action(async (given: string, flags: { end: EndName; seed: number }) =>
      result(
        await guarded(
          terminal,
          (signal) =>
            labShell(findScenario(given), flags.seed, flags.end, (text) => terminal.err(text), signal),
          // Ctrl-C is for what runs in the shell.
          ['SIGTERM', 'SIGHUP'],
        ),
      ),
    )
  command(lab, 'accuracy', 'measure how exact the link emulator is on this machine')
    .option('--seconds <n>', 'per measurement; there are four at each rate', wholeNumber, 5)
    .option('--json', 'print the figures as one JSON object')
    .action(async (flags: { seconds: number; json?: boolean }) =>
      result(await guarded(terminal, () => labAccuracy(flags, terminal))),
    )
}

/** Options that `plait lab run` and `plait demo` share. */
export function addRunOptions(command: Command, optional = false): Command {
  command
    .argument(optional ? '[scenario]' : '<scenario>', 'file, or name of one that comes with plait')
    .option('--json', 'print the result as one JSON object')
    .option('--seed <n>', 'seed of everything random', wholeNumber, 1)
    .option('--repeat <n>', 'play it so often, with rising seeds, and take the median', wholeNumber, 1)
    .option('--report <file>', 'write a page with plots (HTML)')
    .option('--quick', 'shorten all times to 40 %')
    .option(
      '--compare <what>',
      'mptcp, singles: the same TCP traffic without plait; single: plait over each link alone',
      comparisons,
    )
  return addConditions(command)
}

/** `plait lab run SCENARIO` */
export async function labRun(given: string, flags: LabRunFlags, terminal: Terminal): Promise<number> {
  return guarded(terminal, async (signal) => {
    const scenario = findScenario(given)
    if (flags.report !== undefined) writeReport(flags.report, '')
    const live = flags.live === true && flags.json !== true && terminal.isInteractive
    const view = live ? new LiveView(scenario, (text) => terminal.out(text)) : undefined
    const hooks = view ? liveHooks(view, signal, terminal) : progressHooks(signal, terminal)
    const outcome = await runScenario(
      scenario,
      {
        seed: flags.seed,
        repeat: Math.max(1, flags.repeat),
        quick: flags.quick === true,
        compare: flags.compare ?? [],
        congestion: flags.congestion,
        scheduler: flags.scheduler,
        policy: flags.policy,
      },
      hooks,
    )
    const failing = knownFailing(outcome.scenario)
    if (flags.report !== undefined) writeReport(flags.report, reportHtml(outcome, failing))
    if (flags.json === true) terminal.out(`${JSON.stringify(resultJson(outcome, failing))}\n`)
    else terminal.out(`\n${formatResult(outcome, failing)}`)
    return outcome.ok ? ExitStatus.Good : ExitStatus.Failed
  })
}

function writeReport(file: string, text: string): void {
  try {
    writeFileSync(file, text)
  } catch (error) {
    throw new OperatorError('usage', `${file} cannot be written (${(error as NodeJS.ErrnoException).code})`, {
      remedy: 'give another file to --report',
    })
  }
}

function labList(terminal: Terminal): void {
  const failures = knownFailures()
  const rows = shippedNames().map((name) => {
    const { about } = findScenario(name)
    return [name, about, failures[name] === undefined ? '' : describeFailure(failures[name])]
  })
  terminal.out(`${columns(rows)}\n`)
}

function describeFailure({ congestion, policy, why }: KnownFailure): string {
  const when = [...(congestion ?? []), ...(policy === undefined ? [] : [`policy ${policy}`])]
  return `known to fail${when.length === 0 ? '' : ` with ${when.join(', ')}`}: ${why}`
}

const ACCURACY_RATES_MBIT = [1, 10, 100, 300]

async function labAccuracy(flags: { seconds: number; json?: boolean }, terminal: Terminal): Promise<number> {
  requireLab(['ip'])
  sweepDeadRuns()
  const rows = await measureAccuracy(ACCURACY_RATES_MBIT, flags.seconds, (row) => {
    terminal.err(`${row.rateMbit} Mbit/s measured\n`)
  })
  terminal.out(flags.json === true ? `${JSON.stringify({ rows })}\n` : `${formatAccuracy(rows)}\n`)
  return ExitStatus.Good
}

function liveHooks(view: LiveView, signal: AbortSignal, terminal: Terminal): RunHooks {
  return {
    signal,
    onPhase: (text, scenario) => {
      view.end()
      view.title = `${scenario.name}, ${text}`
      terminal.out(`${scenario.about}\n`)
    },
    onSample: (sample, { events, endUs }) => {
      // After the end only results are exchanged: the last full picture stays.
      if (sample.timeUs <= endUs) view.show(sample, events, endUs)
    },
  }
}
