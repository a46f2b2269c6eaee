import { SlotFlag } from '../src/base/packet-pool.js'
import { type DurationUs, type Instant, NEVER } from '../src/base/time.js'
import type { Clock, Handler } from './clock.js'
import type { End } from './end.js'
import {
  INNER_BYTES_MIN,
  type InnerHeader,
  ProtocolNumber,
  partialChecksum,
  writePacket,
} from './inner-packet.js'
import type { FlowRecord, Ledger } from './ledger.js'

/** Last byte of the inner addresses of the two ends: 10.9.0.1 and fd00:9::1, and so on. */
export interface Host {
  end: End
  number: number
}

export interface DatagramFlowOptions {
  name: string
  family?: 4 | 6
  protocol?: 'udp' | 'icmp'
  bytes: number
  intervalUs: DurationUs
  /** Exponential instead of regular intervals. */
  random?: boolean
  /** So many packets at once each time. */
  burst?: number
  dscp?: number
  ordered?: boolean
  from?: Instant
  until?: Instant
}

/**
 * Numbered packets at a rate, one way: a UDP stream, voice (200 bytes each 20 ms, DSCP EF), or pings. A packet that
 * the TUN has no room for is not counted as sent.
 */
export class DatagramFlow {
  readonly record: FlowRecord
  private readonly header: InnerHeader
  private readonly handler: Handler

  constructor(
    private readonly clock: Clock,
    ledger: Ledger,
    private readonly source: Host,
    destination: Host,
    private readonly options: DatagramFlowOptions,
  ) {
    this.record = ledger.flow(options.name, options.ordered ?? false)
    const family = options.family ?? 4
    this.header = {
      family,
      protocol:
        options.protocol === 'icmp'
          ? family === 4
            ? ProtocolNumber.icmp
            : ProtocolNumber.icmp6
          : ProtocolNumber.udp,
      source: source.number,
      destination: destination.number,
      dscp: options.dscp ?? 0,
      flow: this.record.id,
    }
    this.handler = { id: clock.nextHandlerId(), fire: (_argument, now) => this.tick(now) }
    clock.at(options.from ?? 0, this.handler)
  }

  private tick(now: Instant): void {
    const until = this.options.until ?? NEVER
    if (now >= until) return
    for (let i = this.options.burst ?? 1; i > 0; i--) this.sendOne(now)
    let wait = this.options.intervalUs
    if (this.options.random) wait *= -Math.log(1 - this.source.end.trafficRandom.next())
    this.clock.at(now + wait, this.handler)
  }

  private sendOne(now: Instant): void {
    sendDatagram(this.source.end, this.header, this.record, this.options.bytes, now)
  }
}

/** Writes one numbered packet into the TUN of `end`. Returns its number; -1: the TUN had no room for it. */
export function sendDatagram(
  end: End,
  header: InnerHeader,
  record: FlowRecord,
  bytes: number,
  now: Instant,
): number {
  const slot = end.tunSlot()
  if (slot < 0) return -1
  const number = record.next(now)
  const length = Math.max(bytes, INNER_BYTES_MIN)
  writePacket(end.view, end.pool.packetAt(slot), header, length, number)
  end.pool.length[slot] = length
  end.pool.flags[slot] = partialChecksum(number) ? SlotFlag.ChecksumPartial : 0
  end.tunSend(slot)
  return number
}

/** Pings that are answered: the round trips of both directions count. */
export class Ping {
  readonly requests: DatagramFlow
  readonly replies: FlowRecord
  /** Round trips, µs, in order of arrival. */
  readonly roundTripsUs: number[] = []

  constructor(clock: Clock, ledger: Ledger, source: Host, destination: Host, options: DatagramFlowOptions) {
    this.requests = new DatagramFlow(clock, ledger, source, destination, { ...options, protocol: 'icmp' })
    this.replies = ledger.flow(`${options.name} reply`, false)
    const family = options.family ?? 4
    const header: InnerHeader = {
      family,
      protocol: family === 4 ? ProtocolNumber.icmp : ProtocolNumber.icmp6,
      source: destination.number,
      destination: source.number,
      dscp: options.dscp ?? 0,
      flow: this.replies.id,
    }
    const asked: number[] = []
    const request = this.requests.record
    destination.end.receivers[request.id] = (identity, _view, _at, now) => {
      asked[this.replies.sent] = request.sentAt[identity.number]!
      sendDatagram(destination.end, header, this.replies, options.bytes, now)
    }
    source.end.receivers[this.replies.id] = (identity, _view, _at, now) => {
      this.roundTripsUs.push(now - asked[identity.number]!)
    }
  }
}
