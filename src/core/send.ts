/**
 * TUN → wire. A packet meets these stages in this order:
 *
 *     1 parse      wire/ip                     malformed → dropped with a reason
 *     2 route      AllowedIps → Peer           nobody's → dropped with a reason
 *     3 classify   FlowTable → bucket, class
 *     4 enqueue    EgressQueue                 ── the only wait ──
 *     5 schedule   Scheduler.pick              pulled while links have room
 *     6 number     bucket's sequence           as late as can be: a dropped packet leaves no gap
 *                  headers compressed, in the slot, where the rate is not beyond it
 *     7 seal       counter, header, cipher     pulled by pollTransmit, a batch a call
 *
 * Bulk for which nothing has to wait takes 4 and 5 in a run, see {@link BulkRun}.
 */
import {
  ADDRESS_WORDS,
  type DatagramBatch,
  ROW_ADDRESS,
  ROW_AGE,
  ROW_LENGTH,
  ROW_OFFSET,
  ROW_WORDS,
} from '../base/datagram-batch.js'
import { type PacketBatch, SLOT_BYTES, SLOT_HEADROOM, SLOT_WORDS, SlotFlag } from '../base/packet-pool.js'
import { type Instant, NEVER } from '../base/time.js'
import {
  DATA_OVERHEAD_BYTES,
  headerWord,
  INNER_HEADER_BYTES,
  MessageType,
  orderWord,
  PacketFlag,
  receiverIndexOf,
  stampWord,
  TRAILED_BYTES_MAX,
} from '../wire/message.js'
import { BATCH_PACKETS } from './constants.js'
import type { Device } from './device.js'
import { Drop } from './drop-reasons.js'
import { appendFeedback, mayRide } from './feedback.js'
import { PacketClass } from './flow-table.js'
import { compressHeaders } from './header-contexts.js'
import type { Link } from './link.js'
import { SEAL_WORDS } from './packet-cipher.js'
import type { Peer } from './peer.js'
import { OUTER_BYTES } from './session.js'

/** Where the sealed header stands in a slot, in words: right before the packet. */
const INNER_HEADER_WORD = (SLOT_HEADROOM - INNER_HEADER_BYTES) / 4
/** Packets sealed by one call of the cipher. */
const SEAL_BATCH = 64

/**
 * The bulk packets of a batch that are for one peer. Where nothing waits and a path has room for several they pass the queue
 * by, in a run for which the path is chosen once: then the machine is the limit and not a link.
 */
export class BulkRun {
  readonly slots = new Uint32Array(BATCH_PACKETS)
  readonly buckets = new Uint16Array(BATCH_PACKETS)
  count = 0
  peer: Peer | undefined

  add(slot: number, bucket: number): void {
    this.slots[this.count] = slot
    this.buckets[this.count] = bucket
    this.count++
  }
}

/** Stages 1 to 4 for a batch from the TUN, whose slots it takes over; then as much of 5 and 6 as the links take. */
export function sendFromTun(device: Device, batch: PacketBatch, now: Instant): void {
  const { pool, drops, view, allowedIps, peers, bulkRun } = device
  // The packet before this one was added to the run, in `bucket`.
  let inRun = false
  let bucket = 0
  for (let i = 0; i < batch.count; i++) {
    const slot = batch.slots[i]!
    // Pieces of one superpacket: what holds for the first holds for all.
    if (inRun && bulkRun.count < BATCH_PACKETS && view.continues(pool, slot)) {
      bulkRun.add(slot, bucket)
      continue
    }
    inRun = false
    if (!view.parse(pool, slot)) {
      drops.count(Drop.tunMalformed)
      pool.release(slot)
      continue
    }
    const owner = allowedIps.lookup(view.words, view.destinationAt, view.addressWords)
    if (owner < 0) {
      drops.count(Drop.tunNoPeer)
      pool.release(slot)
      continue
    }
    // What lies behind the packet stays here: there the other end reads control frames.
    pool.length[slot] = view.length
    const peer = peers[owner]!
    const { flows } = peer
    flows.classify(view, now)
    peer.activeAt = now
    if (!peer.pending) {
      peer.pending = true
      device.pendingPeers[device.pendingCount++] = peer
    }
    bucket = flows.bucket
    if (bulkRun.count === BATCH_PACKETS) scheduleRun(device, bulkRun, now)
    inRun = flows.packetClass === PacketClass.Bulk && (bulkRun.count === 0 || bulkRun.peer === peer)
    if (inRun) {
      bulkRun.peer = peer
      bulkRun.add(slot, bucket)
    } else {
      peer.egress.enqueue(slot, bucket, flows.packetClass, view.length, now)
    }
  }
  batch.count = 0
  if (bulkRun.count > 0) scheduleRun(device, bulkRun, now)
}

