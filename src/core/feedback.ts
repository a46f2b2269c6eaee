/**
 * Telling the other end what came: when, on which path, and whether alone or behind a packet that goes there anyway.
 * Feedback is cumulative and idempotent: any frame replaces all older ones, so none is ever repeated.
 *
 * A packet with room, as the pure ACKs of a transfer are, carries the frames behind it once they are nearly due; no
 * datagram is spent then. What was told that way only, and on one path only, is told again alone on another soon after,
 * as the first may be dead in that direction. On each path feedback stays within a small share of what the path can
 * carry, which stretches the intervals on thin ones.
 */
import { type Instant, MILLISECOND, NEVER, SECOND } from '../base/time.js'
import { isCompressed } from '../wire/header-compression.js'
import {
  DATA_OVERHEAD_BYTES,
  Feature,
  Feedback,
  FeedbackPath,
  FRAME_HEADER_BYTES,
  FrameKind,
  MISSING_RANGE_BYTES,
  MISSING_RANGES_MAX,
  OWD_UNKNOWN,
  STAMP_MASK,
  TRAILER_LENGTH_BYTES,
} from '../wire/message.js'
import {
  ACTIVE_US,
  FEEDBACK_GAP_US,
  FEEDBACK_SHARE,
  FEEDBACK_SHARE_THIN,
  FEEDBACK_US,
  FEEDBACK_US_MAX,
  HEARTBEAT_ACTIVE_US,
  SUSPECT_MARGIN_US,
} from './constants.js'
import type { ControlWriter } from './control.js'
import type { Device } from './device.js'
import { carriesData } from './events.js'
import type { Path } from './path.js'
import { type Channel, OUTER_BYTES, type Session } from './session.js'

/** What one frame about two paths costs on the wire, IP and UDP included: the unit of the feedback budget. */
const FEEDBACK_COST_BYTES = 130
/** ... and behind a packet that goes anyway. */
const RIDE_COST_BYTES = 70
/** Feedback rides so much sooner than it would leave alone: then a packet usually comes in time. */
const RIDE_AHEAD_US = 1 * MILLISECOND
/**
 * ... but not when the sockets were last read so long ago: whoever was kept from it, and reads the TUN first, would tell
 * that nothing came meanwhile, and have a good path suspected. Half of the margin that a suspicion needs.
 */
const READ_US_MAX = SUSPECT_MARGIN_US / 2
/** What was told behind packets on one path only is told on another after this time. */
const OTHER_WAY_US = 10 * MILLISECOND
/** A return path later than the fastest by more than this gets a frame only so often: it would be late. */
const FEEDBACK_DELAY_US = 40 * MILLISECOND
const SLOW_FEEDBACK_US = 40 * MILLISECOND
/** Paths below this, 2 Mbit/s, may give feedback the larger share. */
const THIN_BYTES_PER_SEC = 250_000
/** A share not used is saved up for so long, and a share overdrawn is waited for no longer than this. */
const CREDIT_US = 50 * MILLISECOND
const STRETCH_US_MAX = 100 * MILLISECOND
/** A gap is reported for so long: whoever could repair it has by then, or never will. */
const GAP_AGE_US = 400 * MILLISECOND

// ---- when, and by which path --------------------------------------------------------------------------------------

/** When the session's next feedback frame is to leave alone; NEVER while there is nothing to tell. */
export function feedbackDue(session: Session): Instant {
  if (feedbackEarliest(session) === NEVER) return NEVER
  const ordinary = ordinaryDue(session)
  const { paths } = session.peer
  const fastestUs = fastestOwdUs(session)
  let due = NEVER
  let found = false
  for (let i = 0; i < paths.length; i++) {
    const path = paths[i]!
    if (!mayCarry(path, session)) continue
    found = true
    due = Math.min(due, dueOn(path, session, ordinary, fastestUs))
  }
  // None is well: then any is good enough.
  return found ? due : ordinary
}

