/**
 * What the other end tells: the frames of control packets and trailers, and above all its feedback on what it received.
 */
import type { Instant } from '../base/time.js'
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
import type { Device } from './device.js'
import { Drop } from './drop-reasons.js'
import { handleHeaderContext, handleHeaderContextAnswer } from './header-contexts.js'
import type { Link } from './link.js'
import { handleChallenge, handleChallengeAnswer, judge, revive } from './path-keeper.js'
import { type MissingRanges, settleReported } from './repair.js'
import { reconstructCounter } from './replay-window.js'
import { type Channel, OUTER_BYTES } from './session.js'
import { handleTrainReport } from './train.js'

/** Reads the frames of one control packet, or of a trailer: `bytes` at `at` of `plain`. */
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
  let challenged = false
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
        // One of a packet: else what comes with a false source would be answered there many times over.
        if (!challenged) handleChallenge(channel, link, copyAddress(addresses, addressAt), body, now)
        challenged = true
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
      case FrameKind.HeaderContext:
        if (!handleHeaderContext(device, channel, body, now)) device.drops.count(Drop.malformedControl)
        break
      case FrameKind.HeaderContextKnown:
      case FrameKind.HeaderContextUnknown:
        handleHeaderContextAnswer(session.peer, kind, body)
        break
      case FrameKind.Handshake:
        device.handleSealedHandshake(channel, body.slice(), now)
        break
      case FrameKind.Close:
        device.endSession(session, 'the other end closed it', now)
        return
      default: // padding, the length of a trailer, or a later version's frame: skipped
    }
  }
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
    // A probe may have been too large for the path, which is no loss.
    const lost = span - received
    const excused = Math.max(0, Math.min(lost, channel.takeProbes(newest)))
    if (channel.reportedNewest >= channel.lossFrom) health.onSent(span - excused, lost - excused, now)
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
      sample.bytesSince = sent.bytesTotal - sample.bytesSent + path.unsealedBytes
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
