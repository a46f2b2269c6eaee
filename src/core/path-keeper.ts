/**
 * Opens, proves and watches the paths of one peer. A path's state is moved in one place, {@link moveTo};
 * everything else here decides when.
 */
import { type DurationUs, type Instant, MILLISECOND, NEVER } from '../base/time.js'
import { CHALLENGE_BYTES, FrameKind } from '../wire/message.js'
import { copyAddress, sameRemote } from './address.js'
import { Challenges } from './challenges.js'
import {
  ACTIVE_US,
  CHALLENGE_RETRY_US,
  FORGET_PATH_US,
  HEARTBEAT_ACTIVE_US,
  HEARTBEAT_RETRY_US,
  PROBE_DOWN_US,
  ROAM_INTERVAL_US,
  SILENCE_HANDSHAKE_US,
  SUSPECT_PROBE_US,
  SUSPECT_US_MAX,
} from './constants.js'
import type { Device } from './device.js'
import { carriesData, type PathState } from './events.js'
import type { Link } from './link.js'
import type { Path } from './path.js'
import { INNER_MTU_MIN } from './path-mtu.js'
import { addPath, findPath, forget, moveAddress } from './path-set.js'
import type { Peer } from './peer.js'
import { reinject } from './repair.js'
import type { Channel, Session } from './session.js'
import { startTrain } from './train.js'
import { carriesAll, sendProbe, tellMtu } from './tunnel-mtu.js'

/** How often paths are looked at while their peer is active / idle. */
const HOUSEKEEP_ACTIVE_US = 5 * MILLISECOND
const HOUSEKEEP_IDLE_US = 50 * MILLISECOND
/** A path that loses much, or what is large, is asked this often whether it still carries that. */
const MTU_VERIFY_US = 4_000 * MILLISECOND

/** The only place where a path's state changes. */
export function moveTo(path: Path, state: PathState, reason: string, now: Instant): void {
  const from = path.state
  if (from === state) return
  const { peer } = path
  path.state = state
  path.reason = reason
  path.since = now
  peer.device.emit({ kind: 'path-state', at: now, peer: peer.name, path: path.name, from, to: state, reason })
  if (state === 'suspect') {
    path.health.suspectedAt = now
    path.health.suspectCounter = path.channel?.sent.next ?? 0
  }
  if (carriesData(state) && !carriesData(from) && from !== 'suspect') {
    path.health.forgetLoss()
    if (path.channel) path.channel.lossFrom = path.channel.sent.next
  }
  peer.pathsChanged()
  if (state === 'suspect') reinject(peer.device, path, now)
  if (carriesData(state) && !carriesData(from) && path.health.suspectedAt !== Number.NEGATIVE_INFINITY)
    path.rate.onReturn(now - path.health.suspectedAt > 300 * MILLISECOND)
  if (state === 'down') {
    path.mtu.abandon(now)
    tellMtu(peer.device, now)
  }
  peer.housekeepAt = Math.min(peer.housekeepAt, now)
}

/** What the TUN gives has changed, or what it would: see {@link Device.handleMtu}. */
export function followMtu(device: Device, now: Instant): void {
  for (const peer of device.peers) {
    for (const path of peer.paths) {
      path.mtu.want(device.mtuWanted)
      // It waited for that: its answer brings it up.
      if (path.state === 'probing' && path.channel && carriesAll(path)) sendChallenge(path.channel, now)
    }
    if (peer.paths.length > 0) peer.housekeepAt = Math.min(peer.housekeepAt, now)
  }
  tellMtu(device, now)
}

/** The initiator of a new session opens a channel for every path there is, and proves each. */
export function openChannels(session: Session, now: Instant): void {
  for (const path of session.peer.paths) {
    const channel = session.openChannel(path)
    if (channel) sendChallenge(channel, now)
  }
}

/**
 * The other end opened channel `id`: for a path we know by its address, else for a new one. The address is believed
 * at once only where a challenge to it was answered before.
 */
export function acceptChannel(
  session: Session,
  id: number,
  link: Link,
  addresses: Uint32Array,
  at: number,
  now: Instant,
): Channel {
  const { peer } = session
  let path = findPath(peer, link, addresses, at)
  path ??= addPath(peer, link, copyAddress(addresses, at), false, now)
  const channel = session.acceptChannel(id, path)
  if (path.usable) join(channel, now)
  sendChallenge(channel, now)
  return channel
}

export function sendChallenge(channel: Channel, now: Instant): void {
  const { device } = channel.path.peer
  const challenge = channel.challenges.make(device.random, now)
  device.control.begin().frame(FrameKind.PathChallenge, challenge).sendOn(channel, false, now)
  channel.path.mtu.onSmallSent(channel.path.health.rtt.smoothedUs || 0, now)
  sendProbe(channel, now)
  // While no path is well nothing else asks, and a far end that lost our session answers no challenge either.
  const { peer } = channel.path
  if (!peer.paths.some((path) => path.usable)) peer.asked(now)
}

