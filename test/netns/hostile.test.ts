import { randomBytes } from 'node:crypto'
import { afterEach, beforeAll, expect, it } from 'vitest'
import { MessageType } from '../../src/wire/message.js'
import { type Captured, sendDatagrams, startCapture } from './capture.js'
import {
  delay,
  describeNetns,
  type End,
  type EndOptions,
  INNER4,
  Net,
  PATIENCE_MS,
  until,
} from './harness.js'

const FROM_CLIENT = 'udp and dst port 51820'
const FROM_SERVER = 'udp and src port 51820'

const total = (drops: Readonly<Record<string, number>>): number =>
  Object.entries(drops).reduce((sum, [name, count]) => (name.startsWith('tun') ? sum : sum + count), 0)

describeNetns('what is sent by somebody else', () => {
  let net: Net
  let initiations: Captured[]
  let data: Captured[]

  beforeAll(async () => {
    net = await Net.build([{ name: 'one' }, { name: 'two' }])
    net.configure('b')
    net.configure('a')
    net.start('b')
    await net.untilRunning('b')
    // Both links: which of them carries the pings is the scheduler's choice.
    const captures = await Promise.all(
      ['one', 'two'].map((link) => startCapture(net, 'a', link, FROM_CLIENT)),
    )
    net.start('a')
    await net.untilUp()
    await net.ping(INNER4.b, '-c', '40', '-i', '0.02')
    const captured = (await Promise.all(captures.map((capture) => capture.stop()))).flat()
    initiations = captured.filter(({ payload }) => payload[0] === MessageType.Initiation)
    data = captured.filter(({ payload }) => payload[0] === MessageType.Data)
    expect(initiations.length).toBeGreaterThan(0)
    expect(data.length).toBeGreaterThan(10)
    await delay(1100)
  }, 3 * PATIENCE_MS)

  /** Figures of the server that nothing in here may change. */
  async function untouched(): Promise<unknown> {
    const peer = (await net.status('b'))!.peers[0]!
    return {
      state: peer.state,
      packetsIn: peer.packetsIn,
      rekeys: peer.session?.rekeys,
      cipher: peer.session?.cipher,
      paths: peer.paths.map((path) => [path.remote, path.state]),
    }
  }

  it('packets sent again from elsewhere are refused as replayed', async () => {
    const before = await untouched()
    const replayed = (await net.drops('b'))['replayed'] ?? 0
    const { replies } = await sendDatagrams(
      net,
      data.map(({ payload }) => payload),
    )
    expect(replies).toBe(0)
    expect((await net.drops('b'))['replayed']).toBe(replayed + data.length)
    expect(await untouched()).toEqual(before)
  })

  it('a flipped bit in any byte of the header, or anywhere, is refused and counted', async () => {
    const before = await untouched()
    const drops = await net.drops('b')
    const original = data.at(-1)!.payload
    const places = [...Array(16).keys(), 24, original.length - 16, original.length - 1]
    const damaged = places.flatMap((at) =>
      [...Array(8).keys()].map((bit) => {
        const copy = Buffer.from(original)
        copy[at]! ^= 1 << bit
        return copy
      }),
    )
    const { replies } = await sendDatagrams(net, damaged)
    expect(replies).toBe(0)
    const after = await net.drops('b')
    expect(total(after) - total(drops)).toBe(damaged.length)
    expect(after['replayed']).toBe(drops['replayed'])
    expect(after['authFailed']! - (drops['authFailed'] ?? 0)).toBeGreaterThan(damaged.length / 2)
    expect(await untouched()).toEqual(before)
  })

  it('random bytes of any length meet silence, and each datagram is counted', async () => {
    const before = await untouched()
    const drops = await net.drops('b')
    const noise = [...Array(300).keys()].map((i) => {
      const bytes = randomBytes(i < 20 ? i : Math.floor(Math.random() * 1450))
      // Half of them begin like one of our messages.
      if (bytes.length > 0 && i % 2 === 0) bytes[0] = 1 + (i % 6)
      return bytes
    })
    const { replies } = await sendDatagrams(net, noise)
    expect(replies).toBe(0)
    expect(total(await net.drops('b')) - total(drops)).toBe(noise.length)
    expect(await untouched()).toEqual(before)
  })

  it('initiations sent again have no effect on the session, and get no answer', async () => {
    const session = (await net.status('b'))!.peers[0]!.session!
    const replays = Array.from({ length: 50 }, () => initiations[0]!.payload)
    const [pings, answer] = await Promise.all([
      net.ping(INNER4.b, '-c', '100', '-i', '0.01'),
      sendDatagrams(net, replays, { perSecond: 100 }),
    ])
    expect(answer.replies).toBe(0)
    expect(pings).toEqual({ sent: 100, received: 100 })
    expect((await net.drops('b'))['handshakeReplayed']).toBeGreaterThanOrEqual(50)
    const now = (await net.status('b'))!.peers[0]!.session!
    expect(now.rekeys).toBe(session.rekeys)
    expect(now.ageS).toBeGreaterThan(session.ageS)
  })

  it('initiations sent again while another handshake is made do not hinder it', {
    timeout: 40_000,
  }, async () => {
    const replays = Array.from({ length: 600 }, (_, i) => initiations[i % initiations.length]!.payload)
    const flood = sendDatagrams(net, replays, { perSecond: 200 })
    await net.stop('a', 'SIGKILL')
    net.start('a')
    const startedAt = performance.now()
    await net.untilUp()
    expect(performance.now() - startedAt).toBeLessThan(3000)
    // More than 100 a second are load: then answers are cookies, which open nothing.
    const answered = Object.keys((await flood).types).map(Number)
    expect(answered.filter((type) => type !== MessageType.CookieReply)).toEqual([])
    expect(await net.ping(INNER4.b, '-c', '20', '-i', '0.02')).toEqual({ sent: 20, received: 20 })
  })

  it('after a restart of the server an old initiation opens nothing', { timeout: 40_000 }, async () => {
    await net.stop('a')
    await net.stop('b')
    net.start('b')
    await net.untilRunning('b')
    // Its memory of first messages is gone: one answer is possible, and a session from it is not.
    const { replies } = await sendDatagrams(
      net,
      Array.from({ length: 20 }, () => initiations[0]!.payload),
    )
    expect(replies).toBeLessThanOrEqual(20)
    const old = await sendDatagrams(
      net,
      data.map(({ payload }) => payload),
    )
    expect(old.replies).toBe(0)
    const peer = (await net.status('b'))!.peers[0]!
    expect(peer.packetsIn).toBe(0)
    expect(peer.state).not.toBe('up')
    net.start('a')
    await net.untilUp()
    expect(await net.ping(INNER4.b, '-c', '20', '-i', '0.02')).toEqual({ sent: 20, received: 20 })
    await net.stopAll()
  })
})

