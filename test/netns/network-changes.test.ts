import { afterAll, beforeAll, expect, it } from 'vitest'
import { runSync } from '../../src/lab/processes.js'
import { SERVER_ADDRESS } from '../../src/lab/topology.js'
import { delay, describeNetns, INNER4, Net, PATIENCE_MS, until } from './harness.js'

/** The figure promised: a link is in use again so soon after it works, without a restart. */
const USED_AGAIN_MS_MAX = 5000

/** A stick is pulled; plugged in again, its device has another index, and routes are set anew, as by a DHCP client. */
class Stick {
  private readonly index: number
  private readonly ends: string[]
  constructor(
    private readonly net: Net,
    private readonly name: string,
  ) {
    this.index = net.topology.link(name).index
    this.ends = [net.namespace('a'), net.namespace('b')]
  }

  get deviceIndex(): number {
    return Number(/^\d+/.exec(this.net.run('a', 'ip', '-o', 'link', 'show', this.name))![0])
  }

  pull(): void {
    const [a, b] = this.ends
    const index = this.deviceIndex
    runSync('ip', ['-n', a!, 'link', 'set', this.name, 'name', 'pulled', 'netns', b!])
    // So that its index is taken when it comes back.
    this.net.run('a', 'ip', 'link', 'add', 'other', 'index', String(index), 'type', 'veth')
  }

  plugIn(): void {
    const [a, b] = this.ends
    const { index, name } = this
    runSync('ip', ['-n', b!, 'link', 'set', 'pulled', 'name', name, 'netns', a!])
    this.net.run('a', 'ip', 'address', 'add', `10.71.${index}.2/24`, 'dev', name)
    this.net.run('a', 'ip', 'link', 'set', name, 'up')
    this.net.blackhole(name, false)
    this.route('1')
  }

  /** The default routes of the device go by `gateway`, a host number of its network. */
  route(gateway: string): void {
    const { index, name } = this
    const via = ['default', 'via', `10.71.${index}.${gateway}`, 'dev', name]
    this.net.run('a', 'ip', 'route', 'replace', ...via, 'metric', String(100 + index))
    this.net.run('a', 'ip', 'route', 'replace', ...via, 'table', String(100 + index))
  }

  /** The router of the link has another address, and the former one is nobody's. */
  moveGateway(to: string): void {
    const { index, name, net } = this
    const mac = /link\/ether ([0-9a-f:]+)/.exec(net.run('b', 'ip', '-o', 'link', 'show', name))![1]!
    net.run('b', 'ip', 'address', 'add', `10.71.${index}.${to}/24`, 'dev', name)
    const neighbour = (host: string, address: string): void => {
      const words = [`10.71.${index}.${host}`, 'lladdr', address, 'nud', 'permanent', 'dev', name]
      net.run('a', 'ip', 'neighbour', 'replace', ...words)
    }
    neighbour(to, mac)
    neighbour('1', '02:00:00:00:00:01')
    this.route(to)
  }
}

/** Waits until the client's link carries data again. */
async function usedAgain(net: Net, name: string): Promise<void> {
  const bytes = async (): Promise<number> =>
    (await net.paths('a')).find((path) => path.link === name)?.bytesOut ?? 0
  const before = await bytes()
  await until(async () => (await bytes()) > before + 100_000, USED_AGAIN_MS_MAX, `${name} is not used again`)
  await net.untilUp([name], USED_AGAIN_MS_MAX)
}

