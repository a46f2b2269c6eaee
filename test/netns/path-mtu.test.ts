import { afterAll, beforeAll, expect, it } from 'vitest'
import { runSync } from '../../src/lab/processes.js'
import { delay, describeNetns, type End, gapMs, INNER4, Net, PATIENCE_MS, until } from './harness.js'

/** The figure promised: what is too large for a way stops being sent there so soon after the way has changed. */
const FOLLOWED_MS_MAX = 5000
const BOTH: readonly End[] = ['a', 'b']

/** The router before link `home` sends on no more than `bytes` in one packet, either way. */
function narrow(net: Net, bytes: number): void {
  const { index } = net.topology.link('home')
  const lines = [
    `route replace default via 10.71.${index}.1 dev home mtu lock ${bytes}`,
    `route replace 10.72.${index}.0/24 dev inside src 10.72.${index}.1 mtu lock ${bytes}`,
  ]
  runSync('ip', ['-n', net.topology.end('nat-home'), '-batch', '-'], `${lines.join('\n')}\n`)
}

async function mtus(net: Net, ends: readonly End[]): Promise<number[]> {
  return Promise.all(ends.map(async (end) => (await net.status(end))?.device.mtu ?? 0))
}

async function untilMtu(net: Net, ends: readonly End[], bytes: number): Promise<void> {
  await until(
    async () => (await mtus(net, ends)).every((mtu) => mtu === bytes),
    FOLLOWED_MS_MAX,
    () => `the tunnel has not got an MTU of ${bytes}: ${net.words('a')} ${net.words('b')}`,
  )
}

const tunMtu = (net: Net, end: End): string =>
  /mtu (\d+)/.exec(net.run(end, 'ip', 'link', 'show', net.tun(end)))![1]!

describeNetns('a router that dials PPPoE before one of two links', () => {
  let net: Net
  beforeAll(async () => {
    net = await Net.build([
      { name: 'one', mbit: 50 },
      { name: 'home', mbit: 50, nat: true },
    ])
    narrow(net, 1492)
    await net.up()
  }, 3 * PATIENCE_MS)
  afterAll(() => net.stopAll())

  it('gives both ends the MTU that it takes, and nothing that is full is lost', {
    timeout: 40_000,
  }, async () => {
    await untilMtu(net, BOTH, 1432)
    expect(tunMtu(net, 'a')).toBe('1432')
    expect(tunMtu(net, 'b')).toBe('1432')
    const carried = (await net.paths('a')).map(({ link, mtu }) => [link, mtu])
    expect(Object.fromEntries(carried)).toEqual({ one: 1440, home: 1432 })
    for (const [from, to] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      // 1432 with the headers of IP and UDP.
      const packets = await (await net.startPackets(from, INNER4[to], 400, 2, 1404)).result()
      expect(packets.lost).toBe(0)
    }
    const { sent, received } = await net.stream('a', INNER4.b, '20000000')
    expect(received.sha256).toBe(sent.sha256)
    const home = (await net.paths('a')).find(({ link }) => link === 'home')!
    expect(home.lossOut).toBeLessThan(0.02)
    expect(home.bytesOut).toBeGreaterThan(5_000_000)
  })

  it('is followed to less while a transfer runs', { timeout: 40_000 }, async () => {
    narrow(net, 1400)
    // An end finds out when it sends; the other one's TCP is told by its segment size, so that end need not.
    const stream = await net.startStream('a', INNER4.b, '40000000')
    await untilMtu(net, ['a'], 1340)
    const { sent, received } = await stream.result()
    expect(received.sha256).toBe(sent.sha256)
    // More than the other link carries.
    const large = await net.startPackets('b', INNER4.a, 5000, 4, 1404)
    await untilMtu(net, ['b'], 1340)
    await large.result()
    const packets = await (await net.startPackets('a', INNER4.b, 400, 2, 1312)).result()
    expect(packets.lost).toBe(0)
  })

  it('leaves the other link to carry all when it takes too little for any tunnel', {
    timeout: 40_000,
  }, async () => {
    const stream = await net.startStream('a', INNER4.b, '40000000')
    await delay(500)
    narrow(net, 1320)
    const home = async () => (await net.paths('a')).find(({ link }) => link === 'home')!
    await until(async () => (await home()).state === 'down', FOLLOWED_MS_MAX, 'the narrow path is still used')
    expect((await home()).reason).toBe('answers, but carries no packets of 1280 bytes whole')
    await untilMtu(net, ['a'], 1440)
    const { sent, received } = await stream.result()
    expect(received.sha256).toBe(sent.sha256)
  })
})

describeNetns('a router that takes less all at once, before the only link', () => {
  let net: Net
  beforeAll(async () => {
    net = await Net.build([{ name: 'home', mbit: 50, nat: true }])
    await net.up()
  }, 3 * PATIENCE_MS)
  afterAll(() => net.stopAll())

  it('has transfers go on within 5 s', { timeout: 40_000 }, async () => {
    expect(await mtus(net, BOTH)).toEqual([1440, 1440])
    const stream = await net.startStream('a', INNER4.b, '25000000')
    await delay(1000)
    narrow(net, 1360)
    await untilMtu(net, ['a'], 1300)
    const { sent, received } = await stream.result()
    expect(received.sha256).toBe(sent.sha256)
    const { arrivalsMs } = received
    expect(gapMs(arrivalsMs, arrivalsMs[0]!, arrivalsMs.at(-1)!)).toBeLessThan(FOLLOWED_MS_MAX)
  })
})

describeNetns('a device that says its queue is full when a packet is too large for it', () => {
  let net: Net
  beforeAll(async () => {
    net = await Net.build([{ name: 'one' }, { name: 'home', nat: true }])
    // As a veth does for what its other end would not take (a VLAN tag is allowed for), and a shaper for what is beyond
    // its burst. What the device has to cut itself passes.
    const router = net.topology.end('nat-home')
    runSync('ip', ['-n', router, 'link', 'set', 'inside', 'mtu', '1488'])
    await net.up({ a: { extra: ['offload: off'] }, b: { extra: ['offload: off'] } })
  }, 3 * PATIENCE_MS)
  afterAll(() => net.stopAll())

  it('carries what it does take', { timeout: 30_000 }, async () => {
    await untilMtu(net, ['a'], 1432)
    await untilMtu(net, ['b'], 1428)
    const packets = await (await net.startPackets('a', INNER4.b, 400, 2, 1404)).result()
    expect(packets.lost).toBe(0)
    expect((await net.drops('a'))['sendFailed']).toBeGreaterThan(0)
  })
})
