import { existsSync } from 'node:fs'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { plaitProgram } from '../../src/lab/programs.js'
import { delay, describeNetns, INNER4, Net, PATIENCE_MS, readIfThere, until } from './harness.js'

const KILLS = Number(process.env['PLAIT_TEST_KILLS'] ?? 20)

describeNetns('the life of a daemon', () => {
  let net: Net
  let fresh: Record<'a' | 'b', string>

  /** Routes of all tables, rules, addresses and devices of an end. */
  const state = (end: 'a' | 'b'): string =>
    [
      ['-4', 'route', 'show', 'table', 'all'],
      ['-6', 'route', 'show', 'table', 'all'],
      ['rule'],
      ['-o', 'address'],
    ]
      .map((words) => net.run(end, 'ip', ...words))
      .join('\n')
      .replace(/ (expires|valid_lft|preferred_lft) \S+/g, '')

  /** What of a daemon's there may be in files. */
  const files = (end: 'a' | 'b'): string[] =>
    [net.socket(end), `/run/plait/${net.tun(end)}.routes`, `/run/plait/${net.tun(end)}.sock`].filter(
      existsSync,
    )

  beforeAll(async () => {
    net = await Net.build([{ name: 'one' }, { name: 'two' }])
    fresh = { a: state('a'), b: state('b') }
  }, 3 * PATIENCE_MS)
  afterEach(() => net.stopAll())

  /** A client with all that it could leave behind: a default route with its pins, a subnet, hooks. */
  const everything = () => ({
    allowedIps: ['0.0.0.0/0', '10.99.0.0/16', '"fd99::/48"'],
    defaultRoute: true,
    extra: [
      `up: ["env > ${net.state.path('up.env')}", "ip route add 198.51.100.0/24 dev $PLAIT_DEVICE"]`,
      `down: ["env > ${net.state.path('down.env')}"]`,
    ],
  })

  it.each(['SIGINT', 'SIGTERM'] as const)('ends cleanly on %s', { timeout: 40_000 }, async (signal) => {
    await net.up({ a: everything() })
    expect(await net.ping(INNER4.b, '-c', '5', '-i', '0.02')).toEqual({ sent: 5, received: 5 })
    expect(state('a')).toContain(net.tun('a'))
    expect(net.run('a', 'ip', 'route', 'get', '203.0.113.9')).toContain(net.tun('a'))

    expect(await net.stop('a', signal)).toBe(0)
    expect(await net.stop('b', signal)).toBe(0)
    expect(state('a')).toBe(fresh.a)
    expect(state('b')).toBe(fresh.b)
    expect([...files('a'), ...files('b')]).toEqual([])
    for (const event of ['up', 'down']) {
      const environment = readIfThere(net.state.path(`${event}.env`))?.split('\n')
      expect(environment).toContain(`PLAIT_EVENT=${event}`)
      expect(environment).toContain(`PLAIT_DEVICE=${net.tun('a')}`)
      expect(environment).toContain('PLAIT_LINKS=one two')
      expect(environment).toContain('PLAIT_MTU=1440')
      expect(environment?.some((line) => line.includes(net.keys.a.privateKey))).toBe(false)
    }
  })

  it('takes everything back though the signal comes again', { timeout: 40_000 }, async () => {
    const { extra, ...others } = everything()
    const [up] = extra
    await net.up({ a: { ...others, extra: [up!, `down: ["sleep 1", "touch ${net.state.path('down')}"]`] } })
    const ending = net.stop('a', 'SIGHUP')
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
      await delay(200)
      net.signal('a', signal)
    }
    expect(await ending).toBe(0)
    expect(net.words('a')).toContain('SIGTERM: what was set up is still being taken back')
    expect(existsSync(net.state.path('down'))).toBe(true)
    expect(state('a')).toBe(fresh.a)
    expect(files('a')).toEqual([])
  })

  it('takes back also what was done before an up command that fails', { timeout: 40_000 }, async () => {
    net.configure('b')
    const rule = 'rule add from 192.0.2.99 table 77'
    const extra = [`up: [ip ${rule}, "false"]`, `down: ip ${rule.replace('add', 'del')}`]
    net.configure('a', { ...everything(), extra })
    const task = net.start('a')
    await task.ended
    expect(task.exit?.code).toBe(1)
    expect(task.stderr).toContain('the up command 2 (false) ended with status 1')
    expect(state('a')).toBe(fresh.a)
    expect(files('a')).toEqual([])
  })

  it('loses its log, and nothing else, when there is no room for it', { timeout: 40_000 }, async () => {
    net.configure('a', everything())
    const script = `exec ${plaitProgram} up ${net.configFile('a')} 2>/dev/full`
    const task = net.task('a', 'sh', '-c', script)
    await until(async () => (await net.status('a')) !== undefined, PATIENCE_MS, 'plait did not start')
    await task.stop('SIGTERM', 5000)
    expect(task.exit?.code).toBe(0)
    expect(state('a')).toBe(fresh.a)
    expect(files('a')).toEqual([])
  })

  it(`starts again after ${KILLS} kills at any moment, and leaves nothing`, {
    timeout: 20_000 + KILLS * 4000,
  }, async () => {
    await net.up({ a: everything() })
    await net.stop('a', 'SIGKILL')
    for (let i = 0; i < KILLS; i++) {
      net.start('a')
      await delay(Math.random() * 900)
      await net.stop('a', 'SIGKILL')
      net.start('a')
      await net.untilRunning('a')
      if (i % 5 === 4) await net.untilUp()
      await net.stop('a', 'SIGKILL')
    }
    net.start('a')
    await net.untilUp()
    expect(await net.ping(INNER4.b, '-c', '5', '-i', '0.02')).toEqual({ sent: 5, received: 5 })
    expect(await net.stop('a')).toBe(0)
    expect(await net.stop('b')).toBe(0)
    expect(state('a')).toBe(fresh.a)
    expect([...files('a'), ...files('b')]).toEqual([])
  })

  it('refuses to start twice', { timeout: 40_000 }, async () => {
    await net.up()
    const second = net.task('a', plaitProgram, 'up', net.configFile('a'))
    await second.ended
    expect(second.exit?.code).toBe(2)
    expect(second.stderr).toMatch(/another plait answers/)
    expect(await net.ping(INNER4.b, '-c', '5', '-i', '0.02')).toEqual({ sent: 5, received: 5 })
  })

  describe('plait check', () => {
    async function check(): Promise<{ code: number | null; said: string }> {
      const task = net.task('a', plaitProgram, 'check', net.configFile('a'))
      await task.ended
      return { code: task.exit!.code, said: task.stderr + task.stdout }
    }

    it('finds nothing wrong with a good machine', async () => {
      net.configure('a')
      expect(await check()).toMatchObject({ code: 0 })
    })

    it('names a device that is missing, with line and column', async () => {
      net.configure('a', { links: { one: 1, nowhere: 1 } })
      const { code, said } = await check()
      expect(code).toBe(2)
      expect(said).toMatch(/a\.yaml:\d+:\d+: the device nowhere of link nowhere does not exist/)
    })

    it('names a link without a route to the endpoint', async () => {
      net.configure('a')
      const route = ['default', 'via', '10.71.2.1', 'dev', 'two', 'metric', '102']
      net.run('a', 'ip', 'route', 'delete', ...route)
      const { code, said } = await check()
      net.run('a', 'ip', 'route', 'add', ...route)
      expect(code).toBe(2)
      expect(said).toMatch(/a\.yaml:\d+:\d+: link two has no route to 192\.0\.2\.1 over two/)
    })

    it('names rp_filter in the way, and the line that mends it', async () => {
      net.configure('a')
      net.run('a', 'sysctl', '-qw', 'net.ipv4.conf.two.rp_filter=1')
      const { code, said } = await check()
      const remedy = /sysctl -w (\S+=2)/.exec(said)?.[1]
      expect(code).toBe(2)
      expect(said).toMatch(/a\.yaml:\d+:\d+: rp_filter is strict on two/)
      net.run('a', 'sysctl', '-qw', remedy!)
      expect(await check()).toMatchObject({ code: 0 })
      net.run('a', 'sysctl', '-qw', 'net.ipv4.conf.two.rp_filter=0')
    })
  })
})