/** Not sooner than this is {@link feedbackDue}, whatever the paths are like: costs less to ask. */
export function feedbackEarliest(session: Session): Instant {
  if (session.unreportedSince === NEVER && session.gapAt === NEVER && session.riddenSince === NEVER)
    return NEVER
  return Math.min(ordinaryDue(session), session.riddenSince + OTHER_WAY_US)
}

/** Sends what {@link feedbackDue} said is due: on the path that waited longest for its turn. */
export function sendDueFeedback(device: Device, session: Session, now: Instant): void {
  const ordinary = ordinaryDue(session)
  const fastestUs = fastestOwdUs(session)
  let via: Path | undefined
  for (const path of session.peer.paths) {
    if (!mayCarry(path, session) || dueOn(path, session, ordinary, fastestUs) > now) continue
    if (via === undefined || path.feedbackAt < via.feedbackAt) via = path
  }
  const channel = via?.channel ?? anyChannel(session)
  if (channel) sendFeedback(device, session, channel, now)
  // Otherwise the channels it came on are closed: there is nothing to tell of.
  else told(session)
}

/**
 * Of a session by which no path sends, as of two that both ends began at once: a channel on a path that is well all the same,
 * the one that waited longest; else any on which something came, which is better than silence.
 */
function anyChannel(session: Session): Channel | undefined {
  let best: Channel | undefined
  for (const channel of session.channels) {
    if (!channel || channel.newest < 0) continue
    if (best === undefined || preference(channel) > preference(best)) best = channel
  }
  return best
}

function preference({ joined, path }: Channel): number {
  return joined && carriesData(path.state) ? -path.feedbackAt : Number.NEGATIVE_INFINITY
}

/** Whether a packet with room that is sealed on `via` at `now` is to carry feedback. Asked once per run of packets. */
export function mayRide(via: Channel, now: Instant): boolean {
  const { session, path } = via
  const { feedbackAt, unreportedSince, unreportedBytes, gapAt } = session
  if (unreportedSince === NEVER && gapAt === NEVER) return false
  if (session.destroyed || (session.remoteFeatures & Feature.Trailers) === 0) return false
  if (now - session.peer.device.socketsReadAt > READ_US_MAX) return false
  if (now < freeAt(path, RIDE_COST_BYTES)) return false
  if (now >= Math.max(gapAt, feedbackAt) + FEEDBACK_GAP_US / 2) return true
  const waitUs = unreportedBytes * FEEDBACK_SHARE >= RIDE_COST_BYTES ? 0 : FEEDBACK_US_MAX / 2
  return now >= Math.max(feedbackAt + FEEDBACK_US - RIDE_AHEAD_US, unreportedSince + waitUs)
}

/** When the session's feedback is due whatever the path: by what was received since the last. */
function ordinaryDue(session: Session): Instant {
  const { feedbackAt, unreportedSince, unreportedBytes, gapAt } = session
  const gapDue = gapAt === NEVER ? NEVER : Math.max(gapAt, feedbackAt) + FEEDBACK_GAP_US
  const earliest = Math.max(feedbackAt + FEEDBACK_US, unreportedSince)
  if (unreportedBytes * FEEDBACK_SHARE >= FEEDBACK_COST_BYTES) return Math.min(gapDue, earliest)
  return Math.min(gapDue, Math.max(earliest, unreportedSince + FEEDBACK_US_MAX))
}

function dueOn(path: Path, session: Session, ordinary: Instant, fastestUs: number): Instant {
  let due = ordinary
  if (path !== session.riddenOn) due = Math.min(due, session.riddenSince + OTHER_WAY_US)
  const isSlow = (path.health.owdUs || 0) > fastestUs + FEEDBACK_DELAY_US
  return Math.max(due, freeAt(path, FEEDBACK_COST_BYTES), isSlow ? path.feedbackAt + SLOW_FEEDBACK_US : due)
}

function mayCarry(path: Path, session: Session): boolean {
  return path.channel?.session === session && carriesData(path.state)
}

