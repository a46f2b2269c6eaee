import type { Mode } from './modes.js'
import { describeOutcome, type Outcome } from './outcome.js'
import { formatSpeed, type Player, type SeedPiece } from './piece.js'

export interface SeedFlags {
  readonly modes: readonly Mode[]
  /** The first seed, and how many. */
  readonly seed: number
  readonly runs: number
  /** Virtual minutes of a run. */
  readonly minutes: number
  /** Only failing seeds and the sum. */
  readonly quiet: boolean
  /** Ends at the first failing seed. */
  readonly stop: boolean
  readonly threads: number
}

type Print = (text: string) => void

/** Whoever waits for thousands of runs sees a line now and then. */
const PROGRESS_EVERY = 300

/** Plays each seed in each mode and tells of them in this order. Returns whether none had a fault. */
export async function runSeeds(
  flags: SeedFlags,
  player: Player,
  print: Print,
  progress: Print,
): Promise<boolean> {
  const from = performance.now()
  let played = 0
  let failed = 0
  let virtualSeconds = 0
  for await (const outcome of outcomesOf(flags, player)) {
    played++
    virtualSeconds += outcome.virtualSeconds
    const faulty = outcome.faults.length > 0
    if (faulty) failed++
    if (!flags.quiet || faulty) print(`${describeOutcome(outcome)}\n`)
    if (flags.quiet && played % PROGRESS_EVERY === 0) progress(`${played} runs, up to seed ${outcome.seed}\n`)
    if (faulty && flags.stop) break
  }
  if (played > 1) print(`${played - failed} of ${played} runs without a fault\n`)
  print(`${formatSpeed(virtualSeconds, (performance.now() - from) / 1000, flags.threads)}\n`)
  return failed === 0
}

/** In the order of seeds and modes, with as many asked for at a time as keep all threads busy. */
async function* outcomesOf(flags: SeedFlags, player: Player): AsyncGenerator<Outcome> {
  const ahead: Promise<Outcome>[] = []
  for (let seed = flags.seed; seed < flags.seed + flags.runs; seed++) {
    for (const mode of flags.modes) {
      const piece: SeedPiece = { kind: 'seed', mode, seed, minutes: flags.minutes }
      ahead.push(player.play(piece).then((played) => played.result))
      if (ahead.length >= 2 * flags.threads) yield await ahead.shift()!
    }
  }
  for (const outcome of ahead) yield await outcome
}
