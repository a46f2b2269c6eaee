import { lookup } from 'node:dns/promises'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { OperatorError } from '../base/errors.js'
import { formatIpAddress, type IpAddress, parseIpAddress } from '../base/ip-address.js'
import type { Places } from '../config/located.js'
import type { Config, LinkConfig } from '../config/schema.js'
import { ask } from '../control/client.js'
import { parseIpJson, type RunIp, runIp } from './ip-command.js'

const RESOLVE_MS_MAX = 5_000
const CAP_NET_ADMIN = 12n
/** Bits of /sys/class/net/NAME/tun_flags (linux/if_tun.h). */
const IFF_TAP = 0x0002

/** What the checks ask of the system; a test gives its own. */
export interface CheckSystem {
  readonly run: RunIp
  /** Contents of a small file, or undefined. */
  read(path: string): string | undefined
  exists(path: string): boolean
  /** Whether this program may open the file for reading and writing. */
  usable(path: string): boolean
  /** All addresses of a name; rejects if there is none. */
  resolve(host: string): Promise<IpAddress[]>
  /** Whether a running plait answers there. */
  answers(control: string): Promise<boolean>
}

/**
 * What around the configuration would keep it from working: devices, routes, filters, privileges, names. All faults at
 * once, each at the place of the key it belongs to.
 */
export async function checkSystem(
  config: Config,
  places: Places,
  system: CheckSystem = realSystem,
): Promise<OperatorError[]> {
  const faults: OperatorError[] = []
  checkPrivileges(places, system, faults)
  await checkName(config, places, system, faults)
  const devices = await checkLinks(config, places, system, faults)
  const endpoints = await resolveEndpoints(config, places, system, faults)
  await checkWays(config, places, system, faults, devices, endpoints)
  return faults
}

interface Endpoint {
  readonly peer: number
  readonly host: string
  readonly addresses: readonly IpAddress[]
}

function checkPrivileges(places: Places, system: CheckSystem, faults: OperatorError[]): void {
  const place = places.key('interface')
  if (!system.exists('/dev/net/tun')) {
    faults.push(
      new OperatorError('tunMissing', '/dev/net/tun is missing, expected the tun driver', { place }),
    )
  } else if (!system.usable('/dev/net/tun')) {
    const text = '/dev/net/tun cannot be opened, expected it readable and writable'
    faults.push(new OperatorError('privileges', text, { place }))
  }
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(system.read('/proc/self/status') ?? '')?.[1]
  if (effective !== undefined && ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) === 0n) {
    const text = 'this user may not set up devices and routes, expected root or CAP_NET_ADMIN'
    faults.push(new OperatorError('privileges', text, { place }))
  }
}

async function checkName(
  config: Config,
  places: Places,
  system: CheckSystem,
  faults: OperatorError[],
): Promise<void> {
  const name = config.interface.name
  const folder = `/sys/class/net/${name}`
  if (!system.exists(folder)) return
  const place = places.value('interface', 'name')
  const flags = system.read(`${folder}/tun_flags`)
  const taken = (what: string): void => {
    const text = `the device ${name} is there and is ${what}, expected a free name`
    faults.push(new OperatorError('deviceTaken', text, { place }))
  }
  if (flags === undefined) taken('no TUN device')
  else if ((Number(flags) & IFF_TAP) !== 0) taken('a TAP device')
  // A carrier means that a program holds it. A TUN device without one is left over and can be taken.
  else if (system.read(`${folder}/carrier`)?.trim() === '1' && !(await system.answers(config.control))) {
    taken('in use by another program')
  }
}

