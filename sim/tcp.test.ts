import { beforeAll, describe, expect, test } from 'vitest'
import { MILLISECOND, SECOND } from '../src/base/time.js'
import { loadPrimitives } from '../src/io/primitives.js'
import type { Primitives } from '../src/noise/primitives.js'
import type { LinkParameters } from './link-direction.js'
import { TcpTransfer } from './tcp.js'
import type { TcpOptions } from './tcp-options.js'
import { World } from './world.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

/** Of a full segment, its headers compressed. */
const FRAME_BYTES = 1488
const PAYLOAD_BYTES = 1388

/** Goodput of one download from 4 to 12 s, as a share of what the links carry. */
function share(
  control: 'cubic' | 'bbr',
  links: { mbit: number; line: Partial<LinkParameters> }[],
  scheduler: 'adaptive' | 'weighted',
  options: Partial<TcpOptions> = {},
): { share: number; transfer: TcpTransfer } {
  const world = new World({
    seed: 1,
    primitives,
    scheduler,
    client: { poolBytes: 64 << 20 },
    server: { poolBytes: 64 << 20 },
    links: links.map(({ mbit, line }) => {
      const rateBytesPerSec = mbit * 125_000
      const both = { rateBytesPerSec, queueUsMax: 150 * MILLISECOND, queueBytesMax: 1e9, ...line }
      return { up: both, down: both }
    }),
  })
  const until = 12 * SECOND
  const transfer = new TcpTransfer(world.clock, world.ledger, world.server, world.client, {
    name: 'bulk',
    control,
    ...options,
    from: SECOND / 2,
    until,
  })
  world.run(until)
  const goodput = transfer.goodput(4 * SECOND, until)
  world.run(until + 4 * SECOND)
  expect(world.faultsAtRest()).toEqual([])
  const rates = links.reduce((sum, { mbit, line }) => sum + mbit * 1e6 * (1 - (line.loss ?? 0)), 0)
  return { share: (goodput * FRAME_BYTES) / (rates * PAYLOAD_BYTES), transfer }
}

describe('model TCP through the tunnel fills what there is', () => {
  test.each(['cubic', 'bbr'] as const)('one clean link, %s', (control) => {
    const { share: reached, transfer } = share(control, [{ mbit: 20, line: { delayUs: 10_000 } }], 'weighted')
    expect(reached).toBeGreaterThan(0.95)
    expect(reached).toBeLessThanOrEqual(1.01)
    expect(transfer.sender.timeouts).toBe(0)
  })

  test.each(['cubic', 'bbr'] as const)('two equal links, %s', (control) => {
    const link = { mbit: 10, line: { delayUs: 10_000 } }
    for (const scheduler of ['adaptive', 'weighted'] as const) {
      expect(share(control, [link, link], scheduler).share).toBeGreaterThan(0.93)
    }
  })

  test("with ECN the tunnel's queue slows it down without a loss, and as well", () => {
    const link = { mbit: 10, line: { delayUs: 10_000 } }
    const [dropped, marked] = [false, true].map((ecn) => share('cubic', [link, link], 'adaptive', { ecn }))
    expect(dropped!.transfer.sender.retransmissions).toBeGreaterThan(0)
    expect(marked!.transfer.sender.retransmissions).toBe(0)
    expect(marked!.transfer.sender.reductions).toBeGreaterThan(0)
    expect(marked!.transfer.sender.reductions).toBeLessThanOrEqual(dropped!.transfer.sender.reductions + 2)
    expect(marked!.share).toBeGreaterThan(dropped!.share - 0.01)
  })

  test('random loss without repair costs CUBIC most of the rate, and BBR little, as on real lines', () => {
    const lossy = (control: 'cubic' | 'bbr'): number =>
      share(control, [{ mbit: 20, line: { delayUs: 25_000, loss: 0.01 } }], 'weighted').share
    expect(lossy('cubic')).toBeLessThan(0.6)
    expect(lossy('bbr')).toBeGreaterThan(0.8)
  })

  test('with repair it costs CUBIC next to nothing', () => {
    const lossy = { mbit: 20, line: { delayUs: 25_000, loss: 0.01 } }
    expect(
      share('cubic', [lossy, { mbit: 20, line: { delayUs: 10_000 } }], 'adaptive').share,
    ).toBeGreaterThan(0.9)
  })
})

test('a path that is late by far more than the timer is no loss: what was reduced for nothing comes back', () => {
  const land = { mbit: 10, line: { delayUs: 20_000 } }
  const satellite = { mbit: 10, line: { delayUs: 300_000 } }
  // Each second packet is 280 ms later than its neighbours; a sender that never undoes gets 3 %.
  expect(share('cubic', [land, satellite], 'weighted').share).toBeGreaterThan(0.15)
})

test('a window that can grow no further is not taken for one of BBR for long', () => {
  const near = { mbit: 20, line: { delayUs: 5_000 } }
  const far = { mbit: 50, line: { delayUs: 25_000 } }
  // Its acknowledgements come in lumps for two seconds (core/ack-lumps.ts); were it for good, it would have 0.53.
  expect(share('cubic', [near, far], 'adaptive', { windowMax: 130 }).share).toBeGreaterThan(0.62)
})
