import type { Scenario } from '../src/lab/scenario.js'
import type { Primitives } from '../src/noise/primitives.js'
import { type Mode, playSeed } from './modes.js'
import type { Outcome } from './outcome.js'
import { playScenario, type SimulatedRun } from './scenario-run.js'

/** One run that can be asked of another thread: plain data. */
export type Piece = SeedPiece | ScenarioPiece

export interface SeedPiece {
  readonly kind: 'seed'
  readonly mode: Mode
  readonly seed: number
  readonly minutes: number
}

export interface ScenarioPiece {
  readonly kind: 'scenario'
  readonly scenario: Scenario
  readonly seed: number
  readonly policy: 'auto' | 'bond'
  /** Arguments that repeat the run, beside the seed. */
  readonly how: string
}

export type ResultOf<P extends Piece> = P extends SeedPiece ? Outcome : SimulatedRun

/** What came of a piece, and how long it took. */
export interface Played<P extends Piece> {
  readonly result: ResultOf<P>
  readonly seconds: number
}

/** Whoever plays pieces: threads of their own, or the caller's. */
export interface Player {
  play<P extends Piece>(piece: P): Promise<Played<P>>
}

export function playPiece(piece: Piece, primitives: Primitives): Played<Piece> {
  const from = performance.now()
  const result =
    piece.kind === 'seed'
      ? playSeed(piece.mode, piece.seed, primitives, piece.minutes)
      : playScenario(piece.scenario, piece.seed, piece.policy, primitives, piece.how)
  return { result, seconds: (performance.now() - from) / 1000 }
}

/** Plays here and now. */
export function localPlayer(primitives: Primitives): Player {
  return { play: async <P extends Piece>(piece: P) => playPiece(piece, primitives) as Played<P> }
}

/** How fast it was: of so many seconds, with so many threads. */
export function formatSpeed(virtualSeconds: number, seconds: number, threads = 1): string {
  const beside = threads > 1 ? `, ${threads} at a time` : ''
  const speed = virtualSeconds / seconds
  return `${virtualSeconds.toFixed(1)} virtual seconds in ${seconds.toFixed(2)} s${beside}: ${speed.toFixed(0)} x real time`
}
