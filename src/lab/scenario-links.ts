import { dirname, resolve } from 'node:path'
import type { OperatorError } from '../base/errors.js'
import type { Path } from '../config/located.js'
import { type DirectionModel, WAYS, type Way } from './link-model.js'
import { readTraceFile } from './rate-trace.js'
import type { ScenarioLink, TraceSpec } from './scenario.js'
import type { ScenarioReader, ValueReader } from './scenario-reader.js'
import {
  duration,
  flag,
  number,
  oneOf,
  percent,
  queue,
  rate,
  size,
  text,
  whole,
  word,
} from './scenario-values.js'
import { EXPECTED, parseRate } from './units.js'

/** Keys of a link that may be one value or {up, down}. */
const DIRECTION_KEYS = [
  'rate',
  'delay',
  'jitter',
  'jitter-hold',
  'keep-order',
  'loss',
  'loss-burst',
  'duplicate',
  'reorder',
  'reorder-by',
  'queue',
  'path-mtu',
  'overhead',
]
export const LINK_KEYS = ['name', 'site', 'kind', 'mtu', 'nat', 'weight', 'rtt', 'trace', ...DIRECTION_KEYS]
export const EVENT_SET_KEYS = ['rate', 'delay', 'jitter', 'loss', 'loss-burst', 'queue', 'path-mtu']

/** A link of the list `links`. */
export function readLink(r: ScenarioReader, path: Path, file: string): ScenarioLink | undefined {
  if (!r.map(path, LINK_KEYS)) return undefined
  // Names of network devices have at most 15 characters; a router's namespace carries the name as well.
  const name = r.needed([...path, 'name'], word(12))
  const kind = r.optional([...path, 'kind'], oneOf('emulated', 'veth')) ?? 'emulated'
  const rttUs = r.optional([...path, 'rtt'], duration)
  if (rttUs !== undefined && r.places.has(...path, 'delay')) {
    r.fault([...path, 'rtt'], 'is given beside delay', 'one of them', 'configConflict', 'key')
  }
  const up = readDirection(r, path, 'up', rttUs)
  const down = readDirection(r, path, 'down', rttUs)
  if (kind === 'veth') {
    for (const key of [...DIRECTION_KEYS, 'rtt', 'trace']) {
      if (key === 'rate' || key === 'queue' || !r.places.has(...path, key)) continue
      r.fault(
        [...path, key],
        'is given for a veth link',
        'kind: emulated, which can do it',
        'configConflict',
        'key',
      )
    }
  }
  const traces: Partial<Record<Way, TraceSpec>> = {}
  for (const way of WAYS) {
    const trace = readTrace(r, path, way, file)
    if (trace) traces[way] = trace
  }
  if (!r.places.has(...path, 'trace')) r.needed([...path, 'rate'], { expected: rate.expected, read: () => 0 })
  if (name === undefined) return undefined
  return {
    name,
    kind,
    up,
    down,
    traces,
    site: r.optional([...path, 'site'], oneOf('a', 'c')) ?? 'a',
    mtu: r.optional([...path, 'mtu'], whole(1280, 9000)) ?? 1500,
    nat: r.optional([...path, 'nat'], flag) ?? false,
    weight: r.optional([...path, 'weight'], number(0.01, 1000)),
  }
}

/** A key's value for one way: the key holds it for both, or a map {up, down}. */
function oneWay<T>(
  r: ScenarioReader,
  path: Path,
  key: string,
  way: Way,
  type: ValueReader<T>,
): T | undefined {
  const raw = r.places.raw(...path, key)
  if (typeof raw === 'object' && raw !== null && !Array.isArray(raw) && ('up' in raw || 'down' in raw)) {
    // Noted once for both ways.
    if (way === 'up') r.map([...path, key], WAYS)
    return r.needed([...path, key, way], type)
  }
  if (raw === undefined) return undefined
  return way === 'up' ? r.optional([...path, key], type) : type.read(raw)
}

function readDirection(r: ScenarioReader, path: Path, way: Way, rttUs: number | undefined): DirectionModel {
  const get = <T>(key: string, type: ValueReader<T>): T | undefined => oneWay(r, path, key, way, type)
  return {
    rateBitsPerSec: get('rate', rate) ?? Number.POSITIVE_INFINITY,
    overheadBytes: get('overhead', size) ?? 0,
    delayUs: get('delay', duration) ?? (rttUs ?? 0) / 2,
    jitterUs: get('jitter', duration) ?? 0,
    jitterHoldUs: get('jitter-hold', duration) ?? 10_000,
    keepOrder: get('keep-order', flag) ?? true,
    loss: get('loss', percent) ?? 0,
    lossBurst: get('loss-burst', number(1, 1000)) ?? 1,
    duplicate: get('duplicate', percent) ?? 0,
    reorder: get('reorder', percent) ?? 0,
    reorderByUs: get('reorder-by', duration) ?? 5000,
    queue: get('queue', queue) ?? { timeUs: 100_000 },
    pathMtu: get('path-mtu', whole(68, 9000)) ?? 0,
  }
}

function readTrace(r: ScenarioReader, path: Path, way: Way, file: string): TraceSpec | undefined {
  const raw = r.places.raw(...path, 'trace')
  if (raw === undefined) return undefined
  const split = typeof raw === 'object' && raw !== null && ('up' in raw || 'down' in raw)
  const at = split ? [...path, 'trace', way] : [...path, 'trace']
  if (split && way === 'up') r.map([...path, 'trace'], WAYS)
  if (!r.places.has(...at)) return undefined
  // A trace for both ways is read twice; its faults are noted once.
  if (!split && way === 'down' && r.faults.length > 0) return undefined
  if (!r.map(at, ['file', 'min', 'max', 'step'])) return undefined
  const traceFile = r.optional([...at, 'file'], text)
  if (traceFile !== undefined) {
    const found = resolve(dirname(file), traceFile)
    try {
      readTraceFile(found)
    } catch (error) {
      r.faults.push(error as OperatorError)
    }
    return { file: found }
  }
  const min = r.needed([...at, 'min'], { expected: EXPECTED.rate, read: parseRate })
  const max = r.needed([...at, 'max'], { expected: EXPECTED.rate, read: parseRate })
  const step = r.optional([...at, 'step'], duration) ?? 150_000
  if (min === undefined || max === undefined) return undefined
  if (max < min) r.fault([...at, 'max'], 'is less than min', 'more', 'configConflict')
  if (step < 1000) r.fault([...at, 'step'], 'is too short', 'at least 1ms')
  return { lte: { minBitsPerSec: min, maxBitsPerSec: max, stepUs: Math.max(step, 1000) } }
}

/** What an event sets of a link. */
export function readSettings(r: ScenarioReader, path: Path): Partial<DirectionModel> {
  const set: { -readonly [K in keyof DirectionModel]?: DirectionModel[K] } = {}
  const put = <K extends keyof DirectionModel>(
    key: string,
    field: K,
    type: ValueReader<DirectionModel[K]>,
  ): void => {
    const value = r.optional([...path, key], type)
    if (value !== undefined) set[field] = value
  }
  put('rate', 'rateBitsPerSec', rate)
  put('delay', 'delayUs', duration)
  put('jitter', 'jitterUs', duration)
  put('loss', 'loss', percent)
  put('loss-burst', 'lossBurst', number(1, 1000))
  put('queue', 'queue', queue)
  put('path-mtu', 'pathMtu', whole(68, 9000))
  return set
}
