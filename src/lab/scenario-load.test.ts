import { expect, test } from 'vitest'
import { OperatorErrors } from '../base/errors.js'
import { CONGESTIONS, isExpected, quickened } from './scenario.js'
import { loadScenario, parseScenario } from './scenario-load.js'
import { findScenario, knownFailing, knownFailures, shippedNames } from './shipped.js'

const good = `name: case
about: A case.
links:
  - { name: dsl, rate: { up: 1Mbit/s, down: 16Mbit/s }, delay: { up: 10ms, down: 14ms }, queue: 12packets }
  - { name: lte, rate: 40Mbit/s, trace: { down: { min: 5Mbit/s, max: 40Mbit/s } }, rtt: 50ms, loss: 1%, nat: true }
traffic:
  - { name: bulk, kind: tcp, for: 40s, congestion: bbr, streams: 2 }
  - { name: call, kind: voip, way: up, for: 40s }
events:
  - { at: 20s, link: lte, do: set, rate: 10Mbit/s, way: down }
  - { at: 10s, link: dsl, do: down }
  - { at: 30s, end: b, do: restart }
expect:
  - { what: goodput, of: bulk, window: 15s..40s, min: 98% }
  - { what: lost, of: call, window: 0s..40s, max: 0 }
`

const parse = (text: string) => parseScenario(new TextEncoder().encode(text), '/etc/case.yaml')

/** Faults as "line:column text". */
function faultsOf(text: string): string[] {
  try {
    parse(text)
  } catch (error) {
    expect(error).toBeInstanceOf(OperatorErrors)
    expect((error as OperatorErrors).exitStatus).toBe(2)
    return (error as OperatorErrors).faults.map((f) => `${f.place?.line}:${f.place?.column} ${f.text}`)
  }
  return []
}

test('a good file becomes a scenario with its defaults', () => {
  const scenario = parse(good)
  expect(scenario.links[0]).toMatchObject({
    name: 'dsl',
    kind: 'emulated',
    mtu: 1500,
    up: { rateBitsPerSec: 1e6, delayUs: 10_000, queue: { packets: 12 } },
    down: { rateBitsPerSec: 16e6, delayUs: 14_000 },
  })
  expect(scenario.links[1]).toMatchObject({
    nat: true,
    up: { delayUs: 25_000, loss: 0.01, lossBurst: 1, keepOrder: true, queue: { timeUs: 100_000 } },
    traces: { down: { lte: { minBitsPerSec: 5e6, maxBitsPerSec: 40e6, stepUs: 150_000 } } },
  })
  expect(scenario.traffic).toMatchObject([
    { name: 'bulk', way: 'down', congestion: 'bbr', streams: 2, fromUs: 0, forUs: 40e6 },
    { name: 'call', bytes: 172, packetsPerSec: 50 },
  ])
  expect(scenario.events.map((e) => e.atUs)).toEqual([10e6, 20e6, 30e6])
  expect(scenario.expect[0]?.limit).toEqual({ kind: 'share', min: 0.98 })
})

test.each([
  ['name: case', 'name: other', '1:7 name is "other", expected "case", the name of the file'],
  ['about: A case.\n', '', '1:1 about is missing, expected a text'],
  [
    'queue: 12packets',
    'queue: 12',
    '4:97 links[1].queue is 12, expected a queue limit such as 100ms, 64kB or 12packets',
  ],
  ['rate: 40Mbit/s', 'rate: 40', '5:24 links[2].rate is 40, expected a rate such as'],
  ['down: 16Mbit/s', 'dwn: 16Mbit/s', '4:39 "dwn" is not known in links[1].rate, expected up, down'],
  ['loss: 1%', 'los: 1%', '5:95 "los" is not known in links[2]'],
  ['name: lte,', 'name: dsl,', '5:13 links[2].name is "dsl" again, expected a name of its own'],
  [
    'congestion: bbr',
    'congestion: vegas',
    '7:52 traffic[1].congestion is "vegas", expected cubic, bbr or reno',
  ],
  [
    'of: call',
    'of: phone',
    '15:23 expect[2].of is "phone", expected the name of traffic that has lost: call',
  ],
  ['of: call', 'of: bulk', '15:23 expect[2].of is "bulk", expected the name of traffic that has lost: call'],
  ['15s..40s', '15s..41s', '14:40 expect[1].window reaches beyond the traffic "bulk"'],
  [
    'link: dsl, do: down',
    'link: dsl, do: nat-rebind',
    '11:31 events[2].do is nat-rebind, expected nat: true on link dsl',
  ],
  ['end: b', 'end: c', '12:21 events[3].end is "c", expected a or b'],
  ['max: 0', 'max: 0ms', '15:51 expect[2].max is "0ms", expected a whole number'],
  ['min: 98%', 'max: 98%', '14:50 "max" is not known in expect[1]'],
  ['about: A case.', 'about: A case.\nabout: again', '3:1 "about" is given twice'],
  ['about: A case.', 'about:\tA case.\n\tx: 1', '3:1 a tab in the indentation'],
  [
    'trace: { down: { min: 5Mbit/s, max: 40Mbit/s } }',
    'trace: { down: { file: no.trace } }',
    '1:1 the rate trace cannot be read',
  ],
])('%j written as %j is a fault with its place', (from, to, fault) => {
  expect(good).toContain(from)
  const faults = faultsOf(good.replace(from, to))
  expect(
    faults.some((f) => f.startsWith(fault)),
    faults.join('\n'),
  ).toBe(true)
})

