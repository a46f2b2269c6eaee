import { SECOND } from '../src/base/time.js'
import { describeEvent, type Phase, type PhaseEvent, type Sample } from '../src/lab/phase.js'
import { referenceLinks, type ScenarioRun } from '../src/lab/runner.js'
import { type Scenario, scenarioEndUs } from '../src/lab/scenario.js'
import { judge } from '../src/lab/verdict.js'
import type { WanCounters } from '../src/lab/wan-link.js'
import type { Primitives } from '../src/noise/primitives.js'
import type { LinkDirection } from './link-direction.js'
import { type Outcome, outcomeOf } from './outcome.js'
import { startTraffic, TunCounters } from './scenario-traffic.js'
import { ScenarioWorld } from './scenario-world.js'

/** How long a tunnel may take until every link is up, and how long it then waits for the traffic, as in the lab. */
const OPEN_US_MAX = 5 * SECOND
const LOOK_US = 50_000
const LEAD_US = 300_000
/** How often the links are looked at, as in the lab. */
const SAMPLE_US = 100_000
const NS = 1000

/** A scenario played once in virtual time: the figures as the lab takes them, and what the checkers say. */
export interface SimulatedRun extends ScenarioRun {
  readonly outcome: Outcome
}

/**
 * Plays a scenario of the lab.
 *
 * @param how the arguments that repeat the run, beside the seed
 * @throws OperatorError if it has something that cannot be played in virtual time
 */
export function playScenario(
  scenario: Scenario,
  seed: number,
  policy: 'auto' | 'bond',
  primitives: Primitives,
  how: string,
): SimulatedRun {
  const references = new Map<string, Phase>()
  const faults: string[] = []
  let virtualSeconds = 0
  for (const link of referenceLinks(scenario)) {
    const alone = playOnce(scenario, seed, policy, primitives, how, link)
    references.set(link, alone.phase)
    faults.push(...alone.outcome.faults.map((fault) => `${link} alone: ${fault}`))
    virtualSeconds += alone.outcome.virtualSeconds
  }
  const { phase, outcome } = playOnce(scenario, seed, policy, primitives, how)
  outcome.faults.push(...faults)
  outcome.virtualSeconds += virtualSeconds
  return { seed, phase, verdicts: judge(scenario, seed, phase, references), outcome }
}

/** One run, over all links or over one of them alone. */
function playOnce(
  scenario: Scenario,
  seed: number,
  policy: 'auto' | 'bond',
  primitives: Primitives,
  how: string,
  only?: string,
): { phase: Phase; outcome: Outcome } {
  const play = new ScenarioWorld(scenario, seed, policy, primitives, only)
  const { world } = play
  while (world.clock.now < OPEN_US_MAX && play.linksDown().length > 0) world.run(world.clock.now + LOOK_US)
  const down = play.linksDown()
  const notes = down.length === 0 ? [] : [`not every link was up at the start: ${down.join(', ')}`]
  const zero = world.clock.now + LEAD_US
  const until = zero + scenarioEndUs(scenario)
  const events: PhaseEvent[] = scenario.events.map((event) => ({
    timeUs: event.atUs,
    text: describeEvent(event),
  }))
  play.schedule(zero)
  const counters = {
    a: new TunCounters(world, world.client.end, until),
    b: new TunCounters(world, world.server.end, until),
  }
  const tcp = { mtuBytes: play.tunMtu, ecn: scenario.ecn }
  const traffic = scenario.traffic.map((t) => ({ t, record: startTraffic(world, t, zero, tcp) }))
  const samples: Sample[] = []
  const look = (): void => {
    samples.push({
      timeUs: world.clock.now - zero,
      wan: scenario.links.map((_, i) => ({
        nowNs: world.clock.now * NS,
        cpuUs: 0,
        ab: countersOf(world.line(i).up!),
        ba: countersOf(world.line(i).down!),
      })),
      status: {},
    })
    if (world.clock.now < until) world.clock.call(world.clock.now + SAMPLE_US, look)
  }
  world.clock.call(zero, look)
  let faults: string[] = []
  while (world.clock.now < until && faults.length === 0) {
    world.run(Math.min(until, world.clock.now + SECOND))
    faults = world.faults()
  }
  if (faults.length === 0) {
    faults = world.rest()
  }
  look()
  const phase: Phase = {
    mode: { kind: 'tunnel', link: only },
    zeroNs: zero * NS,
    records: new Map(traffic.map(({ t, record }) => [t.name, record()])),
    failures: new Map(),
    samples,
    counters: { a: counters.a.records(), b: counters.b.records() },
    events,
    notes,
    tunMtu: play.tunMtu,
  }
  const options = { scenario: scenario.name, links: scenario.links.length }
  const outcome = outcomeOf(world, 'scenario', options, faults, how)
  return { phase, outcome }
}

/** What the emulator of a link would say. */
function countersOf(line: LinkDirection): WanCounters {
  const { counts, parameters } = line
  return {
    inFrames: counts.entered,
    inBytes: counts.enteredBytes,
    outFrames: counts.passed,
    outBytes: counts.passedBytes,
    droppedQueue: counts.queueDropped,
    droppedLoss: counts.lost,
    droppedBlackhole: counts.swallowed,
    droppedSize: counts.tooLarge,
    droppedMemory: 0,
    droppedWrite: 0,
    duplicated: counts.duplicated,
    reordered: counts.reordered,
    waitingBytes: line.queueBytes,
    waitingBytesMax: line.queueBytesSeenMax,
    inFlight: 0,
    rateBitsPerSec: Math.round(parameters.rateBytesPerSec * 8),
    blackhole: parameters.blackhole,
    lateUsMax: 0,
    lateUsMean: 0,
  }
}
