import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { describeNetns, INNER4, INNER6, Net, PATIENCE_MS } from './harness.js'

const BIG = 500_000_000
const SMALL = 40_000_000

describeNetns.each([4, 6] as const)('traffic over IPv%d links', (outer) => {
  let net: Net
  beforeAll(async () => {
    net = await Net.build([{ name: 'one' }, { name: 'two' }], outer)
    await net.up()
  }, 3 * PATIENCE_MS)
  afterAll(() => net.stopAll())

  describe.each([4, 6] as const)('IPv%d inside', (inner) => {
    const server = (inner === 4 ? INNER4 : INNER6).b
    const client = (inner === 4 ? INNER4 : INNER6).a

    it('carries a TCP stream unharmed', { timeout: 60_000 }, async () => {
      const bytes = inner === outer ? BIG : SMALL
      const { sent, received } = await net.stream('a', server, String(bytes))
      expect(sent.bytes).toBe(bytes)
      expect(received.bytes).toBe(bytes)
      expect(received.sha256).toBe(sent.sha256)
    })

    it('carries a TCP stream back unharmed', { timeout: 60_000 }, async () => {
      const { sent, received } = await net.stream('b', client, String(SMALL))
      expect(received.bytes).toBe(SMALL)
      expect(received.sha256).toBe(sent.sha256)
    })

    it('carries UDP without loss, both ways', async () => {
      const running = await Promise.all([
        net.startPackets('a', server, 2000, 2, 1200),
        net.startPackets('b', client, 2000, 2, 1200),
      ])
      for (const { sent, lost, duplicates } of await Promise.all(running.map((each) => each.result()))) {
        expect(sent).toBe(4000)
        expect(lost).toBe(0)
        expect(duplicates).toBe(0)
      }
    })

    it('carries pings, large ones too', async () => {
      expect(await net.ping(server, '-c', '50', '-i', '0.01')).toEqual({ sent: 50, received: 50 })
      expect(await net.ping(server, '-c', '20', '-i', '0.01', '-s', '4000')).toEqual({
        sent: 20,
        received: 20,
      })
    })
  })

  it('answers a flood of pings in full', { timeout: 30_000 }, async () => {
    expect(await net.ping(INNER4.b, '-f', '-c', '10000')).toEqual({ sent: 10_000, received: 10_000 })
  })
})

describeNetns('shares of the links', () => {
  it.each([
    [{ one: 1, two: 1 }, 0.5],
    [{ one: 3, two: 1 }, 0.75],
  ])('are as the weights %j under the weighted scheduler', { timeout: 30_000 }, async (links, share) => {
    const net = await Net.build([
      { name: 'one', mbit: 300 },
      { name: 'two', mbit: 300 },
    ])
    await net.up({ a: { links, extra: ['scheduler: weighted'] } })
    const before = await net.paths('a')
    await net.stream('a', INNER4.b, String(SMALL))
    const after = await net.paths('a')
    const bytes = (name: string): number =>
      after.find((path) => path.link === name)!.bytesOut - before.find((path) => path.link === name)!.bytesOut
    expect(bytes('one') / (bytes('one') + bytes('two'))).toBeCloseTo(share, 1)
    await net.stopAll()
  })
})
