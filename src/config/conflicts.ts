import { type ErrorCode, OperatorError } from '../base/errors.js'
import {
  type Cidr,
  formatCidr,
  formatIpAddress,
  isUnspecified,
  parseCidr,
  parseHostPort,
} from '../base/ip-address.js'
import { decodeKey, encodeKey, publicKeyOf } from './keys.js'
import type { Keys } from './load.js'
import type { Path, Places } from './located.js'

/** Paths of one peer: half of a session's ids are each end's (docs/protocol.md). */
const PATHS_MAX = 16

/**
 * Faults between keys that are each well-formed. Works on what the file says rather than on the parsed configuration,
 * so that these faults are reported together with those of single values; what is malformed is passed over.
 */
export function findConflicts(places: Places, keys: Keys): OperatorError[] {
  const finder = new ConflictFinder(places)
  finder.secrets()
  finder.identities(keys)
  finder.networks()
  finder.links()
  finder.listening()
  finder.paths()
  finder.reachability()
  return finder.faults
}

class ConflictFinder {
  readonly faults: OperatorError[] = []
  private readonly peers: readonly unknown[]
  private readonly linkCount: number

  constructor(private readonly places: Places) {
    this.peers = sectionsAt(places, 'peers')
    this.linkCount = sectionsAt(places, 'links').length
  }

  secrets(): void {
    const hasInterface =
      isSection(this.places.raw()) &&
      (isSection(this.places.raw('interface')) || !this.places.has('interface'))
    const both = (name: string, ...section: Path): boolean => {
      if (!this.places.has(...section, name) || !this.places.has(...section, `${name}-file`)) return false
      const at = this.places.key(...section, `${name}-file`)
      this.fault('configConflict', at, `${name} and ${name}-file are both given, expected one of them`)
      return true
    }
    if (hasInterface && !both('private-key', 'interface')) {
      if (!this.places.has('interface', 'private-key') && !this.places.has('interface', 'private-key-file')) {
        const text = 'interface has no private key, expected private-key or private-key-file'
        const remedy = 'make one with: plait key new FILE'
        this.fault('configMissingKey', this.places.key('interface'), text, remedy)
      }
    }
    this.peers.forEach((_, i) => {
      both('preshared-key', 'peers', i)
    })
  }

  identities(keys: Keys): void {
    const own = keys.privateKey === undefined ? undefined : encodeKey(publicKeyOf(keys.privateKey))
    const ownPrivate = keys.privateKey === undefined ? undefined : encodeKey(keys.privateKey)
    const seen = new Map<string, OperatorError['place']>()
    this.unique('name', 'name', 'peers', this.peers)
    this.peers.forEach((_, i) => {
      const written = this.places.raw('peers', i, 'public-key')
      const key = typeof written === 'string' ? decodeKey(written) : undefined
      if (key === undefined) return
      const place = this.places.value('peers', i, 'public-key')
      const text = encodeKey(key)
      const name = `peers[${i + 1}].public-key`
      const earlier = seen.get(text)
      seen.set(text, earlier ?? place)
      if (text === own) {
        const words = `${name} is this end's own public key, expected that of the other end`
        this.fault('configConflict', place, words, 'run plait key public at the other end')
      } else if (text === ownPrivate) {
        const words = `${name} is this end's private key, expected the public key of the other end`
        this.fault('configConflict', place, words, 'run plait key public at the other end')
      } else if (key.every((byte) => byte === 0)) {
        this.fault('configBadValue', place, `${name} is all zero, expected a public key`)
      } else if (earlier !== undefined) {
        const words = `${name} is that of the peer in line ${earlier.line} too, expected another`
        this.fault('configConflict', place, words, 'one key is one peer: join the two entries')
      }
    })
  }

  networks(): void {
    const seen = new Map<string, { peer: number; line: number | undefined }>()
    this.peers.forEach((_, i) => {
      const networks = this.cidrs('peers', i, 'allowed-ips')
      for (const [place, cidr] of networks) {
        const text = formatCidr(cidr)
        const earlier = seen.get(text)
        if (earlier === undefined) seen.set(text, { peer: i, line: place?.line })
        else {
          const whose = earlier.peer === i ? 'this peer' : 'another peer'
          const words = `${text} is an allowed IP of ${whose} already (line ${earlier.line}), expected it once`
          this.fault('configConflict', place, words, 'nested networks are fine, equal ones are not')
        }
      }
      const wantsDefault = this.places.raw('peers', i, 'default-route') === true
      if (wantsDefault && networks.length > 0 && !networks.some(([, cidr]) => cidr.bits === 0)) {
        const words = `peers[${i + 1}].default-route is true, expected 0.0.0.0/0 or ::/0 in its allowed-ips`
        this.fault(
          'configConflict',
          this.places.value('peers', i, 'default-route'),
          words,
          'add 0.0.0.0/0 and ::/0',
        )
      }
    })
    const own = new Set<string>()
    for (const [place, cidr] of this.cidrs('interface', 'addresses')) {
      const text = formatCidr(cidr)
      if (own.has(text))
        this.fault('configConflict', place, `${text} is an address already, expected it once`)
      own.add(text)
    }
  }

