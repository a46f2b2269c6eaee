import { ADDRESS_REMOTE_WORDS, ADDRESS_WORDS } from '../base/datagram-batch.js'
import { formatHostPort, formatIpAddress } from '../base/ip-address.js'

/** Whether two address records have the same remote end. */
export function sameRemote(a: Uint32Array, aAt: number, b: Uint32Array, bAt: number): boolean {
  for (let i = 0; i < ADDRESS_REMOTE_WORDS; i++) if (a[aAt + i] !== b[bAt + i]) return false
  return true
}

/**
 * What is sent to `to` leaves from where the datagram of `from` came in: our end of a path may change, too, as when
 * our line has another address. Not where the kernel chooses.
 */
export function followLocal(to: Uint32Array, from: Uint32Array, fromAt: number): void {
  let isChosen = false
  for (let i = ADDRESS_REMOTE_WORDS + 1; i < ADDRESS_WORDS; i++) if (to[i] !== 0) isChosen = true
  if (!isChosen) return
  for (let i = ADDRESS_REMOTE_WORDS; i < ADDRESS_WORDS; i++) to[i] = from[fromAt + i]!
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
