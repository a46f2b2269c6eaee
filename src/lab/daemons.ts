import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { ask } from '../control/client.js'
import type { Snapshot } from '../core/snapshot.js'
import { LabError } from './lab-error.js'
import { type Task, taskIn, trySync, waitUntil } from './processes.js'
import { plaitProgram } from './programs.js'
import type { Scenario, ScenarioLink } from './scenario.js'
import { type EndName, lanNetwork, SERVER_ADDRESS, SERVER_ADDRESS_V6, type Topology } from './topology.js'

export const TUN_NAME = 'plait0'
const PORT = 51820
const INNER: Record<EndName, string> = { a: '10.77.0.1', b: '10.77.0.2', c: '10.77.0.3' }

export const innerAddress = (end: EndName): string => INNER[end]
export const endsOf = (scenario: Scenario): EndName[] =>
  scenario.links.some((link) => link.site === 'c') ? ['a', 'b', 'c'] : ['a', 'b']

interface KeyPair {
  readonly privateKey: string
  readonly publicKey: string
}

function newKeys(): KeyPair {
  const pair = generateKeyPairSync('x25519')
  const privateJwk = createPrivateKey(pair.privateKey.export({ type: 'pkcs8', format: 'pem' })).export({
    format: 'jwk',
  })
  const publicJwk = createPublicKey(pair.publicKey.export({ type: 'spki', format: 'pem' })).export({
    format: 'jwk',
  })
  const base64 = (text: string | undefined): string => Buffer.from(text!, 'base64url').toString('base64')
  return { privateKey: base64(privateJwk.d), publicKey: base64(publicJwk.x) }
}

/** The plaits of a topology: one at each end, started as anyone would start them. */
export class Daemons {
  private readonly tasks = new Map<EndName, Task>()
  readonly ends: readonly EndName[]

  constructor(
    private readonly topology: Topology,
    private readonly scenario: Scenario,
    /** The only link that is used; undefined: all of them. */
    private readonly link?: string,
  ) {
    this.ends = endsOf(scenario)
    const keys = new Map(this.ends.map((end) => [end, newKeys()]))
    for (const end of this.ends) {
      mkdirSync(this.folder(end), { recursive: true })
      writeFileSync(`${this.folder(end)}/key`, `${keys.get(end)!.privateKey}\n`, { mode: 0o600 })
      writeFileSync(this.configFile(end), this.configText(end, keys), { mode: 0o600 })
    }
  }

  private folder(end: EndName): string {
    return this.topology.state.path(end)
  }

  configFile(end: EndName): string {
    return `${this.folder(end)}/plait.yaml`
  }

  socket(end: EndName): string {
    return `${this.folder(end)}/control.sock`
  }

  /** The links that the daemons are told of. */
  private get links(): readonly ScenarioLink[] {
    return this.scenario.links.filter(({ name }) => this.link === undefined || name === this.link)
  }

