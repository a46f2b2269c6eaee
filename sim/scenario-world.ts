import { OperatorError } from '../src/base/errors.js'
import { Prng } from '../src/base/prng.js'
import type { Instant } from '../src/base/time.js'
import { tracesOf } from '../src/lab/achievable.js'
import type { DirectionModel, Way } from '../src/lab/link-model.js'
import type { RateTrace } from '../src/lab/rate-trace.js'
import type { LabEvent, Scenario, ScenarioLink } from '../src/lab/scenario.js'
import type { Primitives } from '../src/noise/primitives.js'
import { rebind } from './faults.js'
import type { LinkParameters } from './link-direction.js'
import { World } from './world.js'

const ETHERNET_BYTES = 14
const OUTER_BYTES = { 4: 20 + 8, 6: 40 + 8 } as const
/** The daemon's default, 32768 slots. No two wake-ups take the same time, or TCP would meet its least round trip all the time. */
const LAB_MACHINE = { poolBytes: 64 << 20, stallShare: 1, stallUs: 100 }
/** From the start of a program to its first word. */
const PROGRAM_START_US = 200_000

/** What the model world has no counterpart for is refused by name. */
function refuse(scenario: Scenario, what: string): never {
  throw new OperatorError('usage', `the simulator has no ${what}, which ${scenario.name} asks for`, {
    place: { file: scenario.file },
    remedy: `play it on emulated links: plait lab run ${scenario.name}`,
  })
}

/** @throws OperatorError if the scenario has something that cannot be played in virtual time */
export function checkPlayable(scenario: Scenario): void {
  if (scenario.links.some((link) => link.site === 'c')) refuse(scenario, 'second site')
  if (
    scenario.events.some(
      (event) => 'link' in event && event.action === 'set' && event.set.pathMtu !== undefined,
    )
  ) {
    refuse(scenario, 'TCP whose segments change with the path MTU, as in an event')
  }
  for (const t of scenario.traffic) {
    if (t.kind === 'tcp' && t.congestion === 'reno') refuse(scenario, 'congestion control "reno"')
    if (!['tcp', 'udp', 'voip', 'ping'].includes(t.kind)) refuse(scenario, `traffic "${t.kind}"`)
    if ('bytes' in t && t.bytes + 28 > tunMtuOf(scenario)) {
      refuse(scenario, `IP fragments, as ${t.bytes} bytes of payload in a packet make them`)
    }
  }
}

/** The tunnel's default, where every path carries that. */
export function tunMtuOf(scenario: Scenario): number {
  return scenario.outer === 6 ? 1420 : 1440
}

/** A direction of the lab's as a model line; what is not given stays as it is. */
export function lineOf(
  model: Partial<DirectionModel>,
  outer: 4 | 6,
  deviceMtu = Number.POSITIVE_INFINITY,
): Partial<LinkParameters> {
  const line: Partial<LinkParameters> = {}
  const { queue } = model
  if (model.rateBitsPerSec !== undefined) line.rateBytesPerSec = model.rateBitsPerSec / 8
  if (model.overheadBytes !== undefined) {
    line.overheadBytes = model.overheadBytes + OUTER_BYTES[outer] + ETHERNET_BYTES
  }
  if (model.pathMtu !== undefined) {
    const mtu = Math.min(deviceMtu, model.pathMtu || Number.POSITIVE_INFINITY)
    line.frameBytesMax = mtu + ETHERNET_BYTES + (model.overheadBytes ?? 0)
  }
  if (model.delayUs !== undefined) line.delayUs = model.delayUs
  if (model.jitterUs !== undefined) line.jitterUs = model.jitterUs
  if (model.jitterHoldUs !== undefined) line.jitterHoldUs = model.jitterHoldUs
  if (model.keepOrder !== undefined) line.keepOrder = model.keepOrder
  if (model.duplicate !== undefined) line.duplicate = model.duplicate
  if (model.reorder !== undefined) line.reorder = model.reorder
  if (model.reorderByUs !== undefined) line.reorderUs = model.reorderByUs
  if (queue !== undefined) {
    line.queueBytesMax = 'bytes' in queue ? queue.bytes : Number.POSITIVE_INFINITY
    line.queuePacketsMax = 'packets' in queue ? queue.packets : Number.POSITIVE_INFINITY
    line.queueUsMax = 'timeUs' in queue ? queue.timeUs : Number.POSITIVE_INFINITY
  }
  return line
}

/** Loss and its mean burst as shares with which a run of losses begins and ends (Gilbert), or as single losses. */
function lossOf(loss: number, burst: number): Pick<LinkParameters, 'loss' | 'burstBegin' | 'burstEnd'> {
  if (burst <= 1 || loss === 0 || loss === 1) return { loss, burstBegin: 0, burstEnd: 1 }
  return { loss: 0, burstBegin: Math.min(1, loss / ((1 - loss) * burst)), burstEnd: 1 / burst }
}

/** The links of a scenario as a model world with a tunnel over them, and what happens to them. */
export class ScenarioWorld {
  readonly world: World
  private readonly random: Prng
  /** Traces that an event has ended by setting a rate. */
  private readonly traceEnded: Record<Way, boolean>[]

