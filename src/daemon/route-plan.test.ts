import { describe, expect, it } from 'vitest'
import { type IpAddress, parseIpAddress } from '../base/ip-address.js'
import { encodeKey, publicKeyOf } from '../config/keys.js'
import { parseConfig } from '../config/load.js'
import type { Config } from '../config/schema.js'
import { planRoutes, readKernelRoutes, tunMtu } from './route-plan.js'

const PRIVATE = encodeKey(new Uint8Array(32).fill(8))
const PUBLIC = encodeKey(publicKeyOf(new Uint8Array(32).fill(16)))

function configOf(
  allowed: string,
  options: { links?: string; more?: string; addresses?: string } = {},
): Config {
  const text = `interface: {private-key: ${PRIVATE}, addresses: [${options.addresses ?? '10.7.0.2/24'}]}
peers: [{public-key: ${PUBLIC}, endpoint: "198.51.100.1:51820", allowed-ips: [${allowed}], ${options.more ?? ''}}]
links: [${options.links ?? '{device: eth0}, {device: wwan0}'}]
`
  return parseConfig({ bytes: new TextEncoder().encode(text), mode: 0o600 }, 'a.yaml', () => {
    throw new Error('no key files here')
  }).config
}

const ip = (...texts: string[]): IpAddress[] => texts.map((text) => parseIpAddress(text)!)
const KERNEL = [
  ...readKernelRoutes(
    [
      { dst: 'default', gateway: '192.168.1.1', dev: 'eth0', flags: [] },
      { dst: 'default', gateway: '10.64.0.1', dev: 'wwan0', metric: 700, flags: [] },
      { dst: 'default', gateway: '10.64.0.9', dev: 'wwan0', metric: 800, flags: [] },
      { dst: '192.168.1.0/24', dev: 'eth0', protocol: 'kernel', scope: 'link' },
      { dst: '198.51.100.0/24', gateway: '192.168.1.254', dev: 'eth0' },
      { dst: '198.51.100.1', gateway: '192.168.1.7', dev: 'eth0', protocol: '112', metric: 700 },
      { type: 'unreachable', dst: '198.51.100.1', protocol: '112', metric: 2147483647 },
      { dst: '0.0.0.0/1', dev: 'plait0' },
    ],
    4,
  ),
  ...readKernelRoutes([{ dst: 'default', gateway: 'fe80::1', dev: 'eth0', metric: 1024 }], 6),
]
const plan = (config: Config, endpoints = ip('198.51.100.1'), kernelRoutes = KERNEL) =>
  planRoutes({ config, device: 'plait0', endpoints, kernelRoutes, linkMtus: [] })
const commands = (steps: readonly { command: string }[]): string[] => steps.map((step) => step.command)

