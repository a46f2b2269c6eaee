import { type Instant, MILLISECOND } from '../src/base/time.js'
import { HEADER_BYTES, INNER_HEADER_BYTES, MessageType, TAG_BYTES } from '../src/wire/message.js'
import type { DatagramStore } from './datagram-store.js'
import { HeaderTap } from './header-tap.js'
import { Identity, identify } from './inner-packet.js'
import type { Attachment, Side, Watcher } from './network.js'

/** States of one inner packet, as bits. */
const SENT = 1
const ON_WIRE = 2
const ARRIVED = 4
const DELIVERED = 8

/** What happened to a flow's packets, by number. */
export class FlowRecord {
  states = new Uint8Array(1024)
  sentAt = new Float64Array(1024)
  sent = 0
  delivered = 0
  /** Packets that came after one with a higher number. */
  reordered = 0
  newest = -1
  lastDeliveredAt: Instant = Number.NEGATIVE_INFINITY
  /** Longest time between two deliveries, since {@link gapsFrom}. */
  gapUsMax = 0
  gapsFrom: Instant = 0
  /** One-way delays through the tunnel, ms × 10, as a histogram up to 4 s. */
  readonly delays = new Uint32Array(40_000)

  constructor(
    readonly id: number,
    readonly name: string,
    /** Order is promised, as on lines without loss: a packet after one with a higher number is a fault. */
    readonly ordered: boolean,
    private readonly ledger: { beforeWire: number },
  ) {}

  /** The number for the next packet. */
  next(now: Instant): number {
    const number = this.sent++
    if (number >= this.states.length) {
      const states = new Uint8Array(this.states.length * 2)
      states.set(this.states)
      this.states = states
      const sentAt = new Float64Array(states.length)
      sentAt.set(this.sentAt)
      this.sentAt = sentAt
    }
    this.states[number] = SENT
    this.ledger.beforeWire++
    this.sentAt[number] = now
    return number
  }

  isDelivered(number: number): boolean {
    return (this.states[number]! & DELIVERED) !== 0
  }

  delayQuantileMs(q: number): number {
    let total = 0
    for (const n of this.delays) total += n
    let rest = total * q
    for (let i = 0; i < this.delays.length; i++) {
      rest -= this.delays[i]!
      if (rest <= 0 && total > 0) return i / 10
    }
    return Number.NaN
  }
}

/** Sums over all flows. */
export interface LedgerSummary {
  sent: number
  delivered: number
  /** Never left the sender's sockets: the core must have counted a drop for each. */
  neverOnWire: number
  /** Left, and no copy came to the other end. */
  lostInNetwork: number
  /** At least one copy came to the other end's socket, and none to its TUN: the core must have counted a drop. */
  lostInCore: number
  /** Data datagrams that came to a socket, copies and forgeries among them: each was delivered or a counted drop. */
  dataArrived: number
  /** Delivered, but without any copy on the wire or at the socket: must be 0. */
  miracles: number
}

/**
 * Follows each inner packet from the sender's TUN over the wire (which is readable under the null cipher) to the
 * receiver's TUN. A packet delivered that was not sent, delivered twice, or changed, is a fault at once; conservation
 * is checked at the end, packet by packet.
 */
export class Ledger implements Watcher {
  readonly flows: FlowRecord[] = []
  /** Faults found, in words; the first ones only. */
  readonly faults: string[] = []
  /** Packets sent of which nothing has been on the wire yet. */
  beforeWire = 0
  /** Data datagrams that reached a socket, copies and forgeries among them, and packets delivered. */
  dataArrived = 0
  dataDelivered = 0
  private readonly identity = new Identity()
  /** By the side that sends. */
  private readonly taps: Record<Side, HeaderTap> = { client: new HeaderTap(), server: new HeaderTap() }

  constructor(
    private readonly store: DatagramStore,
    /** The wire can be read: packets are followed there as well. */
    readonly followsWire: boolean,
  ) {}

  flow(name: string, ordered: boolean): FlowRecord {
    const record = new FlowRecord(this.flows.length, name, ordered, this)
    this.flows.push(record)
    return record
  }

  fault(text: string): void {
    if (this.faults.length < 20) this.faults.push(text)
  }

