/**
 * Wire → TUN. A datagram meets these stages in this order:
 *
 *     1 type and length   wire/message            bad → dropped with a reason
 *     2 find session      by receiver index       handshake messages go to handshakes.ts
 *     3 open              a run of one session's packets per call of the cipher
 *     4 replay            only after authentication
 *     5 credit            the channel's and the path's figures, roaming
 *     6 control           → reports.ts; data: headers expanded, source address against AllowedIps
 *     7 order             Resequencer             ── the only wait ──
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
import { PACKET_BYTES_MAX, SLOT_BYTES, SLOT_HEADROOM, SLOT_WORDS, SlotFlag } from '../base/packet-pool.js'
import type { Instant } from '../base/time.js'
import { compressedLength, isCompressed } from '../wire/header-compression.js'
import { innerLength } from '../wire/ip.js'
import {
  BUCKET_UNORDERED,
  DATA_OVERHEAD_BYTES,
  INDEX_PATH_BITS,
  INNER_HEADER_BYTES,
  MessageType,
  PATH_IDS,
  PacketFlag,
  readIndex,
  SEQUENCE_BITS,
  SEQUENCE_MASK,
  STAMP_MASK,
} from '../wire/message.js'
import { followLocal, sameRemote } from './address.js'
import type { Device } from './device.js'
import { Drop } from './drop-reasons.js'
import { handleHandshake } from './handshakes.js'
import { expandHeaders } from './header-contexts.js'
import type { Link } from './link.js'
import { OPEN_FAILED, SEAL_WORDS } from './packet-cipher.js'
import { acceptChannel, roam } from './path-keeper.js'
import type { Peer } from './peer.js'
import { reconstructCounter } from './replay-window.js'
import { handleControl } from './reports.js'
import type { Channel, Session } from './session.js'

const INNER_HEADER_AT = SLOT_HEADROOM - INNER_HEADER_BYTES
const INNER_HEADER_WORD = INNER_HEADER_AT / 4
/** Packets opened by one call of the cipher. */
export const OPEN_BATCH = 64
const AGE_MASK = 0xffffff

/** The run of packets that one call of the cipher opens: all of one session. Parallel arrays, one per device. */
export class OpenRun {
  readonly rows = new Uint32Array(OPEN_BATCH * SEAL_WORDS)
  readonly slots = new Uint32Array(OPEN_BATCH)
  /** Row of the datagram batch that each came from. */
  readonly from = new Uint32Array(OPEN_BATCH)
  readonly counters = new Float64Array(OPEN_BATCH)
  readonly ids = new Uint8Array(OPEN_BATCH)
  count = 0
  session: Session | undefined
  // What the packet before was found to be: most are of the same kind.
  /** Its channel, if its address is the path's, and the place of that address in the batch. */
  channel: Channel | undefined
  addressAt = 0
  /** Its inner source, if that was the peer's: IPv4 only. */
  source = 0
  sourceKnown = false
}

export function receiveDatagrams(device: Device, link: Link, batch: DatagramBatch, now: Instant): void {
  const { drops, pool, openRun: run } = device
  const { slab, rows } = batch
  for (let i = 0; i < batch.count; i++) {
    const offset = rows[i * ROW_WORDS + ROW_OFFSET]!
    const bytes = rows[i * ROW_WORDS + ROW_LENGTH]!
    const type = bytes > 0 ? slab[offset]! : 0
    if (type !== MessageType.Data && type !== MessageType.Control) {
      // What came before it is dealt with first: a response must not overtake the packets of its session.
      openAndAccept(device, link, batch, now)
      const at = rows[i * ROW_WORDS + ROW_ADDRESS]! * ADDRESS_WORDS
      handleHandshake(device, link, slab.slice(offset, offset + bytes), batch.addresses, at, now)
      continue
    }
    if (bytes < DATA_OVERHEAD_BYTES || bytes > DATA_OVERHEAD_BYTES + PACKET_BYTES_MAX) {
      drops.count(Drop.badLength)
      continue
    }
    const index = readIndex(slab, offset + 1)
    const session = device.findSession(index >> INDEX_PATH_BITS)
    if (session === undefined) {
      drops.count(Drop.unknownIndex)
      continue
    }
    if (session !== run.session || run.count === OPEN_BATCH) {
      openAndAccept(device, link, batch, now)
      // Dealing with the run may have ended the session.
      if (session.destroyed || session.expired(now)) {
        drops.count(Drop.sessionExpired)
        continue
      }
    }
    const slot = pool.take()
    if (slot < 0) {
      drops.count(Drop.poolEmpty)
      // Memory goes to what comes in: without it no hole is ever filled. Repairs and order give way, in that order.
      device.relieve()
      for (const peer of device.peers) peer.resequencer.relieve(now)
      continue
    }
    const id = index & (PATH_IDS - 1)
    const low =
      (slab[offset + 4]! |
        (slab[offset + 5]! << 8) |
        (slab[offset + 6]! << 16) |
        (slab[offset + 7]! << 24)) >>>
      0
    const counter = reconstructCounter(low, session.channels[id]?.newest ?? -1)
    const n = run.count++
    run.session = session
    run.slots[n] = slot
    run.from[n] = i
    run.counters[n] = counter
    run.ids[n] = id
    const at = n * SEAL_WORDS
    run.rows[at] = offset
    run.rows[at + 1] = bytes
    run.rows[at + 2] = slot * SLOT_BYTES + INNER_HEADER_AT
    run.rows[at + 5] = id
    run.rows[at + 6] = counter
    run.rows[at + 7] = counter / 4_294_967_296
  }
  openAndAccept(device, link, batch, now)
}

