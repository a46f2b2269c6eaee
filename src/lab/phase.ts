import type { Snapshot } from '../core/snapshot.js'
import { tracesOf } from './achievable.js'
import { Daemons, innerAddress, TUN_NAME } from './daemons.js'
import { LabError } from './lab-error.js'
import { delay, monotonicNs, runSync, type Task, taskIn } from './processes.js'
import { probeProgram } from './programs.js'
import { COUNTERS_MS, type CounterRecords, readCounterRecords } from './records.js'
import { type LabEvent, type Scenario, scenarioEndUs, type Traffic } from './scenario.js'
import { LabState } from './state-directory.js'
import { type EndName, lanHost, SERVER_ADDRESS, Topology } from './topology.js'
import { type Driver, driverFor, type Route, type TrafficRecord } from './traffic.js'
import type { WanStats } from './wan-link.js'

/**
 * Over what the traffic goes: plait over all links or over one of them alone, the kernel's MPTCP, or one link alone
 * without a tunnel.
 */
export type PhaseMode =
  | { readonly kind: 'tunnel'; readonly link?: string | undefined }
  | { readonly kind: 'mptcp' }
  | { readonly kind: 'single'; readonly link: string }

/** One look at everything that moves, every tenth of a second. */
export interface Sample {
  readonly timeUs: number
  /** Per emulated link; undefined for veth links. */
  readonly wan: readonly (WanStats | undefined)[]
  /** What each end says of itself, as of half a second ago at most. */
  readonly status: Partial<Record<EndName, Snapshot>>
}

export interface PhaseEvent {
  readonly timeUs: number
  readonly text: string
}

export interface Phase {
  readonly mode: PhaseMode
  /** Start of the scenario's time on the lab's clock. */
  readonly zeroNs: number
  readonly records: ReadonlyMap<string, TrafficRecord>
  /** Traffic that failed, and why. */
  readonly failures: ReadonlyMap<string, string>
  readonly samples: readonly Sample[]
  readonly counters: Partial<Record<EndName, CounterRecords>>
  readonly events: readonly PhaseEvent[]
  readonly notes: readonly string[]
  readonly tunMtu: number
}

export interface PhaseHooks {
  readonly signal: AbortSignal
  onStage?(text: string): void
  onSample?(sample: Sample, phase: { readonly events: readonly PhaseEvent[]; readonly endUs: number }): void
}

const SAMPLE_MS = 100
/** The daemon is asked less often, so that looking does not change what is seen. */
const STATUS_EVERY = 5
const FIRST_PORT = 5301
/** Late wake-ups of the emulator from here on are worth a word. */
const PAUSE_NOTED_US = 20_000
/** From the preparations to the scenario's zero. */
const LEAD_MS = 300

/** Plays a scenario once, from the namespaces to their removal. Everything of it is gone afterwards, come what may. */
export async function playPhase(
  scenario: Scenario,
  seed: number,
  mode: PhaseMode,
  hooks: PhaseHooks,
): Promise<Phase> {
  const state = LabState.create()
  let play: Play | undefined
  try {
    hooks.onStage?.('building the links')
    const { links, lan, ecn } = scenario
    const topology = await Topology.build(state, { links, lan, ecn }, seed)
    play = new Play(scenario, seed, mode, hooks, topology)
    return await play.run()
  } finally {
    await play?.stop()
    state.remove()
  }
}

class Play {
  private readonly daemons: Daemons | undefined
  private readonly events: PhaseEvent[] = []
  private readonly notes: string[] = []
  private readonly samples: Sample[] = []
  private readonly failures = new Map<string, string>()
  private readonly counterTasks: Task[] = []
  private zeroNs = 0
  private done = false

  constructor(
    private readonly scenario: Scenario,
    private readonly seed: number,
    private readonly mode: PhaseMode,
    private readonly hooks: PhaseHooks,
    private readonly topology: Topology,
  ) {
    if (mode.kind === 'tunnel') this.daemons = new Daemons(topology, scenario, mode.link)
    if (mode.kind === 'mptcp') this.allowMptcp()
  }