  private configText(end: EndName, keys: ReadonlyMap<EndName, KeyPair>): string {
    const { scenario } = this
    const any = scenario.outer === 6 ? '"[::]' : '"0.0.0.0'
    const server = scenario.outer === 6 ? `"[${SERVER_ADDRESS_V6}]` : `"${SERVER_ADDRESS}`
    const networks = (of: EndName): string =>
      [`${INNER[of]}/32`, ...(scenario.lan.includes(of) ? [lanNetwork(of)] : [])].join(', ')
    const lines = [
      'interface:',
      `  name: ${TUN_NAME}`,
      `  addresses: [${INNER[end]}/24]`,
      `  private-key-file: ${this.folder(end)}/key`,
      ...(end === 'b' ? [`  listen: ${any}:${PORT}"`] : []),
      ...(scenario.scheduler === undefined ? [] : [`scheduler: ${scenario.scheduler}`]),
      ...(scenario.policy === undefined ? [] : [`policy: ${scenario.policy}`]),
      `control: ${this.socket(end)}`,
      'peers:',
    ]
    const clients = this.ends.filter((other) => other !== 'b')
    for (const peer of end === 'b' ? clients : (['b'] as const)) {
      const behind = peer === 'b' ? ['b' as const, ...clients.filter((other) => other !== end)] : [peer]
      lines.push(`  - name: ${peer}`, `    public-key: ${keys.get(peer)!.publicKey}`)
      if (peer === 'b') lines.push(`    endpoint: ${server}:${PORT}"`)
      lines.push(`    allowed-ips: [${behind.map(networks).join(', ')}]`)
    }
    // Weights are each end's own. A server knows its links only where it is told of them.
    const weighted = this.links.some((link) => link.weight !== undefined)
    const links = this.links.filter((link) => (end === 'b' ? weighted : link.site === end))
    if (links.length > 0) lines.push('links:')
    for (const link of links) {
      const weight = link.weight === undefined ? '' : `, weight: ${link.weight}`
      lines.push(`  - { name: ${link.name}, device: ${link.name}${weight} }`)
    }
    return `${lines.join('\n')}\n`
  }

  start(end: EndName): void {
    this.tasks.set(end, taskIn(this.topology.end(end), plaitProgram, ['up', this.configFile(end)]))
  }

  async stop(end: EndName): Promise<void> {
    await this.tasks.get(end)?.stop('SIGTERM', 4000)
  }

  async kill(end: EndName): Promise<void> {
    await this.tasks.get(end)?.stop('SIGKILL')
  }

  /** Starts every end and waits for the tunnel. Returns a note where not every link came up. */
  async startAll(timeoutMs = 15_000): Promise<string | undefined> {
    for (const end of this.ends) this.start(end)
    const sites = this.ends.filter((end) => end !== 'b')
    const open = await waitUntil(() => {
      this.checkAlive()
      return sites.every((site) => this.answers(site))
    }, timeoutMs)
    if (!open) {
      throw new LabError(
        `the tunnel did not come up within ${timeoutMs / 1000} s; a said: ${this.lastWords('a')}; b said: ${this.lastWords('b')}`,
      )
    }
    const end = performance.now() + 5000
    while (performance.now() < end) {
      if ((await this.missingLinks()).length === 0) return undefined
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    return `not every link was up at the start: ${(await this.missingLinks()).join(', ')}`
  }

  private answers(site: EndName): boolean {
    const words = ['netns', 'exec', this.topology.end(site), 'ping', '-c', '1', '-W', '1', '-q', INNER.b]
    return trySync('ip', words).includes(' 1 received')
  }

  private async missingLinks(): Promise<string[]> {
    const up = new Set<string>()
    for (const site of this.ends) {
      const paths = site === 'b' ? [] : ((await this.status(site))?.peers.flatMap((peer) => peer.paths) ?? [])
      for (const path of paths) if (path.state !== 'probing' && path.state !== 'down') up.add(path.link)
    }
    return this.links.map((link) => link.name).filter((name) => !up.has(name))
  }

  /** Throws when a daemon has ended by itself. */
  private checkAlive(): void {
    for (const [end, task] of this.tasks) {
      if (task.exit)
        throw new LabError(`plait at end ${end} ended with status ${task.exit.code}: ${task.lastWords}`)
    }
  }

  lastWords(end: EndName): string {
    return this.tasks.get(end)?.lastWords ?? ''
  }

  log(end: EndName): string {
    const task = this.tasks.get(end)
    return task === undefined ? '' : `${task.stdout}${task.stderr}`
  }

  /** What `plait status --json` shows; undefined while the end does not answer. */
  async status(end: EndName): Promise<Snapshot | undefined> {
    try {
      return (await ask(this.socket(end), 'status', {})) as Snapshot
    } catch {
      return undefined
    }
  }

  async stopAll(): Promise<void> {
    await Promise.all(this.ends.map((end) => this.stop(end)))
  }
}
