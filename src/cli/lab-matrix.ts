import { type Command, Option } from 'commander'
import { ExitStatus, OperatorError } from '../base/errors.js'
import { casesOf, entriesOf, type MatrixPlan, playMatrix } from '../lab/matrix.js'
import { matrixTable } from '../lab/matrix-table.js'
import type { Comparison } from '../lab/runner.js'
import { CONGESTIONS, type Congestion, POLICIES, type Policy, type SchedulerName } from '../lab/scenario.js'
import { findScenario, shippedNames } from '../lab/shipped.js'
import { guarded, listOf, progressHooks, schedulerOption, wholeNumbers } from './lab-session.js'
import type { Terminal } from './terminal.js'

interface MatrixFlags {
  readonly congestion: Congestion[]
  readonly policy?: Policy[]
  readonly seeds: number[]
  readonly compare?: Comparison[]
  readonly mptcpOnce?: boolean
  readonly scheduler?: SchedulerName
  readonly json?: string
  readonly markdown?: boolean
  readonly quick?: boolean
}

const COMPARABLE: readonly Comparison[] = ['mptcp', 'single']

/** Makes `plait lab matrix [NAMES...]` of a command. */
export function addMatrix(command: Command, terminal: Terminal, result: (status: number) => void): void {
  command
    .argument('[scenarios...]', 'files, or names of those that come with plait; all of these unless given')
    .option('--congestion <list>', 'each with these', listOf(CONGESTIONS), ['cubic', 'bbr'])
    .option(
      '--policy <list>',
      'each with these; unless given: auto, and bond where it has a floor of its own',
      listOf(POLICIES),
    )
    .option('--seeds <list>', 'each with these', wholeNumbers, [1, 2, 3])
    .addOption(
      new Option(
        '--compare <what>',
        'mptcp: beside it over kernel MPTCP; single: plait over each link alone',
      ).argParser(listOf(COMPARABLE)),
    )
    .option('--mptcp-once', 'compare with MPTCP under the first seed alone')
    .addOption(schedulerOption())
    .option('--quick', 'shorten all times to 40 %')
    .option(
      '--json <file>',
      'keep each run in this file, a line each; what is there already is not played again, also of an older build',
    )
    .option('--markdown', 'print the table as markdown')
    .action(async (names: string[], flags: MatrixFlags) =>
      result(await guarded(terminal, (signal) => labMatrix(names, flags, terminal, signal))),
    )
}

async function labMatrix(
  names: readonly string[],
  flags: MatrixFlags,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<number> {
  const plan: MatrixPlan = {
    scenarios: (names.length > 0 ? names : shippedNames()).map(findScenario),
    congestions: flags.congestion,
    policies: flags.policy,
    seeds: flags.seeds,
    compare: flags.compare ?? [],
    mptcpOnce: flags.mptcpOnce === true,
    scheduler: flags.scheduler,
    quick: flags.quick === true,
  }
  if (casesOf(plan).length === 0) {
    throw new OperatorError('usage', 'of these scenarios nothing is expected under these conditions', {
      remedy: 'see "expect" in their files: congestion and policy there are those that count',
    })
  }
  const entries = await playMatrix(plan, flags.json, {
    ...progressHooks(signal, terminal),
    onRun: (title, leftUs) => terminal.err(`${title} (about ${minutes(leftUs)} of traffic left)\n`),
    onFailure: (title, reason) => terminal.err(`${title} failed: ${reason}\n`),
  })
  const cases = casesOf(plan)
  terminal.out(matrixTable(cases, entries, plan.seeds, flags.markdown === true))
  const holds = cases.every((one) => {
    const own = entriesOf(one, entries, plan.seeds)
    return own.length === plan.seeds.length && own.every((entry) => entry.verdicts.every(({ ok }) => ok))
  })
  return holds ? ExitStatus.Good : ExitStatus.Failed
}

function minutes(us: number): string {
  const rounded = Math.ceil(us / 60e6)
  return rounded === 1 ? '1 minute' : `${rounded} minutes`
}
