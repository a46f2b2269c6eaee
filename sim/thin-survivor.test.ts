/** What was under way on a path that dies comes by the others in its order, however long they need for it. */
import { beforeAll, expect, test } from 'vitest'
import { loadPrimitives } from '../src/io/primitives.js'
import { parseScenario } from '../src/lab/scenario-load.js'
import type { Primitives } from '../src/noise/primitives.js'
import { playScenario } from './scenario-run.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

// Without, at 2 and at 6 s: 260 ms with nothing out of the tunnel, and 204 and 177 segments sent again.
test.each([2, 3, 6])('40 Mbit/s die at %i s beside 5: no pause, and TCP sends little again', (diesAt) => {
  const text = `name: test
about: a test
links:
  - { name: thick, rate: 40Mbit/s, rtt: 60ms, queue: 100ms }
  - { name: thin, rate: 5Mbit/s, rtt: 60ms, queue: 100ms }
traffic:
  - { name: bulk, kind: tcp, way: down, for: 12s }
events: [{ at: ${diesAt}s, link: thick, do: down }]
expect:
  - { what: gap, of: bulk, window: 1s..11s, max: 100ms }
  - { what: retransmits, of: bulk, window: 1s..11s, max: 120 }
  - { what: goodput, of: bulk, window: 7s..11s, min: 95% }
`
  const scenario = parseScenario(new TextEncoder().encode(text), 'test.yaml')
  const run = playScenario(scenario, 1, 'auto', primitives, '')
  expect(run.outcome.faults).toEqual([])
  expect(run.verdicts.filter((verdict) => !verdict.ok)).toEqual([])
})
