/**
 * Control packets: what the ends tell each other. Feedback is cumulative and idempotent: any frame replaces all older
 * ones, so none is ever repeated.
 */
import type { Instant } from '../base/time.js'
import {
  Feedback,
  FeedbackPath,
  FRAME_HEADER_BYTES,
  FrameKind,
  MISSING_RANGE_BYTES,
  STAMP_MASK,
  unwrapStamp,
} from '../wire/message.js'
import { FEEDBACK_SHARE, FEEDBACK_US, FEEDBACK_US_MAX } from './constants.js'
import type { Device } from './device.js'
import { Drop } from './drop-reasons.js'
import { carriesData } from './events.js'
import type { Link } from './link.js'
import { handleChallenge, handleChallengeAnswer, judge, revive } from './path-keeper.js'
import { reconstructCounter } from './replay-window.js'
import type { Channel, Session } from './session.js'

/** What one frame about two paths costs on the wire, IP and UDP included: the unit of the feedback budget. */
const FEEDBACK_COST_BYTES = 130

/** Reads the frames of one control packet, whose place is `at` in `plain`, `bytes` long. */
export function handleControl(
  device: Device,
  channel: Channel,
  plain: Uint8Array,
  at: number,
  bytes: number,
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
        handleChallenge(channel, link, addresses.slice(addressAt, addressAt + 10), body, now)
        break
      case FrameKind.PathResponse:
        handleChallengeAnswer(channel, link, addresses, addressAt, body, now)
        break
      case FrameKind.Feedback:
        handleFeedback(device, channel, body, now)
        break
      case FrameKind.Handshake:
        device.handleSealedHandshake(channel, body.slice(), now)
        break
      case FrameKind.Close:
        device.endSession(session, 'the other end closed it')
        return
      case FrameKind.PathClose:
        break
      default: // a later version's frame: skipped
    }
  }
}

/** When the session's next feedback frame is due, by what was received since the last one. */
export function feedbackDue(session: Session): Instant {
  const earliest = Math.max(session.feedbackAt + FEEDBACK_US, session.unreportedSince)
  if (session.unreportedBytes * FEEDBACK_SHARE >= FEEDBACK_COST_BYTES) return earliest
  return Math.max(earliest, session.unreportedSince + FEEDBACK_US_MAX)
}

/** Sends a feedback frame about every path of `session` on `via`. */
export function sendFeedback(device: Device, session: Session, via: Channel, now: Instant): void {
  const { peer } = session
  const writer = device.control.begin()
  const { view } = writer
  let paths = 0
  for (const channel of session.channels) if (channel && channel.newest >= 0) paths++
  // A frame's body has at most 255 bytes; with more paths the freshest go first.
  const limit = Math.floor((255 - Feedback.bytes) / FeedbackPath.bytes)
  let skip = Math.max(0, paths - limit)
  paths = Math.min(paths, limit)
  if (paths === 0) return
  let at = writer.reserve(FrameKind.Feedback, Feedback.bytes + paths * FeedbackPath.bytes)
  const generatedAt = peer.clock.relative(now)
  view.setUint16(at + Feedback.number, session.feedbackNumber++ & 0xffff, true)
  view.setUint32(at + Feedback.generatedAt, stamp(generatedAt), true)
  view.setUint8(at + Feedback.paths, paths)
  at += Feedback.bytes
  for (const channel of session.channels) {
    if (!channel || channel.newest < 0) continue
    if (skip > 0 && !channel.fresh) {
      skip--
      continue
    }
    if (paths-- === 0) break
    const owdMin = Math.min(channel.owdMin, channel.owdMinBefore)
    view.setUint8(at + FeedbackPath.id, channel.id)
    view.setUint32(at + FeedbackPath.newest, channel.newest % 4_294_967_296, true)
    view.setUint32(at + FeedbackPath.newestAt, stamp(peer.clock.relative(channel.newestAt)), true)
    view.setUint32(at + FeedbackPath.packets, channel.packets % 4_294_967_296, true)
    view.setUint32(at + FeedbackPath.receivedBytes, channel.bytes % 4_294_967_296, true)
    view.setInt32(at + FeedbackPath.owdMin, Number.isFinite(owdMin) ? owdMin : 0, true)
    view.setUint16(at + FeedbackPath.completeFrom, 0, true)
    view.setUint16(at + FeedbackPath.ranges, 0, true)
    at += FeedbackPath.bytes
    channel.fresh = false
    channel.owdMinBefore = channel.owdMin
    channel.owdMin = Number.POSITIVE_INFINITY
  }
  session.feedbackAt = now
  session.unreportedBytes = 0
  session.unreportedSince = Number.POSITIVE_INFINITY
  writer.sendOn(via, false, now)
}

/** Feedback goes by turns over the paths that carry data, so that a dead return path costs one frame in two at most. */
export function feedbackPath(session: Session): Channel | undefined {
  const { paths } = session.peer
  for (let i = 1; i <= paths.length; i++) {
    const path = paths[(session.peer.feedbackTurn + i) % paths.length]!
    if (path.channel?.session === session && carriesData(path.state)) {
      session.peer.feedbackTurn = (session.peer.feedbackTurn + i) % paths.length
      return path.channel
    }
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
    if (channel) handlePathFeedback(channel, via, view, at, generatedAt, now)
    at += FeedbackPath.bytes + view.getUint8(at + FeedbackPath.ranges) * MISSING_RANGE_BYTES
  }
  peer.feedbackAt = now
}

function handlePathFeedback(
  channel: Channel,
  via: Channel,
  view: DataView,
  at: number,
  generatedAt: Instant,
  now: Instant,
): void {
  const newest = reconstructCounter(view.getUint32(at + FeedbackPath.newest, true), channel.reportedNewest)
  const newestAt = unwrapStamp(view.getUint32(at + FeedbackPath.newestAt, true) & STAMP_MASK, now)
  const packets = view.getUint32(at + FeedbackPath.packets, true)
  const { path } = channel
  const { health } = path
  // Counters we never used, or a frame overtaken by a newer one: nothing to learn.
  if (newest >= channel.sendCounter) return
  if (newest > channel.reportedNewest) {
    const sent = newest - channel.reportedNewest
    const received = (packets - channel.reportedPackets) | 0
    health.onSent(sent, sent - received, now)
    if (channel.remembers(newest)) {
      if (via === channel || health.rtt.samples === 0) {
        const rttUs = now - channel.sentTime(newest) - (generatedAt - newestAt)
        health.rtt.update(rttUs, now)
      }
      health.onOwd(view.getInt32(at + FeedbackPath.owdMin, true))
    }
    channel.reportedPackets = packets
    channel.reported(newest)
    health.progressAt = now
    if (path.state === 'suspect' && path.channel === channel && newest >= health.suspectCounter)
      revive(path, now)
  }
  if (path.channel === channel) judge(path, generatedAt, newestAt, now)
}

function stamp(instant: Instant): number {
  return (((Math.floor(instant) % (STAMP_MASK + 1)) + STAMP_MASK + 1) % (STAMP_MASK + 1)) >>> 0
}
