/**
 * Two ends with real daemons in network namespaces, joined by links that are the test's to break. Built from the lab's
 * topology; every namespace carries a random suffix, and all is gone
 * afterwards, however a test ends.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe } from 'vitest'
import { ask } from '../../src/control/client.js'
import type { EventSnapshot, PathSnapshot, Snapshot } from '../../src/core/snapshot.js'
import { delay, monotonicNs, runSync, type Task, taskIn, trySync } from '../../src/lab/processes.js'
import { mainProgram, plaitProgram, probeProgram } from '../../src/lab/programs.js'
import { longestGapMs, type PacketRecords, readPacketRecords } from '../../src/lab/records.js'
import { LabState, sweepDeadRuns } from '../../src/lab/state-directory.js'
import { SERVER_ADDRESS, SERVER_ADDRESS_V6, Topology } from '../../src/lab/topology.js'

export type End = 'a' | 'b'
export const INNER4: Record<End, string> = { a: '10.77.0.1', b: '10.77.0.2' }
export const INNER6: Record<End, string> = { a: 'fd77::1', b: 'fd77::2' }
export const PORT = 51820
/** A machine that is busy with other tests takes its time to start programs; what is measured is not this. */
export const PATIENCE_MS = 15_000

const streamProgram = join(dirname(fileURLToPath(import.meta.url)), 'stream.mjs')
/** Nobody's hardware address: frames sent there go out and are taken by no one. */
const NOBODY = '02:00:00:00:00:01'

const reason =
  process.getuid?.() !== 0
    ? 'they make network namespaces, which takes root'
    : !existsSync('/dev/net/tun')
      ? '/dev/net/tun is missing'
      : !existsSync(mainProgram)
        ? 'npm run build has not been run'
        : undefined
if (reason !== undefined) console.warn(`tests in network namespaces are skipped: ${reason}`)

/** `describe` for tests that need root, a TUN and the built program; skipped with a printed reason without them. */
export const describeNetns = describe.skipIf(reason !== undefined)

export interface LinkOptions {
  readonly name: string
  /** Shaped with tbf. 1 Gbit/s unless told otherwise. */
  readonly mbit?: number
  readonly nat?: boolean
}

export interface EndOptions {
  /** Names with weights; all links with weight 1 unless told otherwise. Only the client names its links. */
  readonly links?: Readonly<Record<string, number>>
  readonly presharedKey?: string
  /** In place of the other end's true public key. */
  readonly peerKey?: string
  /** Beside the other end's addresses. */
  readonly allowedIps?: readonly string[]
  readonly defaultRoute?: boolean
  /** In place of the server's address. */
  readonly endpoint?: string
  /** Further lines of the configuration. */
  readonly extra?: readonly string[]
}

export class Net {
  private readonly tasks = new Map<End, Task>()
  readonly keys = { a: newKeys(), b: newKeys() }

  private constructor(
    readonly state: LabState,
    readonly topology: Topology,
    readonly links: readonly LinkOptions[],
    readonly outer: 4 | 6,
  ) {}

  /** Namespaces and links; daemons are not started. Removed after the tests of the file or group at the latest. */
  static async build(links: readonly LinkOptions[], outer: 4 | 6 = 4): Promise<Net> {
    sweepDeadRuns()
    const state = LabState.create()
    states.add(state)
    const plan = ({ name, mbit = 1000, nat = false }: LinkOptions) => {
      const model = { ...PLAIN, rateBitsPerSec: mbit * 1e6 }
      return { name, site: 'a', kind: 'veth', mtu: 1500, nat, up: model, down: model } as const
    }
    const topology = await Topology.build(state, { links: links.map(plan), lan: [] }, 1)
    const net = new Net(state, topology, links, outer)
    // Without its tunnel an end must not reach the other one's inner address in the clear, by way of a link.
    for (const end of ['a', 'b'] as const) {
      net.run(end, 'ip', 'route', 'add', 'unreachable', '10.77.0.0/24', 'metric', '9999')
      net.run(end, 'ip', '-6', 'route', 'add', 'unreachable', 'fd77::/64', 'metric', '9999')
    }
    return net
  }

