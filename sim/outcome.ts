import { SECOND } from '../src/base/time.js'
import type { World } from './world.js'

/** What a run came to. */
export interface Outcome {
  seed: number
  mode: string
  /** Arguments that repeat the run, beside the seed. */
  how: string
  /** Options derived from the seed, for people. */
  options: string
  /** Empty: all is well. */
  faults: string[]
  hash: string
  virtualSeconds: number
  events: number
  sent: number
  delivered: number
  lostInNetwork: number
  drops: Record<string, number>
}

export function outcomeOf(
  world: World,
  mode: string,
  options: Record<string, unknown>,
  faults: string[],
  how = `--mode ${mode}`,
): Outcome {
  const { sent, delivered, lostInNetwork } = world.ledger.summary()
  return {
    seed: world.options.seed,
    mode,
    how,
    options: Object.entries(options)
      .map(([key, value]) => `${key} ${typeof value === 'number' ? Number(value.toPrecision(4)) : value}`)
      .join(', '),
    faults,
    hash: world.clock.trace.toString(),
    virtualSeconds: world.clock.now / SECOND,
    events: world.clock.fired,
    sent,
    delivered,
    lostInNetwork,
    drops: world.drops() as Record<string, number>,
  }
}

/** A run that ended in an exception, as an assertion of the core's is: a fault like any other, with its seed. */
export function outcomeOfException(seed: number, mode: string, how: string, error: unknown): Outcome {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return {
    seed,
    mode,
    how,
    options: 'ended by an exception',
    faults: [text],
    hash: '',
    virtualSeconds: 0,
    events: 0,
    sent: 0,
    delivered: 0,
    lostInNetwork: 0,
    drops: {},
  }
}

/** The command that repeats a run. */
export function replayCommand(outcome: Outcome): string {
  return `npm run sim -- ${outcome.how} --seed ${outcome.seed}`
}

export function describeOutcome(outcome: Outcome): string {
  const lines = [
    `${outcome.mode} seed ${outcome.seed}: ${outcome.options}`,
    `  ${outcome.virtualSeconds.toFixed(1)} s, ${outcome.events} events, trace ${outcome.hash}`,
    `  ${outcome.sent} packets sent, ${outcome.delivered} delivered, ${outcome.lostInNetwork} lost in the network`,
    `  drops ${JSON.stringify(outcome.drops)}`,
  ]
  for (const fault of outcome.faults) lines.push(`  FAULT ${fault}`)
  if (outcome.faults.length > 0) lines.push(`  repeat with: ${replayCommand(outcome)}`)
  return lines.join('\n')
}