  links(): void {
    const links = sectionsAt(this.places, 'links')
    this.unique('name', 'name', 'links', links)
    this.unique('device', 'device', 'links', links)
    const tun = this.places.raw('interface', 'name') ?? 'plait0'
    links.forEach((_, i) => {
      if (this.places.raw('links', i, 'device') !== tun) return
      const words = `links[${i + 1}].device is the tunnel's own device, expected a device to the outside`
      this.fault(
        'configConflict',
        this.places.value('links', i, 'device'),
        words,
        'the tunnel cannot go through itself',
      )
    })
  }

  /** Every link leads to every endpoint of a peer; the protocol has ids for so many paths. */
  paths(): void {
    this.peers.forEach((_, i) => {
      const endpoints = listAt(this.places, 'peers', i, 'endpoint').length
      const paths = endpoints * Math.max(1, this.linkCount)
      if (paths <= PATHS_MAX) return
      const words = `${endpoints} endpoints over ${this.linkCount} links are ${paths} paths, expected at most ${PATHS_MAX}`
      const remedy = 'name fewer endpoints: one does for all links, and a second in case it is away'
      this.fault('configConflict', this.places.key('peers', i, 'endpoint'), words, remedy)
    })
  }

  /** The socket of each link has the address of its device, and one port for all. */
  listening(): void {
    if (this.linkCount === 0) return
    let first: number | undefined
    listAt(this.places, 'interface', 'listen').forEach((text, i) => {
      const end = typeof text === 'string' ? parseHostPort(text) : undefined
      if (end?.address === undefined) return
      first ??= end.port
      const place = this.places.value('interface', 'listen', i)
      if (!isUnspecified(end.address)) {
        const words = `interface.listen is at ${formatIpAddress(end.address)} beside links, expected every address`
        const remedy = `write 0.0.0.0:${end.port} or "[::]:${end.port}", and source: for a link's own address`
        this.fault('configConflict', place, words, remedy)
      } else if (end.port !== first) {
        const words = `interface.listen is at port ${end.port} beside links and at ${first} before, expected one port`
        this.fault('configConflict', place, words, 'every link receives on the same port')
      }
    })
  }

  /** Somebody must be able to begin. */
  reachability(): void {
    const listens = listAt(this.places, 'interface', 'listen').length > 0
    if (listens || !isSection(this.places.raw('interface'))) return
    if (this.linkCount === 0 && !this.places.has('links')) {
      const words = 'there are neither links nor interface.listen, expected one of them'
      this.fault(
        'configMissingKey',
        this.places.key('interface'),
        words,
        'add links: with the devices to use',
      )
    }
    this.peers.forEach((peer, i) => {
      if (!isSection(peer) || listAt(this.places, 'peers', i, 'endpoint').length > 0) return
      const words = `peers[${i + 1}] has no endpoint and this end does not listen, expected one of them`
      this.fault(
        'configMissingKey',
        this.places.key('peers', i),
        words,
        'add endpoint: HOST:PORT, or interface.listen',
      )
    })
  }

  private unique(field: string, word: string, section: string, entries: readonly unknown[]): void {
    const seen = new Map<string, number | undefined>()
    entries.forEach((_, i) => {
      const value = this.places.raw(section, i, field)
      if (typeof value !== 'string') return
      const place = this.places.value(section, i, field)
      if (seen.has(value)) {
        const words = `${section}[${i + 1}].${field} is ${JSON.stringify(value)} as in line ${seen.get(value)}, expected another ${word}`
        const remedy = field === 'device' ? 'one device is one link' : 'each name once'
        this.fault('configConflict', place, words, remedy)
      } else seen.set(value, place.line)
    })
  }

  private cidrs(...path: Path): [OperatorError['place'], Cidr][] {
    return listAt(this.places, ...path).flatMap((text, i) => {
      const cidr = typeof text === 'string' ? parseCidr(text) : undefined
      return cidr === undefined
        ? []
        : [[this.places.value(...path, i), cidr] as [OperatorError['place'], Cidr]]
    })
  }

  private fault(code: ErrorCode, place: OperatorError['place'], text: string, remedy?: string): void {
    this.faults.push(new OperatorError(code, text, { place, ...(remedy === undefined ? {} : { remedy }) }))
  }
}

/** The list at `path`; a single value is a list of one, nothing is an empty one. */
function listAt(places: Places, ...path: Path): readonly unknown[] {
  const value = places.raw(...path)
  if (Array.isArray(value)) return value
  return value === undefined || value === null ? [] : [value]
}

/** Unlike a list of values, a list of sections is always written as one. */
function sectionsAt(places: Places, name: string): readonly unknown[] {
  const value = places.raw(name)
  return Array.isArray(value) ? value : []
}

function isSection(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