  namespace(end: End): string {
    return this.topology.end(end)
  }
  /** The TUN device of an end; a name of its own on this machine, since /run/plait is shared. */
  tun(end: End): string {
    return `pl${this.state.suffix}${end}`
  }
  socket(end: End): string {
    return this.state.path(`${end}.sock`)
  }
  configFile(end: End): string {
    return this.state.path(`${end}.yaml`)
  }
  get serverAddress(): string {
    return this.outer === 4 ? SERVER_ADDRESS : SERVER_ADDRESS_V6
  }

  // ---- daemons

  configure(end: End, options: EndOptions = {}): void {
    const other = end === 'a' ? 'b' : 'a'
    const server = this.outer === 4 ? `${SERVER_ADDRESS}:${PORT}` : `[${SERVER_ADDRESS_V6}]:${PORT}`
    const links = options.links ?? Object.fromEntries(this.links.map(({ name }) => [name, 1]))
    const lines = [
      'interface:',
      `  name: ${this.tun(end)}`,
      `  addresses: [${INNER4[end]}/24, "${INNER6[end]}/64"]`,
      `  private-key: ${this.keys[end].privateKey}`,
      ...(end === 'b' ? [`  listen: "${this.outer === 4 ? '0.0.0.0' : '[::]'}:${PORT}"`] : []),
      `control: ${this.socket(end)}`,
      'peers:',
      `  - name: ${other}`,
      `    public-key: ${options.peerKey ?? this.keys[other].publicKey}`,
      ...(options.presharedKey === undefined ? [] : [`    preshared-key: ${options.presharedKey}`]),
      ...(end === 'a' ? [`    endpoint: "${options.endpoint ?? server}"`] : []),
      `    allowed-ips: [${[`${INNER4[other]}/32`, `"${INNER6[other]}/128"`, ...(options.allowedIps ?? [])].join(', ')}]`,
      ...(options.defaultRoute === undefined ? [] : [`    default-route: ${options.defaultRoute}`]),
      ...(end === 'a' ? ['links:'] : []),
      ...(end === 'a'
        ? Object.entries(links).map(
            ([name, weight]) => `  - { name: ${name}, device: ${name}, weight: ${weight} }`,
          )
        : []),
      ...(options.extra ?? []),
    ]
    writeFileSync(this.configFile(end), `${lines.join('\n')}\n`, { mode: 0o600 })
  }

  /** Names that an end's programs resolve from its next start on; may be called again while they run. */
  setHosts(end: End, lines: string): void {
    writeFileSync(this.hostsFile(end), lines)
  }
  private hostsFile(end: End): string {
    return this.state.path(`${end}.hosts`)
  }

  /** Starts an end's plait as anyone would. */
  start(end: End): Task {
    const command = [plaitProgram, 'up', this.configFile(end)]
    // In a network namespace programs have a view of the mounts of their own.
    const script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    const [program, ...args] = existsSync(this.hostsFile(end))
      ? ['sh', '-c', script, this.hostsFile(end), ...command]
      : command
    const task = taskIn(this.namespace(end), program!, args)
    this.tasks.set(end, task)
    return task
  }

  /** Configures and starts both ends and waits until the client has every link up. */
  async up(options: Partial<Record<End, EndOptions>> = {}): Promise<void> {
    this.configure('b', options.b)
    this.configure('a', options.a)
    this.start('b')
    await this.untilRunning('b')
    this.start('a')
    await this.untilUp(Object.keys(options.a?.links ?? {}))
  }

  /** Waits until an end has said that it is up. */
  async untilRunning(end: End): Promise<void> {
    await until(
      () => {
        if (this.tasks.get(end)?.exit) throw new Error(`plait at ${end} ended: ${this.words(end)}`)
        return this.words(end).includes('"msg":"up"')
      },
      PATIENCE_MS,
      () => `plait at ${end} did not start: ${this.words(end)}`,
    )
  }

  /** Waits until the client's links (all, or those named) carry data. */
  async untilUp(names: readonly string[] = [], timeoutMs = PATIENCE_MS): Promise<void> {
    const wanted = names.length > 0 ? names : this.links.map((link) => link.name)
    const isUp = async (): Promise<boolean> => {
      const paths = (await this.status('a'))?.peers[0]?.paths ?? []
      return wanted.every((name) => paths.some((path) => path.link === name && path.state === 'up'))
    }
    await until(
      isUp,
      timeoutMs,
      () => `the tunnel did not come up: a: ${this.words('a')}; b: ${this.words('b')}`,
    )
  }

