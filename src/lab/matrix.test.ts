import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import {
  casesOf,
  comparedWith,
  digestOf,
  entriesOf,
  type MatrixCase,
  type MatrixEntry,
  type MatrixPlan,
  openEntries,
} from './matrix.js'
import { matrixTable } from './matrix-table.js'
import { parseScenario } from './scenario-load.js'
import { type Verdict, wordsOf } from './verdict.js'

const folder = mkdtempSync(join(tmpdir(), 'plait-matrix-'))
afterAll(() => rmSync(folder, { recursive: true }))

const scenario = (name: string, traffic: string, expectations: string) =>
  parseScenario(
    new TextEncoder().encode(`name: ${name}
about: A case.
links:
  - { name: fast, rate: 80Mbit/s }
  - { name: slow, rate: 20Mbit/s }
traffic:
${traffic}
expect:
${expectations}
`),
    `/etc/${name}.yaml`,
  )

const pair = scenario(
  'pair',
  `  - { name: bulk, kind: tcp, for: 45s }
  - { name: call, kind: voip, for: 45s }`,
  `  - { what: goodput, of: bulk, window: 15s..45s, min: 98%, congestion: cubic }
  - { what: goodput, of: bulk, window: 15s..45s, min: 96%, congestion: bbr, policy: bond }
  - { what: goodput, of: bulk, window: 15s..45s, min: 85%, congestion: bbr, policy: auto }
  - { what: time-to-full, of: bulk, window: 0s..15s, max: 1500ms }
  - { what: delay-p99, of: call, window: 15s..45s, max: 35ms }
  - { what: lost, of: call, window: 15s..45s, max: 0 }
  - { what: gap, of: bulk, window: 15s..45s, max: 100ms }`,
)
const keys = scenario(
  'keys',
  '  - { name: keys, kind: echo, for: 20s }',
  '  - { what: rtt-p50, of: keys, window: 2s..20s, max: 11ms }',
)
const plan: MatrixPlan = {
  scenarios: [pair, keys],
  congestions: ['cubic', 'bbr'],
  policies: undefined,
  seeds: [1, 2, 3],
  compare: ['mptcp'],
  mptcpOnce: false,
  scheduler: undefined,
  quick: false,
}

/** A run of a case in which each expectation has the given value; goodput as a share of 100 Mbit/s. */
function entry(one: MatrixCase, seed: number, values: readonly (number | null)[]): MatrixEntry {
  const verdicts = one.scenario.expect.map((expectation, index): Verdict => {
    const value = values[index]!
    const { what, of, limit } = expectation
    const ok =
      value !== null &&
      (limit.kind === 'share'
        ? value >= limit.min
        : limit.kind === 'time'
          ? value <= limit.maxMs
          : limit.kind === 'count' && value <= limit.max)
    const figure = what === 'goodput' && value !== null ? { value: value * 1e8, share: value } : { value }
    return { what, of, window: [15, 45], limit: '', ...figure, ok }
  })
  return {
    scenario: one.scenario.name,
    congestion: one.congestion ?? null,
    policy: one.policy,
    scheduler: null,
    seed,
    quick: false,
    compare: ['mptcp'],
    digest: digestOf(one.scenario),
    expected: one.scenario.expect.map(wordsOf),
    verdicts,
    mptcpShare: one.congestion === undefined ? null : 0.9 + seed / 100,
    notes: [],
    loadBefore: seed,
  }
}

const [cubic, bbr, bond, echo] = casesOf(plan) as [MatrixCase, MatrixCase, MatrixCase, MatrixCase]

test('each scenario is played under each congestion control, under bond where it has a floor of its own', () => {
  const names = casesOf(plan).map((one) => [one.scenario.name, one.congestion, one.policy])
  expect(names).toEqual([
    ['pair', 'cubic', 'auto'],
    ['pair', 'bbr', 'auto'],
    ['pair', 'bbr', 'bond'],
    ['keys', undefined, 'auto'],
  ])
  expect(cubic.scenario.expect[0]?.limit).toEqual({ kind: 'share', min: 0.98 })
  expect(bond.scenario.expect[0]?.limit).toEqual({ kind: 'share', min: 0.96 })
  expect(casesOf({ ...plan, policies: ['bond'] }).map((one) => one.policy)).toEqual(['bond', 'bond', 'bond'])
})

