import { Prng } from '../src/base/prng.js'
import { MILLISECOND, SECOND } from '../src/base/time.js'
import type { Primitives } from '../src/noise/primitives.js'
import { Attacker } from './attacker.js'
import { checkProgress } from './checkers.js'
import { anyMachine, anyScheduler, badLine, healAll, rebind, scheduleRestart } from './faults.js'
import { type Outcome, outcomeOf } from './outcome.js'
import { DatagramFlow } from './traffic.js'
import { World } from './world.js'

/** Faults end here, */
const HEALED_AT = 3 * SECOND
/** ... traffic must flow again before this, */
const FLOWING_AT = HEALED_AT + 5 * SECOND
/** ... not a packet may be lost from then on to this, when traffic ends, */
const QUIET_AT = FLOWING_AT + 1 * SECOND
/** ... and here everything is at rest. */
const REST_AT = QUIET_AT + 2 * SECOND

/**
 * One seed of the handshake proofs: both ends initiate at once or one does, over lines that lose, double, damage and
 * overtake; an attacker replays; ends restart; addresses change; keys are renewed. Whatever happened in the first
 * seconds, traffic flows both ways soon after.
 */
export function runHandshake(seed: number, primitives: Primitives): Outcome {
  const random = new Prng(seed ^ 0x68616e64)
  const linkCount = 1 + random.below(3)
  const siteToSite = random.next() < 0.25
  const lines = (count: number) =>
    Array.from({ length: count }, () => ({ up: badLine(random), down: badLine(random) }))
  const presharedKey = new Uint8Array(32)
  if (random.next() < 0.5) random.fill(presharedKey)
  const bothKnowEndpoints = random.next() < 0.6
  const rekeyAfterUs = random.next() < 0.4 ? (1 + random.next() * 2) * SECOND : undefined
  const links = lines(linkCount)
  const serverLinks = siteToSite ? lines(2) : undefined
  const client = anyMachine(random)
  const server = anyMachine(random)
  const world = new World({
    seed,
    primitives,
    links,
    bothKnowEndpoints,
    presharedKey,
    // Where only the server sends, a client behind a NAT that moved is found at its next heartbeat.
    keepaliveUs: 2 * SECOND,
    client,
    server,
    scheduler: anyScheduler(random),
    ...(serverLinks ? { serverLinks } : {}),
    ...(rekeyAfterUs ? { rekeyAfterUs } : {}),
  })

  const { client: clientHost, server: serverHost } = world
  const there = [clientHost, serverHost] as const
  const back = [serverHost, clientHost] as const
  // Traffic both ways mostly; one way only leaves more to the heartbeats.
  const ways = [[there, back], [there, back], [there, back], [there], [back]][random.below(5)]!
  const flows = ways.map(
    ([from, to]) =>
      new DatagramFlow(world.clock, world.ledger, from, to, {
        name: from === clientHost ? 'there' : 'back',
        family: random.next() < 0.5 ? 4 : 6,
        bytes: 100 + random.below(1200),
        intervalUs: 20 * MILLISECOND,
        // Exactly at once in half of the seeds: both handshakes cross on the way.
        from: random.next() < 0.5 ? 0 : random.below(100 * MILLISECOND),
        until: QUIET_AT,
      }),
  )

  let attacker: Attacker | undefined
  const attackerStays = random.next() < 0.5
  if (random.next() < 0.7) {
    attacker = new Attacker(
      world.clock,
      world.network,
      new Prng(random.nextUint32()),
      (2 + random.next() * 50) * MILLISECOND,
    )
    attacker.handshakesOnly = random.next() < 0.5
    attacker.start()
  }
  const restarts = random.below(3)
  for (let i = 0; i < restarts; i++) scheduleRestart(world, random.next() * HEALED_AT, random)
  const rebinds = random.below(3)
  for (let i = 0; i < rebinds; i++) {
    const link = random.below(linkCount)
    world.clock.call(random.next() * HEALED_AT, () => rebind(world, link, random))
  }
  const blackholes = random.below(3)
  for (let i = 0; i < blackholes; i++) {
    const line = world.line(random.below(linkCount))
    const direction = random.next() < 0.5 ? line.up! : line.down!
    world.clock.call(random.next() * HEALED_AT, () => {
      direction.parameters.blackhole = true
    })
  }

  world.run(HEALED_AT)
  healAll(world)
  if (!attackerStays) attacker?.stop()
  world.run(FLOWING_AT)
  const faults: string[] = []
  for (const flow of flows) faults.push(...checkProgress(flow.record, world.clock.now, SECOND / 2))
  const sentBefore = flows.map((flow) => flow.record.sent)
  world.run(REST_AT)
  attacker?.stop()
  if (faults.length === 0) {
    flows.forEach((flow, i) => {
      let missing = 0
      for (let n = sentBefore[i]!; n < flow.record.sent; n++) if (!flow.record.isDelivered(n)) missing++
      if (missing > 0) faults.push(`flow ${flow.record.name}: ${missing} packets lost after all was well`)
    })
  }
  faults.push(...world.faultsAtRest())
  return outcomeOf(
    world,
    'handshake',
    {
      links: linkCount,
      siteToSite,
      bothKnowEndpoints,
      rekeyAfterUs: rekeyAfterUs ?? 'default',
      psk: presharedKey.some((byte) => byte !== 0),
      clientClock: client.clockBaseUs,
      serverClock: server.clockBaseUs,
      attacker: attacker ? attacker.replayed : 'none',
      flows: flows.map((flow) => flow.record.name).join('/'),
      restarts,
      rebinds,
      blackholes,
      scheduler: world.options.scheduler,
    },
    faults,
  )
}