describe('planRoutes', () => {
  it('routes allowed IPs into the TUN, but not what the address brings along', () => {
    const result = plan(
      configOf('10.7.0.0/24, 10.8.0.0/16, "fd08::/64"', { addresses: '10.7.0.2/24, "fd07::2/64"' }),
    )
    expect(commands(result.tun)).toEqual([
      'address add 10.7.0.2/24 dev plait0',
      'address add fd07::2/64 dev plait0 nodad',
      'link set dev plait0 mtu 1440 txqueuelen 2000 up',
      'route add 10.8.0.0/16 dev plait0 proto 112',
      'route add fd08::/64 dev plait0 proto 112',
    ])
    expect(result.pins).toEqual([])
  })

  it('leaves a default route alone unless asked', () => {
    const result = plan(configOf('0.0.0.0/0'))
    expect(commands(result.tun).filter((command) => command.startsWith('route'))).toEqual([])
    expect(result.pins).toEqual([])
    expect(result.notes).toEqual(['no route for 0.0.0.0/0 of peer1: default-route is false'])
  })

  it('takes a default route in halves and pins the endpoint through the gateway of each link', () => {
    const result = plan(configOf('0.0.0.0/0, "::/0"', { more: 'default-route: true' }))
    expect(commands(result.tun).slice(2)).toEqual([
      'route add 0.0.0.0/1 dev plait0 proto 112',
      'route add 128.0.0.0/1 dev plait0 proto 112',
      'route add ::/1 dev plait0 proto 112',
      'route add 8000::/1 dev plait0 proto 112',
    ])
    // The most specific route of the device, then the least metric; never one of our own.
    expect(commands(result.pins)).toEqual([
      'route add 198.51.100.1/32 via 192.168.1.254 dev eth0 proto 112 metric 700',
      'route add 198.51.100.1/32 via 10.64.0.1 dev wwan0 proto 112 metric 701',
    ])
    expect(result.pins.map((step) => step.undo)).toEqual(
      commands(result.pins).map((command) => command.replace('add', 'del')),
    )
  })

  it('pins an endpoint within a narrower allowed IP, IPv6 too, once each', () => {
    const result = plan(
      configOf('198.51.0.0/16, "2001:db8::/32"'),
      ip('198.51.100.1', '2001:db8::1', '2001:db8::1'),
    )
    expect(commands(result.pins)).toEqual([
      'route add 198.51.100.1/32 via 192.168.1.254 dev eth0 proto 112 metric 700',
      'route add 198.51.100.1/32 via 10.64.0.1 dev wwan0 proto 112 metric 701',
      'route add 2001:db8::1/128 via fe80::1 dev eth0 proto 112 metric 700',
    ])
    expect(result.notes).toEqual(['wwan0 has no route to 2001:db8::1'])
  })

  it('puts a stop behind the pin when no link is bound to a device', () => {
    const config = { ...configOf('0.0.0.0/0', { more: 'default-route: true' }), links: [] }
    expect(commands(plan(config).pins)).toEqual([
      'route add 198.51.100.1/32 via 192.168.1.254 dev eth0 proto 112 metric 700',
      'route add unreachable 198.51.100.1/32 proto 112 metric 2147483647',
    ])
    expect(commands(plan(config, ip('198.51.100.1'), []).pins)).toEqual([
      'route add unreachable 198.51.100.1/32 proto 112 metric 2147483647',
    ])
  })

  it('does not route an endpoint into its own tunnel', () => {
    const result = plan(configOf('198.51.100.1/32'))
    expect(commands(result.tun).some((command) => command.startsWith('route'))).toBe(false)
    expect(result.notes[0]).toContain('it is an endpoint of the tunnel itself')
  })

  it('pins on the link itself where there is no gateway', () => {
    const result = plan(configOf('192.168.0.0/16'), ip('192.168.1.9'))
    expect(commands(result.pins)[0]).toBe('route add 192.168.1.9/32 dev eth0 proto 112 metric 700')
  })
})

it('reads routes with several next hops', () => {
  const rows = [
    {
      dst: 'default',
      nexthops: [
        { gateway: '10.0.0.1', dev: 'a' },
        { gateway: '10.1.0.1', dev: 'b' },
      ],
    },
  ]
  expect(readKernelRoutes(rows, 4).map((route) => route.device)).toEqual(['a', 'b'])
  expect(
    readKernelRoutes([{ dst: 'default', via: { family: 'inet6', host: 'fe80::1' }, dev: 'a' }], 4),
  ).toEqual([])
})

it('tunMtu', () => {
  const config = configOf('10.0.0.0/8')
  const four = { config, endpoints: ip('192.0.2.1'), linkMtus: [] }
  const both = { config, endpoints: ip('192.0.2.1', '2001:db8::1'), linkMtus: [] }
  expect(tunMtu(four)).toBe(1440)
  expect(tunMtu(both)).toBe(1420)
  expect(tunMtu({ ...four, linkMtus: [1500, 1492] })).toBe(1432)
  expect(tunMtu({ ...both, linkMtus: [1492] })).toBe(1412)
  expect(tunMtu({ ...four, linkMtus: [9000] })).toBe(1440)
  expect(tunMtu({ ...four, linkMtus: [1280] })).toBe(1280)
  const set = { ...config, interface: { ...config.interface, mtu: 1300 } }
  expect(tunMtu({ ...both, config: set })).toBe(1300)
})
