/**
 * Cold start: a train of full-size packets sent back to back shows by its spacing on arrival what the path carries, so
 * that a transfer is fast from its first round trip on (0.6 s instead of 2 s to the full rate, measured). The two
 * trains of a new path take at most 60 kB.
 */
import { type Instant, SECOND } from '../base/time.js'
import { FrameKind, Train, TrainReport } from '../wire/message.js'
import type { ControlWriter } from './control.js'
import type { Device } from './device.js'
import { type Channel, OUTER_BYTES, type Session } from './session.js'

/** First train: enough to tell a slow link. The second is for those that are faster than this. */
const FIRST_PACKETS = 10
const SECOND_PACKETS = 32
const SECOND_FROM_BYTES_PER_SEC = 15e6 / 8
/** As long as data with an inner packet of so many bytes, where the path carries that. */
const PACKET_BYTES = 1_382
/** A train of which less came tells nothing. */
const ARRIVED_SHARE_MIN = 0.5
/** A report may be lost: it goes with so many feedback frames. */
const REPORTS = 3

/** The arrival of the newest train on one channel. */
export class TrainArrival {
  private number = -1
  private packets = 0
  private firstAt: Instant = 0
  private lastAt: Instant = 0
  private bytesAfterFirst = 0
  private reportsLeft = 0

  arrived(body: Uint8Array, datagramBytes: number, receivedAt: Instant): void {
    if (body.length < Train.bytes) return
    const number = body[Train.number]!
    if (number !== this.number) {
      this.number = number
      this.packets = 0
      this.firstAt = receivedAt
      this.lastAt = receivedAt
      this.bytesAfterFirst = 0
    }
    if (this.packets++ > 0) this.bytesAfterFirst += datagramBytes + OUTER_BYTES
    this.lastAt = Math.max(this.lastAt, receivedAt)
    this.reportsLeft = REPORTS
  }

  get toReport(): boolean {
    return this.reportsLeft > 0
  }

  write(writer: ControlWriter, pathId: number): void {
    if (writer.room < TrainReport.bytes) return
    this.reportsLeft--
    const at = writer.reserve(FrameKind.TrainReport, TrainReport.bytes)
    writer.view.setUint8(at + TrainReport.path, pathId)
    writer.view.setUint8(at + TrainReport.number, this.number)
    writer.view.setUint8(at + TrainReport.packets, Math.min(255, this.packets))
    writer.view.setUint32(at + TrainReport.received, this.bytesAfterFirst, true)
    writer.view.setUint32(at + TrainReport.spanUs, this.lastAt - this.firstAt, true)
  }
}

/** The path of `channel` is new, or new to us. */
export function startTrain(device: Device, channel: Channel, now: Instant): void {
  const { path } = channel
  if (path.trains > 0 || !path.peer.scheduler.repairs) return
  sendTrain(device, channel, FIRST_PACKETS, now)
}

export function handleTrainReport(device: Device, session: Session, body: Uint8Array, now: Instant): void {
  if (body.length < TrainReport.bytes) return
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const channel = session.channels[view.getUint8(TrainReport.path)]
  if (!channel) return
  const { path } = channel
  const number = view.getUint8(TrainReport.number)
  const sent = number === 1 ? FIRST_PACKETS : SECOND_PACKETS
  if (number !== path.trains || view.getUint8(TrainReport.packets) < sent * ARRIVED_SHARE_MIN) return
  // What leaves and arrives at once tells only that the path is faster than our clocks.
  const spanUs = Math.max(50, view.getUint32(TrainReport.spanUs, true))
  const rate = (view.getUint32(TrainReport.received, true) * SECOND) / spanUs
  path.rate.onTrain(rate)
  if (number === 1 && rate > SECOND_FROM_BYTES_PER_SEC) sendTrain(device, channel, SECOND_PACKETS, now)
}

/** Sizes fall by one byte from packet to packet, so that no offload makes one datagram of several. */
function sendTrain(device: Device, channel: Channel, packets: number, now: Instant): void {
  const { path } = channel
  path.trains++
  const body = new Uint8Array([path.trains, packets])
  const bytes = Math.min(PACKET_BYTES, path.mtu.carries)
  for (let i = 0; i < packets; i++) {
    device.control
      .begin()
      .frame(FrameKind.Train, body)
      .padTo(bytes - i)
      .sendOn(channel, true, now)
  }
}
