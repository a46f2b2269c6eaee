/**
 * Control packets: what the ends tell each other. Feedback is cumulative and idempotent: any frame replaces all older
 * ones, so none is ever repeated.
 */
import { type Instant, MILLISECOND, NEVER } from '../base/time.js'
import {
  Feedback,
  FeedbackPath,
  FRAME_HEADER_BYTES,
  FrameKind,
  MISSING_RANGE_BYTES,
  MISSING_RANGES_MAX,
  OWD_UNKNOWN,
  STAMP_MASK,
  unwrapStamp,
} from '../wire/message.js'
import { copyAddress } from './address.js'
import { FEEDBACK_GAP_US, FEEDBACK_SHARE, FEEDBACK_US, FEEDBACK_US_MAX } from './constants.js'
import type { ControlWriter } from './control.js'
import type { Device } from './device.js'
import { Drop } from './drop-reasons.js'
import { carriesData } from './events.js'
import type { Link } from './link.js'
import { handleChallenge, handleChallengeAnswer, judge, revive } from './path-keeper.js'
import { type MissingRanges, settleReported } from './repair.js'
import { reconstructCounter } from './replay-window.js'
import { type Channel, OUTER_BYTES, type Session } from './session.js'
import { handleTrainReport } from './train.js'

/** What one frame about two paths costs on the wire, IP and UDP included: the unit of the feedback budget. */
const FEEDBACK_COST_BYTES = 130
/** A return path later than the fastest by more than this gets one frame in so many. */
const FEEDBACK_DELAY_US = 40 * MILLISECOND
const SLOW_FEEDBACK_EVERY = 8
/** A gap is reported for so long: whoever could repair it has by then, or never will. */
const GAP_AGE_US = 400 * MILLISECOND

/** Reads the frames of one control packet, whose place is `at` in `plain`, `bytes` long. */
export function handleControl(
  device: Device,
  channel: Channel,
  plain: Uint8Array,
  at: number,
  bytes: number,
  datagramBytes: number,
  receivedAt: Instant,
  link: Link,
  addresses: Uint32Array,
  addressAt: number,
  now: Instant,
): void {
  const end = at + bytes
  const { session } = channel
  while (at < end) {
    if (at + FRAME_HEADER_BYTES > end || at + FRAME_HEADER_BYTES + plain[at + 1]! > end) {
      device.drops.count(Drop.malformedControl)
      return
    }
    const kind = plain[at]!
    const body = plain.subarray(at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + plain[at + 1]!)
    at += FRAME_HEADER_BYTES + body.length
    switch (kind) {
      case FrameKind.Heartbeat:
        // Answered on the same path, once every socket has been read: see Device.handleTimeout.
        if (!session.answers.includes(channel)) session.answers.push(channel)
        break
      case FrameKind.PathChallenge:
        handleChallenge(channel, link, copyAddress(addresses, addressAt), body, now)
        break
      case FrameKind.PathResponse:
        handleChallengeAnswer(channel, link, addresses, addressAt, body, now)
        break
      case FrameKind.Feedback:
        handleFeedback(device, channel, body, now)
        break
      case FrameKind.Train:
        channel.train.arrived(body, datagramBytes, receivedAt)
        if (session.unreportedSince > now) session.unreportedSince = now
        break
      case FrameKind.TrainReport:
        handleTrainReport(device, session, body, now)
        break
      case FrameKind.Handshake:
        device.handleSealedHandshake(channel, body.slice(), now)
        break
      case FrameKind.Close:
        device.endSession(session, 'the other end closed it', now)
        return
      default: // a later version's frame: skipped
    }
  }
}

