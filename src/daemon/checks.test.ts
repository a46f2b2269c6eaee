import { describe, expect, it } from 'vitest'
import { parseIpAddress } from '../base/ip-address.js'
import { encodeKey, publicKeyOf } from '../config/keys.js'
import { parseConfig } from '../config/load.js'
import { type CheckSystem, checkSystem } from './checks.js'

const PRIVATE = encodeKey(new Uint8Array(32).fill(8))
const PUBLIC = encodeKey(publicKeyOf(new Uint8Array(32).fill(16)))
const FILE = `interface:
  name: plait0
  private-key: ${PRIVATE}
peers:
  - public-key: ${PUBLIC}
    endpoint: [vpn.example.net:51820, "198.51.100.1:1"]
    allowed-ips: 10.7.0.0/24
links:
  - device: eth0
  - device: wwan0
    source: 10.2.0.2
`
const LISTENER = FILE.replace('endpoint: [vpn.example.net:51820, "198.51.100.1:1"]', 'name: c').replace(
  '  name: plait0',
  '  listen: "0.0.0.0:51820"',
)

interface World {
  files?: Record<string, string>
  devices?: Record<string, string[]>
  /** `address device` pairs that have a route. */
  routes?: string[]
  best?: string
  names?: Record<string, string>
  answers?: boolean
  unusable?: string[]
}

const GOOD: Required<World> = {
  files: { '/dev/net/tun': '', '/proc/self/status': 'CapEff:\t000001ffffffffff\n' },
  devices: { eth0: ['10.1.0.2'], wwan0: ['10.2.0.2'] },
  routes: ['203.0.113.7 eth0', '203.0.113.7 wwan0', '198.51.100.1 eth0', '198.51.100.1 wwan0'],
  best: 'eth0',
  names: { 'vpn.example.net': '203.0.113.7' },
  answers: false,
  unusable: [],
}

function systemOf(changes: World): CheckSystem {
  const world = { ...GOOD, ...changes, files: { ...GOOD.files, ...changes.files } }
  const answer = (rows: unknown[]) => ({
    ok: rows.length > 0,
    stdout: rows.length > 0 ? JSON.stringify(rows) : '',
    stderr: '',
    problem: '',
  })
  return {
    run: async (args) => {
      if (args[1] === 'address') {
        const name = args.at(-1)!
        const addresses = world.devices[name]
        if (addresses === undefined) return answer([])
        const flags = addresses.includes('down') ? [] : ['UP']
        return answer([{ ifname: name, flags, addr_info: addresses.map((local) => ({ local })) }])
      }
      if (args[3] !== 'fibmatch') return answer([{ dev: world.best }])
      const device = args[args.indexOf('oif') + 1]
      return answer(world.routes.includes(`${args[4]} ${device}`) ? [{ dst: 'default', dev: device }] : [])
    },
    read: (path) => world.files[path],
    exists: (path) => world.files[path] !== undefined,
    usable: (path) => !world.unusable.includes(path),
    resolve: async (host) => {
      const found = world.names[host]
      if (found === undefined) throw new Error('not found')
      return [parseIpAddress(found)!]
    },
    answers: async () => world.answers,
  }
}

async function faults(changes: World, text = FILE): Promise<string[]> {
  const { config, places } = parseConfig(
    { bytes: new TextEncoder().encode(text), mode: 0o600 },
    'a.yaml',
    () => {
      throw new Error('no key files here')
    },
  )
  return (await checkSystem(config, places, systemOf(changes))).map((fault) => fault.message)
}

const strict = (device: string): World => ({
  files: { [`/proc/sys/net/ipv4/conf/${device}/rp_filter`]: '1\n' },
})
const tun = (flags: string, carrier: string): World => ({
  files: {
    '/sys/class/net/plait0': '',
    ...(flags === '' ? {} : { '/sys/class/net/plait0/tun_flags': flags }),
    '/sys/class/net/plait0/carrier': carrier,
  },
})

