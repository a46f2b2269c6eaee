import { expect, test } from 'vitest'
import { formatIpAddress, parseHostPort, parseIpAddress } from '../base/ip-address.js'
import type { Config } from '../config/schema.js'
import { Endpoints } from './endpoints.js'

const NUMBERED = '192.0.2.9:7'

/** Endpoints of two peers, the first of them with names, whose addresses a test may change. */
function endpoints(names: Record<string, string[]>) {
  const ends = (...texts: string[]) => texts.map((text) => parseHostPort(text)!)
  const peers = [{ endpoint: ends('a.test:5', 'b.test:6') }, { endpoint: ends(NUMBERED) }]
  const found = new Endpoints({ peers } as unknown as Config, async (host) =>
    (names[host] ?? []).map((text) => parseIpAddress(text)!),
  )
  return { found, addresses: () => found.addresses.map(formatIpAddress) }
}

test('a name has one address of each family, and keeps it while it is among those that are told', async () => {
  const names = { 'a.test': ['192.0.2.1', '2001:db8::1', '192.0.2.2'] }
  const { found, addresses } = endpoints(names)
  expect(found.haveNames).toBe(true)
  expect(await found.resolve()).toBe(true)
  expect(addresses()).toEqual(['192.0.2.1', '2001:db8::1', '192.0.2.9'])
  expect(found.records.map((records) => records.map((record) => record[0]! >>> 16))).toEqual([[5, 5], [7]])
  names['a.test'] = ['192.0.2.2', '2001:db8::2', '192.0.2.1']
  expect(await found.resolve()).toBe(true)
  expect(addresses()).toEqual(['192.0.2.1', '2001:db8::2', '192.0.2.9'])
  expect(await found.resolve()).toBe(false)
  names['a.test'] = ['192.0.2.2']
  expect(await found.resolve()).toBe(true)
  expect(addresses()).toEqual(['192.0.2.2', '192.0.2.9'])
})

test('a name that does not resolve keeps what it had, and one that never did has its addresses once it does', async () => {
  const names: Record<string, string[]> = { 'a.test': ['192.0.2.1'] }
  const { found, addresses } = endpoints(names)
  await found.resolve()
  names['a.test'] = []
  expect(await found.resolve()).toBe(false)
  expect(addresses()).toEqual(['192.0.2.1', '192.0.2.9'])
  names['b.test'] = ['192.0.2.5']
  expect(await found.resolve()).toBe(true)
  expect(addresses()).toEqual(['192.0.2.1', '192.0.2.5', '192.0.2.9'])
})
