/**
 * TUN → wire. A packet meets these stages in this order:
 *
 *     1 parse      wire/ip                     malformed → dropped with a reason
 *     2 route      AllowedIps → Peer           nobody's → dropped with a reason
 *     3 classify   FlowTable → bucket, class
 *     4 enqueue    EgressQueue                 ── the only wait ──
 *     5 schedule   Scheduler.pick              pulled while links have room
 *     6 number     bucket's sequence           as late as can be: a dropped packet leaves no gap
 *     7 seal       counter, header, cipher     pulled by pollTransmit, a batch a call
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
} from '../wire/message.js'
import type { Device } from './device.js'
import { Drop } from './drop-reasons.js'
import type { Link } from './link.js'
import { SEAL_WORDS } from './packet-cipher.js'
import type { Peer } from './peer.js'
import { OUTER_BYTES, type Session } from './session.js'

/** Where the sealed header stands in a slot, in words: right before the packet. */
const INNER_HEADER_WORD = (SLOT_HEADROOM - INNER_HEADER_BYTES) / 4
/** Packets sealed by one call of the cipher. */
const SEAL_BATCH = 64

/** Stages 1 to 4 for a batch from the TUN, whose slots it takes over; then as much of 5 and 6 as the links take. */
export function sendFromTun(device: Device, batch: PacketBatch, now: Instant): void {
  const { pool, drops, view, allowedIps, peers } = device
  for (let i = 0; i < batch.count; i++) {
    const slot = batch.slots[i]!
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
    const peer = peers[owner]!
    peer.flows.classify(view, now)
    peer.activeAt = now
    peer.egress.enqueue(slot, peer.flows.bucket, peer.flows.packetClass, view.length, now)
    if (!peer.pending) {
      peer.pending = true
      device.pendingPeers.push(peer)
    }
  }
  batch.count = 0
}

/** Stages 5 and 6 while there is something to send and a path that may take it. */
export function schedule(device: Device, peer: Peer, now: Instant): void {
  const { egress, scheduler } = peer
  peer.roomAt = NEVER
  while (egress.packets > 0) {
    const count = scheduler.pick(egress.peekClass(), egress.bytesBulk, now)
    if (count === 0) {
      peer.roomAt = scheduler.nextRoomAt(now)
      break
    }
    const slot = egress.dequeue(now)
    if (slot < 0) break
    if (egress.lastReinjected) {
      device.retention.leaveQueue(slot)
      if (device.retention.noLongerWanted(slot, now, peer.repairAgeUs)) {
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
  const length = pool.length[slot]!
  let flags = pool.flags[slot]! & SlotFlag.ChecksumPartial ? PacketFlag.ChecksumPartial : 0
  const at = slot * SLOT_WORDS + INNER_HEADER_WORD
  if (again) {
    flags |= PacketFlag.Repair
  } else {
    words[at + 1] = orderWord(bucket, peer.flows.nextSequence(bucket))
    device.retention.firstSent(slot, now)
    peer.packetsOut++
    peer.bytesOut += length
  }
  words[at] = stampWord(now, flags)
  const { scheduler } = peer
  for (let i = 0; i < count; i++) {
    const path = scheduler.chosen[i]!
    if (i > 0) pool.hold(slot)
    path.link.push(slot, path.channel!)
    scheduler.sent(path, length + DATA_OVERHEAD_BYTES + OUTER_BYTES, now)
  }
}

/** Stage 7: what was given to `link` becomes datagrams of `out`, as far as there is room. */
export function seal(device: Device, link: Link, out: DatagramBatch, now: Instant): void {
  sendReady(link, out)
  const { pool, sealRows } = device
  const { length } = pool
  let session: Session | undefined
  let rows = 0
  let addressOf: Uint32Array | undefined
  let address = -1
  const end = link.end
  let index = link.first
  for (; index < end; index++) {
    const slot = link.slotAt(index)
    const channel = link.channelAt(index)
    const bytes = length[slot]! + DATA_OVERHEAD_BYTES
    const { path } = channel
    if (out.count === out.capacity || out.bytes + bytes > out.slab.length) break
    if (channel.session !== session || rows === SEAL_BATCH) {
      if (rows > 0) session!.sendKey.seal(out.slab, pool.slab, sealRows, 0, rows)
      rows = 0
      session = channel.session
    }
    if (!session.destroyed && path.remote !== addressOf) {
      address = addAddress(out, path.remote)
      if (address < 0) break
      addressOf = path.remote
    }
    path.unsealedBytes = Math.max(0, path.unsealedBytes - bytes - OUTER_BYTES)
    if (session.destroyed) {
      device.drops.count(Drop.sessionExpired)
      continue
    }
    const kept = path.retains && session.peer.scheduler.repairs
    const counter = channel.take(bytes, kept ? slot : -1, device.retention.ticketOf(slot), true, now)
    // The ring of sent packets takes over the link's hold, or it ends once the packet is sealed.
    if (kept) link.keepAt(index)
    const at = rows * SEAL_WORDS
    sealRows[at] = slot * SLOT_BYTES + SLOT_HEADROOM - INNER_HEADER_BYTES
    sealRows[at + 1] = length[slot]! + INNER_HEADER_BYTES
    sealRows[at + 2] = out.bytes
    sealRows[at + 3] = headerWord(MessageType.Data, receiverIndexOf(session.remoteIndex, channel.id))
    sealRows[at + 4] = counter
    sealRows[at + 5] = channel.id
    sealRows[at + 6] = counter
    sealRows[at + 7] = counter / 4_294_967_296
    rows++
    addRow(out, bytes, address)
    path.packetsOut++
    path.bytesOut += bytes
    path.lastSentAt = now
  }
  if (rows > 0) session!.sendKey.seal(out.slab, pool.slab, sealRows, 0, rows)
  link.consumed(index)
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
