import { expect, it } from 'vitest'
import { type ErrorCode, OperatorError } from '../base/errors.js'
import { encodeKey, publicKeyOf } from '../config/keys.js'
import { parseConfig } from '../config/load.js'
import { mayStart } from './up.js'

const text = `interface: {private-key: ${encodeKey(new Uint8Array(32).fill(8))}}
peers: [{public-key: ${encodeKey(publicKeyOf(new Uint8Array(32).fill(16)))}, endpoint: "a.net:1", allowed-ips: 10.7.0.0/24}]
links:
  - device: eth0
  - {device: wwan0, source: 10.2.0.2}
`
const { config, places } = parseConfig(
  { bytes: new TextEncoder().encode(text), mode: 0o600 },
  'a.yaml',
  () => {
    throw new Error('no key files here')
  },
)
const fault = (code: ErrorCode, ...path: (string | number)[]): OperatorError =>
  new OperatorError(code, 'x', { place: places.value(...path) })

it.each<[string, OperatorError[], boolean]>([
  ['nothing', [], true],
  ['one link without a device', [fault('linkNoDevice', 'links', 0, 'device')], true],
  ['one link without a route, twice', Array(2).fill(fault('linkNoRoute', 'links', 1, 'device')), true],
  ['a name that does not resolve', [fault('endpointUnresolved', 'peers', 0, 'endpoint')], true],
  [
    'no link that works',
    [fault('linkNoDevice', 'links', 0, 'device'), fault('linkNoSource', 'links', 1, 'source')],
    false,
  ],
  ['a strict filter', [fault('linkReversePathFilter', 'links', 0, 'device')], false],
  ['no privileges', [fault('privileges', 'interface')], false],
])('the tunnel starts or not with %s', (_, faults, expected) => {
  expect(mayStart(config, places, faults)).toBe(expected)
})
