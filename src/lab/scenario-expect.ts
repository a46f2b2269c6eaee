import type { Path } from '../config/located.js'
import {
  CONGESTIONS,
  type Congestion,
  type Expectation,
  type Limit,
  MEASURES,
  type Measure,
  POLICIES,
  type Traffic,
  type Versus,
} from './scenario.js'
import type { ScenarioReader, ValueReader } from './scenario-reader.js'
import { duration, nameOf, namesOf, number, oneOf, percent, whole, windowReader } from './scenario-values.js'
import { parsePercent, parseRate, type Window } from './units.js'

export const EXPECT_KEYS = ['what', 'of', 'window', 'min', 'max', 'share', 'congestion', 'policy', 'versus']
export const VERSUS_KEYS = ['of', 'window', 'link', 'bare']
/** Versus the best of the links, each alone. */
const BEST = 'best'

/** An entry of the list `expect`. */
export function readExpectation(
  r: ScenarioReader,
  path: Path,
  traffic: readonly Traffic[],
  linkNames: readonly string[],
): Expectation | undefined {
  const what = r.places.raw(...path, 'what')
  const limitKey = what === 'goodput' || what === 'jain' ? 'min' : 'max'
  const shared = what === 'time-to-full' || what === 'time-to-use' ? ['share'] : []
  if (!r.map(path, ['what', 'of', 'window', limitKey, ...shared, 'congestion', 'policy', 'versus']))
    return undefined
  const measure = r.needed([...path, 'what'], oneOf(...MEASURES))
  const known =
    measure === 'time-to-use'
      ? namesOf(linkNames, 'a link')
      : namesOf(
          traffic
            .filter((t) => measure === undefined || suitable(measure).includes(t.kind))
            .map((t) => t.name),
          `traffic that has ${measure ?? 'it'}`,
        )
  const of = r.needed([...path, 'of'], known)
  const window = r.needed([...path, 'window'], windowReader)
  if (window && of) checkWithin(r, [...path, 'window'], window, of, traffic)
  const share = r.optional([...path, 'share'], percent) ?? (measure === 'time-to-use' ? 0.2 : 0.9)
  const congestion = r.optional([...path, 'congestion'], congestions)
  const policy = r.optional([...path, 'policy'], oneOf(...POLICIES))
  if (measure === undefined) return undefined
  const versus = readVersus(r, [...path, 'versus'], known, traffic, linkNames)
  const limit = readLimit(r, [...path, limitKey], measure, versus !== undefined)
  if (!of || !window || !limit) return undefined
  return { what: measure, of, window, limit, share, congestion, policy, versus }
}

const congestions: ValueReader<Congestion[]> = {
  expected: `one or a list of ${CONGESTIONS.join(', ')}`,
  read: (raw) => {
    const list = Array.isArray(raw) ? raw : [raw]
    return list.length > 0 && list.every((name) => CONGESTIONS.includes(name)) ? list : undefined
  },
}

function checkWithin(
  r: ScenarioReader,
  path: Path,
  window: Window,
  of: readonly string[],
  traffic: readonly Traffic[],
): void {
  for (const t of traffic.filter((candidate) => of.includes(candidate.name))) {
    // Of traffic without a good length nothing more can be said.
    if (t.forUs === 0) continue
    if (window.fromUs >= t.fromUs && window.toUs <= t.fromUs + t.forUs) continue
    r.fault(path, `reaches beyond the traffic "${t.name}"`, 'a window within it', 'configConflict')
  }
}

function readVersus(
  r: ScenarioReader,
  path: Path,
  known: ValueReader<string[]>,
  traffic: readonly Traffic[],
  linkNames: readonly string[],
): Versus | undefined {
  if (!r.places.has(...path) || !r.map(path, VERSUS_KEYS)) return undefined
  for (const kind of ['link', 'bare'] as const) {
    if (!r.places.has(...path, kind)) continue
    for (const key of VERSUS_KEYS) {
      if (key !== kind && r.places.has(...path, key))
        r.fault([...path, key], `is given beside ${kind}`, 'one of them', 'configConflict', 'key')
    }
    if (kind === 'bare') {
      const bare = r.needed([...path, 'bare'], nameOf(linkNames, 'a link'))
      return bare === undefined ? undefined : { bare }
    }
    const link = r.needed([...path, 'link'], nameOf([...linkNames, BEST], 'a link, or best'))
    return link === undefined ? undefined : { link }
  }
  const of = r.needed([...path, 'of'], known)
  const window = r.needed([...path, 'window'], windowReader)
  if (of && window) checkWithin(r, [...path, 'window'], window, of, traffic)
  return of && window ? { of, window } : undefined
}

function readLimit(r: ScenarioReader, path: Path, measure: Measure, relative: boolean): Limit | undefined {
  switch (measure) {
    case 'goodput':
      return r.needed(path, relative ? shareLimit : goodputLimit)
    case 'jain': {
      const min = r.needed(path, number(0, 1))
      return min === undefined ? undefined : { kind: 'index', min }
    }
    case 'lost':
    case 'retransmits': {
      const max = r.needed(path, whole(0, 1e9))
      return max === undefined ? undefined : { kind: 'count', max }
    }
    default: {
      const us = r.needed(path, duration)
      return us === undefined ? undefined : { kind: 'time', maxMs: us / 1000 }
    }
  }
}

const shareLimit: ValueReader<Limit> = {
  expected: 'a share of the other figure such as 95%',
  read: (raw) => {
    const min = parsePercent(raw)
    return min === undefined ? undefined : { kind: 'share', min }
  },
}

const goodputLimit: ValueReader<Limit> = {
  expected: 'a share of what is achievable such as 98%, or a rate such as 16.2Mbit/s',
  read: (raw) => {
    const minBitsPerSec = parseRate(raw)
    return minBitsPerSec === undefined ? shareLimit.read(raw) : { kind: 'rate', minBitsPerSec }
  },
}

/** Kinds of traffic of which a measure can be taken. */
function suitable(measure: Measure): readonly Traffic['kind'][] {
  switch (measure) {
    case 'goodput':
      return ['tcp', 'udp', 'quic']
    case 'jain':
    case 'retransmits':
      return ['tcp']
    case 'time-to-full':
      return ['tcp', 'quic']
    case 'gap':
      return ['tcp', 'udp', 'voip', 'ping', 'quic']
    case 'lost':
      return ['udp', 'voip', 'ping']
    case 'delay-p50':
    case 'delay-p99':
      return ['udp', 'voip']
    case 'rtt-p50':
    case 'rtt-p99':
      return ['ping', 'echo']
    case 'fetch-p50':
    case 'fetch-p99':
      return ['fetch']
    case 'time-to-use':
      return []
  }
}
