import { beforeAll, describe, expect, test } from 'vitest'
import { loadPrimitives } from '../src/io/primitives.js'
import type { Primitives } from '../src/noise/primitives.js'
import { MODE_NAMES, type Mode, playSeed } from './modes.js'
import { describeOutcome, type Outcome } from './outcome.js'
import type { Piece, Player } from './piece.js'
import { runSeeds } from './seed-command.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

/** Virtual minutes of each run: short ones, as most of what goes wrong does so in the first seconds. */
const MINUTES = 0.1
/** Seeds per test, so that a slow machine does not run into its time limit. */
const BLOCK = 30

// About four in five have the adaptive scheduler: 200 of these.
describe.each<[Mode, number]>([
  ['safety', 150],
  ['liveness', 120],
])('%s', (mode, seeds) => {
  test.each(Array.from({ length: seeds / BLOCK }, (_, i) => i * BLOCK + 1))(
    'seeds from %i',
    (first) => {
      const failed: string[] = []
      for (let seed = first; seed < first + BLOCK; seed++) {
        const outcome = playSeed(mode, seed, primitives, MINUTES)
        if (outcome.faults.length > 0) failed.push(describeOutcome(outcome))
      }
      expect(failed.join('\n')).toBe('')
    },
    120_000,
  )
})

test.each<['liveness' | 'safety', number, string]>([
  ['liveness', 5460, 'ACKs of a fast download starved what went the other way'],
  ['liveness', 40215, 'ACKs had half of everything beside a stream and a transfer'],
  ['liveness', 7204, 'feedback of a session by which nothing is sent went by a dead path for ever'],
  ['liveness', 722, 'a path died under a slow start, and the queue for it grew too old'],
  ['safety', 80364, 'an end that had restarted got packets again, with sequences of before'],
])('%s seed %i: %s', (mode, seed) => {
  const outcome = playSeed(mode, seed, primitives, 0.25)
  expect(outcome.faults, describeOutcome(outcome)).toEqual([])
})

test('each mode gives the same trace for the same seed', () => {
  for (const mode of MODE_NAMES) {
    const first = playSeed(mode, 5, primitives, MINUTES)
    expect(playSeed(mode, 5, primitives, MINUTES)).toEqual(first)
    expect(playSeed(mode, 6, primitives, MINUTES).hash).not.toBe(first.hash)
  }
})

test('seeds are told of in order, whenever they are done, and end with the first that fails', async () => {
  const asked: string[] = []
  const player = {
    async play(piece: Piece) {
      asked.push(`${piece.kind === 'seed' && piece.mode} ${piece.seed}`)
      await new Promise((resolve) => setTimeout(resolve, piece.seed % 2 === 0 ? 20 : 1))
      const faults = piece.seed === 10 ? ['something is wrong'] : []
      const result = { ...playSeed('handshake', piece.seed, primitives, 1), faults } satisfies Outcome
      return { result: { ...result, mode: 'any' }, seconds: 1 }
    },
  } as unknown as Player
  let text = ''
  const print = (more: string): void => {
    text += more
  }
  const flags = { modes: ['liveness', 'handshake'] as const, seed: 8, runs: 9, minutes: 0.01, threads: 3 }
  expect(await runSeeds({ ...flags, quiet: false, stop: true }, player, print, print)).toBe(false)
  expect(text.match(/^any seed \d+/gm)).toEqual([8, 8, 9, 9, 10].map((seed) => `any seed ${seed}`))
  expect(text).toContain('4 of 5 runs without a fault')
  expect(text).toContain('3 at a time')
  expect(asked.slice(0, 3)).toEqual(['liveness 8', 'handshake 8', 'liveness 9'])
  expect(asked.length).toBeLessThan(13)
  text = ''
  await runSeeds({ ...flags, runs: 2, quiet: true, stop: false }, player, print, print)
  expect(text).toMatch(/^4 of 4 runs without a fault\n/)
})

test('an exception is a fault with the command that repeats it', () => {
  const broken: Primitives = {
    ...primitives,
    publicKey: () => {
      throw new Error('out of order')
    },
  }
  const outcome = playSeed('safety', 3, broken, 0.1)
  expect(outcome.faults[0]).toContain('out of order')
  expect(describeOutcome(outcome)).toContain(
    'repeat with: npm run sim -- --mode safety --minutes 0.1 --seed 3',
  )
})
