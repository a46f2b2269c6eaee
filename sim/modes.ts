import type { Primitives } from '../src/noise/primitives.js'
import { runHandshake } from './handshake-run.js'
import { runLiveness } from './liveness-run.js'
import { type Outcome, outcomeOfException } from './outcome.js'
import { runSafety } from './safety-run.js'

type Run = (seed: number, primitives: Primitives, minutes: number) => Outcome

/** What can be played from a seed alone. */
export const MODES = {
  safety: runSafety,
  liveness: runLiveness,
  handshake: runHandshake,
} as const satisfies Record<string, Run>

export type Mode = keyof typeof MODES
export const MODE_NAMES = Object.keys(MODES) as Mode[]

/** One seed of a mode; whatever goes wrong in it is a fault of its outcome. */
export function playSeed(mode: Mode, seed: number, primitives: Primitives, minutes: number): Outcome {
  const run: Run = MODES[mode]
  try {
    return run(seed, primitives, minutes)
  } catch (error) {
    const how = `--mode ${mode}${mode === 'handshake' ? '' : ` --minutes ${minutes}`}`
    return outcomeOfException(seed, mode, how, error)
  }
}