describeNetns.each([false, true])(
  'the machine’s network changes, everything through the tunnel: %s',
  (all) => {
    let net: Net
    beforeAll(async () => {
      net = await Net.build([
        { name: 'one', mbit: 100 },
        { name: 'two', mbit: 100 },
      ])
      await net.up(all ? { a: { allowedIps: ['0.0.0.0/0'], defaultRoute: true } } : {})
    }, 3 * PATIENCE_MS)
    afterAll(() => net.stopAll())

    const pins = (): string => net.run('a', 'ip', 'route', 'show', SERVER_ADDRESS, 'proto', '112')

    it('a device that is pulled and plugged in again, with another index, is used again', {
      timeout: 30_000,
    }, async () => {
      const stick = new Stick(net, 'two')
      const indexBefore = stick.deviceIndex
      const pinsBefore = pins()
      const packets = await net.startPackets('a', INNER4.b, 500, 10, 1200)
      const stream = await net.startStream('a', INNER4.b, '9s')
      await delay(1000)
      stick.pull()
      await delay(2500)
      stick.plugIn()
      expect(stick.deviceIndex).not.toBe(indexBefore)
      await usedAgain(net, 'two')
      expect(pins()).toBe(pinsBefore)
      expect((await packets.result()).lost).toBe(0)
      const { sent, received } = await stream.result()
      expect(received.sha256).toBe(sent.sha256)
    })

    it('a gateway that changes is followed', { timeout: 30_000 }, async () => {
      const stick = new Stick(net, 'one')
      const stream = await net.startStream('a', INNER4.b, '8s')
      await delay(1000)
      stick.moveGateway('7')
      await delay(1500)
      await usedAgain(net, 'one')
      if (all) expect(pins()).toMatch(/via 10\.71\.\d+\.7 dev one/)
      else expect(pins()).toBe('')
      await stream.result()
    })

    it('nothing of it is left at the end', async () => {
      expect(await net.stop('a')).toBe(0)
      expect(net.run('a', 'ip', 'route', 'show', 'proto', '112')).toBe('')
    })
  },
)

describeNetns('the server is known by its name, and moves', () => {
  let net: Net
  beforeAll(async () => {
    net = await Net.build([{ name: 'one' }, { name: 'two' }])
    net.setHosts('a', `${SERVER_ADDRESS} server.test\n`)
    await net.up({ a: { endpoint: 'server.test:51820', allowedIps: ['0.0.0.0/0'], defaultRoute: true } })
  }, 3 * PATIENCE_MS)
  afterAll(() => net.stopAll())

  it('and is found at its new address', { timeout: 60_000 }, async () => {
    const moved = '10.70.9.9'
    const device = net.run('b', 'ip', '-o', 'address', 'show', 'to', SERVER_ADDRESS).split(/\s+/)[1]!
    net.run('b', 'ip', 'address', 'add', `${moved}/32`, 'dev', device)
    net.run('b', 'ip', 'address', 'delete', `${SERVER_ADDRESS}/32`, 'dev', device)
    await until(
      async () => (await net.paths('a')).every(({ state }) => state === 'down'),
      PATIENCE_MS,
      'the server is still reached at its former address',
    )
    net.setHosts('a', `${moved} server.test\n`)
    await net.untilUp([], 45_000)
    const pins = net.run('a', 'ip', 'route', 'show', 'proto', '112')
    expect(pins.match(new RegExp(`^${moved} `, 'gm'))).toHaveLength(2)
    expect(pins).not.toContain(SERVER_ADDRESS)
    expect(await net.ping(INNER4.b, '-c', '3', '-i', '0.2')).toEqual({ sent: 3, received: 3 })
  })
})

describeNetns('a device that is not there yet', () => {
  let net: Net
  beforeAll(async () => {
    net = await Net.build([{ name: 'one' }, { name: 'two' }])
  }, 3 * PATIENCE_MS)
  afterAll(() => net.stopAll())

  it('is used when it comes', { timeout: 60_000 }, async () => {
    const stick = new Stick(net, 'two')
    stick.pull()
    net.configure('b')
    net.configure('a')
    net.start('b')
    await net.untilRunning('b')
    net.start('a')
    await net.untilUp(['one'])
    expect(net.words('a')).toContain('the device two of link two does not exist')
    expect((await net.paths('a')).find(({ link }) => link === 'two')!.state).not.toBe('up')
    stick.plugIn()
    await net.untilUp(['two'], USED_AGAIN_MS_MAX)
  })
})
