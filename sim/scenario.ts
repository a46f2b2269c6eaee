import { parse } from 'yaml'
import { z } from 'zod'
import { Prng } from '../src/base/prng.js'
import { MILLISECOND, SECOND } from '../src/base/time.js'
import type { Primitives } from '../src/noise/primitives.js'
import { DATA_OVERHEAD_BYTES } from '../src/wire/message.js'
import { rebind } from './faults.js'
import type { LinkParameters } from './link-direction.js'
import { LTE_TRACE_STEP_US, lteTrace } from './lte.js'
import { type Outcome, outcomeOf } from './outcome.js'
import { TcpTransfer } from './tcp.js'
import { DatagramFlow, Ping } from './traffic.js'
import { World } from './world.js'

/** A fault in what the operator gave. */
export class ScenarioFault extends Error {}

/** One direction of a line. Rates in Mbit/s of frames, times in ms, losses as shares. */
const direction = z.strictObject({
  mbit: z.number().positive().optional(),
  /** Rates vary between these, as radio does. */
  lteMbit: z.tuple([z.number().positive(), z.number().positive()]).optional(),
  delayMs: z.number().nonnegative().default(5),
  jitterMs: z.number().nonnegative().default(0),
  jitterReorders: z.boolean().default(false),
  loss: z.number().min(0).max(1).default(0),
  /** Runs of losses of this mean length instead of single ones. */
  lossBurst: z.number().min(1).default(1),
  duplicate: z.number().min(0).max(1).default(0),
  reorder: z.number().min(0).max(1).default(0),
  queueMs: z.number().positive().default(150),
  queuePackets: z.number().positive().optional(),
})

const traffic = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('tcp'),
    control: z.enum(['cubic', 'bbr']).default('cubic'),
    reverse: z.boolean().default(false),
    streams: z.number().int().positive().default(1),
    from: z.number().nonnegative().default(0.5),
  }),
  z.strictObject({
    kind: z.literal('udp'),
    mbit: z.number().positive(),
    bytes: z.number().int().min(100).max(1440).default(1200),
    reverse: z.boolean().default(false),
    from: z.number().nonnegative().default(0.5),
  }),
  z.strictObject({
    kind: z.literal('voice'),
    reverse: z.boolean().default(false),
    from: z.number().nonnegative().default(0),
  }),
  z.strictObject({ kind: z.literal('ping'), from: z.number().nonnegative().default(0) }),
])

const scenarioSchema = z.strictObject({
  scheduler: z.enum(['adaptive', 'weighted', 'redundant']).default('weighted'),
  policy: z.enum(['auto', 'bond']).default('auto'),
  seconds: z.number().positive().default(20),
  /** Goodput is measured from here to the end. */
  measureFrom: z.number().nonnegative().default(5),
  links: z
    .array(
      z.strictObject({
        name: z.string(),
        weight: z.number().positive().optional(),
        /** Client to server. */
        up: direction,
        down: direction,
      }),
    )
    .min(1),
  events: z
    .array(
      z.strictObject({
        at: z.number().nonnegative(),
        link: z.string(),
        do: z.enum(['down', 'up', 'rebind', 'change']),
        up: direction.partial().optional(),
        down: direction.partial().optional(),
      }),
    )
    .default([]),
  traffic: z.array(traffic).min(1),
})
export type Scenario = z.infer<typeof scenarioSchema>
type Direction = z.infer<typeof direction>

const FRAME_OVERHEAD_BYTES = 14 + 20 + 8