/** When the session's next feedback frame is due, by what was received since the last one. */
export function feedbackDue(session: Session): Instant {
  const { feedbackAt, unreportedSince, unreportedBytes, gapAt } = session
  const gapDue = gapAt === NEVER ? NEVER : Math.max(gapAt, feedbackAt) + FEEDBACK_GAP_US
  const earliest = Math.max(feedbackAt + FEEDBACK_US, unreportedSince)
  if (unreportedBytes * FEEDBACK_SHARE >= FEEDBACK_COST_BYTES) return Math.min(gapDue, earliest)
  return Math.min(gapDue, Math.max(earliest, unreportedSince + FEEDBACK_US_MAX))
}

/** Sends a feedback frame about every path of `session` on `via`. */
export function sendFeedback(device: Device, session: Session, via: Channel, now: Instant): void {
  const writer = device.control.begin()
  writeFeedback(writer, session, now)
  session.feedbackAt = now
  session.unreportedBytes = 0
  session.unreportedSince = NEVER
  session.gapAt = NEVER
  writer.sendOn(via, false, now)
}

/** Frame bodies have at most 255 bytes; with more paths than fit there are more frames in the packet. */
function writeFeedback(writer: ControlWriter, session: Session, now: Instant): void {
  const { view } = writer
  const { clock } = session.peer
  for (const channel of session.channels) if (channel?.train.toReport) channel.train.write(writer, channel.id)
  for (const channel of session.channels) {
    if (!channel || channel.newest < 0) continue
    channel.gaps.expire(GAP_AGE_US, now)
    const ranges = Math.min(countRanges(channel), MISSING_RANGES_MAX)
    const bytes = Feedback.bytes + FeedbackPath.bytes + ranges * MISSING_RANGE_BYTES
    if (writer.room < bytes) return
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

/**
 * Feedback goes by turns over the paths that carry data, so that a dead return path costs one frame in two at most; but
 * over those only that are not much slower than the fastest, since late feedback is of little use.
 */
export function feedbackPath(session: Session): Channel | undefined {
  const { peer } = session
  const { paths } = peer
  let fastestUs = Number.POSITIVE_INFINITY
  for (const path of paths) {
    if (path.channel?.session === session && carriesData(path.state)) {
      fastestUs = Math.min(fastestUs, path.health.owdUs || 0)
    }
  }
  peer.feedbackTurn++
  const slowToo = peer.feedbackTurn % SLOW_FEEDBACK_EVERY === 0
  // Counted apart, or with two paths every eighth turn would be the same path's.
  const first = slowToo ? peer.feedbackTurn / SLOW_FEEDBACK_EVERY : peer.feedbackTurn
  for (let i = 0; i < paths.length; i++) {
    const path = paths[(first + i) % paths.length]!
    if (path.channel?.session !== session || !carriesData(path.state)) continue
    if (slowToo || (path.health.owdUs || 0) <= fastestUs + FEEDBACK_DELAY_US) return path.channel
  }
  // None is well: any channel of the session is better than silence.
  for (const channel of session.channels) if (channel && channel.newest >= 0) return channel
  return undefined
}

function handleFeedback(device: Device, via: Channel, body: Uint8Array, now: Instant): void {
  const { session } = via
  const { peer } = session
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  if (body.length < Feedback.bytes) {
    device.drops.count(Drop.malformedControl)
    return
  }
  const generatedAt = unwrapStamp(view.getUint32(Feedback.generatedAt, true) & STAMP_MASK, now)
  let paths = view.getUint8(Feedback.paths)
  let at: number = Feedback.bytes
  for (; paths > 0; paths--) {
    if (at + FeedbackPath.bytes > body.length) {
      device.drops.count(Drop.malformedControl)
      return
    }
    const channel = session.channels[view.getUint8(at + FeedbackPath.id)]
    if (channel) handlePathFeedback(device, channel, via, view, at, generatedAt, now)
    at += FeedbackPath.bytes + view.getUint8(at + FeedbackPath.ranges) * MISSING_RANGE_BYTES
  }
  if (generatedAt > peer.reportedAt) peer.reportedAt = generatedAt
}

function handlePathFeedback(
  device: Device,
  channel: Channel,
  via: Channel,
  view: DataView,
  at: number,
  generatedAt: Instant,
  now: Instant,
): void {
  const { sent, path, session } = channel
  const { health, rate } = path
  const newest = reconstructCounter(view.getUint32(at + FeedbackPath.newest, true), channel.reportedNewest)
  const newestAt = unwrapStamp(view.getUint32(at + FeedbackPath.newestAt, true) & STAMP_MASK, now)
  const packets = view.getUint32(at + FeedbackPath.packets, true)
  const bytes = view.getUint32(at + FeedbackPath.receivedBytes, true)
  // Counters we never used, or a frame overtaken by a newer one: nothing to learn.
  if (newest >= sent.next || newest < channel.reportedNewest || !sent.remembers(newest)) return
  const fresh = newest > channel.reportedNewest
  if (fresh) {
    const received = (packets - channel.reportedPacketsLow) | 0
    const receivedBytes = (bytes - channel.reportedBytesLow) | 0
    const span = newest - channel.reportedNewest
    const bytesSentBefore = sent.bytesBefore(channel.reportedNewest + 1)
    channel.reportedPacketsLow = packets
    channel.reportedBytesLow = bytes
    channel.bytesArrived += receivedBytes + received * OUTER_BYTES
    if (channel.reportedNewest >= channel.lossFrom) health.onSent(span, span - received, now)
    const owdUs = view.getInt32(at + FeedbackPath.owdMin, true)
    if (owdUs !== OWD_UNKNOWN) health.onOwd(owdUs)
    // Only an answer by the same way back tells the path's round trip: others mix it with the other path's.
    const reportUs = now - sent.sentAt(newest) - (generatedAt - newestAt)
    const rttUs = via === channel || health.rtt.samples === 0 ? reportUs : Number.NaN
    health.rtt.update(rttUs, now)
    channel.reported(newest)
    health.progressAt = now
    if (path.channel === channel) {
      const { sample } = device
      sample.owdMinUs = owdUs
      sample.newestAt = newestAt
      sample.bytesReceived = channel.bytesArrived
      sample.sentAt = sent.sentAt(newest)
      sample.bytesSent = sent.bytesUpToCounter(newest)
      sample.idleUs = sent.idleUpToCounter(newest)
      sample.rttUs = rttUs
      sample.reportUs = reportUs
      sample.capped = path.capped
      sample.packetBytes = (sample.bytesSent - bytesSentBefore) / span
      path.capped = false
      if (session.peer.scheduler.repairs && owdUs !== OWD_UNKNOWN) rate.onSample(sample, now)
    }
  }
  readRanges(device.missing, view, at, newest)
  settleReported(device, channel, newest, device.missing, now)
  if (fresh && path.state === 'suspect' && path.channel === channel && newest >= health.suspectCounter)
    revive(path, now)
  if (path.channel === channel) judge(path, generatedAt, newestAt, now)
}

function readRanges(missing: MissingRanges, view: DataView, at: number, newest: number): void {
  const ranges = view.getUint8(at + FeedbackPath.ranges)
  missing.completeFrom = newest - view.getUint16(at + FeedbackPath.completeFrom, true)
  missing.count = 0
  let place = at + FeedbackPath.bytes
  for (
    let i = 0;
    i < ranges && i < MISSING_RANGES_MAX && place + MISSING_RANGE_BYTES <= view.byteLength;
    i++
  ) {
    const last = newest - view.getUint16(place, true)
    missing.to[i] = last
    missing.from[i] = last - view.getUint8(place + 2) + 1
    missing.count++
    place += MISSING_RANGE_BYTES
  }
}

function stamp(instant: Instant): number {
  return (((Math.floor(instant) % (STAMP_MASK + 1)) + STAMP_MASK + 1) % (STAMP_MASK + 1)) >>> 0
}
