import { expect, test } from 'vitest'
import { achievable, tunnelFraming } from './achievable.js'
import { parseScenario } from './scenario-load.js'

const scenario = parseScenario(
  new TextEncoder().encode(`name: x
about: x
links:
  - { name: one, rate: 50Mbit/s, loss: 1% }
  - { name: two, rate: { up: 5Mbit/s, down: 30Mbit/s }, trace: { down: { min: 20Mbit/s, max: 40Mbit/s } } }
traffic:
  - { name: bulk, kind: tcp, for: 20s }
events:
  - { at: 10s, link: one, do: down, way: down }
  - { at: 15s, link: one, do: up }
  - { at: 16s, link: one, do: set, rate: 10Mbit/s, loss: 0% }
  - { at: 18s, link: two, do: carrier-off }
expect:
  - { what: goodput, of: bulk, window: 0s..20s, min: 90% }
`),
  'x.yaml',
)
const frame = tunnelFraming(scenario.traffic[0]!, 1440, 4)
const mbit = (way: 'up' | 'down', from: number, to: number): number =>
  achievable(scenario, 1, way, [0, 1], { fromUs: from * 1e6, toUs: to * 1e6 }, frame).bitsPerSec / 1e6

test('a full packet in the tunnel is 1514 bytes on the wire and carries 1388', () => {
  expect([frame.payloadBytes, frame.wireBytes]).toEqual([1388, 1514])
  expect(tunnelFraming(scenario.traffic[0]!, 1420, 6).wireBytes).toBe(1514)
})

test('the sum follows losses, events and traces', () => {
  const share = 1388 / 1514
  expect(mbit('up', 0, 10)).toBeCloseTo((49.5 + 5) * share)
  // The upward way of the black hole stays open.
  expect(mbit('up', 10, 15)).toBeCloseTo((49.5 + 5) * share)
  expect(mbit('up', 16, 18)).toBeCloseTo((10 + 5) * share)
  expect(mbit('up', 18, 20)).toBeCloseTo(10 * share)
  const alone = mbit('down', 10, 15) / share
  expect(alone).toBeGreaterThan(20)
  expect(alone).toBeLessThan(40)
  expect(mbit('down', 18, 20)).toBeCloseTo(10 * share)
})

test('the same seed has the same trace, another one another', () => {
  const down = (seed: number) => achievable(scenario, seed, 'down', [0, 1], { fromUs: 0, toUs: 10e6 }, frame)
  expect(down(1).bitsPerSec).toBe(down(1).bitsPerSec)
  expect(down(1).bitsPerSec).not.toBe(down(2).bitsPerSec)
  expect(down(1).how).toMatch(/one 49.5 Mbit\/s \+ two .*x 1388 of 1514 bytes = /)
})