/** Returns the indices of the links whose devices can be looked at further. */
async function checkLinks(
  config: Config,
  places: Places,
  system: CheckSystem,
  faults: OperatorError[],
): Promise<number[]> {
  const good: number[] = []
  for (const [i, link] of config.links.entries()) {
    const place = places.value('links', i, 'device')
    const state = await system.run(['-j', 'address', 'show', 'dev', link.device])
    const row = parseIpJson(state).find((entry) => entry['ifname'] === link.device)
    if (row === undefined) {
      const text = `the device ${link.device} of link ${link.name} does not exist`
      faults.push(new OperatorError('linkNoDevice', text, { place }))
      continue
    }
    if (!(row['flags'] as string[]).includes('UP')) {
      const remedy = `ip link set ${link.device} up`
      const text = `the device ${link.device} of link ${link.name} is down`
      faults.push(new OperatorError('linkNoDevice', text, { place, remedy }))
      continue
    }
    if (link.source !== undefined && !hasAddress(row, link.source)) {
      const text = `${formatIpAddress(link.source)} is no address of ${link.device}`
      faults.push(new OperatorError('linkNoSource', text, { place: places.value('links', i, 'source') }))
      continue
    }
    good.push(i)
  }
  return good
}

function hasAddress(row: Record<string, unknown>, wanted: IpAddress): boolean {
  const infos = Array.isArray(row['addr_info']) ? (row['addr_info'] as Record<string, unknown>[]) : []
  return infos.some((info) => {
    const address = parseIpAddress(String(info['local']))
    return address !== undefined && formatIpAddress(address) === formatIpAddress(wanted)
  })
}

async function resolveEndpoints(
  config: Config,
  places: Places,
  system: CheckSystem,
  faults: OperatorError[],
): Promise<Endpoint[]> {
  const asked = config.peers.flatMap((peer, p) => peer.endpoint.map((end, e) => ({ end, p, e })))
  const found = await Promise.all(
    asked.map(async ({ end, p, e }): Promise<Endpoint | undefined> => {
      const addresses =
        end.address === undefined ? await system.resolve(end.host).catch(() => []) : [end.address]
      if (addresses.length > 0) return { peer: p, host: end.host, addresses }
      const place = places.value('peers', p, 'endpoint', e)
      faults.push(new OperatorError('endpointUnresolved', `the name ${end.host} does not resolve`, { place }))
      return undefined
    }),
  )
  return found.filter((endpoint) => endpoint !== undefined)
}

/** A route per link to each endpoint, and no filter against its answers. */
async function checkWays(
  config: Config,
  places: Places,
  system: CheckSystem,
  faults: OperatorError[],
  links: readonly number[],
  endpoints: readonly Endpoint[],
): Promise<void> {
  for (const i of links) {
    const link = config.links[i]!
    const place = places.value('links', i, 'device')
    const ways = await Promise.all(endpoints.map((endpoint) => waysTo(system, endpoint, link)))
    for (const way of ways) {
      if (way.reached.length > 0) continue
      // A link with one family only is well if the peer is reached by that one.
      const families = new Set(way.asked.map((address) => address.family))
      const isExcused = ways.some(
        (other) =>
          other.endpoint.peer === way.endpoint.peer &&
          other.reached.some((address) => !families.has(address.family)),
      )
      if (isExcused) continue
      const to = nameOf(way.endpoint)
      const text = `link ${link.name} has no route to ${to} over ${link.device}: what is sent there goes nowhere`
      const remedy = routeRemedy(way.asked, link.device)
      faults.push(new OperatorError('linkNoRoute', text, { place, remedy }))
    }
    const reached = ways.flatMap((way) => way.reached).filter((address) => address.family === 4)
    if (reached.length > 0 && isStrict(system, link.device)) {
      const best = await Promise.all(reached.map((address) => deviceTo(system, address)))
      if (best.some((device) => device !== link.device))
        faults.push(filterFault(link.name, link.device, place))
    }
    // An end that only listens cannot know who will come; with several links answers and routes will cross.
    if (endpoints.length === 0 && links.length > 1 && isStrict(system, link.device)) {
      faults.push(filterFault(link.name, link.device, place))
    }
  }
  if (links.length > 0 || config.links.length > 0) return
  for (const endpoint of endpoints) {
    const ways = await Promise.all(
      endpoint.addresses.map((address) => hasRoute(system, address, undefined, undefined)),
    )
    if (ways.some(Boolean)) continue
    const place = places.value('peers', endpoint.peer, 'endpoint')
    faults.push(new OperatorError('linkNoRoute', `there is no route to ${nameOf(endpoint)}`, { place }))
  }
}

