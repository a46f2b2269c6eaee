import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { SECOND } from '../src/base/time.js'
import { loadPrimitives } from '../src/io/primitives.js'
import type { Primitives } from '../src/noise/primitives.js'
import { runHandshake } from './handshake-run.js'
import { runLiveness } from './liveness-run.js'
import { describeOutcome, type Outcome } from './outcome.js'
import { runSafety } from './safety-run.js'
import { describeScenario, runScenario, ScenarioFault } from './scenario.js'

const USAGE = `Runs the core in virtual time: two real Devices over model links.

usage: npm run sim -- [--seed N] [--runs N] [--mode MODE] [--minutes M] [--scenario FILE]

  --seed N         first seed (default 1); the same seed gives the same trace hash
  --runs N         so many seeds, one after the other (default 1)
  --mode MODE      safety (default): every fault at random; nothing false may ever be delivered
                   liveness: some links are broken for good; progress all the same
                   handshake: faults around the handshake; traffic 5 s after they end
  --minutes M      virtual minutes of a safety or liveness run (default 1)
  --scenario FILE  links, events and traffic from a YAML file instead of the seed
`

const MODES: Record<string, (seed: number, primitives: Primitives, minutes: number) => Outcome> = {
  safety: runSafety,
  liveness: runLiveness,
  handshake: runHandshake,
}

function numberOption(name: string, text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text)
  if (!(value > 0)) throw new ScenarioFault(`--${name} ${text}: expected a number above 0`)
  return value
}

/** Exit status: 0 all well, 1 a fault was found, 2 the command cannot be understood. */
async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      runs: { type: 'string' },
      mode: { type: 'string', default: 'safety' },
      minutes: { type: 'string' },
      scenario: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const seed = numberOption('seed', values.seed, 1)
  const runs = numberOption('runs', values.runs, 1)
  const minutes = numberOption('minutes', values.minutes, 1)
  const run = MODES[values.mode]
  if (!run) throw new ScenarioFault(`--mode ${values.mode}: expected one of ${Object.keys(MODES).join(', ')}`)
  const primitives = await loadPrimitives()
  let failed = 0
  for (let i = 0; i < runs; i++) {
    const startedAt = process.hrtime.bigint()
    let outcome: Outcome
    if (values.scenario === undefined) outcome = run(seed + i, primitives, minutes)
    else {
      const result = runScenario(readFileSync(values.scenario, 'utf8'), values.scenario, seed + i, primitives)
      outcome = result.outcome
      process.stdout.write(`${describeScenario(result)}\n`)
    }
    const seconds = Number(process.hrtime.bigint() - startedAt) / (SECOND * 1_000)
    process.stdout.write(`${describeOutcome(outcome)}\n`)
    process.stdout.write(
      `  ${seconds.toFixed(2)} s of this machine, ${(outcome.virtualSeconds / seconds).toFixed(0)} × real time\n`,
    )
    if (outcome.faults.length > 0) failed++
  }
  if (runs > 1) process.stdout.write(`${runs - failed} of ${runs} seeds without a fault\n`)
  return failed > 0 ? 1 : 0
}

try {
  process.exitCode = await main()
} catch (error) {
  // What the operator typed is answered in one sentence; anything else is a fault of ours and keeps its stack.
  const code = (error as { code?: string }).code
  if (error instanceof ScenarioFault || code === 'ENOENT' || code?.startsWith('ERR_PARSE_ARGS')) {
    process.stderr.write(`sim: ${(error as Error).message}\n`)
    process.exitCode = 2
  } else throw error
}
