import { beforeAll, describe, expect, test } from 'vitest'
import { loadPrimitives } from '../src/io/primitives.js'
import type { Primitives } from '../src/noise/primitives.js'
import { readScenario, runScenario, ScenarioFault } from './scenario.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

function scenario(links: string[], control: string, more = ''): string {
  return `
seconds: 12
measureFrom: 4
links:
${links.map((link, i) => `  - { name: l${i}, up: { ${link} }, down: { ${link} } }`).join('\n')}
traffic:
  - { kind: tcp, control: ${control} }
${more}`
}

function shareOf(lines: string[]): number {
  return Number(/([\d.]+) %/.exec(lines[0]!)![1]) / 100
}

describe('model TCP through the tunnel fills what there is', () => {
  test.each(['cubic', 'bbr'])('one clean link, %s', (control) => {
    const { outcome, lines } = runScenario(
      scenario(['mbit: 20, delayMs: 10'], control),
      'test',
      1,
      primitives,
    )
    expect(outcome.faults).toEqual([])
    expect(shareOf(lines)).toBeGreaterThan(0.95)
    expect(shareOf(lines)).toBeLessThanOrEqual(1.01)
    expect(lines[0]).toContain(' 0 timeouts')
  })

  test.each(['cubic', 'bbr'])('two equal links, %s', (control) => {
    const link = 'mbit: 10, delayMs: 10'
    const { outcome, lines } = runScenario(scenario([link, link], control), 'test', 1, primitives)
    expect(outcome.faults).toEqual([])
    expect(shareOf(lines)).toBeGreaterThan(0.93)
  })

  test('random loss without repair costs CUBIC most of the rate, and BBR little, as on real lines', () => {
    const link = 'mbit: 20, delayMs: 25, loss: 0.01'
    const share = (control: string): number =>
      shareOf(runScenario(scenario([link], control), 'test', 1, primitives).lines)
    expect(share('cubic')).toBeLessThan(0.6)
    expect(share('bbr')).toBeGreaterThan(0.8)
  })
})

test('voice and pings are measured, and events change the links', () => {
  const text = scenario(
    ['mbit: 10, delayMs: 10', 'mbit: 10, delayMs: 20'],
    'cubic',
    `  - { kind: voice }
  - { kind: ping }
events:
  - { at: 6, link: l0, do: down }
  - { at: 8, link: l0, do: up }
  - { at: 9, link: l1, do: rebind }
  - { at: 10, link: l1, do: change, down: { mbit: 5 } }
`,
  )
  const { outcome, lines } = runScenario(text, 'test', 1, primitives)
  expect(outcome.faults).toEqual([])
  expect(lines[1]).toMatch(/^voice1: 600 sent, \d+ lost/)
  expect(lines[2]).toMatch(/^ping2: \d+ of 120, rtt [\d.]+ ms/)
})

test('a scenario that cannot be understood is refused with its place', () => {
  expect(() => readScenario('links: [', 'x.yaml')).toThrow(ScenarioFault)
  expect(() => readScenario(scenario(['mbit: -1'], 'reno'), 'x.yaml')).toThrow(
    /x\.yaml: links\.0\.up\.mbit.*\n.*x\.yaml: .*down|x\.yaml: links/,
  )
  const unknown = `${scenario(['mbit: 1'], 'cubic')}\nevents: [{ at: 1, link: nowhere, do: down }]`
  expect(() => runScenario(unknown, 'x.yaml', 1, primitives)).toThrow('there is no link "nowhere"')
})