/** Which addresses of an endpoint a link has a route to, of those that its source address allows. */
async function waysTo(
  system: CheckSystem,
  endpoint: Endpoint,
  link: LinkConfig,
): Promise<{ endpoint: Endpoint; asked: IpAddress[]; reached: IpAddress[] }> {
  const asked = endpoint.addresses.filter(
    (address) => link.source === undefined || address.family === link.source.family,
  )
  const answers = await Promise.all(
    asked.map((address) => hasRoute(system, address, link.device, link.source)),
  )
  return { endpoint, asked, reached: asked.filter((_, i) => answers[i]) }
}

/**
 * Whether the device has a route of its own. `fibmatch` is what tells: a plain `route get` with a device answers
 * "on the link" where there is none, as the kernel does for a packet sent that way.
 */
async function hasRoute(
  system: CheckSystem,
  address: IpAddress,
  device: string | undefined,
  source: IpAddress | undefined,
): Promise<boolean> {
  const from = source === undefined ? [] : ['from', formatIpAddress(source)]
  const oif = device === undefined ? [] : ['oif', device]
  const result = await system.run([
    '-j',
    'route',
    'get',
    'fibmatch',
    formatIpAddress(address),
    ...from,
    ...oif,
  ])
  return parseIpJson(result).some((row) => row['dev'] !== undefined || row['nexthops'] !== undefined)
}

/** The device that the kernel itself would choose. */
async function deviceTo(system: CheckSystem, address: IpAddress): Promise<unknown> {
  return parseIpJson(await system.run(['-j', 'route', 'get', formatIpAddress(address)]))[0]?.['dev']
}

/** Strict reverse path filtering is the larger of both settings being 1 (Documentation/networking/ip-sysctl). */
function isStrict(system: CheckSystem, device: string): boolean {
  const settings = ['all', device].map((name) =>
    Number(system.read(`/proc/sys/net/ipv4/conf/${name}/rp_filter`) ?? 0),
  )
  return Math.max(...settings) === 1
}

function filterFault(link: string, device: string, place: OperatorError['place']): OperatorError {
  const text = `rp_filter is strict on ${device}: what comes in on link ${link} is dropped, as the best route back is another`
  const remedy = `sysctl -w net.ipv4.conf.${device.replaceAll('.', '/')}.rp_filter=2`
  return new OperatorError('linkReversePathFilter', text, { place, remedy })
}

function routeRemedy(addresses: readonly IpAddress[], device: string): string {
  const six = addresses.length > 0 && addresses.every((address) => address.family === 6)
  return `ip ${six ? '-6 ' : ''}route add default via GATEWAY dev ${device} metric 1000`
}

function nameOf(endpoint: Endpoint): string {
  const texts = endpoint.addresses.map(formatIpAddress)
  return texts.length === 1 && texts[0] === endpoint.host
    ? endpoint.host
    : `${endpoint.host} (${texts.join(', ')})`
}

export const realSystem: CheckSystem = {
  run: runIp,
  read(path) {
    try {
      return readFileSync(path, 'utf8')
    } catch {
      return undefined
    }
  },
  exists: existsSync,
  usable(path) {
    try {
      accessSync(path, constants.R_OK | constants.W_OK)
      return true
    } catch {
      return false
    }
  },
  async resolve(host) {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, failed) => {
      timer = setTimeout(() => failed(new Error('no answer')), RESOLVE_MS_MAX)
    })
    try {
      const found = await Promise.race([lookup(host, { all: true }), late])
      return found.flatMap((entry) => parseIpAddress(entry.address) ?? [])
    } finally {
      clearTimeout(timer)
    }
  },
  async answers(control) {
    return ask(control, 'status', {}).then(
      () => true,
      () => false,
    )
  },
}