  /** Ends an end's plait and waits until it is gone. */
  async stop(end: End, signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const task = this.tasks.get(end)
    await task?.stop(signal, 5000)
    return task?.exit?.code ?? null
  }

  /** Sends a signal to an end's plait, and goes on. */
  signal(end: End, signal: NodeJS.Signals): void {
    this.tasks.get(end)?.kill(signal)
  }

  async stopAll(): Promise<void> {
    await Promise.all([this.stop('a'), this.stop('b')])
  }

  /** What an end's plait has written. */
  words(end: End): string {
    const task = this.tasks.get(end)
    return `${task?.stdout ?? ''}${task?.stderr ?? ''}`
  }

  /** Undefined while the end does not answer. */
  async status(end: End): Promise<Snapshot | undefined> {
    return ask(this.socket(end), 'status', {}).catch(() => undefined)
  }

  async drops(end: End): Promise<Readonly<Record<string, number>>> {
    return (await this.status(end))?.device.drops ?? {}
  }

  async paths(end: End): Promise<readonly PathSnapshot[]> {
    return (await this.status(end))?.peers[0]?.paths ?? []
  }

  /** Events of an end with their instants on CLOCK_MONOTONIC, ns; exact to a millisecond or so. */
  async events(end: End): Promise<(EventSnapshot & { atNs: number })[]> {
    let events: readonly EventSnapshot[] = []
    let [latest, earliest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    for (let i = 0; i < 5; i++) {
      const before = monotonicNs()
      const status = await this.status(end)
      if (status === undefined) continue
      latest = Math.min(latest, monotonicNs() - status.device.uptimeS * 1e9)
      earliest = Math.max(earliest, before - status.device.uptimeS * 1e9)
      events = status.events
    }
    return events.map((event) => ({ ...event, atNs: (latest + earliest) / 2 + event.atS * 1e9 }))
  }

  // ---- programs and traffic

  /** Runs a program inside an end to its end; throws when it fails. */
  run(end: End, program: string, ...args: string[]): string {
    return this.runAt(this.namespace(end), program, ...args)
  }

  /** The same in any namespace, as that of a router. */
  runAt(namespace: string, program: string, ...args: string[]): string {
    return runSync('ip', ['netns', 'exec', namespace, program, ...args])
  }

  task(end: End, program: string, ...args: string[]): Task {
    return taskIn(this.namespace(end), program, args)
  }

  async ping(address: string, ...words: string[]): Promise<{ sent: number; received: number }> {
    const task = this.task('a', 'ping', '-n', '-q', ...words, address)
    await task.ended
    const match = /(\d+) packets transmitted, (\d+) received/.exec(task.stdout)
    if (!match) throw new Error(`ping ${words.join(' ')} ${address}: ${task.lastWords}`)
    return { sent: Number(match[1]), received: Number(match[2]) }
  }

  /** Sends `amount` (bytes, or "SECONDSs") over one TCP connection; both ends' counts, and when data arrived. */
  async stream(from: End, address: string, amount: string, port = 7100): Promise<StreamResult> {
    const running = await this.startStream(from, address, amount, port)
    return running.result()
  }

  async startStream(from: End, address: string, amount: string, port = 7100): Promise<RunningStream> {
    const to = from === 'a' ? 'b' : 'a'
    const receiver = this.task(to, process.execPath, streamProgram, 'receive', address, String(port))
    await firstLine(receiver)
    const sender = this.task(from, process.execPath, streamProgram, 'send', address, String(port), amount)
    const result = async (): Promise<StreamResult> => {
      await sender.ended
      if (sender.exit?.code !== 0) throw new Error(`the stream broke: ${sender.lastWords}`)
      if (amount.endsWith('s')) await receiver.stop()
      await receiver.ended
      const received = JSON.parse(receiver.stdout.split('\n')[1]!) as StreamResult['received']
      return { sent: JSON.parse(sender.stdout) as StreamResult['sent'], received }
    }
    return { sender, receiver, result }
  }

  /** Numbered UDP packets from one end to the other. */
  async startPackets(
    from: End,
    address: string,
    perSec: number,
    seconds: number,
    bytes = 200,
  ): Promise<RunningPackets> {
    const to = from === 'a' ? 'b' : 'a'
    const file = this.state.path(`packets-${randomBytes(4).toString('hex')}`)
    const port = String(20_000 + Math.floor(Math.random() * 10_000))
    const receiver = this.task(to, probeProgram, 'receive', address, port, file)
    await firstLine(receiver)
    const words = ['send', address, port, String(bytes), String(perSec), String(seconds)]
    const sender = this.task(from, probeProgram, ...words)
    return {
      result: async () => {
        await sender.ended
        await delay(500)
        await receiver.stop()
        const records = readPacketRecords(file)
        const { sent } = JSON.parse(sender.stdout) as { sent: number }
        const numbers = new Set(records.number)
        return { sent, lost: sent - numbers.size, duplicates: records.count - numbers.size, records }
      },
    }
  }

  // ---- what goes wrong

  /** A link swallows all frames, or none, both ways; carrier and queues know nothing of it. Returns when, ns. */
  blackhole(link: string, on: boolean): number {
    const index = this.topology.link(link).index
    const mac = (end: End): string =>
      /link\/ether ([0-9a-f:]+)/.exec(
        runSync('ip', ['-n', this.namespace(end), '-o', 'link', 'show', link]),
      )![1]!
    const targets: [End, string, string][] = [
      ['a', '1', mac('b')],
      ['b', '2', mac('a')],
    ]
    const at = monotonicNs()
    for (const [end, host, address] of targets) {
      for (const ip of [`10.71.${index}.${host}`, `fd71:0:0:${index}::${host}`]) {
        const words = [
          'neighbour',
          'replace',
          ip,
          'lladdr',
          on ? NOBODY : address,
          'nud',
          'permanent',
          'dev',
          link,
        ]
        runSync('ip', ['-n', this.namespace(end), ...words])
      }
    }
    return at
  }

  remove(): void {
    this.state.remove()
  }
}

export interface StreamResult {
  sent: { bytes: number; sha256: string }
  received: { bytes: number; sha256: string; arrivalsMs: number[] }
}
export interface RunningStream {
  sender: Task
  receiver: Task
  result(): Promise<StreamResult>
}
export interface RunningPackets {
  result(): Promise<{ sent: number; lost: number; duplicates: number; records: PacketRecords }>
}

/** The longest time without an arrival between two instants, ms. */
export function gapMs(arrivalsMs: readonly number[], fromMs: number, toMs: number): number {
  return longestGapMs(
    arrivalsMs.map((ms) => (ms + 0.5) * 1e6),
    fromMs * 1e6,
    toMs * 1e6,
  )
}

/** Waits until `condition` holds, else throws with `complaint`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number,
  complaint: string | (() => string),
): Promise<void> {
  const end = performance.now() + timeoutMs
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(typeof complaint === 'string' ? complaint : complaint())
    await delay(20)
  }
}

async function firstLine(task: Task): Promise<void> {
  await Promise.race([new Promise<void>((resolve) => task.onLine(() => resolve())), task.ended])
  if (task.exit) throw new Error(`${task.program} ${task.args.join(' ')} ended at once: ${task.lastWords}`)
}

const PLAIN = {
  rateBitsPerSec: 1e9,
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
  queue: { timeUs: 50_000 },
  pathMtu: 0,
} as const

function newKeys(): { privateKey: string; publicKey: string } {
  const { privateKey } = generateKeyPairSync('x25519')
  const base64 = (text: string | undefined): string => Buffer.from(text!, 'base64url').toString('base64')
  const key = createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' }))
  return {
    privateKey: base64(key.export({ format: 'jwk' }).d),
    publicKey: base64(createPublicKey(key).export({ format: 'jwk' }).x),
  }
}

/** Every state made and not yet removed: a worker that is told to end takes its own with it. */
const states = new Set<LabState>()
process.on('exit', () => {
  for (const state of states) state.remove()
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

// This module is loaded anew for each test file, so this runs after the last test of the file.
afterAll(() => {
  for (const state of states) state.remove()
  states.clear()
})

/** Contents of a file, or undefined. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

export { delay, monotonicNs, trySync }
