import { Prng } from '../base/prng.js'
import type { DirectionModel } from './link-model.js'
import { BEST_SINGLE_SHARE } from './runner.js'
import type { Scenario, ScenarioLink } from './scenario.js'
import { formatRate, type QueueLimit } from './units.js'

/** Where parameters are drawn from: rates and round trips evenly in their logarithm, the others evenly. */
const RATE_MBIT = { from: 5, to: 100 }
/** Two cores do not carry more with both ends and the traffic on them. */
const SUM_MBIT_MAX = 150
const RTT_MS = { from: 5, to: 150 }
const LOSS_MAX = 0.02
const JITTER_MS_MAX = 8
const QUEUE_PACKETS = { from: 12, to: 60 }
const QUEUE_MS = { from: 20, to: 200 }
/** Share of the links that have no loss, no jitter; and of those whose queue counts packets. */
const CLEAN = 0.5
const SHALLOW = 0.3
const NAMES = ['one', 'two', 'three']
const TRAFFIC_US = 25e6
const WINDOW = { fromUs: 10e6, toUs: TRAFFIC_US }

/** Pairs and triples of links as chance makes them; the same seed makes the same ones, whatever the count. */
export function randomScenarios(seed: number, count: number): Scenario[] {
  return Array.from({ length: count }, (_, index) => randomScenario(seed, index + 1))
}

function randomScenario(seed: number, number: number): Scenario {
  const random = new Prng(seed * 100_003 + number)
  const links = NAMES.slice(0, 2 + random.below(2))
  let rates: number[]
  do rates = links.map(() => Math.round(logBetween(random, RATE_MBIT) * 10) / 10)
  while (rates.reduce((sum, rate) => sum + rate, 0) > SUM_MBIT_MAX)
  const drawn = links.map((name, index) => randomLink(random, name, rates[index]!))
  return {
    name: `random-${seed}-${number}`,
    file: '',
    about: drawn.map(describeLink).join('; '),
    links: drawn,
    lan: [],
    outer: 4,
    ecn: false,
    scheduler: undefined,
    policy: undefined,
    traffic: [
      {
        name: 'bulk',
        kind: 'tcp',
        way: 'down',
        site: 'a',
        lan: false,
        fromUs: 0,
        forUs: TRAFFIC_US,
        congestion: 'cubic',
        streams: 1,
      },
    ],
    events: [],
    expect: [
      {
        what: 'goodput',
        of: ['bulk'],
        window: WINDOW,
        limit: { kind: 'share', min: BEST_SINGLE_SHARE },
        share: 0.9,
        versus: { link: 'best' },
      },
    ],
  }
}

function randomLink(random: Prng, name: string, rateMbit: number): ScenarioLink {
  const rttMs = Math.round(logBetween(random, RTT_MS))
  const loss = random.next() < CLEAN ? 0 : Math.round(random.next() * LOSS_MAX * 1000) / 1000
  // No packet is early: what comes before it was sent has no delay to vary.
  const jitterMs = random.next() < CLEAN ? 0 : Math.round(random.next() * Math.min(JITTER_MS_MAX, rttMs / 4))
  const queue: QueueLimit =
    random.next() < SHALLOW
      ? { packets: Math.round(between(random, QUEUE_PACKETS)) }
      : { timeUs: Math.round(between(random, QUEUE_MS)) * 1000 }
  const model: DirectionModel = {
    rateBitsPerSec: Math.round(rateMbit * 1e6),
    overheadBytes: 0,
    delayUs: (rttMs * 1000) / 2,
    jitterUs: jitterMs * 1000,
    jitterHoldUs: 10_000,
    keepOrder: true,
    loss,
    lossBurst: 1,
    duplicate: 0,
    reorder: 0,
    reorderByUs: 5000,
    queue,
    pathMtu: 0,
  }
  return {
    name,
    kind: 'emulated',
    site: 'a',
    mtu: 1500,
    nat: false,
    weight: rateMbit,
    traces: {},
    up: model,
    down: model,
  }
}

/** "37.2 Mbit/s, 42 ms, 0.8 % loss, 3 ms jitter, 24 packets". */
export function describeLink({ down }: ScenarioLink): string {
  const { queue } = down
  const parts = [formatRate(down.rateBitsPerSec), `${(2 * down.delayUs) / 1000} ms`]
  if (down.loss > 0) parts.push(`${Number((down.loss * 100).toFixed(2))} % loss`)
  if (down.jitterUs > 0) parts.push(`${down.jitterUs / 1000} ms jitter`)
  if ('packets' in queue) parts.push(`queue ${queue.packets} packets`)
  if ('timeUs' in queue) parts.push(`queue ${queue.timeUs / 1000} ms`)
  return parts.join(', ')
}

interface Range {
  readonly from: number
  readonly to: number
}

const between = (random: Prng, { from, to }: Range): number => from + random.next() * (to - from)
const logBetween = (random: Prng, { from, to }: Range): number => from * (to / from) ** random.next()
