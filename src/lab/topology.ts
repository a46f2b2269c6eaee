import { readFileSync } from 'node:fs'
import { LabError } from './lab-error.js'
import type { DirectionModel, Way } from './link-model.js'
import { runSync } from './processes.js'
import type { LabState } from './state-directory.js'
import { WanLink } from './wan-link.js'

/**
 * What a scenario is played on.
 *
 *     lan-a --- a ==== links ==== b --- lan-b          a: a home or office with several uplinks
 *     lan-c --- c ==== links ====/                     b: a rented server, one address over every link
 *                                                      c: a second site, where there is one
 *
 * Link i is 10.71.i.0/24 and fd71:0:0:i::/64, the client's side .2, the provider's .1. The server's address is on b's
 * loopback. With `nat` a router stands before the link, and the client is behind it at 10.72.i.2. The next hops are
 * static neighbours, so that a black-holed link stays routed, as behind a modem.
 */
export interface LinkPlan {
  readonly name: string
  readonly site: 'a' | 'c'
  /** "emulated": our emulator; "veth": a pair with tbf, for rates the emulator does not carry. */
  readonly kind: 'emulated' | 'veth'
  readonly mtu: number
  readonly nat: boolean
  readonly up: DirectionModel
  readonly down: DirectionModel
}

export interface TopologyPlan {
  readonly links: readonly LinkPlan[]
  /** Ends that have a host behind them. */
  readonly lan: readonly EndName[]
  /** TCP asks for ECN, which Linux leaves to servers. */
  readonly ecn?: boolean
}

export type EndName = 'a' | 'b' | 'c'

export const SERVER_ADDRESS = '192.0.2.1'
export const SERVER_ADDRESS_V6 = '2001:db8::1'
const LAN_INDEX: Record<EndName, number> = { a: 1, b: 2, c: 3 }

/** Host address behind an end, and its network. */
export const lanHost = (end: EndName): string => `10.78.${LAN_INDEX[end]}.2`
export const lanNetwork = (end: EndName): string => `10.78.${LAN_INDEX[end]}.0/24`

/** A link as it was built. Addresses change with the events "address" and "nat-rebind". */
export interface BuiltLink {
  readonly plan: LinkPlan
  readonly index: number
  /** Address of the client's device: behind the router where there is one. */
  clientAddress: string
  /** What the server sees. */
  publicAddress: string
  readonly wan: WanLink | undefined
}

const NAMESPACE_SYSCTLS = [
  'net.ipv4.conf.all.rp_filter=0',
  'net.ipv4.conf.default.rp_filter=0',
  'net.ipv6.conf.default.accept_dad=0',
  'net.ipv6.conf.default.router_solicitations=0',
  'net.ipv4.ping_group_range=0 2147483647',
  // An address that is removed takes no other with it.
  'net.ipv4.conf.all.promote_secondaries=1',
  'net.ipv4.ip_forward=1',
  'net.ipv6.conf.all.forwarding=1',
  // Nothing that one flow learnt may help the next.
  'net.ipv4.tcp_no_metrics_save=1',
  // A window for 100 Mbit/s at 600 ms, so that TCP's own limit is not what is measured.
  'net.ipv4.tcp_rmem=4096 131072 33554432',
  'net.ipv4.tcp_wmem=4096 65536 33554432',
]

export class Topology {
  readonly links: BuiltLink[] = []

  private constructor(
    readonly state: LabState,
    readonly plan: TopologyPlan,
  ) {}

  static async build(state: LabState, plan: TopologyPlan, seed: number): Promise<Topology> {
    const topology = new Topology(state, plan)
    const ends: EndName[] = plan.links.some((link) => link.site === 'c') ? ['a', 'b', 'c'] : ['a', 'b']
    for (const end of ends) topology.addNamespace(end)
    runSync('ip', ['-n', topology.end('b'), 'address', 'add', `${SERVER_ADDRESS}/32`, 'dev', 'lo'])
    runSync('ip', [
      '-n',
      topology.end('b'),
      'address',
      'add',
      `${SERVER_ADDRESS_V6}/128`,
      'dev',
      'lo',
      'nodad',
    ])
    for (const end of plan.lan) topology.addLan(end)
    for (const [at, link] of plan.links.entries()) await topology.addLink(link, at + 1, seed)
    return topology
  }

  /** Name of an end's network namespace; also of "lan-a" and "nat-LINK". */
  end(name: string): string {
    return this.state.namespace(name)
  }

  link(name: string): BuiltLink {
    const link = this.links.find((candidate) => candidate.plan.name === name)
    if (!link) throw new LabError(`there is no link "${name}" in this topology`)
    return link
  }

