import { expect, test } from 'vitest'
import { loadPrimitives } from '../src/io/primitives.js'
import { parseScenario } from '../src/lab/scenario-load.js'
import { playScenario } from './scenario-run.js'

const primitives = await loadPrimitives()
const play = (text: string) =>
  playScenario(parseScenario(new TextEncoder().encode(text), 'test.yaml'), 1, 'auto', primitives, '')

/** 76.6 % while the path was chosen by the queue that steers its rate: all lay in one link, past the other. */
test('BBR, whose window is a few milliseconds, fills two fast links at once', () => {
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
  const run = play(text)
  expect(run.outcome.faults).toEqual([])
  expect(run.verdicts.filter((verdict) => !verdict.ok)).toEqual([])
})

/** With 8192 packets remembered the path was suspected after 1 s, and given up after two: what was reported was forgotten. */
test('a fast link that is far has more packets under way than are remembered at first', () => {
  const run = play(`name: test
about: a test
links:
  - { name: far, rate: 1300Mbit/s, rtt: 130ms, queue: 50ms }
traffic:
  - { name: flood, kind: udp, way: down, rate: 1100Mbit/s, bytes: 1400, for: 3s }
expect:
  - { what: goodput, of: flood, window: 1s..3s, min: 90% }
`)
  expect(run.outcome.faults).toEqual([])
  expect(run.verdicts.filter((verdict) => !verdict.ok)).toEqual([])
})
