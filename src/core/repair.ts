/**
 * What the other end reports missing is sent again on the path that is best now, like a link-layer ARQ: to the TCP
 * inside a late packet costs far less than a missing one. When a path turns suspect, all that is under way on it is
 * sent again on the others.
 */
import { type Instant, MILLISECOND } from '../base/time.js'
import { DATA_OVERHEAD_BYTES } from '../wire/message.js'
import { PROBE_TICKET } from './control.js'
import type { Device } from './device.js'
import { PacketClass } from './flow-table.js'
import type { Path } from './path.js'
import { INNER_MTU_MIN } from './path-mtu.js'
import { transmit } from './send.js'
import { Fate } from './sent-packets.js'
import { type Channel, OUTER_BYTES } from './session.js'

/** So many younger packets have arrived that a missing one was not merely overtaken. */
const REORDERING_PACKETS = 64
/** A real-time packet later than this is of no use to anybody; on long paths, after one and a half round trips. */
const REAL_TIME_AGE_US = 60 * MILLISECOND

/** A datagram with more than the least that a path has to carry whole, IPv4 and UDP included. */
const LARGE_BYTES = INNER_MTU_MIN + DATA_OVERHEAD_BYTES + OUTER_BYTES

/** Missing ranges of one channel as read from a feedback frame: newest first, in counters. One per device. */
export class MissingRanges {
  readonly from = new Float64Array(64)
  readonly to = new Float64Array(64)
  count = 0
  completeFrom = 0

  has(counter: number): boolean {
    for (let i = 0; i < this.count; i++) {
      if (counter > this.to[i]!) return false
      if (counter >= this.from[i]!) return true
    }
    return false
  }
}

/** Settles the fate of every counter up to `newest`; what is lost is sent again. Returns how many were lost. */
export function settleReported(
  device: Device,
  channel: Channel,
  newest: number,
  missing: MissingRanges,
  now: Instant,
): number {
  const { sent, path } = channel
  const { health } = path
  const newestSentAt = sent.sentAt(newest)
  let lost = 0
  let fates = 0
  // Ranges are newest first, counters ascend.
  let range = missing.count - 1
  for (let counter = sent.settled; counter <= newest; counter++) {
    if (sent.fateOf(counter) !== Fate.Outstanding) continue
    while (range >= 0 && missing.to[range]! < counter) range--
    const isMissing = (range >= 0 && counter >= missing.from[range]!) || counter < missing.completeFrom
    if (!isMissing) {
      const slot = sent.slotOf(counter)
      if (slot >= 0) device.retention.arrived(slot, sent.ticketOf(counter))
      sent.arrived(counter)
      fates++
    } else if (
      newestSentAt - sent.sentAt(counter) >= health.reorderingUs ||
      newest - counter >= REORDERING_PACKETS
    ) {
      const slot = sent.lost(counter)
      if (sent.ticketOf(counter) === PROBE_TICKET) continue
      if (sent.bytesOf(counter) > LARGE_BYTES) health.largeLost = true
      channel.lately[channel.latelyNext++ % channel.lately.length] = counter
      lost++
      fates++
      if (slot >= 0) sendAgain(device, path, slot, now)
    }
  }
  sent.settle()
  noticeLateOnes(device, channel, newest, missing)
  if (channel.reinjectedFrom < channel.reinjectedTo) forgetNeedlessCopies(device, channel, newest, missing)
  if (lost > 0) health.lostAt = now
  if (fates > 0) path.rate.onLoss(fates, lost, now)
  return lost
}

/**
 * Everything under way on `path`, which has turned suspect, goes ahead of what is new of its flow, in the order of its
 * sending.
 */
export function reinject(device: Device, path: Path, now: Instant): void {
  const { channel, peer } = path
  if (!channel || !peer.scheduler.repairs) return
  const { sent } = channel
  channel.reinjectedFrom = sent.settled
  channel.reinjectedTo = sent.next
  for (let counter = sent.settled; counter < sent.next; counter++) {
    if (sent.fateOf(counter) !== Fate.Outstanding) continue
    const slot = sent.lost(counter)
    if (slot >= 0) requeue(device, path, slot, now)
  }
  sent.settle()
}

/** A reported loss goes out at once on the best path, ahead of its pacer: it is late already. */
function sendAgain(device: Device, path: Path, slot: number, now: Instant): void {
  const { peer } = path
  const { egressSlots, retention, pool } = device
  const packetClass = egressSlots.classOf(slot)
  const realTimeUsMax = Math.max(REAL_TIME_AGE_US, 1.5 * path.health.rtt.smoothedUs)
  const tooOld = packetClass === PacketClass.RealTime && retention.ageUs(slot, now) > realTimeUsMax
  // An ACK that was lost is made up for by the next.
  if (
    packetClass === PacketClass.PureAck ||
    tooOld ||
    retention.noLongerWanted(slot, now, peer.repairAgeUs)
  ) {
    pool.release(slot)
    return
  }
  const count = peer.scheduler.pick(PacketClass.PureAck, 0, now)
  if (count === 0) {
    requeue(device, path, slot, now)
    return
  }
  transmit(device, peer, slot, egressSlots.bucketOf(slot), true, count, now)
  peer.repairs++
}

function requeue(device: Device, path: Path, slot: number, now: Instant): void {
  const { peer } = path
  const { egressSlots, retention, pool } = device
  if (retention.noLongerWanted(slot, now, peer.repairAgeUs) || !retention.enterQueue(slot)) {
    pool.release(slot)
    return
  }
  // Its time in the queue counts anew: it is not the queue that was slow.
  const bucket = egressSlots.bucketOf(slot)
  if (peer.egress.requeueFront(slot, bucket, egressSlots.classOf(slot), egressSlots.bytes[slot]!, now)) {
    peer.repairs++
  } else {
    retention.leaveQueue(slot)
    pool.release(slot)
  }
}

/** The suspicion was false: what arrived on the path itself and still waits to be sent again need not be. */
function forgetNeedlessCopies(
  device: Device,
  channel: Channel,
  newest: number,
  missing: MissingRanges,
): void {
  const { sent } = channel
  const end = Math.min(newest + 1, channel.reinjectedTo)
  for (let counter = Math.max(channel.reinjectedFrom, missing.completeFrom); counter < end; counter++) {
    if (!sent.remembers(counter) || sent.fateOf(counter) !== Fate.Lost || missing.has(counter)) continue
    const slot = sent.slotOf(counter)
    if (slot >= 0) device.retention.arrived(slot, sent.ticketOf(counter))
  }
  channel.reinjectedFrom = end
}

/** What was taken for lost and is not missing any more was only late: be slower to send again. */
function noticeLateOnes(device: Device, channel: Channel, newest: number, missing: MissingRanges): void {
  const { lately, sent } = channel
  for (let i = 0; i < lately.length; i++) {
    const counter = lately[i]!
    if (counter < 0) continue
    if (!sent.remembers(counter) || counter < missing.completeFrom) {
      lately[i] = -1
    } else if (counter <= newest && !missing.has(counter)) {
      lately[i] = -1
      const slot = sent.slotOf(counter)
      if (slot >= 0) device.retention.arrived(slot, sent.ticketOf(counter))
      channel.path.health.wasOnlyLate()
    }
  }
}
