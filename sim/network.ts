import { assert } from '../src/base/assert.js'
import { ADDRESS_REMOTE_WORDS, ADDRESS_WORDS } from '../src/base/datagram-batch.js'
import type { Prng } from '../src/base/prng.js'
import type { Instant } from '../src/base/time.js'
import type { Clock } from './clock.js'
import { DatagramStore } from './datagram-store.js'
import { LinkDirection, type LinkParameters } from './link-direction.js'

/** Where datagrams come out: a socket of an end. */
export interface Socket {
  /** A closed one is as good as none. */
  readonly open: boolean
  /** Takes over the slot of the store. */
  receive(slot: number, now: Instant): void
}

/** Sees what happens to datagrams: the checkers and the attacker. Must not keep slots. */
export interface Watcher {
  sent?(slot: number, now: Instant, from: Attachment): void
  lost?(slot: number): void
  arrived?(slot: number, now: Instant, to: Attachment): void
}

/** An IPv4 address record as in base/datagram-batch.ts, with nothing said about our side. */
export function addressOf(a: number, b: number, c: number, d: number, port: number): Uint32Array {
  const record = new Uint32Array(ADDRESS_WORDS)
  record[0] = 4 | (port << 16)
  record[1] = (a | (b << 8) | (c << 16) | (d << 24)) >>> 0
  return record
}

/** All addresses ever used, by number: the store notes numbers instead of ten words per datagram. */
class AddressBook {
  private readonly records: Uint32Array[] = []
  private readonly owners: (Attachment | undefined)[] = []
  private lastHit = 0

  number(words: Uint32Array, at: number): number {
    if (this.matches(this.lastHit, words, at)) return this.lastHit
    for (let i = 0; i < this.records.length; i++) {
      if (this.matches(i, words, at)) {
        this.lastHit = i
        return i
      }
    }
    this.records.push(words.slice(at, at + ADDRESS_WORDS))
    this.owners.push(undefined)
    return this.records.length - 1
  }

  private matches(number: number, words: Uint32Array, at: number): boolean {
    const record = this.records[number]
    if (!record) return false
    for (let i = 0; i < ADDRESS_REMOTE_WORDS; i++) if (record[i] !== words[at + i]) return false
    return true
  }

  record(number: number): Uint32Array {
    return this.records[number]!
  }
  owner(number: number): Attachment | undefined {
    return this.owners[number]
  }
  setOwner(number: number, owner: Attachment | undefined): void {
    this.owners[number] = owner
  }
}

export type Side = 'client' | 'server'

/** An end's link where it meets the network: its address there, and the access line both ways, if there is one. */
export class Attachment {
  socket: Socket | undefined
  /** Which of the two ends it belongs to. */
  side: Side = 'client'
  /** Its place among the links of its end. */
  index = 0
  /** All sockets with this address, where there is one for each of the other end's lines. */
  siblings: readonly Attachment[] | undefined
  /** Number of the address the rest of the world sees. */
  address = -1
  /** The socket's own address as word 6 of an address record: a NAT changes {@link address}, never this. */
  localWord: number
  /** The one it had before {@link renumber}: the kernel refuses to send from there. */
  formerWord = 0
  readonly up: LinkDirection | undefined
  readonly down: LinkDirection | undefined

  constructor(
    private readonly network: Network,
    readonly name: string,
    address: Uint32Array,
    line?: { up: LinkParameters; down: LinkParameters },
  ) {
    this.localWord = address[1]!
    this.setAddress(address)
    if (line) {
      const lost = (slot: number): void => network.lose(slot)
      const direction = (
        parameters: LinkParameters,
        output: (slot: number, now: Instant) => void,
      ): LinkDirection =>
        new LinkDirection(parameters, network.clock, network.store, network.random, output, lost)
      this.up = direction(line.up, (slot, now) => network.route(slot, now, this.index))
      this.down = direction(line.down, (slot, now) => network.deliver(slot, this, now))
    }
  }

  /** The machine itself has another address. */
  renumber(address: Uint32Array): void {
    this.formerWord = this.localWord
    this.localWord = address[1]!
    this.setAddress(address)
  }

  /** The NAT gives out another address; what is sent to the old one from now on goes nowhere. */
  setAddress(address: Uint32Array): void {
    const book = this.network.addresses
    if (this.address >= 0) book.setOwner(this.address, undefined)
    this.address = book.number(address, 0)
    book.setOwner(this.address, this)
  }
}

/** Model internet: access lines of the ends, and nothing but distance zero between them. */
export class Network {
  readonly store: DatagramStore
  readonly addresses = new AddressBook()
  readonly watchers: Watcher[] = []
  /** Datagrams to addresses that are nobody's. */
  unroutable = 0

  constructor(
    readonly clock: Clock,
    readonly random: Prng,
    endsOnly = false,
  ) {
    this.store = new DatagramStore(endsOnly)
  }

  attach(
    name: string,
    address: Uint32Array,
    line?: { up: LinkParameters; down: LinkParameters },
  ): Attachment {
    return new Attachment(this, name, address, line)
  }

  /** A datagram leaves a socket for the address number `destination`. */
  send(
    from: Attachment,
    slab: Uint8Array,
    at: number,
    length: number,
    destination: number,
    now: Instant,
  ): void {
    const slot = this.store.take()
    this.store.write(slot, slab, at, length)
    this.store.source[slot] = from.address
    this.store.destination[slot] = destination
    this.store.forged[slot] = 0
    const trace = this.clock.trace
    trace.add(length)
    if (length >= 8) {
      trace.add(slab[at]! | (slab[at + 1]! << 8) | (slab[at + 2]! << 16) | (slab[at + 3]! << 24))
      trace.add(slab[at + length - 1]! | (slab[at + length - 2]! << 8) | (slab[at + length - 3]! << 16))
    }
    for (let i = 0; i < this.watchers.length; i++) this.watchers[i]!.sent?.(slot, now, from)
    if (from.up) from.up.push(slot, now)
    else this.route(slot, now, from.index)
  }

  /** Puts bytes into the middle of the network, as anybody can who claims an address. */
  inject(bytes: Uint8Array, source: number, destination: number, now: Instant): void {
    const slot = this.store.take()
    this.store.write(slot, bytes, 0, bytes.length)
    this.store.source[slot] = source
    this.store.destination[slot] = destination
    this.store.forged[slot] = 1
    this.route(slot, now)
  }

  /** `via` is the line that it came over, by index. */
  route(slot: number, now: Instant, via = 0): void {
    const owner = this.addresses.owner(this.store.destination[slot]!)
    if (!owner) {
      this.unroutable++
      this.lose(slot)
    } else if (owner.down) owner.down.push(slot, now)
    else this.deliver(slot, owner, now, via)
  }

  deliver(slot: number, owner: Attachment, now: Instant, via = 0): void {
    const to = owner.siblings?.[via] ?? owner
    // Sent to an address that the NAT has taken away meanwhile, or to a program that is not there.
    if (!to.socket?.open || this.addresses.owner(this.store.destination[slot]!) !== owner) {
      this.unroutable++
      this.lose(slot)
      return
    }
    this.store.arrivedAt[slot] = now
    for (let i = 0; i < this.watchers.length; i++) this.watchers[i]!.arrived?.(slot, now, to)
    to.socket.receive(slot, now)
  }

  lose(slot: number): void {
    for (let i = 0; i < this.watchers.length; i++) this.watchers[i]!.lost?.(slot)
    assert(this.store.length[slot]! > 0, 'a datagram lost twice')
    this.store.length[slot] = 0
    this.store.release(slot)
  }
}