/** Stage 3 for the run, then 4 to 7 for each packet of it. */
function openAndAccept(device: Device, link: Link, batch: DatagramBatch, now: Instant): void {
  const { openRun: run } = device
  const { session, count } = run
  if (session === undefined || count === 0) return
  session.receiveKey.open(device.pool.slab, batch.slab, run.rows, 0, count)
  run.channel = undefined
  run.sourceKnown = false
  for (let n = 0; n < count; n++) accept(device, session, link, batch, n, now)
  run.count = 0
  run.session = undefined
}

function accept(
  device: Device,
  session: Session,
  link: Link,
  batch: DatagramBatch,
  n: number,
  now: Instant,
): void {
  const { pool, openRun: run } = device
  const { peer } = session
  const slot = run.slots[n]!
  const opened = run.rows[n * SEAL_WORDS + 1]!
  if (opened === OPEN_FAILED) {
    refuse(device, slot, Drop.authFailed)
    return
  }
  if (session.destroyed) {
    refuse(device, slot, Drop.sessionExpired)
    return
  }
  const id = run.ids[n]!
  const counter = run.counters[n]!
  const row = run.from[n]! * ROW_WORDS
  const addressAt = batch.rows[row + ROW_ADDRESS]! * ADDRESS_WORDS

  let channel = session.channels[id]
  if (channel === undefined) {
    if (!session.remoteMayOpen(id)) {
      refuse(device, slot, Drop.unknownPath)
      return
    }
    if (!session.confirmed) device.confirmSession(session, now)
    channel = acceptChannel(session, id, link, batch.addresses, addressAt, now)
  }
  const newest = channel.newest
  if (!channel.replay.accept(counter)) {
    refuse(device, slot, Drop.replayed)
    return
  }
  if (!session.confirmed) device.confirmSession(session, now)

  const datagramBytes = batch.rows[row + ROW_LENGTH]!
  const receivedAt = now - (batch.rows[row + ROW_AGE]! & AGE_MASK)
  const { path } = channel
  const word = slot * SLOT_WORDS + INNER_HEADER_WORD
  const stampAndFlags = pool.words[word]!
  const order = pool.words[word + 1]!
  if (peer.clock.observe((stampAndFlags >>> 4) & STAMP_MASK, receivedAt)) peer.resequencer.forgetDelays()
  const { owdUs } = peer.clock
  channel.packets++
  channel.bytes += datagramBytes
  if (owdUs < channel.owdMin) channel.owdMin = owdUs
  if (counter > newest) {
    if (counter > newest + 1 && newest >= 0) {
      channel.gaps.add(newest + 1, counter - 1, now)
      session.gapAt = Math.min(session.gapAt, now)
    }
    // What was lost while the path was down is no property of it as it is.
    path.health.onReceived(path.state === 'down' ? 1 : counter - newest, 1, now)
    channel.newest = counter
    channel.newestAt = receivedAt
    if (run.channel !== channel || run.addressAt !== addressAt) {
      if (path.link === link && sameRemote(path.remote, 0, batch.addresses, addressAt)) {
        followLocal(path.remote, batch.addresses, addressAt)
        run.channel = channel
        run.addressAt = addressAt
      } else {
        roam(channel, link, batch.addresses, addressAt, now)
      }
    }
  } else {
    channel.gaps.fill(counter)
    path.health.onReceived(0, 1, now)
  }
  path.packetsIn++
  path.bytesIn += datagramBytes
  path.lastHeardAt = now
  peer.heardAt = now
  peer.resequencer.pathDelivered(path.id, peer.clock.sentAt, receivedAt)

  if (batch.slab[batch.rows[row + ROW_OFFSET]!] === MessageType.Control) {
    const payloadAt = slot * SLOT_BYTES + SLOT_HEADROOM
    handleControl(
      device,
      channel,
      pool.slab,
      payloadAt,
      opened - INNER_HEADER_BYTES,
      datagramBytes,
      receivedAt,
      link,
      batch.addresses,
      addressAt,
      now,
    )
    pool.release(slot)
    return
  }

  session.unreportedBytes += datagramBytes
  if (session.unreportedSince > now) session.unreportedSince = now
  peer.activeAt = now
  const payloadBytes = opened - INNER_HEADER_BYTES
  pool.length[slot] = payloadBytes
  pool.flags[slot] = stampAndFlags & PacketFlag.ChecksumPartial ? SlotFlag.ChecksumPartial : 0
  const hasTrailer = (stampAndFlags & PacketFlag.Trailer) !== 0
  const compressed = isCompressed(pool, slot)
  const packetBytes = compressed ? compressedLength(pool, slot, hasTrailer) : innerLength(pool, slot)
  if (packetBytes < 0) {
    refuse(device, slot, Drop.malformedInner)
    return
  }
  if (packetBytes !== payloadBytes) {
    // Frames behind the packet, read before its slot goes on; nothing else that follows it is let through.
    pool.length[slot] = packetBytes
    if (hasTrailer) {
      handleControl(
        device,
        channel,
        pool.slab,
        pool.packetAt(slot) + packetBytes,
        payloadBytes - packetBytes,
        datagramBytes,
        receivedAt,
        link,
        batch.addresses,
        addressAt,
        now,
      )
    }
  }
  if (compressed && !expandHeaders(device, channel, slot, now)) {
    refuse(device, slot, Drop.unknownContext)
    return
  }
  if (!sourceAllowed(device, peer, slot)) {
    refuse(device, slot, Drop.sourceNotAllowed)
    return
  }
  peer.packetsIn++
  peer.bytesIn += pool.length[slot]!
  const bucket = order >>> SEQUENCE_BITS
  const sequence = order & SEQUENCE_MASK
  if (bucket === BUCKET_UNORDERED) receiveUnordered(device, peer, slot, sequence, now)
  else peer.resequencer.receive(slot, bucket, sequence, peer.clock.sentAt, stampAndFlags & 0xf, now)
}