/** Stages 4 to 6 for the bulk of a batch: past the queue while nothing waits in it, into it from then on. */
function scheduleRun(device: Device, run: BulkRun, now: Instant): void {
  const peer = run.peer!
  const { egress, scheduler } = peer
  const { length } = device.pool
  // Whatever has come before, and whatever goes before bulk.
  if (egress.packets > 0) schedule(device, peer, now)
  let next = 0
  while (next < run.count && egress.packets === 0 && scheduler.pick(PacketClass.Bulk, 0, now) === 1) {
    const passed = transmitRun(device, peer, run, next, scheduler.runBytes(now), now)
    if (passed === 0) break
    next += passed
  }
  for (; next < run.count; next++) {
    const slot = run.slots[next]!
    egress.enqueue(slot, run.buckets[next]!, PacketClass.Bulk, length[slot]!, now)
  }
  run.count = 0
}

/** Numbers packets of `run` from `from` on and gives them to the chosen path until it has `bytesMax`; returns how many. */
function transmitRun(
  device: Device,
  peer: Peer,
  run: BulkRun,
  from: number,
  bytesMax: number,
  now: Instant,
): number {
  const { pool, retention, egressSlots } = device
  const { words, length } = pool
  const { scheduler, flows } = peer
  const path = scheduler.chosen[0]!
  const { link } = path
  const channel = path.channel!
  const stamp = stampWord(now, 0)
  let innerBytes = 0
  let wireBytes = 0
  let index = from
  for (; index < run.count && wireBytes < bytesMax && link.hasRoom; index++) {
    const slot = run.slots[index]!
    const bucket = run.buckets[index]!
    innerBytes += length[slot]!
    if (peer.contextsOut.enabled) compressHeaders(device, peer, slot, channel, now)
    const bytes = length[slot]!
    const at = slot * SLOT_WORDS + INNER_HEADER_WORD
    const checksum = pool.flags[slot]! & SlotFlag.ChecksumPartial ? PacketFlag.ChecksumPartial : 0
    words[at] = stamp | checksum | scheduler.flowFlags[bucket]!
    words[at + 1] = orderWord(bucket, flows.nextSequence(bucket))
    retention.firstSent(slot, now)
    egressSlots.describe(slot, bucket, PacketClass.Bulk, bytes)
    link.push(slot, channel)
    wireBytes += bytes + DATA_OVERHEAD_BYTES + OUTER_BYTES
  }
  const packets = index - from
  peer.packetsOut += packets
  peer.bytesOut += innerBytes
  scheduler.sent(path, wireBytes, now)
  return packets
}

