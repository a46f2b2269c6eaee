import { beforeAll, describe, expect, test } from 'vitest'
import { loadPrimitives } from '../src/io/primitives.js'
import type { Primitives } from '../src/noise/primitives.js'
import { MODE_NAMES, type Mode, playSeed, playSeeds } from './modes.js'
import { describeOutcome } from './outcome.js'

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
      playSeeds([mode], first, BLOCK, primitives, MINUTES, (outcome) => {
        if (outcome.faults.length > 0) failed.push(describeOutcome(outcome))
        return true
      })
      expect(failed.join('\n')).toBe('')
    },
    120_000,
  )
})

test.each<[number, string]>([
  [5460, 'ACKs of a fast download starved what went the other way'],
  [40215, 'ACKs had half of everything beside a stream and a transfer'],
  [7204, 'feedback of a session by which nothing is sent went by a dead path for ever'],
])('liveness seed %i: %s', (seed) => {
  const outcome = playSeed('liveness', seed, primitives, 0.25)
  expect(outcome.faults, describeOutcome(outcome)).toEqual([])
})

test('each mode gives the same trace for the same seed', () => {
  for (const mode of MODE_NAMES) {
    const first = playSeed(mode, 5, primitives, MINUTES)
    expect(playSeed(mode, 5, primitives, MINUTES)).toEqual(first)
    expect(playSeed(mode, 6, primitives, MINUTES).hash).not.toBe(first.hash)
  }
})

test('seeds end where they are told to, and an exception is a fault with the command that repeats it', () => {
  const seen: string[] = []
  playSeeds(['liveness', 'handshake'], 7, 9, primitives, 0.01, (outcome) => {
    seen.push(`${outcome.mode} ${outcome.seed}`)
    return outcome.seed < 8
  })
  expect(seen).toEqual(['liveness 7', 'handshake 7', 'liveness 8'])
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
