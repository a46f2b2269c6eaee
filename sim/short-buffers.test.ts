/** Links whose buffer is shorter than the queue that would show that they are full. */
import { expect, test } from 'vitest'
import { MILLISECOND, SECOND } from '../src/base/time.js'
import { loadPrimitives } from '../src/io/primitives.js'
import { TcpTransfer } from './tcp.js'
import { World } from './world.js'

const MBIT = 125_000
const LINKS = [
  { rate: 50 * MBIT, delayUs: 10 * MILLISECOND },
  { rate: 30 * MBIT, delayUs: 25 * MILLISECOND },
]
/** 1388 of an inner packet of 1440, in a frame of 1514. */
const PAYLOAD_SHARE = 1388 / 1514

/** Share of both links that a download has from 3 s on, where one of them is taken for far faster than it is. */
async function shareWith(wrong: number, rate: number, control: 'cubic' | 'bbr'): Promise<number> {
  const world = new World({
    seed: 1,
    primitives: await loadPrimitives(),
    scheduler: 'adaptive',
    links: LINKS.map((link) => {
      const line = { rateBytesPerSec: link.rate, delayUs: link.delayUs, queuePacketsMax: 12 }
      return { up: line, down: line }
    }),
    client: { poolBytes: 64 << 20 },
    server: { poolBytes: 64 << 20 },
  })
  const { clock, ledger, client, server } = world
  const from = SECOND / 2
  const until = 15 * SECOND
  const transfer = new TcpTransfer(clock, ledger, server, client, {
    name: 'down',
    control,
    from,
    until,
  })
  world.run(from)
  // As a train shows it that a pause of the machine has squeezed together.
  const path = server.end.device.peers[0]!.paths[wrong]!
  path.rate.onTrain(rate)
  world.run(until)
  const bitsPerSec = LINKS.reduce((sum, link) => sum + 8 * link.rate, 0) * PAYLOAD_SHARE
  return transfer.goodput(3 * SECOND, until) / bitsPerSec
}

test.each([
  [0, 1000, 'bbr', 0.85],
  [1, 1000, 'bbr', 0.85],
  [0, 500, 'cubic', 0.6],
  [1, 500, 'cubic', 0.6],
] as const)(
  'link %i, taken for one of %i Mbit/s, is found out: %s',
  async (wrong, mbit, control, shareMin) => {
    expect(await shareWith(wrong, mbit * MBIT, control)).toBeGreaterThan(shareMin)
  },
)