test('all faults come at once, in the order of the file', () => {
  const faults = faultsOf(
    good
      .replace('40Mbit/s,', '40,')
      .replace('for: 40s, congestion', 'for: 40, congestion')
      .replace('98%', '98'),
  )
  expect(faults.map((f) => f.split(':')[0])).toEqual(['5', '7', '14'])
})

test.each([
  '',
  '[]',
  '42',
  'a',
  'links:\n',
  'links: {}',
  'traffic: [1]',
  `a: ${'['.repeat(100)}`,
  '\0',
  '&a [*a]',
])('%j gives faults, never anything else', (text) => expect(faultsOf(text).length).toBeGreaterThan(0))

const relative = `name: case
about: A case.
policy: bond
links:
  - { name: fast, rate: 80Mbit/s }
  - { name: slow, rate: 20Mbit/s }
traffic:
  - { name: bulk, kind: tcp, for: 20s }
  - { name: quic, kind: quic, from: 20s, for: 20s }
  - { name: keys, kind: echo, for: 20s }
  - { name: page, kind: fetch, bytes: 5000, interval: 2s, for: 20s }
expect:
  - { what: goodput, of: bulk, window: 5s..20s, min: 98%, congestion: [cubic, reno] }
  - { what: goodput, of: bulk, window: 5s..20s, min: 90%, congestion: bbr, policy: bond }
  - { what: goodput, of: quic, window: 25s..40s, min: 95%, versus: { of: bulk, window: 5s..20s } }
  - { what: fetch-p50, of: page, window: 5s..20s, max: 1ms, versus: { link: fast } }
  - { what: time-to-use, of: slow, window: 0s..20s, max: 2s }
  - { what: jain, of: bulk, window: 5s..20s, min: 0.9 }
  - { what: rtt-p50, of: keys, window: 5s..20s, max: 1ms, versus: { bare: fast } }
`

test('transfers over UDP, small requests, and expectations that depend on others', () => {
  const scenario = parse(relative)
  expect(scenario.policy).toBe('bond')
  expect(scenario.traffic.slice(2)).toMatchObject([
    { kind: 'echo', bytes: 64, intervalUs: 200_000 },
    { kind: 'fetch', bytes: 5000, intervalUs: 2e6 },
  ])
  expect(scenario.expect[2]?.versus).toEqual({ of: ['bulk'], window: { fromUs: 5e6, toUs: 20e6 } })
  expect(scenario.expect[3]).toMatchObject({ limit: { kind: 'time', maxMs: 1 }, versus: { link: 'fast' } })
  expect(scenario.expect[4]).toMatchObject({ of: ['slow'], share: 0.2 })
  expect(scenario.expect[6]).toMatchObject({ limit: { kind: 'time', maxMs: 1 }, versus: { bare: 'fast' } })
  const quick = quickened(scenario)
  expect(quick.expect[2]?.versus).toEqual({ of: ['bulk'], window: { fromUs: 2e6, toUs: 8e6 } })
})