  async run(): Promise<Phase> {
    const { hooks } = this
    const traffic = this.traffic()
    if (this.daemons) {
      hooks.onStage?.('waiting for the tunnel')
      const note = await this.unlessAborted(this.daemons.startAll())
      if (note !== undefined) this.notes.push(note)
    }
    const tunMtu = this.daemons ? (this.topology.mtuOf('a', TUN_NAME) ?? 0) : 0
    hooks.onStage?.('starting the traffic')
    const drivers = traffic.map((t, index) =>
      driverFor(t, this.route(t), FIRST_PORT + index, this.topology.state.path(`packets-${index}`)),
    )
    await Promise.all(drivers.map((driver) => driver.prepare()))
    this.startCounters()
    this.zeroNs = monotonicNs() + LEAD_MS * 1e6
    const sampling = this.sample()
    const playing = this.playEvents()
    await this.startTraces()
    const records = await this.unlessAborted(this.drive(drivers))
    this.done = true
    await Promise.all([sampling, playing])
    for (const task of this.counterTasks) await task.stop()
    this.notePauses()
    return {
      mode: this.mode,
      zeroNs: this.zeroNs,
      records,
      failures: this.failures,
      samples: this.samples,
      counters: this.readCounters(),
      events: this.events,
      notes: this.notes,
      tunMtu,
    }
  }

  async stop(): Promise<void> {
    this.done = true
    await this.daemons?.stopAll().catch(() => {})
    await this.topology.stop()
  }

  /** Native runs carry the TCP traffic of the first site only, and small requests over one link only. */
  private traffic(): readonly Traffic[] {
    const { mode, scenario } = this
    if (mode.kind === 'tunnel') return scenario.traffic
    const kinds = mode.kind === 'single' ? ['tcp', 'echo', 'fetch'] : ['tcp']
    return scenario.traffic.filter((t) => kinds.includes(t.kind) && t.site === 'a' && !t.lan)
  }

  private route(traffic: Traffic): Route {
    const { topology, mode } = this
    if (mode.kind === 'tunnel') {
      const { site, lan } = traffic
      return {
        clientNamespace: topology.end(lan ? `lan-${site}` : site),
        serverNamespace: topology.end(lan ? 'lan-b' : 'b'),
        clientAddress: undefined,
        serverAddress: lan ? lanHost('b') : innerAddress('b'),
        returnAddress: lan ? lanHost(site) : innerAddress(site),
        wrapper: [],
      }
    }
    const single = mode.kind === 'single' ? topology.link(mode.link).clientAddress : undefined
    return {
      clientNamespace: topology.end('a'),
      serverNamespace: topology.end('b'),
      clientAddress: single,
      serverAddress: SERVER_ADDRESS,
      returnAddress: single ?? '',
      wrapper: mode.kind === 'mptcp' ? ['mptcpize', 'run'] : [],
    }
  }

  private allowMptcp(): void {
    for (const end of ['a', 'b']) {
      const words = [
        '-n',
        this.topology.end(end),
        'mptcp',
        'limits',
        'set',
        'subflow',
        '8',
        'add_addr_accepted',
        '8',
      ]
      runSync('ip', words)
    }
    for (const { plan, clientAddress } of this.topology.links) {
      if (plan.site !== 'a') continue
      const words = ['mptcp', 'endpoint', 'add', clientAddress, 'dev', plan.name, 'subflow']
      runSync('ip', ['-n', this.topology.end('a'), ...words])
    }
  }

  // ---- the clock

  private nowUs(): number {
    return (monotonicNs() - this.zeroNs) / 1e3
  }

  private async sleepUntil(timeUs: number): Promise<void> {
    for (;;) {
      const left = (timeUs - this.nowUs()) / 1e3
      if (left <= 0 || this.done || this.hooks.signal.aborted) return
      await delay(Math.min(left, 200))
    }
  }