function fastestOwdUs(session: Session): number {
  const { paths } = session.peer
  let fastestUs = Number.POSITIVE_INFINITY
  for (let i = 0; i < paths.length; i++) {
    const path = paths[i]!
    if (mayCarry(path, session)) fastestUs = Math.min(fastestUs, path.health.owdUs || 0)
  }
  return fastestUs
}

// ---- sending ------------------------------------------------------------------------------------------------------

/** Sends feedback about every path of `session` on `via`, alone. */
export function sendFeedback(device: Device, session: Session, via: Channel, now: Instant): void {
  const writer = device.control.begin()
  writeFeedback(writer, session, now)
  // Feedback asks nothing: where only that goes nobody would tell that the path is dead.
  const quiet = now - session.peer.activeAt < ACTIVE_US && now - via.askedAt >= HEARTBEAT_ACTIVE_US
  const asks = quiet && writer.room >= 0
  if (asks) writer.frame(FrameKind.Heartbeat)
  const other = via.path !== session.riddenOn
  const { riddenSince } = session
  told(session)
  if (!other) session.riddenSince = riddenSince
  session.feedbackAt = now
  charge(via.path, writer.bytes + DATA_OVERHEAD_BYTES + OUTER_BYTES, now)
  writer.sendOn(via, asks, now)
}

/**
 * Puts feedback behind the packet in `slot`, which is about to be sealed on `via` and leaves room for `room` bytes.
 * Returns how many it took, 0 if there was too little room.
 */
export function appendFeedback(
  device: Device,
  via: Channel,
  slot: number,
  room: number,
  now: Instant,
): number {
  const { session, path } = via
  const { pool } = device
  const endsByFrame = isCompressed(pool, slot)
  if (feedbackBytes(session) + (endsByFrame ? TRAILER_LENGTH_BYTES : 0) > room) return 0
  const writer = device.control.begin()
  writeFeedback(writer, session, now)
  if (endsByFrame) {
    const at = writer.reserve(FrameKind.TrailerLength, 2)
    writer.view.setUint16(at, writer.bytes, true)
  }
  const { bytes } = writer
  writer.copyTo(pool.slab, pool.packetAt(slot) + pool.length[slot]!)
  const { riddenSince, riddenOn } = session
  told(session)
  session.riddenOn = path
  // Told on two paths by now, or on this one only. Where no other could take it in time, the time begins anew.
  if (riddenSince === NEVER || now - riddenSince > OTHER_WAY_US) session.riddenSince = now
  else if (riddenOn === path) session.riddenSince = riddenSince
  session.feedbackAt = now
  charge(path, bytes, now)
  path.pacer.sent(bytes, path.rate.pacingBytesPerSec, now)
  return bytes
}

/** Nothing is left to tell. */
function told(session: Session): void {
  session.unreportedBytes = 0
  session.unreportedSince = NEVER
  session.gapAt = NEVER
  session.riddenSince = NEVER
}

/** When the share of `path` that feedback may take allows for `bytes` more. */
function freeAt(path: Path, bytes: number): Instant {
  return path.rate.known
    ? path.feedbackPaidUntil + Math.min(STRETCH_US_MAX, shareUs(path, bytes))
    : path.feedbackPaidUntil
}

/** `bytes` of feedback leave on `path`. */
function charge(path: Path, bytes: number, now: Instant): void {
  path.feedbackAt = now
  if (!path.rate.known) return
  const since = Math.max(path.feedbackPaidUntil, now - CREDIT_US)
  path.feedbackPaidUntil = Math.min(now, since + shareUs(path, bytes))
}

/** How long `bytes` take at the rate that feedback may have on `path`. */
function shareUs(path: Path, bytes: number): number {
  const { rateBytesPerSec } = path.rate
  const share = rateBytesPerSec < THIN_BYTES_PER_SEC ? FEEDBACK_SHARE_THIN : FEEDBACK_SHARE
  return (bytes * SECOND) / (share * rateBytesPerSec)
}

// ---- what is in it ------------------------------------------------------------------------------------------------

