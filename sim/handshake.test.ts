import { beforeAll, describe, expect, test } from 'vitest'
import { loadPrimitives } from '../src/io/primitives.js'
import type { Primitives } from '../src/noise/primitives.js'
import { runHandshake } from './handshake-run.js'
import { describeOutcome } from './outcome.js'

/** Seeds in all, and per test: a failing block names its seeds. */
const SEEDS = 1_000
const BLOCK = 50

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

describe('handshakes under every fault, then traffic both ways within 5 s', () => {
  test.each(Array.from({ length: SEEDS / BLOCK }, (_, i) => i * BLOCK + 1))(
    `seeds from %i`,
    (first) => {
      const failed: string[] = []
      for (let seed = first; seed < first + BLOCK; seed++) {
        const outcome = runHandshake(seed, primitives)
        if (outcome.faults.length > 0) failed.push(describeOutcome(outcome))
      }
      expect(failed.join('\n')).toBe('')
    },
    60_000,
  )
})

test('the same seed gives the same trace, another seed another', () => {
  const first = runHandshake(7, primitives)
  expect(runHandshake(7, primitives)).toEqual(first)
  expect(runHandshake(8, primitives).hash).not.toBe(first.hash)
})
