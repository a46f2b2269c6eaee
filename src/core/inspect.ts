import { type Instant, SECOND } from '../base/time.js'
import { CIPHER_NAMES, PacketFlag } from '../wire/message.js'
import { formatAddress } from './address.js'
import type { Device } from './device.js'
import { carriesData } from './events.js'
import type { Path } from './path.js'
import type { Peer } from './peer.js'
import type { PathSnapshot, PeerSnapshot, PeerState, RateLimiter } from './snapshot.js'

/** What `plait status` shows of every peer; names, keys and networks are filled in by whoever has them as text. */
export type PeerFigures = Omit<PeerSnapshot, 'publicKey' | 'allowedIps'>

/** Made at request, never on the packet path. */
export function inspectPeers(device: Device, now: Instant): PeerFigures[] {
  return device.peers.map((peer) => inspectPeer(peer, now))
}

function inspectPeer(peer: Peer, now: Instant): PeerFigures {
  const { current, resequencer, egress } = peer
  return {
    name: peer.name,
    state: stateOf(peer),
    session: current && {
      ageS: (now - current.createdAt) / SECOND,
      cipher: CIPHER_NAMES[current.cipher],
      rekeys: peer.rekeys,
    },
    bytesOut: peer.bytesOut,
    bytesIn: peer.bytesIn,
    packetsOut: peer.packetsOut,
    packetsIn: peer.packetsIn,
    resequencer: {
      held: resequencer.heldCount,
      holesReleased: resequencer.holesReleased,
      late: resequencer.lateDelivered,
      duplicates: resequencer.duplicates,
      acksThinned: peer.spacedAcks.thinned,
    },
    queue: {
      bytes: egress.bytes,
      packets: egress.packets,
      acksThinned: egress.acksThinned,
      headerBytesSaved: peer.contextsOut.savedBytes,
      evened: countEvened(peer.scheduler.flowFlags),
      lumped: peer.scheduler.ackTiming?.lumped ?? 0,
    },
    paths: peer.paths.map((path) => inspectPath(path, peer, now)),
  }
}

function countEvened(flowFlags: Uint8Array): number {
  let count = 0
  for (const flags of flowFlags) if ((flags & PacketFlag.Even) !== 0) count++
  return count
}

function stateOf(peer: Peer): PeerState {
  if (peer.current === undefined) return peer.handshake.inProgress ? 'handshake' : 'idle'
  return peer.paths.some((path) => path.usable) ? 'up' : 'down'
}

function inspectPath(path: Path, peer: Peer, now: Instant): PathSnapshot {
  const { health } = path
  const total = peer.paths.reduce((sum, each) => sum + each.rateOutBytesPerSec, 0)
  const fastest = Math.min(
    ...peer.paths.filter((each) => carriesData(each.state)).map((each) => each.health.owdUs),
  )
  const owdDifferenceUs = health.owdUs - fastest
  return {
    id: path.id,
    link: path.link.name,
    remote: formatAddress(path.remote),
    state: path.state,
    reason: path.reason,
    sinceS: (now - path.since) / SECOND,
    rttMs: known(health.rtt.smoothedUs / 1000),
    owdDifferenceMs: known(owdDifferenceUs / 1000),
    lossOut: health.lossOut,
    lossIn: health.lossIn,
    mtu: path.mtu.carries || undefined,
    bytesOut: path.bytesOut,
    bytesIn: path.bytesIn,
    packetsOut: path.packetsOut,
    packetsIn: path.packetsIn,
    weight: path.weight,
    rate: {
      bytesPerSec: path.rate.rateBytesPerSec,
      gain: path.rate.gain,
      queueMs: path.rate.queueUs / 1000,
      targetMs: path.rate.targetUs / 1000,
      inFlightBytes: path.inFlightBytes,
      inFlightBytesMax: path.rate.inFlightBytesMax,
      limiter: limiterOf(path),
      rebases: path.rate.rebases,
    },
    share: total > 0 ? path.rateOutBytesPerSec / total : 0,
  }
}

function limiterOf({ leftOut, onlySooner, rate }: Path): RateLimiter {
  if (leftOut) return 'left out'
  return onlySooner && rate.limiter === 'application' ? 'distance' : rate.limiter
}

function known(value: number): number | undefined {
  return Number.isFinite(value) ? value : undefined
}