/** Bytes that {@link writeFeedback} would take at most; reports of trains, which are rare, go alone. */
function feedbackBytes(session: Session): number {
  let bytes = 0
  for (const channel of session.channels) {
    if (!channel || channel.newest < 0) continue
    if (channel.train.toReport) return Number.POSITIVE_INFINITY
    bytes += FRAME_HEADER_BYTES + Feedback.bytes + FeedbackPath.bytes
    bytes += Math.min(countRanges(channel), MISSING_RANGES_MAX) * MISSING_RANGE_BYTES
  }
  return bytes
}

/** Frame bodies have at most 255 bytes; so each path has a frame of its own. */
function writeFeedback(writer: ControlWriter, session: Session, now: Instant): void {
  const { view } = writer
  const { channels, peer, feedbackFrom } = session
  const { clock } = peer
  for (const channel of channels) if (channel?.train.toReport) channel.train.write(writer, channel.id)
  for (let i = 0; i < channels.length; i++) {
    const channel = channels[(feedbackFrom + i) % channels.length]
    if (!channel || channel.newest < 0) continue
    channel.gaps.expire(GAP_AGE_US, now)
    const ranges = Math.min(countRanges(channel), MISSING_RANGES_MAX)
    const bytes = Feedback.bytes + FeedbackPath.bytes + ranges * MISSING_RANGE_BYTES
    if (writer.room < bytes) {
      session.feedbackFrom = channel.id
      return
    }
    let at = writer.reserve(FrameKind.Feedback, bytes)
    view.setUint16(at + Feedback.number, session.feedbackNumber++ & 0xffff, true)
    view.setUint32(at + Feedback.generatedAt, stamp(clock.relative(now)), true)
    view.setUint8(at + Feedback.paths, 1)
    at += Feedback.bytes
    const owdMin = Math.min(channel.owdMin, channel.owdMinBefore)
    view.setUint8(at + FeedbackPath.id, channel.id)
    view.setUint32(at + FeedbackPath.newest, channel.newest % 4_294_967_296, true)
    view.setUint32(at + FeedbackPath.newestAt, stamp(clock.relative(channel.newestAt)), true)
    view.setUint32(at + FeedbackPath.packets, channel.packets % 4_294_967_296, true)
    view.setUint32(at + FeedbackPath.receivedBytes, channel.bytes % 4_294_967_296, true)
    view.setInt32(at + FeedbackPath.owdMin, Number.isFinite(owdMin) ? owdMin : OWD_UNKNOWN, true)
    view.setUint8(at + FeedbackPath.ranges, ranges)
    view.setUint8(at + FeedbackPath.zero, 0)
    const completeFrom = writeRanges(view, at + FeedbackPath.bytes, channel, ranges)
    view.setUint16(at + FeedbackPath.completeFrom, Math.min(0xffff, channel.newest - completeFrom), true)
    channel.owdMinBefore = channel.owdMin
    channel.owdMin = Number.POSITIVE_INFINITY
  }
}

/** A gap longer than 255 takes several ranges. */
function countRanges(channel: Channel): number {
  const { gaps } = channel
  let ranges = 0
  for (let i = 0; i < gaps.count; i++) ranges += Math.ceil((gaps.last(i) - gaps.first(i) + 1) / 255)
  return ranges
}

/** Newest first, as many as `limit`; returns the counter from which on all is told. */
function writeRanges(view: DataView, at: number, channel: Channel, limit: number): number {
  const { gaps, newest } = channel
  let written = 0
  for (let i = gaps.count - 1; i >= 0; i--) {
    for (let last = gaps.last(i); last >= gaps.first(i); last -= 255) {
      if (written === limit || newest - last > 0xffff) return last + 1
      view.setUint16(at, newest - last, true)
      view.setUint8(at + 2, Math.min(255, last - gaps.first(i) + 1))
      at += MISSING_RANGE_BYTES
      written++
    }
  }
  return gaps.completeFrom
}

function stamp(instant: Instant): number {
  return (((Math.floor(instant) % (STAMP_MASK + 1)) + STAMP_MASK + 1) % (STAMP_MASK + 1)) >>> 0
}