/** A challenge is answered to where it came from, believed or not: that is what it asks. */
export function handleChallenge(
  channel: Channel,
  link: Link,
  remote: Uint32Array,
  body: Uint8Array,
  now: Instant,
): void {
  if (body.length !== CHALLENGE_BYTES) return
  const { device } = channel.path.peer
  device.control.begin().frame(FrameKind.PathResponse, body).send(channel, link, remote, false, now)
}

export function handleChallengeAnswer(
  channel: Channel,
  link: Link,
  addresses: Uint32Array,
  at: number,
  body: Uint8Array,
  now: Instant,
): void {
  const { path } = channel
  const { candidate, mtu } = path
  if (mtu.onAnswer(body, now)) {
    tellMtu(path.peer.device, now)
    if (path.channel === channel) comeUp(path, channel, now)
    return
  }
  const sentAt = channel.challenges.sentAtOf(body)
  if (
    candidate &&
    candidate.link === link &&
    sameRemote(candidate.remote, 0, addresses, at) &&
    !Number.isNaN(candidate.challenges.sentAtOf(body))
  ) {
    moveAddress(path, candidate.link, candidate.remote, now)
    mtu.moved(lossOf(path), now)
    join(channel, now)
  } else if (!Number.isNaN(sentAt) && path.link === link && sameRemote(path.remote, 0, addresses, at)) {
    if (path.state === 'probing' || path.state === 'down') {
      path.health.rtt.update(now - sentAt, now)
    }
    mtu.onSmallAnswer(sentAt, now)
    join(channel, now)
  } else {
    return
  }
  comeUp(path, channel, now)
}

/** `path` has answered: it is used from now on, if it carries what the TUN gives. */
function comeUp(path: Path, channel: Channel, now: Instant): void {
  if (carriesData(path.state)) return
  const { mtu } = path
  path.health.progressAt = now
  if (carriesAll(path)) {
    // Before it was away it carried that; it may lead another way now.
    if (path.state === 'down') mtu.verify(lossOf(path), now)
    moveTo(path, 'up', path.state === 'probing' ? 'answered' : 'answers again', now)
    startTrain(path.peer.device, channel, now)
  } else if (path.state === 'probing') {
    path.reason = 'answers, and is asked what it carries whole'
    if (now >= mtu.dueAt) findMtu(path, now)
  } else if (!mtu.tooNarrow || now >= mtu.dueAt) {
    moveTo(path, 'probing', 'answers, and is asked what it carries whole', now)
  }
}

/** Share of packets, or of the answers to them, that is lost on `path`. */
function lossOf({ health }: Path): number {
  return 1 - (1 - health.lossOut) * (1 - health.lossIn)
}

/** `channel` may be used: it becomes the path's way to send if its session is to be preferred. */
function join(channel: Channel, now: Instant): void {
  channel.joined = true
  const { path } = channel
  const before = path.channel
  if (before === channel) return
  if (
    before === undefined ||
    before.session.destroyed ||
    path.peer.prefers(channel.session, before.session)
  ) {
    path.useChannel(channel)
    path.health.progressAt = now
    if (path.usable) path.peer.pathsChanged()
  }
}

/** An authenticated packet, the newest of its channel, came from elsewhere: ask there, and move when it answers. */
export function roam(channel: Channel, link: Link, addresses: Uint32Array, at: number, now: Instant): void {
  const { path } = channel
  const { candidate } = path
  if (now - path.movedAt < ROAM_INTERVAL_US) return
  if (candidate && now - candidate.challenges.lastSentAt < CHALLENGE_RETRY_US) return
  const known = candidate && candidate.link === link && sameRemote(candidate.remote, 0, addresses, at)
  const asked = known ? candidate : { link, remote: copyAddress(addresses, at), challenges: new Challenges() }
  path.candidate = asked
  const { device } = path.peer
  const challenge = asked.challenges.make(device.random, now)
  device.control
    .begin()
    .frame(FrameKind.PathChallenge, challenge)
    .send(channel, link, asked.remote, false, now)
}

