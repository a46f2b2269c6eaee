/**
 * Links of different delay: what has just begun (core/schedulers/adaptive.ts), CUBIC's first seconds (core/ack-spacing.ts)
 * and BBR's (core/ack-lumps.ts), and its long transfer from when it is evened on (core/long-transfers.ts, core/ack-delay.ts).
 */
import { beforeAll, expect, test } from 'vitest'
import { loadPrimitives } from '../src/io/primitives.js'
import { parseScenario } from '../src/lab/scenario-load.js'
import type { Primitives } from '../src/noise/primitives.js'
import { playScenario } from './scenario-run.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

type LinkRow = readonly [mbit: number, rttMs: number]
const SATELLITE: readonly LinkRow[] = [
  [20, 40],
  [20, 600],
]
/** A line and a cell, and the same where they are further apart. */
const CELL: readonly LinkRow[] = [
  [20, 10],
  [50, 50],
]
const FAR_CELL: readonly LinkRow[] = [
  [6, 20],
  [50, 90],
]
const FARTHER_CELL: readonly LinkRow[] = [
  [20, 20],
  [50, 180],
]
const THIN_AND_FARTHER_CELL: readonly LinkRow[] = [
  [6, 20],
  [50, 240],
]
const THIN_AND_FAR: readonly LinkRow[] = [
  [50, 20],
  [20, 240],
]
const NEAR_AND_FAR: readonly LinkRow[] = [
  [40, 20],
  [40, 100],
]
const EIGHT: readonly LinkRow[] = [
  [32, 10],
  [25, 20],
  [20, 30],
  [16, 40],
  [12, 25],
  [10, 50],
  [8, 60],
  [5, 80],
]

function linesOf(links: readonly LinkRow[], queueMs: number): string {
  return links
    .map(
      ([mbit, rttMs]) =>
        `  - { name: rtt${rttMs}, rate: ${mbit}Mbit/s, rtt: ${rttMs}ms, queue: ${queueMs}ms }`,
    )
    .join('\n')
}

/** All of what it expects holds. */
function play(text: string): void {
  const scenario = parseScenario(new TextEncoder().encode(text), 'test.yaml')
  const run = playScenario(scenario, 1, 'auto', primitives, '')
  expect(run.outcome.faults).toEqual([])
  expect(run.verdicts.filter((verdict) => !verdict.ok)).toEqual([])
}

test.each([
  // Without: 49 and 44 %.
  { name: 'a transfer of nine seconds', links: CELL, percent: 90, pingMs: 30, from: 2, seconds: 7 },
  { name: 'the same by a thin line', links: FAR_CELL, percent: 90, pingMs: 45, from: 2, seconds: 7 },
  // Without: 50 %, as by land alone.
  { name: 'land and satellite', links: SATELLITE, percent: 80, pingMs: 60 },
  // Its round trip measured every ten seconds: 94 %.
  { name: 'a transfer of 45 seconds', links: THIN_AND_FAR, percent: 97, pingMs: 30, from: 15, seconds: 30 },
  // 66 % when the last one, which is thin, kept the others from being evened.
  { name: 'eight links', links: EIGHT, percent: 90, pingMs: 30 },
  // BBR sees a lower round trip at 6 s and does not look again when it is expected to. Not let go in time: 18 %, then 33.
  { name: 'a guess that fails', links: SATELLITE, percent: 33, pingMs: 60, delay: '19ms', from: 12 },
  // ... but its next look is known.
  { name: 'a second guess', links: SATELLITE, percent: 70, pingMs: 60, delay: '19ms', from: 30 },
])('$name: one transfer with BBR gets its share, and no ping waits for the far link', (row) => {
  const from = row.from ?? 18
  const until = from + (row.seconds ?? 12)
  const nearest = `rtt${row.links[0]![1]}`
  const text = `name: test
about: a test
links:
${linesOf(row.links, 100)}
traffic:
  - { name: bulk, kind: tcp, way: down, congestion: bbr, for: ${until}s }
  - { name: pings, kind: ping, for: ${until}s }
${row.delay === undefined ? '' : `events: [{ at: 5s, link: ${nearest}, do: set, delay: ${row.delay} }]`}
expect:
  - { what: goodput, of: bulk, window: ${from}s..${until}s, min: ${row.percent}% }
  - { what: rtt-p50, of: pings, window: ${from}s..${until}s, max: ${row.pingMs}ms }
  - { what: lost, of: pings, window: ${from}s..${until - 2}s, max: 0 }
`
  play(text)
})

test('one with CUBIC has all of the land line while its window is too small for the satellite', () => {
  // Each packet on whatever path is free: 11.4 Mbit/s to 6 s. Dropped as after 50 ms: 15.6 to 10 s, 42 % at the end.
  play(`name: test
about: a test
links:
${linesOf(SATELLITE, 100)}
traffic:
  - { name: bulk, kind: tcp, way: down, congestion: cubic, for: 20s }
expect:
  - { what: goodput, of: bulk, window: 500ms..6s, min: 17.5Mbit/s }
  - { what: goodput, of: bulk, window: 6s..10s, min: 18.5Mbit/s }
  - { what: goodput, of: bulk, window: 12s..20s, min: 95% }
`)
})

test.each([
  // Where the queue of the near link ends slow start: 75 and 55 %.
  { links: FARTHER_CELL, percent: 95 },
  { links: THIN_AND_FARTHER_CELL, percent: 95 },
])('one with CUBIC finds the far link as it starts up: %j', ({ links, percent }) => {
  play(`name: test
about: a test
links:
${linesOf(links, 200)}
traffic:
  - { name: bulk, kind: tcp, way: down, congestion: cubic, for: 9s }
expect:
  - { what: goodput, of: bulk, window: 1s..9s, min: ${percent}% }
`)
})

const PAGES = [
  // With what goes to the satellite as soon as the land line is full: 6.1 and 4.4 Mbit/s.
  { name: 'on calm links', links: SATELLITE, otherFor: 3, untilMs: 6500, mbit: 11, others: '' },
  // With each flow's turn on whatever path is free: 4 and 3 Mbit/s; now 19 and 16.
  {
    name: 'beside a transfer that lasts',
    links: NEAR_AND_FAR,
    otherFor: 8,
    untilMs: 6300,
    mbit: 12,
    others: '  - { what: goodput, of: other, window: 3s..6s, min: 90% }',
  },
].flatMap((row) => ['cubic', 'bbr'].map((congestion) => ({ ...row, congestion })))

test.each(PAGES)('a page $name does not wait for the far link: $congestion', (row) => {
  play(`name: test
about: a test
links:
${linesOf(row.links, 200)}
traffic:
  - { name: other, kind: tcp, way: down, congestion: ${row.congestion}, for: ${row.otherFor}s }
  - { name: page, kind: tcp, way: down, congestion: ${row.congestion}, from: 6s, for: 1s }
expect:
  - { what: goodput, of: page, window: 6s..${row.untilMs}ms, min: ${row.mbit}Mbit/s }
${row.others}
`)
})
