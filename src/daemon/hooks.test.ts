import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseCidr } from '../base/ip-address.js'
import { encodeKey, publicKeyOf } from '../config/keys.js'
import { parseConfig } from '../config/load.js'
import type { Config } from '../config/schema.js'
import { hookEnvironment, runHooks } from './hooks.js'

const PRIVATE = encodeKey(new Uint8Array(32).fill(8))
const PUBLIC = encodeKey(publicKeyOf(new Uint8Array(32).fill(16)))
const text = `interface: {private-key: ${PRIVATE}, addresses: [10.7.0.2/24, "fd07::2/64"], listen: "[::]:51820"}
peers:
  - {name: b, public-key: ${PUBLIC}, preshared-key: ${PRIVATE}, endpoint: "a.net:1", allowed-ips: [10.8.0.0/16, "::/0"]}
links: [{device: eth0}, {device: wwan0}]
`
const { config } = parseConfig({ bytes: new TextEncoder().encode(text), mode: 0o600 }, 'a.yaml', () => {
  throw new Error('no key files here')
})

describe('hooks', () => {
  it('get the documented environment and no secret', () => {
    const environment = hookEnvironment(config, 'up', {
      file: '/etc/plait/a.yaml',
      device: 'plait0',
      mtu: 1420,
    })
    expect(environment).toEqual({
      PLAIT_EVENT: 'up',
      PLAIT_DEVICE: 'plait0',
      PLAIT_CONFIG: '/etc/plait/a.yaml',
      PLAIT_ADDRESSES: '10.7.0.2/24 fd07::2/64',
      PLAIT_MTU: '1420',
      PLAIT_LISTEN: '[::]:51820',
      PLAIT_LINKS: 'eth0 wwan0',
      PLAIT_CONTROL: '/run/plait/plait0.sock',
      PLAIT_PEERS: 'b',
      PLAIT_PEER_1_PUBLIC_KEY: PUBLIC,
      PLAIT_PEER_1_ALLOWED_IPS: '10.8.0.0/16 ::/0',
      PLAIT_PEER_1_ENDPOINT: 'a.net:1',
    })
    expect(JSON.stringify(environment)).not.toContain(PRIVATE)
  })

  it('run in order with the environment', async () => {
    await runHooks('up', ['test "$PLAIT_DEVICE" = t0', 'exit 0'], { PLAIT_DEVICE: 't0' })
  })

  it('run with a country of networks, and without the list that no environment takes', async () => {
    const network = parseCidr('100.100.100.0/24')!
    const [peer] = config.peers
    const many = (count: number): Config => ({
      ...config,
      peers: [{ ...peer!, allowedIps: Array(count).fill(network) }],
    })
    const running = { file: 'a.yaml', device: 'plait0', mtu: 1420 }
    const fits = hookEnvironment(many(7_000), 'up', running)
    expect(fits['PLAIT_PEER_1_ALLOWED_IPS']).toHaveLength(7_000 * 17 - 1)
    await runHooks('up', ['test -n "$PLAIT_PEER_1_ALLOWED_IPS"'], fits)
    const tooLong = hookEnvironment(many(60_000), 'up', running)
    await runHooks('up', ['test -z "$PLAIT_PEER_1_ALLOWED_IPS" && test "$PLAIT_PEERS" = b'], tooLong)
    const peers = Array(4_096).fill({ ...peer!, allowedIps: Array(50).fill(network) })
    await runHooks('up', ['test "$PLAIT_EVENT" = up'], hookEnvironment({ ...config, peers }, 'up', running))
  })

  it('that cannot be started are a fault like any other', async () => {
    await expect(runHooks('up', ['true'], { LONG: 'x'.repeat(200_000) })).rejects.toMatchObject({
      code: 'hookFailed',
      text: expect.stringMatching(/cannot be started: .*E2BIG/),
    })
  })

  it('fail with what the command said', async () => {
    const run = runHooks(
      'up',
      ['true', 'echo first; echo no such table >&2; exit 3', 'touch /nonexistent/x'],
      {},
    )
    await expect(run).rejects.toMatchObject({
      code: 'hookFailed',
      exitStatus: 1,
      text: 'the up command 2 (echo first; echo no such table >&2; exit 3) ended with status 3: first / no such table',
    })
    await expect(runHooks('down', ['kill -TERM $$'], {})).rejects.toThrow(
      'the down command (kill -TERM $$) was ended by SIGTERM',
    )
  })

  it('are killed with all they started after the time limit', async () => {
    const start = performance.now()
    await expect(runHooks('up', ['echo waiting; sleep 60 & sleep 60'], {}, 300)).rejects.toThrow(
      'did not end within 0.3 s and was killed: waiting',
    )
    expect(performance.now() - start).toBeLessThan(5_000)
  })

  it('may leave something running', async () => {
    const start = performance.now()
    await runHooks('up', ['sleep 4 &'], {})
    expect(performance.now() - start).toBeLessThan(3_500)
  })
})

it('docs/operating.md has the whole environment', () => {
  const manual = readFileSync(join(import.meta.dirname, '../../docs/operating.md'), 'utf8')
  const environment = hookEnvironment(config, 'up', { file: 'a.yaml', device: 'plait0', mtu: 1420 })
  for (const name of Object.keys(environment)) expect(manual).toContain(`| \`${name}\` |`)
})