/** Looks at every path; called at peer.housekeepAt, which it sets anew. */
export function housekeep(peer: Peer, now: Instant): void {
  const active = now - peer.activeAt < ACTIVE_US
  let soonest = NEVER
  for (let i = peer.paths.length - 1; i >= 0; i--) {
    const path = peer.paths[i]!
    settleChannel(path)
    if (forgettable(path, now)) {
      forget(path, now)
      continue
    }
    if (path.channel === undefined) {
      proveAgain(path, now)
    } else if (path.state === 'down') {
      if (now - path.channel.challenges.lastSentAt >= PROBE_DOWN_US) sendChallenge(path.channel, now)
    } else if (path.state === 'suspect') {
      watchSuspect(path, now)
    } else if (carriesData(path.state)) {
      if (now >= path.mtu.dueAt && (active || path.mtu.isOpen)) findMtu(path, now)
      watch(path, active, now)
    } else {
      watchProbing(path, now)
    }
    joinNewer(path, now)
  }
  if (active && peer.scheduler.watch(peer.flows, now)) peer.egress.recountBrief()
  if (peer.sessions.length > 0 || peer.paths.length > 0) {
    const isBusy = ({ state, channel, mtu }: Path): boolean =>
      state === 'suspect' || (state !== 'down' && channel !== undefined && (channel.waiting || mtu.isOpen))
    const busy = active || peer.paths.some(isBusy)
    soonest = now + (busy ? HOUSEKEEP_ACTIVE_US : HOUSEKEEP_IDLE_US)
  }
  peer.housekeepAt = soonest
}

/** The session of the path's channel may have ended: fall back on another one it has joined. */
function settleChannel(path: Path): void {
  const former = path.channel
  if (former && !former.session.destroyed) return
  let other: Channel | undefined
  for (const session of path.peer.sessions) {
    for (const channel of session.channels) {
      if (channel && channel.path === path && channel.joined) other ??= channel
    }
  }
  if (other === former) return
  path.useChannel(other)
  if (carriesData(path.state)) path.peer.pathsChanged()
}

function forgettable(path: Path, now: Instant): boolean {
  if (path.configured) return false
  const known = path.peer.sessions.some((session) =>
    session.channels.some((channel) => channel?.path === path),
  )
  if (!known) return true
  return path.state === 'down' && now - Math.max(path.since, path.lastHeardAt) > FORGET_PATH_US
}

/** It has answered once; before it is used it has to show what it carries whole. */
function watchProbing(path: Path, now: Instant): void {
  const channel = path.channel!
  if (now >= path.mtu.dueAt) findMtu(path, now)
  if (path.state !== 'probing') return
  if (now - Math.max(path.since, path.health.progressAt) > proofUsMax(path.peer)) {
    moveTo(path, 'down', 'no further answer', now)
  } else if (now - channel.challenges.lastSentAt >= challengeRetryUs(path)) {
    sendChallenge(channel, now)
  }
}

/** So that an answer comes while its challenge is one of the last eight. */
function challengeRetryUs({ health }: Path): DurationUs {
  return Math.max(CHALLENGE_RETRY_US, (health.rtt.smoothedUs || 0) / 3)
}

/** It is time to judge what came of the probes on `path`, or for others. */
function findMtu(path: Path, now: Instant): void {
  const { mtu, peer } = path
  mtu.review(now)
  if (mtu.tooNarrow && !peer.paths.some((other) => other !== path && other.usable)) mtu.takeLeast(now)
  tellMtu(peer.device, now)
  if (mtu.tooNarrow && path.state !== 'down') {
    moveTo(path, 'down', `answers, but carries no packets of ${INNER_MTU_MIN} bytes whole`, now)
  } else if (now >= mtu.dueAt || (path.state === 'probing' && carriesAll(path))) {
    // Challenges ask for no report, and a path that dies now must be found out all the same.
    if (carriesData(path.state)) sendHeartbeat(path.channel!, now)
    if (!sendProbe(path.channel!, now)) sendChallenge(path.channel!, now)
  }
}

/** Challenges that went unanswered on channels of a session, where the path has no channel at all yet. */
function proveAgain(path: Path, now: Instant): void {
  const session = path.peer.current
  if (!session) return
  let channel = session.channels.find((each) => each?.path === path)
  channel ??= session.openChannel(path)
  if (!channel) return
  const every = path.state === 'down' ? PROBE_DOWN_US : CHALLENGE_RETRY_US
  const { firstSentAt } = channel.challenges
  if (path.state === 'probing' && now - firstSentAt > proofUsMax(path.peer)) {
    moveTo(path, 'down', 'no answer since it was opened', now)
  } else if (
    path.state !== 'down' &&
    now - path.health.progressAt > SUSPECT_US_MAX &&
    path.state !== 'probing'
  ) {
    moveTo(path, 'down', 'no answer since its session ended', now)
  }
  if (now - channel.challenges.lastSentAt >= every) sendChallenge(channel, now)
}

/** How long a new path may take to answer: what is slow at one path may be slow at another. */
function proofUsMax(peer: Peer): DurationUs {
  let slowestUs = 0
  for (const { health } of peer.paths) slowestUs = Math.max(slowestUs, health.rtt.smoothedUs || 0)
  return Math.max(SUSPECT_US_MAX, 3 * slowestUs)
}