/** Stages 5 and 6 while there is something to send and a path that may take it. */
export function schedule(device: Device, peer: Peer, now: Instant): void {
  const { egress, scheduler } = peer
  peer.roomAt = NEVER
  egress.acksWait = false
  egress.briefWait = false
  for (;;) {
    const packetClass = egress.peekClass()
    if (packetClass < 0) break
    const isBrief = packetClass === PacketClass.Bulk && egress.nextIsBrief
    const waiting = isBrief ? egress.bytesBrief : egress.bytesBulk
    const count = scheduler.pick(packetClass, waiting, now, isBrief)
    if (count === 0) {
      peer.roomAt = Math.min(peer.roomAt, scheduler.nextRoomAt(now))
      // Others may have a path that is not good enough for it. Among brief flows the order stays as it is.
      if (!isBrief || egress.bytesBulk === egress.bytesBrief) break
      egress.briefWait = true
      continue
    }
    if (packetClass === PacketClass.PureAck && scheduler.repairs) {
      const ackAt = scheduler.chosen[0]!.ackAt(now)
      if (ackAt > now) {
        // They stand here and not in the modem, so that they can be thinned; what is behind may have another path.
        egress.acksWait = true
        peer.roomAt = ackAt
        continue
      }
    }
    const slot = egress.dequeue(now)
    if (slot < 0) break
    if (egress.lastReinjected) {
      device.retention.leaveQueue(slot)
      // Bulk that was under way on a path that failed comes in its order, however long the others need for it.
      const ageUsMax = egress.lastClass === PacketClass.Bulk ? NEVER : peer.repairAgeUs
      if (device.retention.noLongerWanted(slot, now, ageUsMax)) {
        device.pool.release(slot)
        continue
      }
    }
    transmit(device, peer, slot, egress.lastBucket, egress.lastReinjected, count, now)
  }
}

/** Numbers the packet and gives it to the first `count` of the scheduler's chosen paths. */
export function transmit(
  device: Device,
  peer: Peer,
  slot: number,
  bucket: number,
  again: boolean,
  count: number,
  now: Instant,
): void {
  const { pool } = device
  const { words } = pool
  const { scheduler } = peer
  let flags = peer.scheduler.flowFlags[bucket]!
  if (pool.flags[slot]! & SlotFlag.ChecksumPartial) flags |= PacketFlag.ChecksumPartial
  const at = slot * SLOT_WORDS + INNER_HEADER_WORD
  if (again) {
    flags |= PacketFlag.Repair
  } else {
    words[at + 1] = orderWord(bucket, peer.flows.nextSequence(bucket))
    device.retention.firstSent(slot, now)
    peer.packetsOut++
    peer.bytesOut += pool.length[slot]!
    if (peer.contextsOut.enabled) compressHeaders(device, peer, slot, scheduler.chosen[0]!.channel!, now)
  }
  words[at] = stampWord(now, flags)
  const length = pool.length[slot]!
  for (let i = 0; i < count; i++) {
    const path = scheduler.chosen[i]!
    if (i > 0) {
      // Two paths may be on one link, and the packet itself may have taken its last place.
      if (!path.link.hasRoom) continue
      pool.hold(slot)
    }
    path.link.push(slot, path.channel!)
    scheduler.sent(path, length + DATA_OVERHEAD_BYTES + OUTER_BYTES, now)
  }
}

/** Stage 7: what was given to `link` becomes datagrams of `out`, as far as there is room. */
export function seal(device: Device, link: Link, out: DatagramBatch, now: Instant): void {
  sendReady(link, out)
  let index = link.first
  while (index < link.end) {
    const sealed = sealRun(device, link, out, index, now)
    if (sealed === 0) break
    index += sealed
  }
  link.consumed(index)
}

