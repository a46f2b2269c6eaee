import type { Prng } from '../src/base/prng.js'
import { type Instant, MILLISECOND, SECOND } from '../src/base/time.js'
import type { MachineParameters } from './end.js'
import type { LinkParameters } from './link-direction.js'
import { addressOf } from './network.js'
import type { World } from './world.js'

/** A number between `low` and `high`, more often near `low`. */
export function skewed(random: Prng, low: number, high: number): number {
  return low + (high - low) * random.next() ** 2
}

/** The default mostly, and the others often enough. */
export function anyScheduler(random: Prng): 'adaptive' | 'weighted' | 'redundant' {
  const draw = random.next()
  return draw < 0.8 ? 'adaptive' : draw < 0.9 ? 'weighted' : 'redundant'
}

/** A bad line: every kind of fault, each present in about half of them. */
export function badLine(random: Prng): Partial<LinkParameters> {
  const sometimes = (value: number): number => (random.next() < 0.5 ? value : 0)
  return {
    delayUs: Math.round(skewed(random, 0.2, 80) * MILLISECOND),
    jitterUs: sometimes(random.next() * 10 * MILLISECOND),
    jitterHoldUs: random.next() < 0.3 ? 0 : 10 * MILLISECOND,
    keepOrder: random.next() < 0.7,
    loss: sometimes(skewed(random, 0, 0.4)),
    burstBegin: sometimes(skewed(random, 0, 0.05)),
    burstEnd: 0.1 + random.next() * 0.8,
    duplicate: sometimes(skewed(random, 0, 0.3)),
    reorder: sometimes(skewed(random, 0, 0.3)),
    reorderUs: skewed(random, 1, 50) * MILLISECOND,
    flip: sometimes(skewed(random, 0, 0.05)),
  }
}

/** Everything but rate, queue and delay is well again. */
export function healLine(line: LinkParameters): void {
  line.jitterUs = 0
  line.keepOrder = true
  line.loss = 0
  line.burstBegin = 0
  line.duplicate = 0
  line.reorder = 0
  line.flip = 0
  line.blackhole = false
}

export function healAll(world: World): void {
  for (const end of world.ends) {
    for (const attachment of end.attachments) {
      if (attachment.up) healLine(attachment.up.parameters)
      if (attachment.down) healLine(attachment.down.parameters)
    }
  }
}

/** A machine with any clock: no wall clock exists, and monotonic clocks begin anywhere and run a little off. */
export function anyMachine(random: Prng): Partial<MachineParameters> {
  const bases = [
    0,
    random.below(2 ** 28),
    2 ** 28 - random.below(5_000_000),
    2 ** 32 - 2_000_000,
    2 ** 40,
    2 ** 45,
  ]
  return {
    clockBaseUs: bases[random.below(bases.length)]!,
    clockDriftPpm: (random.next() - 0.5) * 400,
    wakeUs: random.below(200),
    stallShare: random.next() < 0.3 ? random.next() * 0.05 : 0,
    stallUs: random.next() * 50 * MILLISECOND,
    poolBytes: 1 << 20,
  }
}

/** The NAT before a link of the client gives out another address, at once. */
export function rebind(world: World, link: number, random: Prng): void {
  const port = 1024 + random.below(60_000)
  world.line(link).setAddress(addressOf(198, 51, 100 + random.below(4), link + 1, port))
}

/** Stops one end without or with a word, and starts it again a little later. */
export function scheduleRestart(world: World, at: Instant, random: Prng): void {
  const end = world.ends[random.below(world.ends.length)]!
  const graceful = random.next() < 0.3
  const awayUs = random.next() < 0.5 ? random.below(20_000) : random.below(SECOND)
  world.clock.call(at, () => end.stop(graceful))
  world.clock.call(at + awayUs, () => end.restart())
}

/** What swizzling does to a line, until it is {@link healLine healed} and has its delay back. */
const AFFLICTIONS: readonly ((line: LinkParameters, random: Prng) => void)[] = [
  (line) => {
    line.blackhole = true
  },
  (line, random) => {
    line.loss = 0.05 + 0.6 * random.next()
  },
  (line, random) => {
    line.burstBegin = 0.02
    line.burstEnd = 0.02 + 0.1 * random.next()
  },
  (line, random) => {
    line.delayUs += skewed(random, 20, 400) * MILLISECOND
  },
  (line, random) => {
    line.jitterUs = skewed(random, 5, 60) * MILLISECOND
    line.keepOrder = random.next() < 0.5
  },
  (line, random) => {
    line.duplicate = random.next()
    line.reorder = 0.5 * random.next()
    line.reorderUs = skewed(random, 1, 100) * MILLISECOND
  },
  (line, random) => {
    line.flip = 0.3 * random.next()
  },
]

/**
 * Swizzle: the client's links are afflicted one after the other over some seconds, each by one thing, both ways or
 * one way, then healed in another order. Returns when the last one is well.
 */
export function scheduleSwizzle(world: World, from: Instant, overUs: number, random: Prng): Instant {
  const links = world.client.end.attachments
  const order = links.map((_, i) => i)
  const shuffle = (): void => {
    for (let i = order.length - 1; i > 0; i--) {
      const j = random.below(i + 1)
      const held = order[i]!
      order[i] = order[j]!
      order[j] = held
    }
  }
  let at = from
  const next = (): Instant => {
    at += random.next() * (overUs / links.length)
    return at
  }
  shuffle()
  for (const link of order) {
    const afflict = random.next() < 0.5 ? AFFLICTIONS[0]! : AFFLICTIONS[random.below(AFFLICTIONS.length)]!
    const ways = [['up', 'down'], ['up', 'down'], ['up'], ['down']][random.below(4)] as ('up' | 'down')[]
    world.clock.call(next(), () => {
      for (const way of ways) afflict(links[link]![way]!.parameters, random)
    })
  }
  const delays = links.map((link) => [link.up!.parameters.delayUs, link.down!.parameters.delayUs] as const)
  shuffle()
  for (const link of order) {
    world.clock.call(next(), () => {
      for (const [i, way] of (['up', 'down'] as const).entries()) {
        const line = links[link]![way]!.parameters
        healLine(line)
        line.delayUs = delays[link]![i]!
      }
    })
  }
  return at
}
