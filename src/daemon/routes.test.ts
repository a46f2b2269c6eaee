import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseIpAddress } from '../base/ip-address.js'
import { encodeKey, publicKeyOf } from '../config/keys.js'
import { parseConfig } from '../config/load.js'
import type { Config } from '../config/schema.js'
import { type RunIp, runIp } from './ip-command.js'
import { applyRoutes, removeLeftRoutes, routeStateFile } from './routes.js'

const PRIVATE = encodeKey(new Uint8Array(32).fill(8))
const PUBLIC = encodeKey(publicKeyOf(new Uint8Array(32).fill(16)))

function configOf(allowed: string): Config {
  const text = `interface: {private-key: ${PRIVATE}, addresses: [10.7.0.2/24, "fd07::2/64"]}
peers: [{public-key: ${PUBLIC}, endpoint: "198.51.100.1:51820", allowed-ips: [${allowed}], default-route: true}]
links: [{device: v0}, {device: v1}]
`
  return parseConfig({ bytes: new TextEncoder().encode(text), mode: 0o600 }, 'a.yaml', () => {
    throw new Error('no key files here')
  }).config
}

function canMakeNamespaces(): boolean {
  if (process.getuid?.() !== 0 || !existsSync('/dev/net/tun')) return false
  const name = `plait-${randomBytes(4).toString('hex')}`
  try {
    execFileSync('ip', ['netns', 'add', name], { stdio: 'ignore' })
    execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

describe.runIf(canMakeNamespaces())('routes in a namespace', () => {
  const endpoints = [parseIpAddress('198.51.100.1')!]
  let space = ''
  let folder = ''
  let stateFile = ''
  let run: RunIp

  const ip = (...args: string[]): string => execFileSync('ip', ['-n', space, ...args], { encoding: 'utf8' })
  const setUp = (...lines: string[]): void => {
    for (const line of lines) ip(...line.split(' '))
  }
  const picture = (): string =>
    ip('route', 'show') + ip('-6', 'route', 'show') + ip('-br', 'address', 'show', 'dev', 't0')

  beforeEach(() => {
    space = `plait-${randomBytes(4).toString('hex')}`
    folder = mkdtempSync(join(tmpdir(), `${space}-`))
    stateFile = join(folder, 'run', 't.routes')
    execFileSync('ip', ['netns', 'add', space])
    run = (args, input) => runIp(['-n', space, ...args], input)
    setUp(
      'link set lo up',
      'link add v0 type veth peer name v0p',
      'link add v1 type veth peer name v1p',
      ...['v0', 'v0p', 'v1', 'v1p'].map((device) => `link set ${device} up`),
      'address add 10.1.0.2/24 dev v0',
      'address add 10.2.0.2/24 dev v1',
      'route add default via 10.1.0.1 dev v0',
      'route add default via 10.2.0.1 dev v1 metric 100',
      'tuntap add t0 mode tun',
    )
  })
  afterEach(() => {
    execFileSync('ip', ['netns', 'del', space])
    rmSync(folder, { recursive: true, force: true })
  })

  const carried = Number.POSITIVE_INFINITY
  const apply = (config: Config) => applyRoutes({ config, device: 't0', endpoints }, { stateFile, run })

  it('sets a default route that does not loop, and takes everything back', async () => {
    const before = picture()
    const routes = await apply(configOf('0.0.0.0/0, "::/0"'))
    expect(ip('link', 'show', 't0')).toContain('mtu 1440')
    expect(ip('route', 'get', '8.8.8.8')).toContain('dev t0')
    expect(ip('-6', 'route', 'get', '2001:db8::5')).toContain('dev t0')
    expect(ip('route', 'get', '198.51.100.1')).toContain('via 10.1.0.1 dev v0')
    expect(ip('route', 'get', '198.51.100.1', 'oif', 'v1')).toContain('via 10.2.0.1 dev v1')
    expect(readFileSync(stateFile, 'utf8').trim().split('\n')).toHaveLength(2)
    await routes.close()
    await routes.close()
    expect(picture()).toBe(before)
    expect(existsSync(stateFile)).toBe(false)
  })

  it('follows a gateway that changes', async () => {
    const routes = await apply(configOf('0.0.0.0/0'))
    setUp('route replace default via 10.2.0.9 dev v1 metric 100')
    expect(await routes.refresh(endpoints, carried)).toBeUndefined()
    expect(ip('route', 'get', '198.51.100.1', 'oif', 'v1')).toContain('via 10.2.0.9 dev v1')
    // Down and up again: the kernel has removed the pin, the plan is as before at the end.
    setUp('link set v1 down')
    expect(await routes.refresh(endpoints, carried)).toBeUndefined()
    expect(ip('route', 'show', 'proto', '112')).not.toContain('v1')
    setUp('link set v1 up', 'route add default via 10.2.0.9 dev v1 metric 100')
    expect(await routes.refresh(endpoints, carried)).toBeUndefined()
    expect(ip('route', 'show', 'proto', '112')).toContain('198.51.100.1 via 10.2.0.9 dev v1')
    const before = ip('route', 'show', 'proto', '112')
    expect(await routes.refresh(endpoints, carried)).toBeUndefined()
    expect(ip('route', 'show', 'proto', '112')).toBe(before)
    await routes.close()
    expect(ip('route', 'show', 'proto', '112')).toBe('')
  })

  it('gives the device the MTU that fits an endpoint that turns out to be IPv6, and the devices', async () => {
    const routes = await apply(configOf('0.0.0.0/0'))
    expect(routes.mtu).toBe(1440)
    expect(await routes.refresh([...endpoints, parseIpAddress('2001:db8::7')!], carried)).toBeUndefined()
    expect(routes.mtu).toBe(1420)
    expect(ip('link', 'show', 't0')).toContain('mtu 1420')
    expect(await routes.refresh(endpoints, carried)).toBeUndefined()
    expect(ip('link', 'show', 't0')).toContain('mtu 1440')
    setUp('link set v1 mtu 1492')
    expect(await routes.refresh(endpoints, carried)).toBeUndefined()
    expect(ip('link', 'show', 't0')).toContain('mtu 1432')
    // It will be back.
    setUp('link del v1')
    expect(await routes.refresh(endpoints, carried)).toBeUndefined()
    expect(routes.mtu).toBe(1432)
    await routes.close()
  })

  it('gives the device what all paths carry whole, and no more than the configuration says', async () => {
    const routes = await apply(configOf('0.0.0.0/0'))
    expect(await routes.refresh(endpoints, 1392)).toBeUndefined()
    expect(ip('link', 'show', 't0')).toContain('mtu 1392')
    expect(routes).toMatchObject({ mtu: 1392, mtuWanted: 1440 })
    expect(await routes.refresh(endpoints, 1900)).toBeUndefined()
    expect(ip('link', 'show', 't0')).toContain('mtu 1440')
    await routes.close()
  })

  it('leaves the pins where they are when the table cannot be read', async () => {
    const plain = run
    let hangs = false
    run = (args, input) =>
      hangs && args.includes('show')
        ? Promise.resolve({ ok: false, stdout: '', stderr: '', problem: 'ip was ended by SIGTERM' })
        : plain(args, input)
    const routes = await apply(configOf('0.0.0.0/0'))
    const before = ip('route', 'show', 'proto', '112')
    expect(before).not.toBe('')
    hangs = true
    expect(await routes.refresh(endpoints, carried)).toContain('was cut off: ip was ended by SIGTERM')
    expect(ip('route', 'show', 'proto', '112')).toBe(before)
    await routes.close()
    expect(ip('route', 'show', 'proto', '112')).toBe('')
  })

  it('sets again what went with a device that was away between two looks, and nothing that is there', async () => {
    const lines: string[] = []
    const plain = run
    run = (args, input) => {
      if (input) lines.push(...input.trim().split('\n'))
      return plain(args, input)
    }
    const routes = await apply(configOf('0.0.0.0/0'))
    setUp('link set v1 down', 'link set v1 up', 'route add default via 10.2.0.1 dev v1 metric 100')
    lines.length = 0
    expect(await routes.refresh(endpoints, carried)).toBeUndefined()
    expect(lines).toEqual(['route replace 198.51.100.1/32 via 10.2.0.1 dev v1 proto 112 metric 701'])
    expect(ip('route', 'show', 'proto', '112')).toContain('198.51.100.1 via 10.2.0.1 dev v1')
    lines.length = 0
    expect(await routes.refresh(endpoints, carried)).toBeUndefined()
    expect(lines).toEqual([])
    await routes.close()
    expect(ip('route', 'show', 'proto', '112')).toBe('')
  })

  it('takes back also what was set by a refresh that failed half-way', async () => {
    const plain = run
    run = async (args, input) => {
      const result = await plain(args, input)
      return input?.startsWith('route replace') ? { ...result, ok: false, problem: 'interrupted' } : result
    }
    const routes = await apply(configOf('0.0.0.0/0'))
    setUp('route replace default via 10.2.0.9 dev v1 metric 100')
    expect(await routes.refresh(endpoints, carried)).toContain('interrupted')
    expect(ip('route', 'show', 'proto', '112')).toContain('198.51.100.1 via 10.2.0.9 dev v1')
    await routes.close()
    expect(ip('route', 'show', 'proto', '112')).toBe('')
  })

  it('removes what a killed one left', async () => {
    const before = ip('route', 'show')
    await apply(configOf('0.0.0.0/0'))
    setUp('link del t0')
    expect(ip('route', 'show')).not.toBe(before)
    expect(await removeLeftRoutes({ control: '/x' }, { stateFile, run })).toBe(2)
    expect(ip('route', 'show')).toBe(before)
    expect(existsSync(stateFile)).toBe(false)
    expect(await removeLeftRoutes({ control: '/x' }, { stateFile, run })).toBe(0)
  })

  it('takes back what was done when one route is refused, and says which', async () => {
    setUp('route add 10.9.0.0/16 dev v0')
    const before = picture()
    await expect(apply(configOf('0.0.0.0/0, 10.9.0.0/16'))).rejects.toMatchObject({
      code: 'routesFailed',
      exitStatus: 1,
      text: expect.stringMatching(
        /^"ip route add 10\.9\.0\.0\/16 dev t0 proto 112" was refused: .*File exists/,
      ),
      remedy: 'that route or address is there already: see ip route show',
    })
    expect(picture()).toBe(before)
    expect(existsSync(stateFile)).toBe(false)
  })
})

it('runs nothing from a state file but what it could have written', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'plait-'))
  const stateFile = join(folder, 's')
  const good = 'route del 198.51.100.1/32 via 10.1.0.1 dev v0 proto 112 metric 700'
  writeFileSync(stateFile, `link del eth0\nroute del default\n${good}\nroute del 0.0.0.0/0; x\n`)
  const inputs: (string | undefined)[] = []
  const run: RunIp = async (_, input) => {
    inputs.push(input)
    return { ok: true, stdout: '', stderr: '', problem: '' }
  }
  expect(await removeLeftRoutes({ control: '/x' }, { stateFile, run })).toBe(1)
  expect(inputs).toEqual([`${good}\n`])
  rmSync(folder, { recursive: true })
})

it('keeps the state file beside the control socket', () => {
  expect(routeStateFile({ control: '/run/plait/plait0.sock' })).toBe('/run/plait/plait0.routes')
  expect(routeStateFile({ control: '/tmp/x' })).toBe('/tmp/x.routes')
})
