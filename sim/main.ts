import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { OperatorError, OperatorErrors } from '../src/base/errors.js'
import { SCHEDULERS } from '../src/lab/scenario.js'
import { MODE_NAMES, type Mode } from './modes.js'
import { PlayerThreads } from './player-threads.js'
import { CONGESTIONS, POLICIES, runAll, runOne, type ScenarioFlags } from './scenario-command.js'
import { runSeeds } from './seed-command.js'

const USAGE = `Runs the core in virtual time: two real Devices over model links.

usage: npm run sim -- [--mode MODE] [--minutes M]          faults at random, from the seed
       npm run sim -- --scenario FILE|NAME                 a scenario of the lab
       npm run sim -- --all [--markdown]                   every scenario that comes with plait

  --seed N            first seed (default 1); the same seed gives the same trace hash
  --runs N            so many seeds (default 1); of a scenario the median is shown
  --threads N         so many runs at a time (default: one for each processor)
  --mode MODE         safety (default): every fault at random; nothing false may ever be delivered
                      liveness: some links are broken for good; progress all the same
                      handshake: faults around the handshake; traffic 5 s after they end
                      all: each seed in each of these modes
  --minutes M         virtual minutes of a safety or liveness run (default 1)
  --quiet             only failing seeds and the sum
  --stop              end at the first failing seed
  --congestion NAME   of all TCP traffic of a scenario: cubic or bbr
  --policy NAME       auto or bond
  --scheduler NAME    adaptive, weighted or redundant
  --quick             times of a scenario shortened to 40 %
  --json              the result of a scenario as one JSON object
  --markdown          the table of --all as Markdown
`

function usage(text: string): OperatorError {
  return new OperatorError('usage', text, { remedy: 'see npm run sim -- --help' })
}

function numberOption(name: string, text: string | undefined, fallback: number, whole: boolean): number {
  const value = text === undefined ? fallback : Number(text)
  if (!(value > 0) || (whole && !Number.isInteger(value))) {
    throw usage(`--${name} ${text}: expected a ${whole ? 'whole ' : ''}number above 0`)
  }
  return value
}

function choice<T extends string>(
  name: string,
  text: string | undefined,
  known: readonly T[],
): T | undefined {
  if (text === undefined) return undefined
  const found = known.find((each) => each === text)
  if (found === undefined) throw usage(`--${name} ${text}: expected one of ${known.join(', ')}`)
  return found
}

/** Exit status: 0 all well, 1 a fault was found or an expectation does not hold, 2 the command cannot be understood. */
async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      runs: { type: 'string' },
      threads: { type: 'string' },
      mode: { type: 'string', default: 'safety' },
      minutes: { type: 'string' },
      quiet: { type: 'boolean', default: false },
      stop: { type: 'boolean', default: false },
      scenario: { type: 'string' },
      all: { type: 'boolean', default: false },
      congestion: { type: 'string' },
      policy: { type: 'string' },
      scheduler: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      markdown: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const print = (text: string): void => void process.stdout.write(text)
  if (values.help) {
    print(USAGE)
    return 0
  }
  const seed = numberOption('seed', values.seed, 1, true)
  const runs = numberOption('runs', values.runs, 1, true)
  const flags: ScenarioFlags = {
    seed,
    runs,
    congestion: choice('congestion', values.congestion, CONGESTIONS),
    policy: choice('policy', values.policy, POLICIES),
    scheduler: choice('scheduler', values.scheduler, SCHEDULERS),
    quick: values.quick,
    json: values.json,
    markdown: values.markdown,
  }
  const mode = choice<Mode | 'all'>('mode', values.mode, [...MODE_NAMES, 'all'])!
  const minutes = numberOption('minutes', values.minutes, 1, false)
  const threads = numberOption('threads', values.threads, availableParallelism(), true)
  const progress = (text: string): void => void process.stderr.write(text)
  const player = new PlayerThreads(threads)
  try {
    let isWell: boolean
    if (values.all) isWell = await runAll(flags, player, print, progress)
    else if (values.scenario !== undefined) isWell = await runOne(values.scenario, flags, player, print)
    else {
      const modes = mode === 'all' ? MODE_NAMES : [mode]
      const { quiet, stop } = values
      isWell = await runSeeds({ modes, seed, runs, minutes, quiet, stop, threads }, player, print, progress)
    }
    return isWell ? 0 : 1
  } finally {
    await player.close()
  }
}

// Whoever has read enough has.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

try {
  process.exitCode = await main()
} catch (error) {
  // What the operator typed is answered in one sentence; anything else is a fault of ours and keeps its stack.
  const faults = error instanceof OperatorErrors ? error.faults : [error]
  const typed = (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS')
  if (!typed && !faults.every((fault) => fault instanceof OperatorError)) throw error
  for (const fault of faults) process.stderr.write(`sim: ${(fault as Error).message}\n`)
  process.exitCode = 2
}