test('the table has a line per case, with the median, the range, and what fails', () => {
  const entries = [
    entry(cubic, 1, [0.985, 800, 20, 0, 10]),
    entry(cubic, 2, [0.993, 1200, 30, 0, 10]),
    entry(cubic, 3, [0.991, 900, 25, 1, 50]),
    entry(bbr, 1, [0.84, 700, 20, 0, 0]),
    entry(echo, 1, [10.4]),
    entry(echo, 2, [10.5]),
    entry(echo, 3, [10.6]),
  ]
  const rows = matrixTable(casesOf(plan), entries, plan.seeds, true).split('\n')
  expect(rows[2]).toBe(
    '| pair | CUBIC | 98 % | 99.1 % | 98.5 %..99.3 % | 92.0 % | 900 ms | 25.0 ms / 1 | gap of bulk 50.0 ms | fails: lost |',
  )
  expect(rows[3]).toMatch(
    /^\| pair \| BBR \| 85 % \| 84.0 % \| {2}\| .* \| fails: goodput \(1 of 3 runs\) \|$/,
  )
  expect(rows[4]).toMatch(/^\| pair \| BBR, bond \| 96 % \|.*not measured \|$/)
  expect(rows[5]).toMatch(/^\| keys \| .*rtt-p50 of keys 10\.5 ms \| holds \|$/)
  expect(rows.join('\n')).toContain('Load of the machine before the runs: 2 (median), 3 at most.')
  expect(rows.join('\n')).not.toContain('Quick')
})

test('a median that holds does not hide a run in which nothing was measured', () => {
  const entries = [1, 2, 3].map((seed) => entry(cubic, seed, [seed === 2 ? null : 0.99, 800, 20, 0, 10]))
  const row = matrixTable([cubic], entries, plan.seeds, true).split('\n')[2]!
  expect(row).toContain('| none | 99.0 %..99.0 % |')
  expect(row).toContain('fails: goodput')
})

test('a run counts only for the case, seed and expectations under which it was made', () => {
  const good = entry(cubic, 1, [0.99, 800, 20, 0, 10])
  const of = (change: Partial<MatrixEntry>) => entriesOf(cubic, [{ ...good, ...change }], [1]).length
  expect(of({})).toBe(1)
  expect(of({ seed: 2 })).toBe(0)
  expect(of({ congestion: 'bbr' })).toBe(0)
  expect(of({ policy: 'bond' })).toBe(0)
  expect(of({ quick: true })).toBe(0)
  expect(of({ scheduler: 'weighted' })).toBe(0)
  expect(of({ compare: [] })).toBe(0)
  expect(of({ expected: ['goodput of bulk, 15..45 s, at least 97 % of achievable'] })).toBe(0)
  // Of two the later one.
  expect(entriesOf(cubic, [good, { ...good, loadBefore: 9 }], [1])[0]?.loadBefore).toBe(9)
})

test('MPTCP may be asked once a case', () => {
  const [once] = casesOf({ ...plan, mptcpOnce: true }) as [MatrixCase]
  expect([1, 2, 3].map((seed) => comparedWith(once, seed))).toEqual([['mptcp'], [], []])
  const plain = { ...entry(cubic, 2, [0.99, 800, 20, 0, 10]), compare: [] }
  expect(entriesOf(once, [plain], [2])).toHaveLength(1)
  expect(entriesOf(once, [{ ...plain, seed: 1 }], [1])).toHaveLength(0)
})

test('the file has a run a line; what was cut short is taken away, anything else is a fault with its line', () => {
  const file = join(folder, 'runs.jsonl')
  expect(openEntries(file)).toEqual([])
  const good = entry(cubic, 1, [0.99, 800, 20, 0, 10])
  writeFileSync(file, `${JSON.stringify(good)}\n`)
  appendFileSync(file, JSON.stringify(good).slice(0, 50))
  expect(openEntries(file)).toEqual([good])
  // What is added then stands on a line of its own.
  appendFileSync(file, `${JSON.stringify(good)}\n`)
  expect(openEntries(file)).toEqual([good, good])
  writeFileSync(file, `${JSON.stringify(good)}\n{"a":1}\n`)
  expect(() => openEntries(file)).toThrow(`${file}:2:1: is no run of plait lab matrix`)
  expect(() => openEntries(folder)).toThrow('cannot be written (EISDIR)')
})
