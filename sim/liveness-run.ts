import { Prng } from '../src/base/prng.js'
import { MILLISECOND, SECOND } from '../src/base/time.js'
import type { Primitives } from '../src/noise/primitives.js'
import { checkProgress } from './checkers.js'
import { anyMachine, anyScheduler, skewed } from './faults.js'
import type { LinkParameters } from './link-direction.js'
import { type Outcome, outcomeOf } from './outcome.js'
import { TcpTransfer } from './tcp.js'
import { DatagramFlow } from './traffic.js'
import { World } from './world.js'

/** The bond has found out what is broken, */
const SETTLED_AT = 6 * SECOND
/** ... and from then on nothing is silent for longer than this, */
const SILENCE_US_MAX = 500 * MILLISECOND
/** ... nor a TCP transfer, whose timer may still be long from before, for longer than this, */
const TCP_SILENCE_US_MAX = 1_500 * MILLISECOND
/** ... and this share is delivered, as the good links lose nothing. */
const DELIVERED_SHARE_MIN = 0.99
/** ... unless TCP fills them, and queue management drops some of the stream while the rate is underestimated. */
const DELIVERED_SHARE_LOADED_MIN = 0.75
/**
 * Packet memory under load, some four times what is under way: with less the TUN refuses most of what TCP sends, and a
 * connection whose few segments it refuses three times running is silent for seconds, as on any host short of memory.
 */
const POOL_BYTES_LOADED = 4 << 20

/**
 * Liveness: some links are good, the rest is broken for good (dead both ways, or one way only, or coming and going),
 * and the bond must make progress all the same.
 */
export function runLiveness(seed: number, primitives: Primitives, minutes: number): Outcome {
  const random = new Prng(seed ^ 0x6c697665)
  const linkCount = 2 + random.below(3)
  const goodLink = random.below(linkCount)
  const kinds: string[] = []
  const scheduler = anyScheduler(random)
  // Lines of some rate, and TCP that fills them: the others would let the stream drown in the modems' queues.
  const loaded = scheduler === 'adaptive' && random.next() < 0.4
  const good = (): Partial<LinkParameters> => ({
    delayUs: 1_000 + random.below(60_000),
    ...(loaded
      ? {
          rateBytesPerSec: skewed(random, 600_000, 4_000_000),
          queueUsMax: skewed(random, 30, 200) * MILLISECOND,
        }
      : {}),
  })
  const links = Array.from({ length: linkCount }, (_, i) => {
    const kind =
      i === goodLink || random.next() < 0.2 ? 'good' : ['dead', 'up dead', 'down dead'][random.below(3)]!
    kinds.push(kind)
    return {
      up: { ...good(), blackhole: kind === 'dead' || kind === 'up dead' },
      down: { ...good(), blackhole: kind === 'dead' || kind === 'down dead' },
    }
  })
  // In half of the runs all links work at first and break later.
  const breaksAt = random.next() < 0.5 ? random.next() * 3 * SECOND : 0
  const machine = { stallShare: 0, ...(loaded ? { poolBytes: POOL_BYTES_LOADED } : {}) }
  const world = new World({
    seed,
    primitives,
    links:
      breaksAt > 0
        ? links.map((link) => ({
            up: { ...link.up, blackhole: false },
            down: { ...link.down, blackhole: false },
          }))
        : links,
    client: { ...anyMachine(random), ...machine },
    server: { ...anyMachine(random), ...machine },
    bothKnowEndpoints: random.next() < 0.5,
    scheduler,
    policy: random.next() < 0.7 ? 'auto' : 'bond',
  })
  if (breaksAt > 0) {
    world.clock.call(breaksAt, () => {
      links.forEach((link, i) => {
        world.line(i).up!.parameters.blackhole = link.up.blackhole
        world.line(i).down!.parameters.blackhole = link.down.blackhole
      })
    })
  }
  const endsAt = SETTLED_AT + minutes * 60 * SECOND
  const flows = [
    [world.client, world.server],
    [world.server, world.client],
  ].map(
    ([from, to]) =>
      new DatagramFlow(world.clock, world.ledger, from!, to!, {
        name: `udp from ${from!.number}`,
        bytes: 1_000,
        intervalUs: 5 * MILLISECOND,
        until: endsAt,
      }),
  )
  const transfers = loaded
    ? [
        [world.client, world.server],
        [world.server, world.client],
      ].map(
        ([from, to]) =>
          new TcpTransfer(world.clock, world.ledger, from!, to!, {
            name: `tcp from ${from!.number}`,
            control: random.next() < 0.5 ? 'cubic' : 'bbr',
            ecn: from === world.server,
            until: endsAt,
          }),
      )
    : []
  world.run(SETTLED_AT)
  const before = flows.map((flow) => ({ sent: flow.record.sent, delivered: flow.record.delivered }))
  let faults: string[] = []
  while (world.clock.now < endsAt && faults.length === 0) {
    world.run(Math.min(endsAt, world.clock.now + 250 * MILLISECOND))
    faults = world.faults()
    for (const flow of flows) faults.push(...checkProgress(flow.record, world.clock.now, SILENCE_US_MAX))
    for (const { data } of transfers) faults.push(...checkProgress(data, world.clock.now, TCP_SILENCE_US_MAX))
  }
  const shares = flows.map((flow, i) => {
    const sent = flow.record.sent - before[i]!.sent
    return (flow.record.delivered - before[i]!.delivered) / sent
  })
  if (faults.length === 0) {
    shares.forEach((share, i) => {
      if (share < (loaded ? DELIVERED_SHARE_LOADED_MIN : DELIVERED_SHARE_MIN)) {
        faults.push(`flow ${flows[i]!.record.name}: only ${(100 * share).toFixed(1)} % delivered`)
      }
    })
    faults.push(...world.rest())
  }
  return outcomeOf(
    world,
    'liveness',
    {
      minutes,
      links: kinds.join('/'),
      breaksAtUs: breaksAt,
      scheduler: world.options.scheduler,
      policy: world.options.policy,
      loaded,
      shareThere: shares[0],
      shareBack: shares[1],
    },
    faults,
    `--mode liveness --minutes ${minutes}`,
  )
}
