import { closeSync, openSync, readSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { OperatorError, OperatorErrors } from '../base/errors.js'
import { decodeText } from '../config/decode-text.js'
import { type Path, type Places, readYaml } from '../config/located.js'
import { type DirectionModel, WAYS, type Way } from './link-model.js'
import { readTraceFile } from './rate-trace.js'
import {
  END_ACTIONS,
  type Expectation,
  type LabEvent,
  LINK_ACTIONS,
  type Limit,
  type LinkAction,
  MEASURES,
  type Measure,
  type Scenario,
  type ScenarioLink,
  type TraceSpec,
  type Traffic,
  VOIP,
} from './scenario.js'
import { ScenarioReader, type ValueReader } from './scenario-reader.js'
import {
  duration,
  flag,
  nameOf,
  namesOf,
  number,
  oneOf,
  percent,
  queue,
  rate,
  size,
  text,
  whole,
  windowReader,
  word,
} from './scenario-values.js'
import type { EndName } from './topology.js'
import { EXPECTED, parsePercent, parseRate } from './units.js'

const SCENARIO_BYTES_MAX = 1 << 20
const LINKS_MAX = 8

// ---- the file

/**
 * Reads a scenario.
 *
 * @throws OperatorErrors with all faults at once, each with line and column
 */
export function loadScenario(file: string): Scenario {
  let bytes: Uint8Array
  try {
    bytes = readBounded(file)
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message
    throw new OperatorErrors([
      new OperatorError(
        'configUnreadable',
        `the scenario cannot be read (${reason}), expected a readable file`,
        {
          place: { file },
          remedy: 'plait lab list shows those that come with plait',
        },
      ),
    ])
  }
  return parseScenario(bytes, file)
}

/** The same from the bytes of the file; trace files are looked for beside it. */
export function parseScenario(bytes: Uint8Array, file: string): Scenario {
  const faults: OperatorError[] = []
  const fail = (): never => {
    const at = (f: OperatorError): number => (f.place?.line ?? 0) * 1e6 + (f.place?.column ?? 0)
    throw new OperatorErrors(faults.sort((a, b) => at(a) - at(b)))
  }
  if (bytes.length > SCENARIO_BYTES_MAX) {
    const words = 'the file is larger than 1 MiB, expected a scenario'
    faults.push(new OperatorError('configTooLarge', words, { place: { file } }))
    return fail()
  }
  const source = decodeText(bytes, file, faults)
  if (source === undefined) return fail()
  const { value, places } = readYaml(source, file, faults)
  if (value === undefined) return fail()
  const scenario = new Loader(places, faults, file).scenario()
  return faults.length > 0 || scenario === undefined ? fail() : scenario
}

function readBounded(file: string): Uint8Array {
  const descriptor = openSync(file, 'r')
  try {
    const bytes = Buffer.alloc(SCENARIO_BYTES_MAX + 1)
    let filled = 0
    for (;;) {
      const n = readSync(descriptor, bytes, filled, bytes.length - filled, null)
      if (n === 0) return bytes.subarray(0, filled)
      filled += n
    }
  } finally {
    closeSync(descriptor)
  }
}

const TOP_KEYS = ['name', 'about', 'links', 'lan', 'outer', 'scheduler', 'traffic', 'events', 'expect']
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
const LINK_KEYS = ['name', 'site', 'kind', 'mtu', 'nat', 'weight', 'rtt', 'trace', ...DIRECTION_KEYS]
const TRAFFIC_KEYS = ['name', 'kind', 'way', 'site', 'lan', 'from', 'for']
const EVENT_SET_KEYS = ['rate', 'delay', 'jitter', 'loss', 'loss-burst', 'queue', 'path-mtu']
const END_NAMES: readonly EndName[] = ['a', 'b', 'c']
/** Every key of a scenario file, for the manual to be held against. */
export const SCENARIO_KEYS = {
  top: TOP_KEYS,
  link: LINK_KEYS,
  traffic: TRAFFIC_KEYS,
  eventSet: EVENT_SET_KEYS,
} as const
/** Longest time a scenario may take: nobody waits longer by intention. */
const TIME_US_MAX = 24 * 3600e6

class Loader {
  private readonly in: ScenarioReader

  constructor(
    places: Places,
    faults: OperatorError[],
    private readonly file: string,
  ) {
    this.in = new ScenarioReader(places, faults)
  }

  scenario(): Scenario | undefined {
    const r = this.in
    if (!r.map([], TOP_KEYS)) return undefined
    const fileName = basename(this.file).replace(/\.ya?ml$/, '')
    const name = r.needed(['name'], word(32))
    if (name !== undefined && name !== fileName) {
      r.fault(['name'], `is "${name}"`, `"${fileName}", the name of the file`)
    }
    const about = r.needed(['about'], text) ?? ''
    const links = r.list(['links'], true).map((index) => this.link(['links', index]))
    if (links.length > LINKS_MAX) r.fault(['links'], `has ${links.length} entries`, `at most ${LINKS_MAX}`)
    this.unique(
      'links',
      links.map((link) => link?.name),
    )
    const linkNames = links.flatMap((link) => (link ? [link.name] : []))
    const lan = r.list(['lan'], false).map((index) => r.needed(['lan', index], oneOf(...END_NAMES)))
    const sites = new Set(links.map((link) => link?.site))
    const traffic = r
      .list(['traffic'], true)
      .map((index) => this.traffic(['traffic', index], sites, lan as readonly EndName[]))
    this.unique(
      'traffic',
      traffic.map((t) => t?.name),
    )
    const known = traffic.flatMap((t) => (t ? [t] : []))
    const events = r.list(['events'], false).map((index) => this.event(['events', index], links, linkNames))
    const expect = r.list(['expect'], true).map((index) => this.expectation(['expect', index], known))
    return {
      name: name ?? fileName,
      file: this.file,
      about,
      links: present(links),
      lan: present(lan),
      outer: r.optional(['outer'], oneOf<4 | 6>(4, 6)) ?? 4,
      scheduler: r.optional(['scheduler'], word(32)),
      traffic: known,
      events: present(events).sort((a, b) => a.atUs - b.atUs),
      expect: present(expect),
    }
  }

  private unique(list: string, names: readonly (string | undefined)[]): void {
    for (const [index, name] of names.entries()) {
      if (name !== undefined && names.indexOf(name) < index) {
        this.in.fault([list, index, 'name'], `is "${name}" again`, 'a name of its own', 'configConflict')
      }
    }
  }

  private link(path: Path): ScenarioLink | undefined {
    const r = this.in
    if (!r.map(path, LINK_KEYS)) return undefined
    // Names of network devices have at most 15 characters; a router's namespace carries the name as well.
    const name = r.needed([...path, 'name'], word(12))
    const kind = r.optional([...path, 'kind'], oneOf('emulated', 'veth')) ?? 'emulated'
    const rttUs = r.optional([...path, 'rtt'], duration)
    if (rttUs !== undefined && r.places.has(...path, 'delay')) {
      r.fault([...path, 'rtt'], 'is given beside delay', 'one of them', 'configConflict', 'key')
    }
    const up = this.direction(path, 'up', rttUs)
    const down = this.direction(path, 'down', rttUs)
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
      const trace = this.trace(path, way)
      if (trace) traces[way] = trace
    }
    if (!r.places.has(...path, 'trace'))
      r.needed([...path, 'rate'], { expected: rate.expected, read: () => 0 })
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
  private oneWay<T>(path: Path, key: string, way: Way, type: ValueReader<T>): T | undefined {
    const r = this.in
    const raw = r.places.raw(...path, key)
    if (typeof raw === 'object' && raw !== null && !Array.isArray(raw) && ('up' in raw || 'down' in raw)) {
      // Noted once for both ways.
      if (way === 'up') r.map([...path, key], WAYS)
      return r.needed([...path, key, way], type)
    }
    if (raw === undefined) return undefined
    return way === 'up' ? r.optional([...path, key], type) : type.read(raw)
  }

  private direction(path: Path, way: Way, rttUs: number | undefined): DirectionModel {
    const get = <T>(key: string, type: ValueReader<T>): T | undefined => this.oneWay(path, key, way, type)
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

  private trace(path: Path, way: Way): TraceSpec | undefined {
    const r = this.in
    const raw = r.places.raw(...path, 'trace')
    if (raw === undefined) return undefined
    const split = typeof raw === 'object' && raw !== null && ('up' in raw || 'down' in raw)
    const at = split ? [...path, 'trace', way] : [...path, 'trace']
    if (split && way === 'up') r.map([...path, 'trace'], WAYS)
    if (!r.places.has(...at)) return undefined
    // A trace for both ways is read twice; its faults are noted once.
    if (!split && way === 'down' && r.faults.length > 0) return undefined
    if (!r.map(at, ['file', 'min', 'max', 'step'])) return undefined
    const file = r.optional([...at, 'file'], text)
    if (file !== undefined) {
      const found = resolve(dirname(this.file), file)
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

  private traffic(
    path: Path,
    sites: ReadonlySet<string | undefined>,
    lan: readonly EndName[],
  ): Traffic | undefined {
    const r = this.in
    const kind = r.places.raw(...path, 'kind')
    const own: Record<string, string[]> = {
      tcp: ['congestion', 'streams'],
      udp: ['rate', 'bytes'],
      ping: ['interval'],
    }
    if (!r.map(path, [...TRAFFIC_KEYS, ...(own[String(kind)] ?? [])])) return undefined
    const name = r.needed([...path, 'name'], word(24))
    const known = r.needed([...path, 'kind'], oneOf('tcp', 'udp', 'voip', 'ping'))
    const site = r.optional([...path, 'site'], oneOf('a', 'c')) ?? 'a'
    if (!sites.has(site)) r.fault([...path, 'site'], `is ${site}`, 'a site that has a link', 'configConflict')
    const useLan = r.optional([...path, 'lan'], flag) ?? false
    if (useLan && !(lan.includes(site) && lan.includes('b'))) {
      r.fault([...path, 'lan'], 'is true', `hosts behind both ends: lan: [${site}, b]`, 'configConflict')
    }
    const base = {
      name: name ?? '',
      site,
      lan: useLan,
      way: r.optional([...path, 'way'], oneOf('up', 'down')) ?? 'down',
      fromUs: r.optional([...path, 'from'], duration) ?? 0,
      forUs: r.needed([...path, 'for'], duration) ?? 0,
    }
    if (base.fromUs + base.forUs > TIME_US_MAX) r.fault([...path, 'for'], 'is too long', 'at most a day')
    if (known === undefined || name === undefined) return undefined
    if (known === 'tcp') {
      const congestion = r.optional([...path, 'congestion'], oneOf('cubic', 'bbr', 'reno')) ?? 'cubic'
      return {
        ...base,
        kind: known,
        congestion,
        streams: r.optional([...path, 'streams'], whole(1, 128)) ?? 1,
      }
    }
    if (known === 'ping') {
      const intervalUs = r.optional([...path, 'interval'], duration) ?? 20_000
      if (intervalUs < 2000) r.fault([...path, 'interval'], 'is too short', 'at least 2ms')
      return { ...base, kind: known, intervalUs }
    }
    if (known === 'voip') return { ...base, kind: known, ...VOIP }
    const bytes = r.optional([...path, 'bytes'], whole(16, 8972)) ?? 1172
    const payloadRate = r.needed([...path, 'rate'], { expected: EXPECTED.rate, read: parseRate }) ?? 0
    return { ...base, kind: known, bytes, packetsPerSec: payloadRate / 8 / bytes }
  }

  private event(
    path: Path,
    links: readonly (ScenarioLink | undefined)[],
    linkNames: readonly string[],
  ): LabEvent | undefined {
    const r = this.in
    const ofEnd = r.places.has(...path, 'end')
    const setting = r.places.raw(...path, 'do') === 'set'
    const keys = ofEnd ? ['at', 'end', 'do'] : ['at', 'link', 'do', 'way', ...(setting ? EVENT_SET_KEYS : [])]
    if (!r.map(path, keys)) return undefined
    const atUs = r.needed([...path, 'at'], duration) ?? 0
    if (ofEnd) {
      const ends: EndName[] = links.some((link) => link?.site === 'c') ? ['a', 'b', 'c'] : ['a', 'b']
      const end = r.needed([...path, 'end'], oneOf(...ends))
      const action = r.needed([...path, 'do'], oneOf(...END_ACTIONS))
      return end && action ? { atUs, end, action } : undefined
    }
    const link = r.needed([...path, 'link'], nameOf(linkNames, 'a link'))
    const action = r.needed([...path, 'do'], oneOf<LinkAction | 'set'>(...LINK_ACTIONS, 'set'))
    const way = r.optional([...path, 'way'], oneOf('up', 'down', 'both')) ?? 'both'
    if (link === undefined || action === undefined) return undefined
    const plan = links.find((candidate) => candidate?.name === link)!
    if (action === 'nat-rebind' && !plan.nat) {
      r.fault([...path, 'do'], 'is nat-rebind', `nat: true on link ${link}`, 'configConflict')
    }
    if (plan.kind === 'veth' && ['down', 'up', 'carrier-off', 'carrier-on'].includes(action)) {
      r.fault(
        [...path, 'do'],
        `is ${action} on a veth link`,
        'kind: emulated, which can do it',
        'configConflict',
      )
    }
    if (action !== 'set') return { atUs, link, action, way }
    const set = this.eventSettings(path)
    if (Object.keys(set).length === 0) r.fault(path, 'sets nothing', `one of ${EVENT_SET_KEYS.join(', ')}`)
    return { atUs, link, action, way, set }
  }

  private eventSettings(path: Path): Partial<DirectionModel> {
    const r = this.in
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

  private expectation(path: Path, traffic: readonly Traffic[]): Expectation | undefined {
    const r = this.in
    const what = r.places.raw(...path, 'what')
    const limitKey = what === 'goodput' ? 'min' : 'max'
    const keys = ['what', 'of', 'window', limitKey, ...(what === 'time-to-full' ? ['share'] : [])]
    if (!r.map(path, keys)) return undefined
    const measure = r.needed([...path, 'what'], oneOf(...MEASURES))
    const suits = traffic.filter((t) => measure === undefined || suitable(measure).includes(t.kind))
    const of = r.needed(
      [...path, 'of'],
      namesOf(
        suits.map((t) => t.name),
        `traffic that has ${measure ?? 'it'}`,
      ),
    )
    const window = r.needed([...path, 'window'], windowReader)
    if (window && of) {
      for (const t of traffic.filter((candidate) => of.includes(candidate.name))) {
        // Of traffic without a good length nothing more can be said.
        if (t.forUs === 0) continue
        if (window.fromUs < t.fromUs || window.toUs > t.fromUs + t.forUs) {
          r.fault(
            [...path, 'window'],
            `reaches beyond the traffic "${t.name}"`,
            'a window within it',
            'configConflict',
          )
        }
      }
    }
    const share = r.optional([...path, 'share'], percent) ?? 0.9
    if (measure === undefined) return undefined
    const limit = this.limit([...path, limitKey], measure)
    return of && window && limit ? { what: measure, of, window, limit, share } : undefined
  }

  private limit(path: Path, measure: Measure): Limit | undefined {
    const r = this.in
    if (measure === 'goodput') {
      return r.needed(path, {
        expected: 'a share of what is achievable such as 98%, or a rate such as 16.2Mbit/s',
        read: (raw): Limit | undefined => {
          const min = parsePercent(raw)
          if (min !== undefined) return { kind: 'share', min }
          const minBitsPerSec = parseRate(raw)
          return minBitsPerSec === undefined ? undefined : { kind: 'rate', minBitsPerSec }
        },
      })
    }
    if (measure === 'lost') {
      const max = r.needed(path, whole(0, 1e9))
      return max === undefined ? undefined : { kind: 'count', max }
    }
    const us = r.needed(path, duration)
    return us === undefined ? undefined : { kind: 'time', maxMs: us / 1000 }
  }
}

/** Kinds of traffic of which a measure can be taken. */
function suitable(measure: Measure): readonly Traffic['kind'][] {
  switch (measure) {
    case 'goodput':
      return ['tcp', 'udp']
    case 'time-to-full':
      return ['tcp']
    case 'gap':
      return ['tcp', 'udp', 'voip', 'ping']
    case 'lost':
      return ['udp', 'voip', 'ping']
    case 'delay-p50':
    case 'delay-p99':
      return ['udp', 'voip']
    case 'rtt-p50':
    case 'rtt-p99':
      return ['ping']
  }
}

function present<T>(values: readonly (T | undefined)[]): T[] {
  return values.filter((value): value is T => value !== undefined)
}