/** A newer session is there but its challenge on this path was lost: ask again. */
function joinNewer(path: Path, now: Instant): void {
  const { current } = path.peer
  if (!current || !path.channel || path.channel.session === current) return
  if (!path.peer.prefers(current, path.channel.session)) return
  let channel = current.channels.find((each) => each?.path === path)
  if (!channel && current.initiator) channel = current.openChannel(path)
  if (channel && !channel.joined && now - channel.challenges.lastSentAt >= CHALLENGE_RETRY_US)
    sendChallenge(channel, now)
}

/** A path that carries data: heartbeats where nothing else asks, and suspicion. */
function watch(path: Path, active: boolean, now: Instant): void {
  const { peer, health } = path
  const channel = path.channel!
  if (channel.waiting) {
    const silence = now - Math.max(channel.askingSince, health.progressAt)
    if (now >= peer.noVerdictUntil) {
      // The other end must have reported since the packet was due there, and not of it; if it did not, it may be gone
      // itself, and only long silence counts.
      const heardElsewhere = peer.reportedAt > channel.askingSince + health.owdUs + health.marginUs
      if (silence > health.silenceUsMax && heardElsewhere) {
        moveTo(path, 'suspect', `silent for ${ms(silence)} while others answer`, now)
        return
      }
      if (silence > SILENCE_HANDSHAKE_US) {
        moveTo(path, 'suspect', `silent for ${ms(silence)}, as is every path`, now)
        return
      }
    }
    // Ask again, here and on the others: their answers are the evidence.
    const retry = Math.min(HEARTBEAT_RETRY_US, Math.max(15 * MILLISECOND, health.silenceUsMax / 2))
    if (silence > retry && now - peer.probedAt >= retry) {
      peer.probedAt = now
      for (const other of peer.paths) if (other.usable) sendHeartbeat(other.channel!, now)
    }
  } else if (now - path.lastSentAt >= (active ? HEARTBEAT_ACTIVE_US : peer.config.keepaliveUs)) {
    sendHeartbeat(channel, now)
  }
  // What is large may be all that is lost.
  if (active && (health.lossy || health.largeLost) && now - path.mtu.verifiedAt > MTU_VERIFY_US) {
    health.largeLost = false
    path.mtu.verify(lossOf(path), now)
  }
  if (path.state === 'up' && health.lossy) {
    moveTo(path, 'lossy', `${(health.lossOut * 100).toFixed(0)} % of packets lost`, now)
  } else if (path.state === 'up' && health.late) {
    moveTo(path, 'late', `round trip ${ms(health.rtt.smoothedUs)}, was ${ms(health.rtt.minUs)}`, now)
  } else if (path.state === 'lossy' && health.lossyNoMore) {
    moveTo(path, 'up', 'loss is over', now)
  } else if (path.state === 'late' && health.lateNoMore) {
    moveTo(path, 'up', 'round trip is well again', now)
  }
}

function watchSuspect(path: Path, now: Instant): void {
  const channel = path.channel!
  const suspectFor = now - path.since
  if (suspectFor > SUSPECT_US_MAX) {
    moveTo(path, 'down', `no answer for ${ms(now - path.health.progressAt)}`, now)
    sendChallenge(channel, now)
    return
  }
  const every = suspectFor < 5 * SUSPECT_PROBE_US ? SUSPECT_PROBE_US : 5 * SUSPECT_PROBE_US
  if (now - path.lastSentAt >= every) sendHeartbeat(channel, now)
}

/** The other end reported something new on `path` that was sent after it was suspected. */
export function revive(path: Path, now: Instant): void {
  if (now - path.since < 300 * MILLISECOND) path.health.falseAlarm()
  moveTo(path, 'up', `answered after ${ms(now - path.since)}`, now)
}

/** A feedback frame made at `generatedAt` (our terms) says nothing new of `path`, though it should. */
export function judge(path: Path, generatedAt: Instant, newestReceivedAt: Instant, now: Instant): void {
  const { health, channel, peer } = path
  if (
    !channel?.waiting ||
    !carriesData(path.state) ||
    now < peer.noVerdictUntil ||
    Number.isNaN(health.owdUs)
  )
    return
  const margin = health.marginUs + 4 * health.owdDeviationUs
  const overdue = generatedAt - (channel.askingSince + health.owdUs)
  const quiet = generatedAt - newestReceivedAt
  if (overdue > margin && quiet > margin && generatedAt > channel.askingSince) {
    moveTo(path, 'suspect', `a packet is overdue by ${ms(overdue)} while others answer`, now)
  }
}

function sendHeartbeat(channel: Channel, now: Instant): void {
  channel.path.peer.device.control.begin().frame(FrameKind.Heartbeat).sendOn(channel, true, now)
}

function ms(us: number): string {
  return `${Math.round(us / MILLISECOND)} ms`
}
