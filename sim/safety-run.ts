import { Prng } from '../src/base/prng.js'
import { MILLISECOND, SECOND } from '../src/base/time.js'
import { lteTrace } from '../src/lab/rate-trace.js'
import type { Primitives } from '../src/noise/primitives.js'
import { Attacker } from './attacker.js'
import {
  anyMachine,
  anyScheduler,
  badLine,
  healAll,
  healLine,
  rebind,
  scheduleRestart,
  scheduleSwizzle,
  skewed,
} from './faults.js'
import { type Outcome, outcomeOf } from './outcome.js'
import { TcpTransfer } from './tcp.js'
import { DatagramFlow, Ping } from './traffic.js'
import { World } from './world.js'

/**
 * Safety: every fault there is, at random, all the time. Nothing is asked of progress; but whatever is delivered was
 * sent, once, unchanged, in the order promised, with no nonce twice, and at the end everything is accounted for.
 */
export function runSafety(seed: number, primitives: Primitives, minutes: number): Outcome {
  const random = new Prng(seed ^ 0x73616665)
  const linkCount = 1 + random.below(4)
  const line = () => ({
    ...badLine(random),
    rateBytesPerSec: skewed(random, 1e5, 3e6),
    queueBytesMax: Math.round(skewed(random, 15_000, 500_000)),
  })
  const lines = (count: number) => Array.from({ length: count }, () => ({ up: line(), down: line() }))
  const rekeyAfterUs = random.next() < 0.5 ? (1 + random.next() * 10) * SECOND : undefined
  const siteToSite = random.next() < 0.3
  const small = random.next() < 0.3
  const machine = () => ({
    ...anyMachine(random),
    poolBytes: small ? 1 << 20 : 8 << 20,
    socketBytesMax: random.next() < 0.5 ? 100_000 : Number.POSITIVE_INFINITY,
  })
  const world = new World({
    seed,
    primitives,
    links: lines(linkCount),
    ...(siteToSite ? { serverLinks: lines(2) } : {}),
    bothKnowEndpoints: random.next() < 0.5,
    client: machine(),
    server: machine(),
    scheduler: anyScheduler(random),
    policy: random.next() < 0.7 ? 'auto' : 'bond',
    ...(rekeyAfterUs ? { rekeyAfterUs } : {}),
  })
  const endsAt = minutes * 60 * SECOND
  const flows = addTraffic(world, random, endsAt)

  const attacker = new Attacker(world.clock, world.network, new Prng(random.nextUint32()), 20 * MILLISECOND)
  if (random.next() < 0.7) attacker.start()
  let faultCount = 0
  const strike = (): void => {
    faultCount++
    const ends = world.ends
    const end = ends[random.below(ends.length)]!
    const attachment = end.attachments[random.below(end.attachments.length)]!
    const direction = random.next() < 0.5 ? attachment.up : attachment.down
    const now = world.clock.now
    switch (random.below(8)) {
      case 0:
      case 1:
        if (direction) Object.assign(direction.parameters, line())
        break
      case 2:
        if (direction) direction.parameters.blackhole = !direction.parameters.blackhole
        break
      case 3:
        if (direction) healLine(direction.parameters)
        break
      case 4:
        rebind(world, random.below(linkCount), random)
        break
      case 5:
        scheduleRestart(world, now, random)
        break
      case 6:
        scheduleSwizzle(world, now, 3 * SECOND, random)
        break
      default:
        healAll(world)
    }
    const next = now - 2 * SECOND * Math.log(1 - random.next())
    if (next < endsAt) world.clock.call(next, strike)
  }
  world.clock.call(random.next() * 2 * SECOND, strike)
  const traceLine = world.line(0)
  if (random.next() < 0.5) {
    const model = { minBitsPerSec: 0.8e6, maxBitsPerSec: 24e6, stepUs: 50 * MILLISECOND }
    const { points } = lteTrace(model, random.nextUint32())
    let next = 0
    const step = (): void => {
      traceLine.down!.parameters.rateBytesPerSec = points[next++ % points.length]!.rateBitsPerSec / 8
      if (world.clock.now < endsAt) world.clock.call(world.clock.now + model.stepUs, step)
    }
    step()
  }

  let faults: string[] = []
  for (let second = 1; second * SECOND <= endsAt && faults.length === 0; second++) {
    world.run(second * SECOND)
    faults = world.faults()
  }
  if (faults.length === 0) {
    attacker.stop()
    healAll(world)
    faults = world.rest()
  }
  return outcomeOf(
    world,
    'safety',
    {
      minutes,
      links: linkCount,
      siteToSite,
      scheduler: world.options.scheduler,
      policy: world.options.policy,
      rekeyAfterUs: rekeyAfterUs ?? 'default',
      smallMemory: small,
      flows,
      faults: faultCount,
      replayed: attacker.replayed,
    },
    faults,
    `--mode safety --minutes ${minutes}`,
  )
}

/** Some flows of every kind, both ways. Returns how many. */
export function addTraffic(world: World, random: Prng, until: number): number {
  const { clock, ledger } = world
  let flows = 0
  for (const [from, to] of [
    [world.client, world.server],
    [world.server, world.client],
  ] as const) {
    const family = () => (random.next() < 0.7 ? 4 : 6)
    if (random.next() < 0.7) {
      flows++
      new DatagramFlow(clock, ledger, from, to, {
        name: `udp from ${from.number}`,
        family: family(),
        bytes: 100 + random.below(1300),
        intervalUs: skewed(random, 2, 50) * MILLISECOND,
        random: random.next() < 0.5,
        burst: 1 + random.below(4),
        until,
      })
    }
    if (random.next() < 0.5) {
      flows++
      new DatagramFlow(clock, ledger, from, to, {
        name: `voice from ${from.number}`,
        bytes: 200,
        intervalUs: 20 * MILLISECOND,
        dscp: 46,
        until,
      })
    }
    if (random.next() < 0.5) {
      flows++
      new Ping(clock, ledger, from, to, {
        name: `ping from ${from.number}`,
        family: family(),
        bytes: 84,
        intervalUs: 200 * MILLISECOND,
        until,
      })
    }
    if (random.next() < 0.6) {
      flows++
      new TcpTransfer(clock, ledger, from, to, {
        name: `tcp from ${from.number}`,
        family: family(),
        control: random.next() < 0.5 ? 'cubic' : 'bbr',
        ecn: from === world.server,
        from: random.next() * 2 * SECOND,
        until,
      })
    }
  }
  return flows
}