  async stop(): Promise<void> {
    await Promise.all(this.links.map((link) => link.wan?.stop()))
    this.state.remove()
  }

  private addNamespace(name: string): void {
    const namespace = this.end(name)
    runSync('ip', ['netns', 'add', namespace])
    runSync('ip', ['-n', namespace, 'link', 'set', 'lo', 'up'])
    const settings = [...NAMESPACE_SYSCTLS, ...(this.plan.ecn ? ['net.ipv4.tcp_ecn=1'] : [])]
    runSync('ip', ['netns', 'exec', namespace, 'sysctl', '-q', '-w', ...settings])
  }

  private addVeth(fromEnd: string, fromName: string, toEnd: string, toName: string, mtu: number): void {
    const [from, to] = [this.end(fromEnd), this.end(toEnd)]
    const words = `link add ${fromName} netns ${from} mtu ${mtu} type veth peer name ${toName} netns ${to} mtu ${mtu}`
    runSync('ip', words.split(' '))
    runSync('ip', ['-n', from, 'link', 'set', fromName, 'up'])
    runSync('ip', ['-n', to, 'link', 'set', toName, 'up'])
  }

  private addLan(end: EndName): void {
    const name = `lan-${end}`
    const network = `10.78.${LAN_INDEX[end]}`
    this.addNamespace(name)
    this.addVeth(name, 'eth0', end, 'lan', 1500)
    this.batch(name, [`address add ${network}.2/24 dev eth0`, `route add default via ${network}.1`])
    this.batch(end, [`address add ${network}.1/24 dev lan`])
  }

  private batch(end: string, lines: readonly string[]): void {
    runSync('ip', ['-n', this.end(end), '-batch', '-'], `${lines.join('\n')}\n`)
  }

  private async addLink(plan: LinkPlan, index: number, seed: number): Promise<void> {
    const { name, site } = plan
    const near = plan.nat ? `nat-${name}` : site
    if (plan.nat) {
      this.addNamespace(near)
      this.addVeth(site, name, near, 'inside', plan.mtu)
    }
    let wan: WanLink | undefined
    if (plan.kind === 'emulated') {
      wan = await WanLink.start(
        `${this.end(near)}/${name}`,
        `${this.end('b')}/${name}`,
        seed * 64 + index,
        plan.mtu,
      )
      await wan.set('up', plan.up)
      await wan.set('down', plan.down)
    } else {
      this.addVeth(near, name, 'b', name, plan.mtu)
      this.shape(near, name, plan.up)
      this.shape('b', name, plan.down)
    }
    const outer = `10.71.${index}`
    const outer6 = `fd71:0:0:${index}:`
    const link: BuiltLink = {
      plan,
      index,
      clientAddress: plan.nat ? `10.72.${index}.2` : `${outer}.2`,
      publicAddress: `${outer}.2`,
      wan,
    }
    this.links.push(link)
    this.batch(near, [
      `address add ${outer}.2/24 dev ${name}`,
      `address add ${outer6}:2/64 dev ${name} nodad`,
    ])
    this.batch('b', [`address add ${outer}.1/24 dev ${name}`, `address add ${outer6}:1/64 dev ${name} nodad`])
    this.addNeighbours(near, name, [`${outer}.1`, `${outer6}:1`], 'b', name)
    this.addNeighbours('b', name, [`${outer}.2`, `${outer6}:2`], near, name)
    if (plan.nat) this.addRouter(link, near)
    else this.addClientRoutes(site, name, index, [outer, outer6])
  }

  /** Every address has its own table, and the device a default route of its own, as with several uplinks anywhere. */
  private addClientRoutes(site: string, device: string, index: number, [v4, v6]: [string, string]): void {
    this.batch(site, [
      `route add default via ${v4}.1 dev ${device} metric ${100 + index}`,
      `route add default via ${v4}.1 dev ${device} table ${100 + index}`,
      `rule add from ${v4}.0/24 lookup ${100 + index} priority ${1000 + index}`,
    ])
    runSync(
      'ip',
      ['-6', '-n', this.end(site), '-batch', '-'],
      [
        `route add default via ${v6}:1 dev ${device} metric ${100 + index}`,
        `route add default via ${v6}:1 dev ${device} table ${100 + index}`,
        `rule add from ${v6}:/64 lookup ${100 + index} priority ${1000 + index}`,
        '',
      ].join('\n'),
    )
  }