  private async unlessAborted<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.hooks
    let give = (): void => {}
    const aborted = new Promise<never>((_, reject) => {
      give = () => reject(new LabError('interrupted'))
    })
    if (signal.aborted) give()
    else signal.addEventListener('abort', give, { once: true })
    work.catch(() => {})
    try {
      return await Promise.race([work, aborted])
    } finally {
      signal.removeEventListener('abort', give)
    }
  }

  private async drive(drivers: readonly Driver[]): Promise<Map<string, TrafficRecord>> {
    const records = new Map<string, TrafficRecord>()
    await Promise.all(
      drivers.map(async (driver) => {
        const { name, fromUs } = driver.traffic
        await this.sleepUntil(fromUs)
        try {
          records.set(name, await driver.run())
        } catch (error) {
          this.failures.set(name, (error as Error).message)
        }
      }),
    )
    await this.sleepUntil(scenarioEndUs(this.scenario))
    return records
  }

  private async startTraces(): Promise<void> {
    await this.sleepUntil(0)
    for (const [index, link] of this.scenario.links.entries()) {
      const traces = tracesOf(link, index + 1, this.seed)
      for (const way of ['up', 'down'] as const) {
        const trace = traces[way]
        if (trace) await this.topology.link(link.name).wan?.trace(way, trace)
      }
    }
  }

  // ---- events

  private async playEvents(): Promise<void> {
    for (const event of this.scenario.events) {
      await this.sleepUntil(event.atUs)
      if (this.done || this.hooks.signal.aborted) return
      const text = describeEvent(event)
      this.events.push({ timeUs: this.nowUs(), text })
      try {
        await this.playEvent(event)
      } catch (error) {
        this.notes.push(`${text}: ${(error as Error).message}`)
      }
    }
  }

  private async playEvent(event: LabEvent): Promise<void> {
    const { topology, daemons } = this
    if ('end' in event) {
      if (event.action === 'kill') await daemons?.kill(event.end)
      if (event.action === 'stop' || event.action === 'restart') await daemons?.stop(event.end)
      if (event.action === 'start' || event.action === 'restart') daemons?.start(event.end)
      return
    }
    const wan = topology.link(event.link).wan
    switch (event.action) {
      case 'set':
        return topology.change(event.link, event.way, event.set)
      case 'down':
        return wan?.blackhole(event.way, true)
      case 'up':
        return wan?.blackhole(event.way, false)
      case 'carrier-off':
        await wan?.carrier('a', false)
        return wan?.blackhole('both', true)
      case 'carrier-on':
        await wan?.blackhole('both', false)
        return wan?.carrier('a', true)
      case 'address':
        topology.changeAddress(event.link)
        return
      case 'nat-rebind':
        topology.rebind(event.link)
    }
  }

  // ---- looking

  private startCounters(): void {
    if (!this.daemons) return
    for (const end of this.daemons.ends) {
      const words = ['counters', String(COUNTERS_MS), TUN_NAME, this.topology.state.path(`counters-${end}`)]
      this.counterTasks.push(taskIn(this.topology.end(end), probeProgram, words))
    }
  }

  private readCounters(): Partial<Record<EndName, CounterRecords>> {
    const counters: Partial<Record<EndName, CounterRecords>> = {}
    for (const end of this.daemons?.ends ?? []) {
      counters[end] = readCounterRecords(this.topology.state.path(`counters-${end}`))
    }
    return counters
  }

  private async sample(): Promise<void> {
    const endUs = scenarioEndUs(this.scenario)
    let status: Sample['status'] = {}
    let statusDueUs = 0
    while (!this.done && !this.hooks.signal.aborted) {
      // The next whole tenth: after a pause of the machine none is made up for.
      const tick = Math.max(0, Math.floor(this.nowUs() / 1000 / SAMPLE_MS) + 1) * SAMPLE_MS
      await delay(tick - this.nowUs() / 1000)
      if (this.done) return
      try {
        const wan = await Promise.all(this.topology.links.map((link) => link.wan?.stats()))
        if (this.daemons && this.nowUs() >= statusDueUs) {
          status = await this.statuses(this.daemons)
          statusDueUs = this.nowUs() + STATUS_EVERY * SAMPLE_MS * 1000
        }
        const sample = { timeUs: this.nowUs(), wan, status }
        this.samples.push(sample)
        this.hooks.onSample?.(sample, { events: this.events, endUs })
      } catch (error) {
        if (!this.done) this.notes.push(`sampling stopped: ${(error as Error).message}`)
        return
      }
    }
  }

  /** A machine that has stood still shows in the emulators: they were woken late. */
  private notePauses(): void {
    const wan = this.samples.at(-1)?.wan ?? []
    const latestUs = Math.max(
      0,
      ...wan.flatMap((stats) => (stats ? [stats.ab.lateUsMax, stats.ba.lateUsMax] : [])),
    )
    if (latestUs < PAUSE_NOTED_US) return
    const ms = Math.round(latestUs / 1000)
    this.notes.push(`the machine kept the emulator waiting for up to ${ms} ms: gaps and delays include that`)
  }

  private async statuses(daemons: Daemons): Promise<Sample['status']> {
    const status: Partial<Record<EndName, Snapshot>> = {}
    for (const end of daemons.ends) {
      const snapshot = await daemons.status(end)
      // The event log is long and the same each time: the last look has all of it.
      if (snapshot) status[end] = snapshot
    }
    return status
  }
}

export function describeEvent(event: LabEvent): string {
  if ('end' in event) return `${event.action} plait at ${event.end}`
  const way = event.way === 'both' ? '' : ` (${event.way})`
  if (event.action !== 'set') return `${event.link} ${event.action}${way}`
  const keys = Object.entries(event.set).map(([key, value]) => {
    const shown = typeof value === 'object' ? JSON.stringify(value) : String(value)
    return `${key}=${shown}`
  })
  return `${event.link} ${keys.join(' ')}${way}`
}