/** Seals from entry `from` on while they are of one channel, one call of the cipher at most; returns how many. */
function sealRun(device: Device, link: Link, out: DatagramBatch, from: number, now: Instant): number {
  const channel = link.channelAt(from)
  const { session, path, sent } = channel
  const { pool, retention, sealRows } = device
  const { length } = pool
  const idleUs = path.pacer.idleUs
  const kept = path.retains && session.peer.scheduler.repairs
  const header = headerWord(MessageType.Data, receiverIndexOf(session.remoteIndex, channel.id))
  const isOver = session.destroyed || channel.closed
  const address = isOver ? 0 : addAddress(out, path.remote)
  if (address < 0) return 0
  const firstCounter = sent.next
  const end = Math.min(link.end, from + SEAL_BATCH)
  // A packet with room that is to carry feedback is a run by itself.
  let rides = !isOver && mayRide(channel, now)
  const first = link.slotAt(from)
  let trailer = 0
  let bytesRun = 0
  let rows = 0
  let index = from
  for (; index < end && link.channelAt(index) === channel; index++) {
    const slot = link.slotAt(index)
    if (rides && length[slot]! < TRAILED_BYTES_MAX) {
      if (index > from) break
      rides = false
      const room =
        Math.min(TRAILED_BYTES_MAX, out.slab.length - out.bytes - DATA_OVERHEAD_BYTES) - length[slot]!
      if (room > 0 && out.count < out.capacity) trailer = appendFeedback(device, channel, slot, room, now)
    }
    const bytes = length[slot]! + DATA_OVERHEAD_BYTES + trailer
    if (out.count === out.capacity || out.bytes + bytes > out.slab.length) break
    bytesRun += bytes
    if (isOver) continue
    const counter = sent.add(bytes + OUTER_BYTES, kept ? slot : -1, retention.ticketOf(slot), idleUs, now)
    // The ring of sent packets takes over the link's hold, or it ends once the packet is sealed.
    if (kept) link.keepAt(index)
    const at = rows * SEAL_WORDS
    sealRows[at] = slot * SLOT_BYTES + SLOT_HEADROOM - INNER_HEADER_BYTES
    sealRows[at + 1] = length[slot]! + INNER_HEADER_BYTES + trailer
    sealRows[at + 2] = out.bytes
    sealRows[at + 3] = header
    sealRows[at + 4] = counter
    sealRows[at + 5] = channel.id
    sealRows[at + 6] = counter
    sealRows[at + 7] = counter / 4_294_967_296
    rows++
    addRow(out, bytes, address)
    if (trailer > 0) {
      index++
      break
    }
  }
  const packets = index - from
  path.unsealedBytes = Math.max(0, path.unsealedBytes - (bytesRun - trailer) - packets * OUTER_BYTES)
  if (isOver) {
    device.drops.count(Drop.sessionExpired, packets)
  } else if (rows > 0) {
    // The flag is on this copy of the packet only: another may go without a trailer, by another path or later.
    const word = first * SLOT_WORDS + INNER_HEADER_WORD
    if (trailer > 0) pool.words[word]! |= PacketFlag.Trailer
    session.sendKey.seal(out.slab, pool.slab, sealRows, 0, rows)
    if (trailer > 0) pool.words[word]! &= ~PacketFlag.Trailer
    channel.sentRun(firstCounter, now)
    path.packetsOut += packets
    path.bytesOut += bytesRun
    path.lastSentAt = now
  }
  return packets
}

/** Control and handshake datagrams go first: they are few, and data waits for what they say. */
function sendReady(link: Link, out: DatagramBatch): void {
  let taken = 0
  for (const { bytes, address } of link.ready) {
    if (out.count === out.capacity || out.bytes + bytes.length > out.slab.length) break
    const index = addAddress(out, address)
    if (index < 0) break
    out.slab.set(bytes, out.bytes)
    addRow(out, bytes.length, index)
    taken++
  }
  if (taken > 0) link.ready.splice(0, taken)
}

function addRow(out: DatagramBatch, bytes: number, address: number): void {
  const at = out.count * ROW_WORDS
  out.rows[at + ROW_OFFSET] = out.bytes
  out.rows[at + ROW_LENGTH] = bytes
  out.rows[at + ROW_ADDRESS] = address
  out.rows[at + ROW_AGE] = 0
  out.bytes += bytes
  out.count++
}

/** Index of `remote` among the batch's address records; the last one again if it is the same. -1: no room. */
function addAddress(out: DatagramBatch, remote: Uint32Array): number {
  const last = (out.addressCount - 1) * ADDRESS_WORDS
  if (last >= 0) {
    let same = true
    for (let i = 0; i < ADDRESS_WORDS; i++) if (out.addresses[last + i] !== remote[i]) same = false
    if (same) return out.addressCount - 1
  }
  if (out.addressCount === out.addressCapacity) return -1
  out.addresses.set(remote, out.addressCount * ADDRESS_WORDS)
  return out.addressCount++
}
