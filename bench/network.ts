import { runSync, type Task, taskIn } from '../src/lab/processes.js'
import { LabState, sweepDeadRuns } from '../src/lab/state-directory.js'

export type End = 'a' | 'b'
export const ENDS: readonly End[] = ['a', 'b']
export const otherEnd = (end: End): End => (end === 'a' ? 'b' : 'a')

/** Where b is reached over every link, as a rented server is. */
export const SERVER_ADDRESS = '192.0.2.1'
/** A host behind each end. */
export const LAN_HOST: Record<End, string> = { a: '10.78.1.2', b: '10.78.2.2' }
export const LAN_NETWORK: Record<End, string> = { a: '10.78.1.0/24', b: '10.78.2.0/24' }

export interface LinkPlan {
  readonly name: string
  /** Shaped by tbf, both ways; unshaped unless told. */
  readonly mbit?: number
}

/**
 * Two namespaces joined by veth links, the client's side 10.71.i.2, the server's 10.71.i.1; a host behind each end in
 * a namespace of its own. Names carry a random suffix; all is gone when the process ends, however that happens, or
 * when the next run starts.
 */
export class Network {
  private constructor(readonly state: LabState) {}

  static build(links: readonly LinkPlan[]): Network {
    sweepDeadRuns()
    const network = new Network(LabState.create())
    for (const name of ['a', 'b', 'lan-a', 'lan-b']) network.addNamespace(name)
    network.ip('b', `address add ${SERVER_ADDRESS}/32 dev lo`)
    links.forEach((link, i) => {
      network.addLink(link, i + 1)
    })
    for (const end of ENDS) network.addLan(end)
    return network
  }

  /** Address of an end on the link of that number, counted from 1. */
  static linkAddress(end: End, index: number): string {
    return `10.71.${index}.${end === 'a' ? 2 : 1}`
  }

  task(name: string, program: string, ...args: string[]): Task {
    return taskIn(this.state.namespace(name), program, args)
  }

  run(name: string, program: string, ...args: string[]): string {
    return runSync('ip', ['netns', 'exec', this.state.namespace(name), program, ...args])
  }

  ip(name: string, words: string): string {
    return runSync('ip', ['-n', this.state.namespace(name), ...words.split(' ')])
  }

  path(name: string): string {
    return this.state.path(name)
  }

  remove(): void {
    this.state.remove()
  }

  private addNamespace(name: string): void {
    runSync('ip', ['netns', 'add', this.state.namespace(name)])
    this.ip(name, 'link set lo up')
    const settings = [
      'net.ipv4.conf.all.rp_filter=0',
      'net.ipv4.conf.default.rp_filter=0',
      'net.ipv4.ip_forward=1',
      // What one flow learnt must not help the next.
      'net.ipv4.tcp_no_metrics_save=1',
      'net.ipv4.ping_group_range=0 2147483647',
    ]
    this.run(name, 'sysctl', '-q', '-w', ...settings)
  }

  private addVeth(from: string, fromName: string, to: string, toName: string): void {
    const [near, far] = [this.state.namespace(from), this.state.namespace(to)]
    runSync('ip', `link add ${fromName} netns ${near} type veth peer name ${toName} netns ${far}`.split(' '))
    this.ip(from, `link set ${fromName} up`)
    this.ip(to, `link set ${toName} up`)
  }

  private addLink({ name, mbit }: LinkPlan, index: number): void {
    this.addVeth('a', name, 'b', name)
    for (const end of ENDS) {
      this.ip(end, `address add ${Network.linkAddress(end, index)}/24 dev ${name}`)
      if (mbit !== undefined) this.shape(end, name, mbit)
    }
    this.ip(
      'a',
      `route add ${SERVER_ADDRESS}/32 via ${Network.linkAddress('b', index)} dev ${name} metric ${index}`,
    )
  }

  /** tbf counts whole Ethernet frames. 2 ms of burst take a GSO message in one piece, and let tbf keep its rate. */
  private shape(end: End, device: string, mbit: number): void {
    const burst = Math.max(Math.round(mbit * 125 * 2), 70_000)
    const words = `qdisc add dev ${device} root tbf rate ${mbit}mbit burst ${burst} latency 20ms`
    runSync('tc', ['-n', this.state.namespace(end), ...words.split(' ')])
  }

  private addLan(end: End): void {
    const host = `lan-${end}`
    const gateway = LAN_HOST[end].replace(/2$/, '1')
    this.addVeth(end, 'lan', host, 'eth0')
    this.ip(end, `address add ${gateway}/24 dev lan`)
    this.ip(host, `address add ${LAN_HOST[end]}/24 dev eth0`)
    this.ip(host, `route add default via ${gateway}`)
  }
}