/** A direction as the model knows it. */
export function lineOf(d: Direction): Partial<LinkParameters> {
  const mbit = d.mbit ?? (d.lteMbit ? (d.lteMbit[0] + d.lteMbit[1]) / 2 : Number.POSITIVE_INFINITY)
  const rate = (mbit * 1e6) / 8
  const queueBytes = d.queuePackets ? d.queuePackets * 1500 : (rate * d.queueMs) / 1000
  return {
    rateBytesPerSec: rate,
    queueBytesMax: Math.max(queueBytes, 3_000),
    overheadBytes: FRAME_OVERHEAD_BYTES,
    delayUs: d.delayMs * MILLISECOND,
    jitterUs: d.jitterMs * MILLISECOND,
    jitterReorders: d.jitterReorders,
    loss: d.lossBurst > 1 ? 0 : d.loss,
    burstBegin: d.lossBurst > 1 ? d.loss / ((1 - d.loss) * d.lossBurst) : 0,
    burstEnd: 1 / d.lossBurst,
    duplicate: d.duplicate,
    reorder: d.reorder,
  }
}

export interface ScenarioResult {
  outcome: Outcome
  /** By traffic entry: what it reached, in words. */
  lines: string[]
}

export function readScenario(text: string, place: string): Scenario {
  let value: unknown
  try {
    value = parse(text)
  } catch (error) {
    throw new ScenarioFault(`${place}: ${(error as Error).message.split('\n')[0]}`)
  }
  const result = scenarioSchema.safeParse(value)
  if (result.success) return result.data
  const faults = result.error.issues.map((issue) => `${place}: ${issue.path.join('.')}: ${issue.message}`)
  throw new ScenarioFault(faults.join('\n'))
}

export function runScenario(
  text: string,
  place: string,
  seed: number,
  primitives: Primitives,
): ScenarioResult {
  const scenario = readScenario(text, place)
  const random = new Prng(seed ^ 0x7363656e)
  const world = new World({
    seed,
    primitives,
    scheduler: scenario.scheduler,
    policy: scenario.policy,
    links: scenario.links.map((link) => ({
      name: link.name,
      weight: link.weight ?? link.down.mbit ?? 1,
      up: lineOf(link.up),
      down: lineOf(link.down),
    })),
    client: { poolBytes: 64 << 20 },
    server: { poolBytes: 64 << 20 },
  })
  const endsAt = scenario.seconds * SECOND
  scenario.links.forEach((link, i) => {
    for (const way of ['up', 'down'] as const) {
      const range = link[way].lteMbit
      if (range) vary(world, world.line(i)[way]!.parameters, range, random, endsAt)
    }
  })
  for (const event of scenario.events) {
    const index = scenario.links.findIndex((link) => link.name === event.link)
    if (index < 0) throw new ScenarioFault(`${place}: events: there is no link "${event.link}"`)
    const line = world.line(index)
    world.clock.call(event.at * SECOND, () => {
      if (event.do === 'rebind') rebind(world, index, random)
      else if (event.do === 'change') {
        for (const way of ['up', 'down'] as const) {
          const change = event[way]
          if (change)
            Object.assign(
              line[way]!.parameters,
              lineOf({ ...scenario.links[index]![way], ...defined(change) }),
            )
        }
      } else {
        line.up!.parameters.blackhole = event.do === 'down'
        line.down!.parameters.blackhole = event.do === 'down'
      }
    })
  }
  const reports = scenario.traffic.map((entry, i) => addTraffic(world, entry, `${entry.kind}${i}`, scenario))
  world.run(endsAt)
  const lines = reports.map((report) => report())
  world.run(endsAt + 4 * SECOND)
  const faults = world.faultsAtRest()
  return {
    outcome: outcomeOf(
      world,
      'scenario',
      { scenario: place, links: scenario.links.length },
      faults,
      `--scenario ${place}`,
    ),
    lines,
  }
}

function defined<T extends object>(value: T): { [K in keyof T]: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as never
}

function vary(
  world: World,
  line: LinkParameters,
  range: readonly [number, number],
  random: Prng,
  until: number,
): void {
  const trace = lteTrace(random, (range[0] * 1e6) / 8, (range[1] * 1e6) / 8)
  const step = (): void => {
    line.rateBytesPerSec = trace.next()
    if (world.clock.now < until) world.clock.call(world.clock.now + LTE_TRACE_STEP_US, step)
  }
  step()
}