describe('checkSystem', () => {
  it('finds nothing where all is well', async () => {
    expect(await faults({})).toEqual([])
    expect(await faults({}, LISTENER)).toEqual([])
  })

  it.each<[string, World, string[]]>([
    [
      'a device that is not there',
      { devices: { eth0: ['10.1.0.2'] } },
      ['a.yaml:10:13: the device wwan0 of link wwan0 does not exist, hint: see ip link'],
    ],
    [
      'a device that is down',
      { devices: { ...GOOD.devices, eth0: ['down'] } },
      ['a.yaml:9:13: the device eth0 of link eth0 is down, hint: ip link set eth0 up'],
    ],
    [
      'a source of another device',
      { devices: { ...GOOD.devices, wwan0: ['10.2.0.3'] } },
      ['a.yaml:11:13: 10.2.0.2 is no address of wwan0'],
    ],
    [
      'no route',
      { routes: GOOD.routes.slice(0, 3) },
      [
        'a.yaml:10:13: link wwan0 has no route to 198.51.100.1 over wwan0: what is sent there goes nowhere, hint: ip route add default via GATEWAY dev wwan0 metric 1000',
      ],
    ],
    [
      'no route to a name',
      { routes: GOOD.routes.slice(1) },
      ['a.yaml:9:13: link eth0 has no route to vpn.example.net (203.0.113.7) over eth0'],
    ],
    ['strict filter beside the best route', strict('wwan0'), ['a.yaml:10:13: rp_filter is strict on wwan0']],
    ['strict filter for all', strict('all'), ['a.yaml:10:13: rp_filter is strict on wwan0']],
    ['strict filter on the best route', strict('eth0'), []],
    [
      'a loose filter over a strict one',
      { files: { ...strict('all').files, '/proc/sys/net/ipv4/conf/wwan0/rp_filter': '2' } },
      [],
    ],
    [
      'a name that does not resolve',
      { names: {} },
      ['a.yaml:6:16: the name vpn.example.net does not resolve'],
    ],
    [
      'no privileges',
      { files: { '/proc/self/status': 'CapEff:\t0000000000000000\n' } },
      ['a.yaml:1:1: this user may not set up devices and routes'],
    ],
    [
      'no access to the tun driver',
      { unusable: ['/dev/net/tun'] },
      ['a.yaml:1:1: /dev/net/tun cannot be opened'],
    ],
    [
      'a name taken by a bridge',
      tun('', '1'),
      ['a.yaml:2:9: the device plait0 is there and is no TUN device'],
    ],
    [
      'a name taken by a TAP',
      tun('0x1002', '0'),
      ['a.yaml:2:9: the device plait0 is there and is a TAP device'],
    ],
    [
      'a name taken by another program',
      tun('0x1001', '1'),
      ['a.yaml:2:9: the device plait0 is there and is in use by another program'],
    ],
    ['a name left over', tun('0x1801', '0'), []],
    ['a name in use by plait', { ...tun('0x1001', '1'), answers: true }, []],
  ])('%s', async (_, world, expected) => {
    const found = await faults(world)
    expect(found, found.join('\n')).toHaveLength(expected.length)
    expected.forEach((start, i) => {
      expect(found[i]!.slice(0, start.length)).toBe(start)
      expect(found[i]).toMatch(/, hint: ./)
    })
  })

  it('no tun driver', async () => {
    const system = systemOf({})
    const { config, places } = parseConfig(
      { bytes: new TextEncoder().encode(FILE), mode: 0o600 },
      'a.yaml',
      () => {
        throw new Error('no key files here')
      },
    )
    const found = await checkSystem(config, places, { ...system, exists: () => false })
    expect(found.map((fault) => fault.code)).toEqual(['tunMissing'])
  })

  it('a listener on several links with a strict filter', async () => {
    expect(await faults(strict('all'), LISTENER)).toEqual([
      expect.stringContaining('a.yaml:9:13: rp_filter is strict on eth0'),
      expect.stringContaining('a.yaml:10:13: rp_filter is strict on wwan0'),
    ])
  })

  it('a link of one family, where the peer is reached by both', async () => {
    const text = FILE.replace('198.51.100.1:1', '[2001:db8::1]:1').replace('    source: 10.2.0.2\n', '')
    const routes = ['203.0.113.7 eth0', '203.0.113.7 wwan0', '2001:db8::1 eth0']
    expect(await faults({ routes }, text)).toEqual([])
    expect(await faults({ routes: routes.slice(0, 1) }, text)).toEqual([
      expect.stringContaining('link wwan0 has no route to vpn.example.net (203.0.113.7)'),
      expect.stringContaining('link wwan0 has no route to 2001:db8::1'),
    ])
  })

  it('several at once', async () => {
    expect(
      await faults({ devices: {}, names: {}, files: { '/proc/self/status': 'CapEff: 0' } }),
    ).toHaveLength(4)
  })
})