  constructor(
    readonly scenario: Scenario,
    readonly seed: number,
    policy: 'auto' | 'bond',
    primitives: Primitives,
    /** Plait over this link alone: the others are dead from the start. */
    private readonly only: string | undefined,
  ) {
    checkPlayable(scenario)
    this.random = new Prng(seed ^ 0x7363656e)
    const line = (link: ScenarioLink, way: Way): Partial<LinkParameters> => ({
      ...lineOf(link[way], scenario.outer, link.mtu),
      ...lossOf(link[way].loss, link[way].lossBurst),
      blackhole: !this.inUse(link.name),
    })
    this.world = new World({
      seed,
      primitives,
      endsOnly: true,
      scheduler: scenario.scheduler ?? 'adaptive',
      policy,
      mtu: tunMtuOf(scenario),
      links: scenario.links.map((link) => ({
        name: link.name,
        weight: link.weight ?? 1,
        up: line(link, 'up'),
        down: line(link, 'down'),
      })),
      // A server knows its links only where it is told of them.
      serverPerLine: scenario.links.some((link) => link.weight !== undefined),
      client: LAB_MACHINE,
      server: LAB_MACHINE,
    })
    this.traceEnded = scenario.links.map(() => ({ up: false, down: false }))
  }

  /** What the ends have found that all paths carry whole. */
  get tunMtu(): number {
    const { client, server } = this.world
    return Math.min(client.end.device.mtuCarried, server.end.device.mtuCarried)
  }

  private inUse(link: string): boolean {
    return this.only === undefined || this.only === link
  }

  /** Names of the links over which the tunnel is not up, as the client sees it. */
  linksDown(): string[] {
    const up = new Set<string>()
    for (const path of this.world.client.end.device.peers[0]!.paths) {
      if (path.state !== 'probing' && path.state !== 'down') up.add(path.link.name)
    }
    return this.scenario.links.map((link) => link.name).filter((name) => this.inUse(name) && !up.has(name))
  }

  /** Traces and events, from the scenario's zero on. */
  schedule(zero: Instant): void {
    const { scenario, world } = this
    for (const [index, link] of scenario.links.entries()) {
      const traces = tracesOf(link, index + 1, this.seed)
      for (const way of ['up', 'down'] as const) {
        const trace = traces[way]
        if (trace) this.play(index, way, trace, zero)
      }
    }
    for (const event of scenario.events) {
      if ('link' in event && !this.inUse(event.link)) continue
      world.clock.call(zero + event.atUs, () => this.happen(event))
    }
  }

  private play(index: number, way: Way, trace: RateTrace, from: Instant): void {
    const { clock } = this.world
    let next = 0
    let start = from
    const step = (): void => {
      if (this.traceEnded[index]![way]) return
      this.parameters(index, way).rateBytesPerSec = trace.points[next]!.rateBitsPerSec / 8
      if (++next === trace.points.length) {
        next = 0
        start += trace.periodUs
      }
      clock.call(start + trace.points[next]!.afterUs, step)
    }
    clock.call(from, step)
  }

  private parameters(index: number, way: Way): LinkParameters {
    return this.world.line(index)[way]!.parameters
  }

  private happen(event: LabEvent): void {
    const { world, scenario } = this
    if ('end' in event) {
      const end = event.end === 'a' ? world.client.end : world.server.end
      if (event.action !== 'start') end.stop(event.action !== 'kill')
      if (event.action === 'start' || event.action === 'restart') {
        world.clock.call(world.clock.now + PROGRAM_START_US, () => end.restart())
      }
      return
    }
    const index = scenario.links.findIndex((link) => link.name === event.link)
    const ways: readonly Way[] = event.way === 'both' ? ['up', 'down'] : [event.way]
    switch (event.action) {
      case 'down':
      case 'up':
        for (const way of ways) this.parameters(index, way).blackhole = event.action === 'down'
        return
      case 'carrier-off':
      case 'carrier-on':
        // A socket bound to a device without a carrier sends as before, into nothing.
        for (const way of ['up', 'down'] as const) {
          this.parameters(index, way).blackhole = event.action === 'carrier-off'
        }
        return
      case 'address':
      case 'nat-rebind':
        // Either way the server sees another address, and the client's socket, bound to the device, notices nothing.
        rebind(world, index, this.random)
        return
      case 'set':
        for (const way of ways) this.change(index, way, event.set)
    }
  }

  private change(index: number, way: Way, set: Partial<DirectionModel>): void {
    const link = this.scenario.links[index]!
    const line = this.parameters(index, way)
    Object.assign(line, lineOf(set, this.scenario.outer, link.mtu))
    if (set.loss !== undefined || set.lossBurst !== undefined) {
      const before = line.burstBegin > 0
      const loss = before ? line.burstBegin / (line.burstBegin + line.burstEnd) : line.loss
      const burst = before ? 1 / line.burstEnd : link[way].lossBurst
      Object.assign(line, lossOf(set.loss ?? loss, set.lossBurst ?? burst))
    }
    if (set.rateBitsPerSec !== undefined) this.traceEnded[index]![way] = true
  }
}