/** What needs no order goes on at once, but for acknowledgements that are to come later, in lumps, or apart. */
function receiveUnordered(device: Device, peer: Peer, slot: number, sequence: number, now: Instant): void {
  const { resequencer, spacedAcks } = peer
  const { ackTiming } = peer.scheduler
  if (ackTiming === undefined) {
    resequencer.receiveUnordered(slot, sequence, Number.NEGATIVE_INFINITY, now)
  } else if (ackTiming.mayHold(now)) {
    // What comes now might go on at once, and is not to overtake them.
    if (spacedAcks.isWaiting) spacedAcks.release(now)
    const isAck = isPureAck(device, slot)
    const dueAt = isAck ? ackTiming.dueAt(bucketAcknowledged(device, peer), now) : Number.NEGATIVE_INFINITY
    resequencer.receiveUnordered(slot, sequence, dueAt, now)
  } else {
    const spacingUs = ackTiming.spacingUs(peer.egress.bytesBulk, now)
    if ((spacingUs > 0 || spacedAcks.isWaiting) && isPureAck(device, slot)) {
      if (resequencer.isNew(slot, sequence)) spacedAcks.receive(slot, spacingUs, now)
    } else {
      resequencer.receiveUnordered(slot, sequence, Number.NEGATIVE_INFINITY, now)
    }
  }
}

/** The bucket in which went out what the packet in the device's view acknowledges. */
function bucketAcknowledged(device: Device, peer: Peer): number {
  device.view.reverse()
  return peer.flows.bucketOf(device.view)
}

function isPureAck(device: Device, slot: number): boolean {
  return device.view.parse(device.pool, slot) && device.view.isPureAck
}

/** Whether the inner source of the well-formed packet in `slot` is the peer's. */
function sourceAllowed(device: Device, peer: Peer, slot: number): boolean {
  const { openRun: run, allowedIps } = device
  const { words } = device.pool
  const at = slot * SLOT_WORDS + SLOT_HEADROOM / 4
  if (((words[at]! >>> 4) & 15) === 6) return allowedIps.lookup(words, at + 2, 4) === peer.index
  const source = words[at + 3]!
  if (run.sourceKnown && run.source === source) return true
  if (allowedIps.lookup(words, at + 3, 1) !== peer.index) return false
  run.source = source
  run.sourceKnown = true
  return true
}

function refuse(device: Device, slot: number, reason: number): void {
  device.drops.count(reason)
  device.pool.release(slot)
}