test('what is expected depends on congestion control and policy', () => {
  const scenario = parse(relative)
  const expected = (congestion: 'cubic' | 'bbr', policy: 'auto' | 'bond' | undefined) => {
    const traffic = scenario.traffic.map((t) => (t.kind === 'tcp' ? { ...t, congestion } : t))
    return scenario.expect.map((e) => isExpected(e, { ...scenario, traffic, policy }))
  }
  expect(expected('cubic', 'bond').slice(0, 3)).toEqual([true, false, true])
  expect(expected('bbr', 'bond').slice(0, 3)).toEqual([false, true, true])
  expect(expected('bbr', undefined).slice(0, 3)).toEqual([false, false, true])
})

test.each([
  ['congestion: bbr', 'congestion: [bbr, vegas]', '14:71 expect[2].congestion is'],
  ['link: fast', 'link: none', '16:77 expect[4].versus.link is "none", expected the name of a link, or best'],
  ['link: fast', 'link: fast, of: page', '16:83 expect[4].versus.of is given beside link'],
  [
    'bare: fast',
    'bare: best',
    '19:75 expect[7].versus.bare is "best", expected the name of a link: fast, slow',
  ],
  ['bare: fast', 'bare: fast, of: keys', '19:81 expect[7].versus.of is given beside bare'],
  ['of: slow', 'of: bulk', '17:30 expect[5].of is "bulk", expected the name of a link: fast, slow'],
  ['of: bulk, window: 5s..20s } }', 'of: bulk, window: 5s..21s } }', '15:88 expect[3].versus.window reaches'],
  ['min: 95%', 'min: 50Mbit/s', '15:55 expect[3].min is "50Mbit/s", expected a share of the other figure'],
  ['min: 0.9', 'min: 90%', '18:51 expect[6].min is "90%", expected a number from 0 to 1'],
])('%j written as %j is a fault, too', (from, to, fault) => {
  expect(relative).toContain(from)
  const faults = faultsOf(relative.replace(from, to))
  expect(
    faults.some((f) => f.startsWith(fault)),
    faults.join('\n'),
  ).toBe(true)
})

test('a missing file is one sentence', () => {
  expect(() => loadScenario('/nowhere/case.yaml')).toThrow(
    '/nowhere/case.yaml: the scenario cannot be read (ENOENT)',
  )
})

test('every scenario that comes with plait is valid, and the list of failing ones names only such', () => {
  const names = shippedNames()
  for (const name of names) expect(findScenario(name).name).toBe(name)
  expect(names).toEqual(
    expect.arrayContaining([
      'adsl-pair',
      'cable-and-dsl',
      'desk-and-garden',
      'dsl-and-lte',
      'equal-pair',
      'fibre-and-5g',
      'lossy-pair',
      'satellite',
      'slow-helper',
      'tape-backup',
      'two-lte',
      'unequal-pair',
    ]),
  )
  for (const [name, failure] of Object.entries(knownFailures())) {
    expect(names).toContain(name)
    expect(failure.why.length).toBeGreaterThan(0)
    expect(Object.keys(failure).filter((key) => !['congestion', 'policy', 'why'].includes(key))).toEqual([])
    for (const congestion of failure.congestion ?? []) expect(CONGESTIONS).toContain(congestion)
  }
})

test('a failure is known only under the congestion control and policy that it has', () => {
  const scenario = findScenario('satellite')
  const played = (congestion: 'cubic' | 'bbr', policy: 'auto' | 'bond') => ({
    ...scenario,
    policy,
    traffic: scenario.traffic.map((t) => (t.kind === 'tcp' ? { ...t, congestion } : t)),
  })
  const failures = { satellite: { congestion: ['bbr'], policy: 'auto', why: 'as by land alone' } } as const
  expect(knownFailing(played('bbr', 'auto'), failures)).toBe('as by land alone')
  expect(knownFailing(played('bbr', 'bond'), failures)).toBeUndefined()
  expect(knownFailing(played('cubic', 'auto'), failures)).toBeUndefined()
})

test('a quick scenario has shorter times and the same expectations', () => {
  const quick = quickened(parse(good))
  expect(quick.traffic[0]?.forUs).toBe(16e6)
  expect(quick.events[0]?.atUs).toBe(4e6)
  expect(quick.expect[0]).toMatchObject({ window: { fromUs: 6e6, toUs: 16e6 }, limit: { min: 0.98 } })
})
