import { afterAll, beforeAll, expect, it } from 'vitest'
import type { PathSnapshot } from '../../src/core/snapshot.js'
import { runSync } from '../../src/lab/processes.js'
import {
  delay,
  describeNetns,
  type End,
  gapMs,
  INNER4,
  monotonicNs,
  Net,
  PATIENCE_MS,
  until,
} from './harness.js'

const NOTICED_MS_MAX = 500
const USED_AGAIN_MS_MAX = 5000

/** Ms from `sinceNs` to the first event of an end on a path that matches, which tells of one of the states. */
async function changedAfterMs(
  net: Net,
  end: End,
  path: string,
  to: string,
  sinceNs: number,
): Promise<number> {
  const events = await net.events(end)
  const event = events.find(
    ({ kind, atNs, path: name, text }) =>
      kind === 'path-state' && atNs >= sinceNs && name?.includes(path) && text.includes(`→ ${to}:`),
  )
  return event === undefined ? Number.NaN : (event.atNs - sinceNs) / 1e6
}

describeNetns('one of three links goes silent', () => {
  let net: Net
  beforeAll(async () => {
    net = await Net.build([
      { name: 'one', mbit: 100 },
      { name: 'two', mbit: 100 },
      { name: 'three', mbit: 100 },
    ])
    await net.up()
  }, 3 * PATIENCE_MS)
  afterAll(() => net.stopAll())

  it('and TCP goes on, both ends notice, and the link is used again when it is back', {
    timeout: 40_000,
  }, async () => {
    const stream = await net.startStream('a', INNER4.b, '11s')
    await delay(1500)
    const silentNs = net.blackhole('two', true)
    await delay(3500)
    for (const [end, path] of [
      ['a', 'two'],
      ['b', '10.71.2.2'],
    ] as const) {
      expect(await changedAfterMs(net, end, path, 'suspect', silentNs)).toBeLessThan(NOTICED_MS_MAX)
      const state = (await net.paths(end)).find(
        (each) => each.link === path || each.remote.startsWith(path),
      )?.state
      expect(state).toBe('down')
    }
    const sentBefore = (await net.paths('a')).find((path) => path.link === 'two')!.bytesOut
    const backNs = net.blackhole('two', false)
    let seen: readonly PathSnapshot[] = []
    await until(
      async () => {
        seen = await net.paths('a')
        return seen.find((path) => path.link === 'two')!.bytesOut > sentBefore + 1e6
      },
      USED_AGAIN_MS_MAX,
      () => `link two is not used again: ${JSON.stringify(seen)}`,
    )
    expect((monotonicNs() - backNs) / 1e6).toBeLessThan(USED_AGAIN_MS_MAX)
    const { received } = await stream.result()
    const silentMs = silentNs / 1e6
    expect(gapMs(received.arrivalsMs, silentMs - 500, silentMs + 3500)).toBeLessThan(1000)
    const later = received.arrivalsMs.filter((ms) => ms > silentMs + 1000 && ms < silentMs + 3000)
    expect(later.length).toBeGreaterThan(50)
  })

  it('also when little is sent', { timeout: 40_000 }, async () => {
    await net.untilUp()
    const packets = await net.startPackets('a', INNER4.b, 20, 4)
    await delay(1500)
    const silentNs = net.blackhole('three', true)
    await delay(1500)
    for (const [end, path] of [
      ['a', 'three'],
      ['b', '10.71.3.2'],
    ] as const) {
      expect(await changedAfterMs(net, end, path, 'suspect', silentNs)).toBeLessThan(NOTICED_MS_MAX)
    }
    net.blackhole('three', false)
    await packets.result()
    await net.untilUp([], USED_AGAIN_MS_MAX)
  })
})

describeNetns('a link behind NAT', () => {
  let net: Net
  beforeAll(async () => {
    net = await Net.build([{ name: 'home', nat: true }, { name: 'other' }])
    await net.up()
  }, 3 * PATIENCE_MS)
  afterAll(() => net.stopAll())

  /** Remote address and port of the NATed path at the server. */
  const remote = async (): Promise<string> =>
    (await net.paths('b')).find((path) => path.remote.startsWith('10.71.1.'))!.remote

  async function follows(change: () => void): Promise<void> {
    const packets = await net.startPackets('a', INNER4.b, 200, 4)
    await delay(1000)
    const [before, count] = [await remote(), (await net.paths('b')).length]
    change()
    await until(
      async () => (await remote()) !== before,
      3000,
      () => `the server stays with ${before}`,
    )
    const { lost, sent } = await packets.result()
    // The router itself is without a way out for a moment.
    expect(sent).toBe(800)
    expect(lost).toBeLessThan(sent * 0.05)
    const paths = await net.paths('b')
    expect(paths.length).toBe(count)
    for (const path of paths) expect(['up', 'lossy', 'late']).toContain(path.state)
    expect(await net.ping(INNER4.b, '-c', '20', '-i', '0.02')).toEqual({ sent: 20, received: 20 })
    await net.untilUp()
  }

  it('is followed to another port', { timeout: 40_000 }, () =>
    follows(() => {
      const router = net.topology.end('nat-home')
      const { publicAddress } = net.topology.link('home')
      net.runAt(router, 'nft', 'flush', 'table', 'ip', 'plait')
      const rule = 'add rule ip plait out oifname home meta l4proto udp masquerade to :40000-40100'
      net.runAt(router, 'nft', ...rule.split(' '))
      // Masquerading forgets its mappings when the address goes.
      const lines = [
        `address delete ${publicAddress}/24 dev home`,
        `address add ${publicAddress}/24 dev home`,
        'route replace default via 10.71.1.1 dev home',
      ]
      runSync('ip', ['-n', router, '-batch', '-'], `${lines.join('\n')}\n`)
    }),
  )

  it('is followed to another address', { timeout: 40_000 }, () => follows(() => net.topology.rebind('home')))
})
