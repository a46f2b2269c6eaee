import type { Path } from '../config/located.js'
import { CONGESTIONS, type RequestTraffic, type Traffic, VOIP } from './scenario.js'
import type { ScenarioReader } from './scenario-reader.js'
import { duration, flag, oneOf, whole, word } from './scenario-values.js'
import type { EndName } from './topology.js'
import { EXPECTED, parseRate } from './units.js'

export const TRAFFIC_KEYS = ['name', 'kind', 'way', 'site', 'lan', 'from', 'for']
export const TRAFFIC_KINDS = ['tcp', 'udp', 'voip', 'ping', 'quic', 'echo', 'fetch'] as const
/** By kind, what it has beyond that. */
const OWN_KEYS: Record<string, string[]> = {
  tcp: ['congestion', 'streams'],
  udp: ['rate', 'bytes'],
  ping: ['interval'],
  echo: ['interval', 'bytes'],
  fetch: ['interval', 'bytes'],
}
/** Longest time a scenario may take: nobody waits longer by intention. */
const TIME_US_MAX = 24 * 3600e6
/** A keystroke of ssh on the wire is about this long; a small page with what it needs. */
const REQUEST_BYTES = { echo: 64, fetch: 100_000 } as const
const REQUEST_INTERVAL_US = { echo: 200_000, fetch: 1_000_000 } as const

/** An entry of the list `traffic`. */
export function readTraffic(
  r: ScenarioReader,
  path: Path,
  sites: ReadonlySet<string | undefined>,
  lan: readonly EndName[],
): Traffic | undefined {
  const kind = r.places.raw(...path, 'kind')
  if (!r.map(path, [...TRAFFIC_KEYS, ...(OWN_KEYS[String(kind)] ?? [])])) return undefined
  const name = r.needed([...path, 'name'], word(24))
  const known = r.needed([...path, 'kind'], oneOf(...TRAFFIC_KINDS))
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
    const congestion = r.optional([...path, 'congestion'], oneOf(...CONGESTIONS)) ?? 'cubic'
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
  if (known === 'echo' || known === 'fetch') return readRequests(r, path, base, known)
  if (known === 'quic') return { ...base, kind: known }
  if (known === 'voip') return { ...base, kind: known, ...VOIP }
  const bytes = r.optional([...path, 'bytes'], whole(16, 8972)) ?? 1172
  const payloadRate = r.needed([...path, 'rate'], { expected: EXPECTED.rate, read: parseRate }) ?? 0
  return { ...base, kind: known, bytes, packetsPerSec: payloadRate / 8 / bytes }
}

function readRequests(
  r: ScenarioReader,
  path: Path,
  base: Omit<RequestTraffic, 'kind' | 'intervalUs' | 'bytes'>,
  kind: RequestTraffic['kind'],
): RequestTraffic {
  const intervalUs = r.optional([...path, 'interval'], duration) ?? REQUEST_INTERVAL_US[kind]
  if (intervalUs < 10_000) r.fault([...path, 'interval'], 'is too short', 'at least 10ms')
  const bytes = r.optional([...path, 'bytes'], whole(1, 10_000_000)) ?? REQUEST_BYTES[kind]
  // Both are opened by the client; the direction of the bytes is the kind's own.
  return { ...base, kind, intervalUs, bytes }
}
