import { expect, test } from 'vitest'
import { loadPrimitives } from '../src/io/primitives.js'
import { parseScenario } from '../src/lab/scenario-load.js'
import { playScenario } from './scenario-run.js'

/** 76.6 % while the path was chosen by the queue that steers its rate: all lay in one link, past the other. */
test('BBR, whose window is a few milliseconds, fills two fast links at once', async () => {
  const text = `name: test
about: a test
links:
  - { name: first, rate: 400Mbit/s, queue: 20ms }
  - { name: second, rate: 400Mbit/s, queue: 20ms }
traffic:
  - { name: bulk, kind: tcp, way: up, congestion: bbr, for: 5s }
expect:
  - { what: goodput, of: bulk, window: 1s..5s, min: 97% }
`
  const scenario = parseScenario(new TextEncoder().encode(text), 'test.yaml')
  const run = playScenario(scenario, 1, 'auto', await loadPrimitives(), '')
  expect(run.outcome.faults).toEqual([])
  expect(run.verdicts.filter((verdict) => !verdict.ok)).toEqual([])
})
