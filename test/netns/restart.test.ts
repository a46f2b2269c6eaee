import { afterAll, beforeAll, expect, it } from 'vitest'
import { delay, describeNetns, type End, gapMs, INNER4, monotonicNs, Net, PATIENCE_MS } from './harness.js'

/** The figure promised: traffic again within 3 s after a restarted end is back. */
const BACK_MS_MAX = 3000

describeNetns('a restart', () => {
  let net: Net
  beforeAll(async () => {
    net = await Net.build([{ name: 'one' }, { name: 'two' }])
    await net.up()
  }, 3 * PATIENCE_MS)
  afterAll(() => net.stopAll())

  it.each([
    ['a', 'SIGTERM'],
    ['a', 'SIGKILL'],
    ['b', 'SIGTERM'],
    ['b', 'SIGKILL'],
  ] as const)(
    'of end %s by %s during a transfer ends it for 3 s at most',
    { timeout: 40_000 },
    async (end, signal) => {
      // From the end that stays: the other one loses its device.
      const from: End = end === 'a' ? 'b' : 'a'
      const packets = await net.startPackets(from, INNER4[end], 200, 7)
      const stream = await net.startStream(from, INNER4[end], '9s')
      await delay(1000)
      await net.stop(end, signal)
      await delay(500)
      net.start(end)
      const startedMs = monotonicNs() / 1e6
      const { records } = await packets.result()
      const first =
        Array.from(records.arrivedNs, (ns) => ns / 1e6).find((ms) => ms >= startedMs) ?? Number.NaN
      expect(first - startedMs).toBeLessThan(BACK_MS_MAX)
      const { received } = await stream.result()
      const resumed = received.arrivalsMs.find((ms) => ms >= startedMs) ?? Number.NaN
      // TCP finds out at its next try only, whose time doubles: two thirds of the outage later at worst.
      expect(resumed - startedMs).toBeLessThan(BACK_MS_MAX + 1500)
      await net.untilUp()
    },
  )
})

describeNetns('keys renewed every 2 s', () => {
  const SECONDS = Number(process.env['PLAIT_TEST_REKEY_SECONDS'] ?? 16)

  it('under traffic lose no packet', { timeout: (SECONDS + 20) * 1000 }, async () => {
    const net = await Net.build([
      { name: 'one', mbit: 200 },
      { name: 'two', mbit: 200 },
    ])
    const often = { extra: ['testing: { rekey-after: 2s }'] }
    await net.up({ a: often, b: often })
    const startMs = monotonicNs() / 1e6
    const stream = await net.startStream('a', INNER4.b, `${SECONDS}s`)
    const [out, back] = await Promise.all([
      net.startPackets('a', INNER4.b, 500, SECONDS - 1),
      net.startPackets('b', INNER4.a, 500, SECONDS - 1),
    ])
    const results = await Promise.all([out.result(), back.result()])
    const { received } = await stream.result()
    for (const { sent, lost, duplicates } of results) {
      expect(sent).toBe(500 * (SECONDS - 1))
      expect({ lost, duplicates }).toEqual({ lost: 0, duplicates: 0 })
    }
    expect(received.bytes).toBeGreaterThan(SECONDS * 5e6)
    expect(gapMs(received.arrivalsMs, startMs + 1000, startMs + (SECONDS - 1) * 1000)).toBeLessThan(500)
    for (const end of ['a', 'b'] as const) {
      const status = (await net.status(end))!
      expect(status.peers[0]!.session!.rekeys).toBeGreaterThanOrEqual(Math.floor(SECONDS / 2.5) - 1)
      expect(status.device.drops['authFailed']).toBeUndefined()
    }
    await net.stopAll()
  })
})
