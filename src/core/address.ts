import { ADDRESS_REMOTE_WORDS, ADDRESS_WORDS } from '../base/datagram-batch.js'
import { formatHostPort, formatIpAddress } from '../base/ip-address.js'

/** Whether two address records have the same remote end. */
export function sameRemote(a: Uint32Array, aAt: number, b: Uint32Array, bAt: number): boolean {
  for (let i = 0; i < ADDRESS_REMOTE_WORDS; i++) if (a[aAt + i] !== b[bAt + i]) return false
  return true
}

export function copyAddress(from: Uint32Array, at: number): Uint32Array {
  return from.slice(at, at + ADDRESS_WORDS)
}

/** `192.0.2.1:51820` or `[2001:db8::1]:51820`, for people. */
export function formatAddress(record: Uint32Array): string {
  const family = (record[0]! & 0xffff) === 6 ? 6 : 4
  const bytes = new Uint8Array(record.slice(1, 5).buffer).slice(0, family === 4 ? 4 : 16)
  return formatHostPort({
    host: formatIpAddress({ family, bytes }),
    port: record[0]! >>> 16,
    address: undefined,
  })
}
