import { generateKeyPairSync } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import { ask } from '../src/control/client.js'
import type { Snapshot } from '../src/core/snapshot.js'
import { type Task, waitUntil } from '../src/lab/processes.js'
import { plaitProgram } from '../src/lab/programs.js'
import { ENDS, type End, LAN_NETWORK, type Network, otherEnd, SERVER_ADDRESS } from './network.js'
import type { Tunnel } from './tunnel.js'

export interface PlaitOptions {
  readonly name: string
  /** Distinguishes tunnels that are up at once: port and inner network. */
  readonly number: number
  /** Devices of the client's links. */
  readonly links: readonly string[]
  /** Further lines of both configurations. The default configuration has none. */
  readonly config?: readonly string[]
  readonly environment?: (end: End) => Readonly<Record<string, string>>
  /** The hosts behind the ends belong to this tunnel. */
  readonly lan?: boolean
}

/** The plaits of both ends, as anyone would start them, with what is asked for on top of the default configuration. */
export class Plait implements Tunnel {
  readonly name: string
  readonly device: string
  readonly addresses: Record<End, string>
  readonly pids: Partial<Record<End, number>> = {}
  private readonly tasks = new Map<End, Task>()

  private constructor(
    private readonly network: Network,
    private readonly options: PlaitOptions,
  ) {
    this.name = options.name
    this.device = `plait${options.number}`
    this.addresses = { a: `10.77.${options.number}.1`, b: `10.77.${options.number}.2` }
  }

  /** Starts both ends and waits until every link carries data. */
  static async start(network: Network, options: PlaitOptions): Promise<Plait> {
    const plait = new Plait(network, options)
    const keys = { a: newKeys(), b: newKeys() }
    for (const end of ENDS) {
      writeFileSync(plait.file(end, 'yaml'), plait.configText(end, keys), { mode: 0o600 })
    }
    for (const end of ENDS) {
      const variables = Object.entries(options.environment?.(end) ?? {}).map((pair) => pair.join('='))
      const task = network.task(end, 'env', ...variables, plaitProgram, 'up', plait.file(end, 'yaml'))
      plait.tasks.set(end, task)
      plait.pids[end] = task.child.pid!
    }
    await plait.untilUp()
    return plait
  }

  /** What `plait status --json` shows. */
  status(end: End): Promise<Snapshot> {
    return ask(this.socket(end), 'status', {})
  }

  socket(end: End): string {
    return this.file(end, 'sock')
  }

  /** What an end has written so far. */
  words(end: End): string {
    const task = this.tasks.get(end)
    return `${task?.stdout ?? ''}${task?.stderr ?? ''}`
  }

  async stop(): Promise<void> {
    await Promise.all([...this.tasks.values()].map((task) => task.stop('SIGTERM', 5000)))
  }

  private file(end: End, extension: string): string {
    return this.network.path(`${this.device}-${end}.${extension}`)
  }

  private configText(end: End, keys: Record<End, { privateKey: string; publicKey: string }>): string {
    const { number, links, lan, config } = this.options
    const other = otherEnd(end)
    const port = 51_820 + number
    const allowed = [`${this.addresses[other]}/32`, ...(lan ? [LAN_NETWORK[other]] : [])]
    const lines = [
      'interface:',
      `  name: ${this.device}`,
      `  addresses: [${this.addresses[end]}/24]`,
      `  private-key: ${keys[end].privateKey}`,
      ...(end === 'b' ? [`  listen: "0.0.0.0:${port}"`] : []),
      'peers:',
      `  - name: ${other}`,
      `    public-key: ${keys[other].publicKey}`,
      ...(end === 'a' ? [`    endpoint: "${SERVER_ADDRESS}:${port}"`] : []),
      `    allowed-ips: [${allowed.join(', ')}]`,
      ...(end === 'a' ? ['links:', ...links.map((link) => `  - { device: ${link} }`)] : []),
      `control: ${this.socket(end)}`,
      ...(config ?? []),
    ]
    return `${lines.join('\n')}\n`
  }

  private async untilUp(): Promise<void> {
    const { links } = this.options
    let up = 0
    await waitUntil(() => existsSync(this.socket('a')) || this.tasks.get('a')?.exit !== undefined, 8000)
    const deadline = performance.now() + 8000
    while (performance.now() < deadline) {
      const snapshot = await this.status('a').catch(() => undefined)
      up = snapshot?.peers[0]?.paths.filter((path) => path.state === 'up').length ?? 0
      if (up === links.length) return
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error(
      `${this.name}: ${up} of ${links.length} links came up; ${this.words('a')}${this.words('b')}`,
    )
  }
}

function newKeys(): { privateKey: string; publicKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync('x25519')
  const base64 = (text: string | undefined): string => Buffer.from(text!, 'base64url').toString('base64')
  return {
    privateKey: base64(privateKey.export({ format: 'jwk' }).d),
    publicKey: base64(publicKey.export({ format: 'jwk' }).x),
  }
}
