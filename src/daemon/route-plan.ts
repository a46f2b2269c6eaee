import {
  type Cidr,
  cidrContains,
  formatCidr,
  formatIpAddress,
  type IpAddress,
  networkOf,
  parseCidr,
  parseIpAddress,
} from '../base/ip-address.js'
import type { Config } from '../config/schema.js'
import { INNER_MTU_MIN } from '../core/path-mtu.js'

/** Marks our routes in the kernel's table (`ip route show proto 112`). */
export const ROUTE_PROTOCOL = 112
/** Pinned routes of link i have metric PIN_METRIC + i: several to one endpoint stand side by side. */
const PIN_METRIC = 700
/** Last choice of all. */
const BACKSTOP_METRIC = 2_147_483_647
/**
 * Packets that may wait in the device until we run again: 16 ms of 120,000 a second. With Linux's 500 a burst of UDP
 * loses a fifth of its packets when other programs take the processor in between.
 */
const TUN_QUEUE_PACKETS = 2000
/** What a packet gets around it: 32 bytes of ours, 8 of UDP, and those of IP. */
const OUTER_BYTES = { 4: 60, 6: 80 } as const
/** More is taken of no device, nor of a way before it is known. */
const USUAL_MTU = 1500

/** A line for `ip -batch` together with the line that takes it back. */
export interface Step {
  readonly command: string
  readonly undo: string
}

export interface RoutePlan {
  /** On other devices: outlives the TUN device, so it must be taken back even after a kill. */
  readonly pins: readonly Step[]
  /** On the TUN device: goes with it. */
  readonly tun: readonly Step[]
  /** What the operator may wonder about. */
  readonly notes: readonly string[]
}

/** One route of the kernel's main table, as far as the plan looks at it. */
export interface KernelRoute {
  readonly to: Cidr
  readonly device: string
  readonly gateway: IpAddress | undefined
  readonly metric: number
}

/** What the plan depends on. */
export interface RouteInput {
  readonly config: Config
  /** Name of the TUN device, as the kernel gave it. */
  readonly device: string
  /** All addresses of all peers' endpoints, names resolved. */
  readonly endpoints: readonly IpAddress[]
  /** The main table, both families. */
  readonly kernelRoutes: readonly KernelRoute[]
  /** MTUs of the links' devices, as far as they are there. */
  readonly linkMtus: readonly number[]
}

/**
 * The largest MTU that the TUN may have: what the configuration says, or what fits all outer addresses and the devices of
 * the links. What the ways behind those carry is for the core to find out.
 */
export function tunMtu({
  config,
  endpoints,
  linkMtus,
}: Pick<RouteInput, 'config' | 'endpoints' | 'linkMtus'>): number {
  const outer = [...endpoints, ...config.interface.listen.flatMap((listen) => listen.address ?? [])]
  const around = OUTER_BYTES[outer.some((address) => address.family === 6) ? 6 : 4]
  const fitting = Math.min(USUAL_MTU, ...linkMtus) - around
  return config.interface.mtu ?? Math.max(INNER_MTU_MIN, fitting)
}

/**
 * Plans addresses, MTU and routes.
 *
 * Routes into the TUN: each allowed IP, of which a default route only when asked for, and then as two halves, which win
 * over the default route that is there without touching it.
 *
 * The tunnel's own packets must not follow them. A socket bound to a device looks only at routes of that device, so
 * with links configured it cannot loop as long as the device has a route of its own. Pinned host routes to the
 * endpoints, one per link through its present gateway, keep everything else right that looks up the endpoint: the
 * kernel's reverse path filter, its own ICMP, and the unbound socket when no links are configured. For that last case
 * an `unreachable` route stands behind the pin, so that the loss of the uplink cannot turn the tunnel into itself.
 * It must not be there for bound sockets: it would win over the default route of a link that is not pinned yet.
 */
export function planRoutes(input: RouteInput): RoutePlan {
  const { config, device } = input
  const notes: string[] = []
  const tun: Step[] = []
  for (const address of config.interface.addresses) {
    const text = `${formatCidr(address)} dev ${device}`
    // No duplicate address detection: there is nobody else on a TUN, and the address would be unusable for a second.
    const flags = address.family === 6 ? ' nodad' : ''
    tun.push({ command: `address add ${text}${flags}`, undo: `address del ${text}` })
  }
  tun.push({
    command: `link set dev ${device} mtu ${tunMtu(input)} txqueuelen ${TUN_QUEUE_PACKETS} up`,
    undo: `link set dev ${device} down`,
  })
  const routed = routedNetworks(input, notes)
  for (const network of routed) {
    const route = `${formatCidr(network)} dev ${device} proto ${ROUTE_PROTOCOL}`
    tun.push({ command: `route add ${route}`, undo: `route del ${route}` })
  }
  return { pins: planPins(input, routed, notes), tun, notes }
}

/** The networks that become routes into the TUN. */
function routedNetworks(input: Omit<RouteInput, 'kernelRoutes' | 'linkMtus'>, notes: string[]): Cidr[] {
  const { config } = input
  const connected = new Set(config.interface.addresses.map((address) => formatCidr(networkOf(address))))
  const endpoints = new Set(input.endpoints.map((address) => formatCidr(hostNetwork(address))))
  const networks: Cidr[] = []
  for (const peer of config.peers) {
    for (const network of peer.allowedIps) {
      const text = formatCidr(network)
      if (network.bits === 0) {
        if (peer.defaultRoute) networks.push(...halvesOf(network))
        else notes.push(`no route for ${text} of ${peer.name}: default-route is false`)
      } else if (endpoints.has(text)) {
        notes.push(`no route for ${text} of ${peer.name}: it is an endpoint of the tunnel itself`)
      } else if (!connected.has(text)) networks.push(network)
    }
  }
  return networks
}