/** Starts one entry's traffic; the function returned says what it reached. */
function addTraffic(
  world: World,
  entry: Scenario['traffic'][number],
  name: string,
  scenario: Scenario,
): () => string {
  const until = scenario.seconds * SECOND
  const from = entry.from * SECOND
  const measureFrom = scenario.measureFrom * SECOND
  const { clock, ledger, client, server } = world
  if (entry.kind === 'ping') {
    const ping = new Ping(clock, ledger, client, server, {
      name,
      bytes: 84,
      intervalUs: 100 * MILLISECOND,
      from,
      until,
    })
    return () => {
      const sorted = ping.roundTripsUs.slice().sort((a, b) => a - b)
      const at = (q: number): string =>
        ((sorted[Math.floor(q * (sorted.length - 1))] ?? Number.NaN) / 1000).toFixed(1)
      return `${name}: ${sorted.length} of ${ping.requests.record.sent}, rtt ${at(0.5)} ms, p99 ${at(0.99)} ms`
    }
  }
  // Downloads, as most transfers are: the server sends unless reversed.
  const [source, destination] = entry.reverse ? [client, server] : [server, client]
  if (entry.kind === 'tcp') {
    const transfers = Array.from(
      { length: entry.streams },
      (_, i) =>
        new TcpTransfer(clock, ledger, source, destination, {
          name: `${name}.${i}`,
          control: entry.control,
          from,
          until,
        }),
    )
    const achievable = achievableMbit(scenario, entry.reverse ? 'up' : 'down')
    return () => {
      const mbit = transfers.reduce((sum, each) => sum + each.goodput(measureFrom, until), 0) / 1e6
      const sum = (pick: (each: TcpTransfer) => number): number =>
        transfers.reduce((total, each) => total + pick(each), 0)
      const share = Number.isFinite(achievable) ? `, ${((100 * mbit) / achievable).toFixed(1)} %` : ''
      return (
        `${name}: ${mbit.toFixed(1)} Mbit/s${share}, ${sum((t) => t.sender.retransmissions)} retransmitted, ` +
        `${sum((t) => t.sender.spurious)} for nothing, ${sum((t) => t.sender.timeouts)} timeouts, ` +
        `${sum((t) => t.data.reordered)} reordered`
      )
    }
  }
  const bytes = entry.kind === 'voice' ? 200 : entry.bytes
  const intervalUs = entry.kind === 'voice' ? 20 * MILLISECOND : (bytes * 8) / entry.mbit
  const flow = new DatagramFlow(clock, ledger, source, destination, {
    name,
    bytes,
    intervalUs,
    dscp: entry.kind === 'voice' ? 46 : 0,
    from,
    until,
  })
  flow.record.gapsFrom = measureFrom
  return () => {
    const { record } = flow
    const lost = record.sent - record.delivered
    return (
      `${name}: ${record.sent} sent, ${lost} lost, delay ${record.delayQuantileMs(0.5).toFixed(1)} ms, ` +
      `p99 ${record.delayQuantileMs(0.99).toFixed(1)} ms, longest gap ${(record.gapUsMax / 1000).toFixed(0)} ms`
    )
  }
}

/** What one TCP flow could get: the sum of the links' rates without losses, times payload per frame. */
export function achievableMbit(scenario: Scenario, way: 'up' | 'down'): number {
  const payload = 1440 - 52
  const frame = 1440 + DATA_OVERHEAD_BYTES + FRAME_OVERHEAD_BYTES
  let sum = 0
  for (const link of scenario.links) {
    const { mbit, lteMbit, loss } = link[way]
    const rate = mbit ?? (lteMbit ? (lteMbit[0] + lteMbit[1]) / 2 : Number.POSITIVE_INFINITY)
    sum += rate * (1 - loss)
  }
  return (sum * payload) / frame
}

export function describeScenario(result: ScenarioResult): string {
  return result.lines.map((line) => `  ${line}`).join('\n')
}
