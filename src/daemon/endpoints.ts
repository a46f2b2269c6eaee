import { lookup } from 'node:dns/promises'
import { ADDRESS_WORDS } from '../base/datagram-batch.js'
import type { IpAddress } from '../base/ip-address.js'
import { parseIpAddress } from '../base/ip-address.js'
import type { Config } from '../config/schema.js'

/** Endpoints of each peer as addresses: names resolved, in the order of the configuration. */
export interface ResolvedEndpoints {
  /** Address records (base/datagram-batch.ts) by peer. */
  records: Uint32Array[][]
  addresses: IpAddress[]
}

/**
 * A name that does not resolve now is left out: the others of the peer may do, and `plait check` names it.
 * Of a name with several addresses of one family the first is taken, as other programs do.
 */
export async function resolveEndpoints(config: Config): Promise<ResolvedEndpoints> {
  const addresses: IpAddress[] = []
  const records = await Promise.all(
    config.peers.map(async (peer) => {
      const found: Uint32Array[] = []
      for (const { host, port, address } of peer.endpoint) {
        for (const each of address ? [address] : await resolveName(host)) {
          addresses.push(each)
          found.push(makeAddress(each, port))
        }
      }
      return found
    }),
  )
  return { records, addresses }
}

async function resolveName(host: string): Promise<IpAddress[]> {
  try {
    const found = await lookup(host, { all: true })
    const first = [4, 6].flatMap((family) => found.find((each) => each.family === family) ?? [])
    return first.flatMap(({ address }) => parseIpAddress(address) ?? [])
  } catch {
    return []
  }
}

/** A record for `address` and `port`, from whichever address of ours the kernel chooses. */
function makeAddress(address: IpAddress, port: number): Uint32Array {
  const record = new Uint32Array(ADDRESS_WORDS)
  record[0] = address.family | (port << 16)
  new Uint8Array(record.buffer, 4, 16).set(address.bytes)
  return record
}