/** Whether a route into the TUN would capture an endpoint. */
export function needsPins(input: Omit<RouteInput, 'kernelRoutes' | 'linkMtus'>): boolean {
  const routed = routedNetworks(input, [])
  return input.endpoints.some((endpoint) => routed.some((network) => cidrContains(network, endpoint)))
}

/** Host routes for the endpoints that a route into the TUN would capture. */
function planPins(input: RouteInput, routed: readonly Cidr[], notes: string[]): Step[] {
  const steps: Step[] = []
  const bound = input.config.links.map((link) => link.device)
  const seen = new Set<string>()
  for (const endpoint of input.endpoints) {
    const host = formatCidr(hostNetwork(endpoint))
    if (seen.has(host) || !routed.some((network) => cidrContains(network, endpoint))) continue
    seen.add(host)
    const add = (route: string): void => {
      steps.push({ command: `route add ${route}`, undo: `route del ${route}` })
    }
    const pin = ({ device, gateway }: KernelRoute, metric: number): void =>
      add(pinnedRoute(host, device, gateway, metric))
    bound.forEach((device, i) => {
      const route = routeTo(endpoint, device, input)
      if (route === undefined) notes.push(`${device} has no route to ${formatIpAddress(endpoint)}`)
      else pin(route, PIN_METRIC + i)
    })
    if (bound.length > 0) continue
    const route = routeTo(endpoint, undefined, input)
    if (route === undefined) notes.push(`there is no route to ${formatIpAddress(endpoint)}`)
    else pin(route, PIN_METRIC)
    add(backstopRoute(host))
  }
  return steps
}

const pinnedRoute = (
  host: string,
  device: string,
  gateway: IpAddress | undefined,
  metric: number,
): string => {
  const via = gateway === undefined ? '' : ` via ${formatIpAddress(gateway)}`
  return `${host}${via} dev ${device} proto ${ROUTE_PROTOCOL} metric ${metric}`
}
const backstopRoute = (host: string): string =>
  `unreachable ${host} proto ${ROUTE_PROTOCOL} metric ${BACKSTOP_METRIC}`

/** The route that the kernel takes to `address` over `device` (undefined: over any but the TUN). */
function routeTo(address: IpAddress, device: string | undefined, input: RouteInput): KernelRoute | undefined {
  let best: KernelRoute | undefined
  for (const route of input.kernelRoutes) {
    if (route.device === input.device || (device !== undefined && route.device !== device)) continue
    if (!cidrContains(route.to, address)) continue
    const wins =
      best === undefined ||
      route.to.bits > best.to.bits ||
      (route.to.bits === best.to.bits && route.metric < best.metric)
    if (wins) best = route
  }
  return best
}

/** Commands of the pins that are in the kernel's table, as {@link planRoutes} plans them. */
export function readPins(rows: readonly Record<string, unknown>[], family: 4 | 6): string[] {
  return rows.flatMap((row) => {
    if (row['protocol'] !== String(ROUTE_PROTOCOL)) return []
    const to = readNetwork(String(row['dst']), family)
    if (to === undefined) return []
    const host = formatCidr(to)
    if (row['type'] === 'unreachable') return [`route add ${backstopRoute(host)}`]
    const gateway = parseIpAddress(String(row['gateway'] ?? ''))
    return [`route add ${pinnedRoute(host, String(row['dev']), gateway, Number(row['metric'] ?? 0))}`]
  })
}

/** Reads what `ip -j route show` printed; our own routes, and those without a device, are left out. */
export function readKernelRoutes(rows: readonly Record<string, unknown>[], family: 4 | 6): KernelRoute[] {
  return rows.flatMap((row) => {
    if (row['protocol'] === String(ROUTE_PROTOCOL) || typeof row['dst'] !== 'string') return []
    if (row['type'] !== undefined && row['type'] !== 'unicast') return []
    const to = readNetwork(row['dst'], family)
    if (to === undefined) return []
    // A multipath route has its next hops in a list.
    const hops = Array.isArray(row['nexthops']) ? (row['nexthops'] as Record<string, unknown>[]) : [row]
    return hops.flatMap((hop) => {
      if (typeof hop['dev'] !== 'string') return []
      const via = hop['via'] as Record<string, unknown> | undefined
      const gateway = parseIpAddress(String(hop['gateway'] ?? via?.['host'] ?? ''))
      // IPv4 by way of an IPv6 gateway (RFC 5549) is written differently; such a link needs no pin to work.
      if (gateway !== undefined && gateway.family !== family) return []
      return [{ to, device: hop['dev'], gateway, metric: Number(row['metric'] ?? 0) }]
    })
  })
}

function readNetwork(text: string, family: 4 | 6): Cidr | undefined {
  if (text === 'default') return { family, bytes: new Uint8Array(family === 4 ? 4 : 16), bits: 0 }
  const address = parseIpAddress(text)
  return address === undefined ? parseCidr(text) : hostNetwork(address)
}

function hostNetwork(address: IpAddress): Cidr {
  return { family: address.family, bytes: address.bytes, bits: address.bytes.length * 8 }
}

function halvesOf(network: Cidr): Cidr[] {
  const upper = network.bytes.slice()
  upper[0] = 0x80
  return [
    { family: network.family, bytes: network.bytes, bits: 1 },
    { family: network.family, bytes: upper, bits: 1 },
  ]
}