describeNetns('a client with', () => {
  let net: Net
  beforeAll(async () => {
    net = await Net.build([{ name: 'one' }])
  }, 3 * PATIENCE_MS)
  afterEach(() => net.stopAll())
  const random = (): string => randomBytes(32).toString('base64')

  it.each([
    ['the wrong public key of the server', 'badMac', { a: { peerKey: random() } }],
    ['a private key that the server does not know', 'handshakeUnknownPeer', { b: { peerKey: random() } }],
    ['a preshared key that is not the server’s', 'handshakePsk', { a: { presharedKey: random() } }],
    ['no preshared key where the server has one', 'handshakePsk', { b: { presharedKey: random() } }],
  ])('%s meets silence and is counted', { timeout: 40_000 }, async (_, drop, options) => {
    const answers = await attempt(options, async () => ((await net.drops('b'))[drop] ?? 0) >= 2)
    expect(answers).toEqual([])
  })

  it('a wrong preshared key is told of at both ends', { timeout: 40_000 }, async () => {
    const failures = async (end: End): Promise<string[]> =>
      ((await net.status(end))?.events ?? [])
        .filter(({ kind }) => kind === 'handshake-failed')
        .map(({ text }) => text)
    const options = { a: { presharedKey: random() } }
    const answers = await attempt(
      options,
      async () => (await failures('a')).length > 0 && (await failures('b')).length > 0,
    )
    expect(answers).toEqual([])
    expect(await failures('a')).toEqual([expect.stringMatching(/no answer.*preshared key/)])
    expect(await failures('b')).toEqual([expect.stringMatching(/another preshared key/)])
    const drops = await net.drops('b')
    expect(Object.keys(drops).filter((name) => name.startsWith('handshake'))).toEqual(['handshakePsk'])
  })

  /** Starts both ends and waits for `counted`; no session may come of it. Returns what the server sent. */
  async function attempt(
    options: Partial<Record<End, EndOptions>>,
    counted: () => Promise<boolean>,
  ): Promise<Captured[]> {
    net.configure('b', options.b)
    net.configure('a', options.a)
    net.start('b')
    await net.untilRunning('b')
    const capture = await startCapture(net, 'a', 'one', FROM_SERVER)
    net.start('a')
    await until(counted, PATIENCE_MS, () => `not counted: a: ${net.words('a')} b: ${net.words('b')}`)
    const answers = await capture.stop()
    for (const end of ['a', 'b'] as const) {
      expect((await net.status(end))!.peers[0]!.session).toBeUndefined()
    }
    return answers
  }
})