  /** Whether the datagram from `side` can be read as one of our packets; which one is then in {@link identity}. */
  private reads(slot: number, side: Side): boolean {
    const { store, identity } = this
    const at = store.offset(slot)
    if (store.slab[at] !== MessageType.Data) return false
    const from = at + HEADER_BYTES
    const bytes = store.length[slot]! - HEADER_BYTES - TAG_BYTES
    const tap = this.taps[side]
    if (tap.expand(store.slab, from, bytes)) return identify(tap.view, tap.at, tap.bytes, identity)
    return identify(store.view, from + INNER_HEADER_BYTES, bytes - INNER_HEADER_BYTES, identity)
  }

  private mark(flowId: number, number: number, bit: number): void {
    const flow = this.flows[flowId]
    if (!flow || number >= flow.sent) return
    const state = flow.states[number]!
    if (state & bit) return
    flow.states[number] = state | bit
    if (bit === ON_WIRE) this.beforeWire--
  }

  sent(slot: number, _now: Instant, from: Attachment): void {
    if (!this.followsWire) return
    const { store, identity } = this
    store.flow[slot] = -1
    const at = store.offset(slot)
    if (store.slab[at] === MessageType.Control) this.taps[from.side].listen(store.slab, at + HEADER_BYTES)
    if (!this.reads(slot, from.side)) return
    store.flow[slot] = identity.flow
    store.number[slot] = identity.number
    this.mark(identity.flow, identity.number, ON_WIRE)
  }

  arrived(slot: number, _now: Instant, to: Attachment): void {
    const { store, identity } = this
    if (store.slab[store.offset(slot)] === MessageType.Data) this.dataArrived++
    if (!this.followsWire) return
    // What nobody has touched on the way is what was sent; anything else is read again.
    if (store.forged[slot] === 0) {
      if (store.flow[slot]! >= 0) this.mark(store.flow[slot]!, store.number[slot]!, ARRIVED)
    } else if (this.reads(slot, to.side === 'client' ? 'server' : 'client'))
      this.mark(identity.flow, identity.number, ARRIVED)
  }

  /** A packet came out of a TUN. Returns its flow, or undefined if it is none of ours (a fault). */
  delivered(
    view: DataView,
    at: number,
    length: number,
    now: Instant,
    identity: Identity,
  ): FlowRecord | undefined {
    if (!identify(view, at, length, identity)) {
      this.fault(`at ${now}: ${length} bytes delivered that nobody sent, or that were changed`)
      return undefined
    }
    const flow = this.flows[identity.flow]
    const number = identity.number
    if (!flow || number >= flow.sent || identity.bytes !== length) {
      this.fault(`at ${now}: flow ${identity.flow} packet ${number} of ${length} bytes was never sent`)
      return undefined
    }
    const state = flow.states[number]!
    if (state & DELIVERED) {
      this.fault(`at ${now}: flow ${flow.name} packet ${number} delivered twice`)
      return undefined
    }
    flow.states[number] = state | DELIVERED
    flow.delivered++
    this.dataDelivered++
    if (number < flow.newest) {
      flow.reordered++
      if (flow.ordered) this.fault(`at ${now}: flow ${flow.name} packet ${number} after ${flow.newest}`)
    } else flow.newest = number
    if (now > flow.gapsFrom) {
      const since = Math.max(flow.lastDeliveredAt, flow.gapsFrom)
      if (now - since > flow.gapUsMax) flow.gapUsMax = now - since
    }
    flow.lastDeliveredAt = now
    const delay = Math.floor((10 * (now - flow.sentAt[number]!)) / MILLISECOND)
    flow.delays[Math.min(delay, flow.delays.length - 1)]!++
    return flow
  }

  summary(): LedgerSummary {
    const result: LedgerSummary = {
      sent: 0,
      delivered: 0,
      neverOnWire: 0,
      lostInNetwork: 0,
      lostInCore: 0,
      dataArrived: this.dataArrived,
      miracles: 0,
    }
    for (const flow of this.flows) {
      result.sent += flow.sent
      result.delivered += flow.delivered
      for (let i = 0; i < flow.sent; i++) {
        const state = flow.states[i]!
        if (state & DELIVERED) {
          if (this.followsWire && (state & ARRIVED) === 0) result.miracles++
        } else if (state & ARRIVED) result.lostInCore++
        else if (state & ON_WIRE) result.lostInNetwork++
        else result.neverOnWire++
      }
    }
    return result
  }
}
