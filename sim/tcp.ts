import { type Instant, MILLISECOND, SECOND } from '../src/base/time.js'
import type { Clock } from './clock.js'
import { type InnerHeader, ProtocolNumber, readSegment } from './inner-packet.js'
import type { FlowRecord, Ledger } from './ledger.js'
import type { TcpOptions } from './tcp-options.js'
import { TcpReceiver } from './tcp-receiver.js'
import { emptyFields } from './tcp-segment.js'
import { TcpSender } from './tcp-sender.js'
import type { Host } from './traffic.js'

/** A bulk transfer from one host to the other. */
export class TcpTransfer {
  readonly sender: TcpSender
  readonly receiver: TcpReceiver
  readonly data: FlowRecord
  readonly acks: FlowRecord

  constructor(clock: Clock, ledger: Ledger, source: Host, destination: Host, options: TcpOptions) {
    const family = options.family ?? 4
    // One connection, two flows: the ledger's pair of numbers is known by the port of the client's side.
    const forward = source.number < destination.number
    const first = ledger.flow(forward ? options.name : `${options.name} acks`, false)
    const second = ledger.flow(forward ? `${options.name} acks` : options.name, false)
    this.data = forward ? first : second
    this.acks = forward ? second : first
    const header = (from: Host, to: Host): InnerHeader => ({
      family,
      protocol: ProtocolNumber.tcp,
      source: from.number,
      destination: to.number,
      dscp: 0,
      flow: first.id,
    })
    this.sender = new TcpSender(clock, source.end, header(source, destination), this.data, options)
    this.receiver = new TcpReceiver(
      clock,
      destination.end,
      header(destination, source),
      this.acks,
      this.sender.segmentBytes,
      0,
    )
    const fields = emptyFields()
    destination.end.receivers[this.data.id] = (identity, view, at, now) => {
      readSegment(view, at, identity, fields)
      this.receiver.onSegment(fields, now)
    }
    const delay = options.hostDelayUs ?? 0
    source.end.receivers[this.acks.id] = (identity, view, at, now) => {
      readSegment(view, at, identity, fields)
      if (delay === 0) {
        this.sender.onSegment(fields, now)
        return
      }
      const late = { ...fields, sack: fields.sack.slice() }
      clock.call(now + delay, (then) => this.sender.onSegment(late, then))
    }
  }

  /** Goodput in bits per second between two instants, at a resolution of 100 ms. */
  goodput(from: Instant, to: Instant): number {
    const step = 100 * MILLISECOND
    const segments = this.receiver.segmentsBy(to - step) - this.receiver.segmentsBy(from - step)
    return (segments * this.sender.segmentBytes * 8 * SECOND) / (to - from)
  }
}
