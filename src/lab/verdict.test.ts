import { expect, test } from 'vitest'
import type { Phase } from './phase.js'
import type { Scenario, Versus } from './scenario.js'
import { exampleResult } from './testing/example-result.js'
import { bareKey, combine, judge, type Verdict, wordsOf } from './verdict.js'

const example = exampleResult()
const base = example.runs[0]!.phase

/** The example's run over one link alone, its transfer at so many Mbit/s. */
function alone(link: string, mbit: number): Phase {
  const bulk = base.records.get('bulk')!
  if (bulk.kind !== 'tcp') throw new Error('the example has a TCP transfer')
  const intervals = bulk.intervals.map((interval) => ({ ...interval, bytes: (mbit * 1e6) / 80 }))
  return {
    ...base,
    mode: { kind: 'tunnel', link },
    records: new Map([...base.records, ['bulk', { ...bulk, intervals }]]),
  }
}

/** The example with its expectation of the last seconds' goodput held against something else. */
function relative(versus: Versus, min: number): Scenario {
  const [goodput] = example.scenario.expect
  return { ...example.scenario, expect: [{ ...goodput!, limit: { kind: 'share', min }, versus }] }
}

const judged = (scenario: Scenario, references: Map<string, Phase>): Verdict =>
  judge(scenario, 1, base, references)[0]!

test('versus a link is versus the same goodput over that link alone, or over whichever is best', () => {
  const references = new Map([
    ['one', alone('one', 44)],
    ['two', alone('two', 18)],
  ])
  // The example carries 62 Mbit/s over both links.
  expect(judged(relative({ link: 'two' }, 3.4), references)).toMatchObject({ reference: 18e6, ok: true })
  expect(judged(relative({ link: 'two' }, 3.5), references).ok).toBe(false)
  const best = judged(relative({ link: 'best' }, 0.97), references)
  expect(best).toMatchObject({ reference: 44e6, ok: true })
  expect(best.limit).toBe('at least 97 % of plait over the best link alone')
  expect(best.share).toBeCloseTo(62 / ((70 * 1388) / 1514), 3)
  const worse = new Map([['one', alone('one', 66)]])
  expect(judged(relative({ link: 'best' }, 0.97), worse).ok).toBe(false)
})

test('without the run over the link alone nothing can be said', () => {
  expect(judged(relative({ link: 'one' }, 0.97), new Map())).toMatchObject({
    value: null,
    ok: false,
    reason: 'one link alone was not measured',
  })
})

test('versus other traffic is versus its goodput in its own window', () => {
  // From 4 to 6 s one of the links is down, and the example carries 18 Mbit/s.
  const earlier = relative({ of: ['bulk'], window: { fromUs: 4e6, toUs: 6e6 } }, 3.4)
  const verdict = judged(earlier, new Map())
  expect(verdict).toMatchObject({ ok: true, limit: 'at least 340 % of bulk, 4..6 s' })
  expect(verdict.value! / verdict.reference!).toBeCloseTo(62 / 18)
})

test('a time versus another may be above it by its limit', () => {
  const slow = alone('one', 44)
  const answered = (ms: number) => Array.from({ length: 10 }, (_, i) => ({ atNs: 6e9 + i * 1e8, ms }))
  const withPages = (phase: Phase, ms: number): Phase => ({
    ...phase,
    records: new Map([
      ...phase.records,
      ['page', { kind: 'request', startNs: 0, sent: 10, answered: answered(ms) }],
    ]),
  })
  const scenario: Scenario = {
    ...example.scenario,
    traffic: [
      ...example.scenario.traffic,
      {
        name: 'page',
        kind: 'fetch',
        way: 'down',
        site: 'a',
        lan: false,
        fromUs: 0,
        forUs: 10e6,
        intervalUs: 1e5,
        bytes: 1e5,
      },
    ],
    expect: [
      {
        what: 'fetch-p50',
        of: ['page'],
        window: { fromUs: 6e6, toUs: 10e6 },
        limit: { kind: 'time', maxMs: 1 },
        share: 0.9,
        versus: { link: 'one' },
      },
    ],
  }
  const against = (ms: number): Verdict =>
    judge(scenario, 1, withPages(base, ms), new Map([['one', withPages(slow, 60)]]))[0]!
  expect(against(60.9)).toMatchObject({ ok: true, value: 60.9, reference: 60 })
  expect(against(61.1).ok).toBe(false)
  expect(wordsOf(scenario.expect[0]!)).toBe(
    'fetch-p50 of page, 6..10 s, at most 1 ms above plait over one alone',
  )
  const bare: Scenario = { ...scenario, expect: [{ ...scenario.expect[0]!, versus: { bare: 'one' } }] }
  const without = withPages({ ...slow, mode: { kind: 'single', link: 'one' } }, 58)
  const both = new Map([
    ['one', withPages(slow, 60)],
    [bareKey('one'), without],
  ])
  expect(judge(bare, 1, withPages(base, 60.9), both)[0]).toMatchObject({ ok: false, reference: 58 })
  expect(wordsOf(bare.expect[0]!)).toMatch(/at most 1 ms above one without a tunnel$/)
})

test('over one link alone only that link counts as achievable', () => {
  const [verdict] = judge(example.scenario, 1, alone('two', 18))
  expect(verdict!.share).toBeCloseTo(18 / ((20 * 1388) / 1514), 3)
})

test('of several runs the median counts, but of segments sent again the worst', () => {
  const [goodput] = example.scenario.expect
  const of = (values: readonly number[], what: 'goodput' | 'retransmits') => {
    const runs = values.map((value): Verdict[] => [
      { what, of: ['bulk'], window: [6, 10], limit: '', value, ok: true },
    ])
    return combine(runs, [{ ...goodput!, what }])[0]!.value
  }
  expect(of([3, 1, 2], 'goodput')).toBe(2)
  expect(of([0, 3, 0], 'retransmits')).toBe(3)
})
