import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { emulatorTrace, lteTrace, readTraceFile, traceMean, traceRateAt } from './rate-trace.js'

const folder = mkdtempSync(join(tmpdir(), 'plait-trace-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(text: string): string {
  const path = join(folder, 'cell.trace')
  writeFileSync(path, text)
  return path
}

test('an LTE trace stays within its bounds, uses them, and repeats from its seed', () => {
  const model = { minBitsPerSec: 5e6, maxBitsPerSec: 40e6, stepUs: 150_000 }
  const trace = lteTrace(model, 7)
  const rates = trace.points.map((p) => p.rateBitsPerSec)
  expect(Math.min(...rates)).toBeGreaterThanOrEqual(5e6)
  expect(Math.max(...rates)).toBeLessThanOrEqual(40e6)
  expect(Math.max(...rates) - Math.min(...rates)).toBeGreaterThan(30e6)
  expect(lteTrace(model, 7)).toEqual(trace)
  expect(lteTrace(model, 8)).not.toEqual(trace)
  expect(traceMean(trace, { fromUs: 0, toUs: trace.periodUs }) / 22.5e6).toBeCloseTo(1, 0)
})

test('a trace file is read, repeats after its period, and becomes words for the emulator', () => {
  const trace = readTraceFile(file('# a tunnel\n0 10000000\n500 2000000 # under the hill\n\n1000 1\n'))
  expect(trace.periodUs).toBe(1_000_000)
  expect(traceRateAt(trace, 499_999)).toBe(10e6)
  expect(traceRateAt(trace, 500_000)).toBe(2e6)
  expect(traceRateAt(trace, 1_000_000)).toBe(10e6)
  expect(traceMean(trace, { fromUs: 0, toUs: 2e6 })).toBeCloseTo(6e6)
  expect(emulatorTrace(trace)).toBe('1000000000 0:10000000 500000000:2000000')
})

test.each([
  ['0 1\n0 2\n5 1\n', ':2:1: '],
  ['5 1\n6 2\n', ':1:1: '],
  ['0 1\nabc\n', ':2:1: '],
  ['0 1\n', ':1:1: '],
])('%j is refused with its place', (text, place) => {
  expect(() => readTraceFile(file(text))).toThrow(place)
})