  private addRouter(link: BuiltLink, router: string): void {
    const { name, site } = link.plan
    const inner = `10.72.${link.index}`
    this.batch(site, [`address add ${inner}.2/24 dev ${name}`])
    this.batch(router, [
      `address add ${inner}.1/24 dev inside`,
      `route add default via 10.71.${link.index}.1 dev ${name}`,
    ])
    this.batch(site, [
      `route add default via ${inner}.1 dev ${name} metric ${100 + link.index}`,
      `route add default via ${inner}.1 dev ${name} table ${100 + link.index}`,
      `rule add from ${inner}.0/24 lookup ${100 + link.index} priority ${1000 + link.index}`,
    ])
    const chain = `type nat hook postrouting priority 100\noifname "${name}" masquerade`
    const rules = `table ip plait {\nchain out {\n${chain}\n}\n}\n`
    runSync('ip', ['netns', 'exec', this.end(router), 'nft', '-f', '-'], rules)
  }

  private addNeighbours(
    end: string,
    device: string,
    addresses: string[],
    otherEnd: string,
    otherDevice: string,
  ): void {
    const address = runSync('ip', ['-n', this.end(otherEnd), '-o', 'link', 'show', 'dev', otherDevice])
    const mac = /link\/ether ([0-9a-f:]+)/.exec(address)?.[1]
    if (!mac) throw new LabError(`device ${otherDevice} of end ${otherEnd} has no hardware address`)
    this.batch(
      end,
      addresses.map((ip) => `neighbour replace ${ip} lladdr ${mac} nud permanent dev ${device}`),
    )
  }

  /** tbf counts whole Ethernet frames, as the emulator does. Two milliseconds of burst let it keep its rate. */
  private shape(end: string, device: string, model: DirectionModel): void {
    const rate = Math.round(model.rateBitsPerSec)
    const burst = Math.max(Math.round((rate / 8) * 0.002), 70_000)
    const limit =
      'bytes' in model.queue
        ? ['limit', String(Math.round(model.queue.bytes) + burst)]
        : ['latency', `${Math.round('timeUs' in model.queue ? model.queue.timeUs : 50_000)}us`]
    const words = [
      'qdisc',
      'replace',
      'dev',
      device,
      'root',
      'tbf',
      'rate',
      `${rate}bit`,
      'burst',
      `${burst}`,
      ...limit,
    ]
    runSync('tc', ['-n', this.end(end), ...words])
  }

  // ---- what events do

  async change(name: string, way: Way | 'both', model: Partial<DirectionModel>): Promise<void> {
    const link = this.link(name)
    if (link.wan) return link.wan.set(way, model)
    const near = link.plan.nat ? `nat-${name}` : link.plan.site
    if (way !== 'down') this.shape(near, name, { ...link.plan.up, ...model })
    if (way !== 'up') this.shape('b', name, { ...link.plan.down, ...model })
  }

  /** The client's address on a link becomes another of the same network; the old one is gone. */
  changeAddress(name: string): void {
    const link = this.link(name)
    if (link.plan.nat) {
      this.rebind(name)
      return
    }
    const next = this.nextAddress(link)
    this.batch(link.plan.site, [
      `address add ${next}/24 dev ${name}`,
      `address delete ${link.clientAddress}/24 dev ${name}`,
      // The kernel may have taken the routes away with the address.
      `route replace default via 10.71.${link.index}.1 dev ${name} metric ${100 + link.index}`,
      `route replace default via 10.71.${link.index}.1 dev ${name} table ${100 + link.index}`,
    ])
    this.addNeighbours('b', name, [next], link.plan.site, name)
    link.clientAddress = next
    link.publicAddress = next
  }

  /** The router takes another public address and forgets its mappings (masquerading does so with the address). */
  rebind(name: string): void {
    const link = this.link(name)
    if (!link.plan.nat) throw new LabError(`link "${name}" has no NAT router to rebind`)
    const next = this.nextAddress(link)
    const router = `nat-${name}`
    this.batch(router, [
      `address add ${next}/24 dev ${name}`,
      `address delete ${link.publicAddress}/24 dev ${name}`,
      `route replace default via 10.71.${link.index}.1 dev ${name}`,
    ])
    this.addNeighbours('b', name, [next], router, name)
    link.publicAddress = next
  }

  private nextAddress(link: BuiltLink): string {
    const [prefix, last] = [`10.71.${link.index}`, Number(link.publicAddress.split('.')[3])]
    return `${prefix}.${last === 250 ? 2 : last + 1}`
  }

  /** MTU of a device as it is now. */
  mtuOf(end: string, device: string): number | undefined {
    try {
      return Number(runSync('ip', ['netns', 'exec', this.end(end), 'cat', `/sys/class/net/${device}/mtu`]))
    } catch {
      return undefined
    }
  }
}

/** Whether the kernel has MPTCP at all. */
export function kernelHasMptcp(): boolean {
  try {
    return readFileSync('/proc/sys/net/mptcp/enabled', 'utf8').trim() !== ''
  } catch {
    return false
  }
}
