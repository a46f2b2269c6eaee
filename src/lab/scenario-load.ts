import { closeSync, openSync, readSync } from 'node:fs'
import { basename } from 'node:path'
import { OperatorError, OperatorErrors } from '../base/errors.js'
import { decodeText } from '../config/decode-text.js'
import { type Path, type Places, readYaml } from '../config/located.js'
import {
  END_ACTIONS,
  type LabEvent,
  LINK_ACTIONS,
  type LinkAction,
  POLICIES,
  SCHEDULERS,
  type Scenario,
  type ScenarioLink,
} from './scenario.js'
import { EXPECT_KEYS, readExpectation, VERSUS_KEYS } from './scenario-expect.js'
import { EVENT_SET_KEYS, LINK_KEYS, readLink, readSettings } from './scenario-links.js'
import { ScenarioReader } from './scenario-reader.js'
import { readTraffic, TRAFFIC_KEYS, TRAFFIC_KINDS } from './scenario-traffic.js'
import { duration, flag, nameOf, oneOf, text, word } from './scenario-values.js'
import type { EndName } from './topology.js'

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

const TOP_KEYS = [
  'name',
  'about',
  'links',
  'lan',
  'outer',
  'ecn',
  'scheduler',
  'policy',
  'traffic',
  'events',
  'expect',
]
const END_NAMES: readonly EndName[] = ['a', 'b', 'c']
/** Every key of a scenario file, for the manual to be held against. */
export const SCENARIO_KEYS = {
  top: TOP_KEYS,
  link: LINK_KEYS,
  traffic: TRAFFIC_KEYS,
  trafficKind: TRAFFIC_KINDS,
  eventSet: EVENT_SET_KEYS,
  expect: EXPECT_KEYS,
  versus: VERSUS_KEYS,
} as const

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
    const links = r.list(['links'], true).map((index) => readLink(r, ['links', index], this.file))
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
      .map((index) => readTraffic(r, ['traffic', index], sites, lan as readonly EndName[]))
    this.unique(
      'traffic',
      traffic.map((t) => t?.name),
    )
    const known = traffic.flatMap((t) => (t ? [t] : []))
    const events = r.list(['events'], false).map((index) => this.event(['events', index], links, linkNames))
    const expect = r
      .list(['expect'], true)
      .map((index) => readExpectation(r, ['expect', index], known, linkNames))
    return {
      name: name ?? fileName,
      file: this.file,
      about,
      links: present(links),
      lan: present(lan),
      outer: r.optional(['outer'], oneOf<4 | 6>(4, 6)) ?? 4,
      ecn: r.optional(['ecn'], flag) ?? false,
      scheduler: r.optional(['scheduler'], oneOf(...SCHEDULERS)),
      policy: r.optional(['policy'], oneOf(...POLICIES)),
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
    const set = readSettings(r, path)
    if (Object.keys(set).length === 0) r.fault(path, 'sets nothing', `one of ${EVENT_SET_KEYS.join(', ')}`)
    return { atUs, link, action, way, set }
  }
}

function present<T>(values: readonly (T | undefined)[]): T[] {
  return values.filter((value): value is T => value !== undefined)
}
