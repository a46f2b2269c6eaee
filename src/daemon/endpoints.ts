import { lookup } from 'node:dns/promises'
import { ADDRESS_WORDS } from '../base/datagram-batch.js'
import { formatIpAddress, type HostPort, type IpAddress, parseIpAddress } from '../base/ip-address.js'
import type { Config } from '../config/schema.js'

/** All addresses of a name; none when it does not resolve. */
export type LookUp = (host: string) => Promise<IpAddress[]>

/**
 * Endpoints of the peers as addresses, in the order of the configuration: names resolved, and again whenever they are
 * asked for anew. A name that does not resolve keeps its last addresses, and has none before it ever did: other
 * endpoints of the peer may do, and `plait check` names it.
 */
export class Endpoints {
  /** Address records (base/datagram-batch.ts) by peer. */
  records: Uint32Array[][] = []
  addresses: IpAddress[] = []
  readonly haveNames: boolean
  private readonly known = new Map<HostPort, IpAddress[]>()

  constructor(
    private readonly config: Config,
    private readonly lookUp: LookUp = lookUpByResolver,
  ) {
    this.haveNames = config.peers.some((peer) => peer.endpoint.some(({ address }) => address === undefined))
  }

  /** Returns whether any address is another one than before. Never throws. */
  async resolve(): Promise<boolean> {
    const ends = this.config.peers.flatMap((peer) => peer.endpoint)
    await Promise.all(ends.map((end) => this.resolveEnd(end)))
    const before = this.addresses.map(formatIpAddress).join()
    this.addresses = ends.flatMap((end) => this.known.get(end)!)
    this.records = this.config.peers.map((peer) =>
      peer.endpoint.flatMap((end) => this.known.get(end)!.map((address) => makeAddress(address, end.port))),
    )
    return this.addresses.map(formatIpAddress).join() !== before
  }

  private async resolveEnd(end: HostPort): Promise<void> {
    if (end.address) {
      this.known.set(end, [end.address])
      return
    }
    const former = this.known.get(end) ?? []
    const found = await this.lookUp(end.host)
    this.known.set(end, found.length > 0 ? oneOfEach(found, former) : former)
  }
}

/** Of each family one: the former address if the name still has it, as names with several tell them in turns. */
function oneOfEach(found: readonly IpAddress[], former: readonly IpAddress[]): IpAddress[] {
  const kept = former.map(formatIpAddress)
  return [4, 6].flatMap((family) => {
    const ofFamily = found.filter((address) => address.family === family)
    return ofFamily.find((address) => kept.includes(formatIpAddress(address))) ?? ofFamily.slice(0, 1)
  })
}

async function lookUpByResolver(host: string): Promise<IpAddress[]> {
  try {
    return (await lookup(host, { all: true })).flatMap(({ address }) => parseIpAddress(address) ?? [])
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
