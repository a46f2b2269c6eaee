import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { rmdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { ask } from '../control/client.js'
import type { EventSnapshot, Snapshot } from '../core/snapshot.js'
import { LabError } from './lab-error.js'
import type { DirectionModel } from './link-model.js'
import { delay, monotonicNs, runSync, type Task, taskIn } from './processes.js'
import { plaitProgram } from './programs.js'
import type { LabState } from './state-directory.js'
import { type EndName, SERVER_ADDRESS, Topology } from './topology.js'

export const LINKS = ['one', 'two'] as const
export const LINK_MBIT = 50
export const INNER = { a: '10.77.0.1', b: '10.77.0.2' } as const
const PORT = 51820
/** How much a link's buffer takes before it drops, in time at its rate: as much as a modem's. */
const BUFFER_US = 50_000
/** Nobody's hardware address: frames sent there go out and are taken by no one. */
const NOBODY = '02:00:00:00:00:01'
const UP_MS_MAX = 10_000

const model: DirectionModel = {
  rateBitsPerSec: LINK_MBIT * 1e6,
  overheadBytes: 0,
  delayUs: 0,
  jitterUs: 0,
  jitterHoldUs: 0,
  keepOrder: true,
  loss: 0,
  lossBurst: 1,
  duplicate: 0,
  reorder: 0,
  reorderByUs: 0,
  queue: { timeUs: BUFFER_US },
  pathMtu: 0,
}

/** Two namespaces, a client and a server, joined by two links; a plait at each end. */
export class DemoNetwork {
  private readonly daemons = new Map<'a' | 'b', Task>()
  private readonly keys = { a: newKeys(), b: newKeys() }

  private constructor(
    private readonly state: LabState,
    private readonly topology: Topology,
  ) {}

  /** `state` is removed by the caller, whatever becomes of this. */
  static async build(state: LabState): Promise<DemoNetwork> {
    const plan = (name: string) =>
      ({ name, site: 'a', kind: 'veth', mtu: 1500, nat: false, up: model, down: model }) as const
    return new DemoNetwork(state, await Topology.build(state, { links: LINKS.map(plan), lan: [] }, 1))
  }

  namespace(end: EndName): string {
    return this.topology.end(end)
  }

  /** The client's address on a link, as the server sees it. */
  clientAddress(link: string): string {
    return this.topology.link(link).publicAddress
  }

  /** Starts a plait; at the client with the given links. */
  start(end: 'a' | 'b', links: readonly string[]): void {
    const file = this.state.path(`${end}.yaml`)
    const other = end === 'a' ? 'b' : 'a'
    const lines = [
      'interface:',
      '  name: plait0',
      `  addresses: [${INNER[end]}/24]`,
      `  private-key: ${this.keys[end].privateKey}`,
      ...(end === 'b' ? [`  listen: "0.0.0.0:${PORT}"`] : []),
      `control: ${this.socket(end)}`,
      'peers:',
      `  - name: ${other}`,
      `    public-key: ${this.keys[other].publicKey}`,
      ...(end === 'a' ? [`    endpoint: "${SERVER_ADDRESS}:${PORT}"`] : []),
      `    allowed-ips: [${INNER[other]}/32]`,
      ...(end === 'a' ? ['links:', ...links.map((name) => `  - { name: ${name}, device: ${name} }`)] : []),
    ]
    writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 })
    this.daemons.set(end, taskIn(this.namespace(end), plaitProgram, ['up', file]))
  }

  async stop(end: 'a' | 'b'): Promise<void> {
    await this.daemons.get(end)?.stop('SIGTERM', 3000)
  }

  /** Waits until the client has `links` up. */
  async untilUp(links: readonly string[]): Promise<void> {
    const end = performance.now() + UP_MS_MAX
    while (performance.now() < end) {
      for (const [name, task] of this.daemons) {
        if (task.exit && name === 'b') throw new LabError(`plait at the server ended: ${task.lastWords}`)
        if (task.exit && name === 'a') throw new LabError(`plait at the client ended: ${task.lastWords}`)
      }
      const paths = (await this.status('a'))?.peers[0]?.paths ?? []
      if (links.every((link) => paths.some((path) => path.link === link && path.state === 'up'))) return
      await delay(20)
    }
    throw new LabError(`the tunnel did not come up: ${this.daemons.get('a')?.lastWords}`)
  }

  /** Undefined while that plait does not answer. */
  async status(end: 'a' | 'b'): Promise<Snapshot | undefined> {
    return ask(this.socket(end), 'status', {}).catch(() => undefined)
  }

  /**
   * Makes a link swallow all frames, or none, in both directions; carrier and queues know nothing of it. Returns the
   * instant before the first of both directions (CLOCK_MONOTONIC, ns).
   */
  blackhole(link: string, on: boolean): number {
    const { index } = this.topology.link(link)
    const hops = { a: `10.71.${index}.1`, b: `10.71.${index}.2` }
    const macs = { a: this.macOf('b', link), b: this.macOf('a', link) }
    const at = monotonicNs()
    for (const end of ['a', 'b'] as const) {
      const words = ['neighbour', 'replace', hops[end], 'lladdr', on ? NOBODY : macs[end], 'nud', 'permanent']
      runSync('ip', ['-n', this.namespace(end), ...words, 'dev', link])
    }
    return at
  }

  /**
   * The events of one end with their instants on CLOCK_MONOTONIC, ns; exact to half the round trip of the quickest of
   * some requests, a millisecond or so.
   */
  async events(end: 'a' | 'b'): Promise<(EventSnapshot & { atNs: number })[]> {
    let events: readonly EventSnapshot[] = []
    let [latestStart, earliestStart] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    for (let i = 0; i < 5; i++) {
      const before = monotonicNs()
      const status = await this.status(end)
      const after = monotonicNs()
      if (status === undefined) continue
      latestStart = Math.min(latestStart, after - status.device.uptimeS * 1e9)
      earliestStart = Math.max(earliestStart, before - status.device.uptimeS * 1e9)
      events = status.events
    }
    const startNs = (latestStart + earliestStart) / 2
    return events.map((event) => ({ ...event, atNs: startNs + event.atS * 1e9 }))
  }

  private socket(end: 'a' | 'b'): string {
    return this.state.path(`${end}.sock`)
  }

  private macOf(end: 'a' | 'b', device: string): string {
    const text = runSync('ip', ['-n', this.namespace(end), '-o', 'link', 'show', 'dev', device])
    return /link\/ether ([0-9a-f:]+)/.exec(text)![1]!
  }
}

/** Removes what `state` names, and the folder that all runs share if this was the last. */
export function removeAll(state: LabState): void {
  state.remove()
  try {
    rmdirSync(dirname(state.folder))
  } catch {
    // Another run is there.
  }
}

function newKeys(): { privateKey: string; publicKey: string } {
  const { privateKey } = generateKeyPairSync('x25519')
  const base64 = (text: string | undefined): string => Buffer.from(text!, 'base64url').toString('base64')
  const key = createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' }))
  return {
    privateKey: base64(key.export({ format: 'jwk' }).d),
    publicKey: base64(createPublicKey(key).export({ format: 'jwk' }).x),
  }
}
