import type { PathState } from './events.js'

/**
 * What one end shows of itself: plain data, made at request, free of references into the core. It crosses the control
 * socket as JSON, so there are no typed arrays, no undefined within lists, and no numbers beyond 2^53.
 * Directions: `out` = from this end, `in` = to this end. `lossOut` and `lossIn` are shares, 0..1.
 */
export interface Snapshot {
  readonly device: DeviceSnapshot
  readonly peers: readonly PeerSnapshot[]
  /** The newest last. */
  readonly events: readonly EventSnapshot[]
}

export interface DeviceSnapshot {
  readonly name: string
  /** Seconds since the start. */
  readonly uptimeS: number
  readonly scheduler: string
  readonly mtu: number
  /** Packets dropped, by the names of core/drop-reasons.ts; only those that occurred. */
  readonly drops: Readonly<Record<string, number>>
  /** What the kernel refused of the offloads, one sentence each. */
  readonly offload: readonly string[]
}

export interface PeerSnapshot {
  readonly name: string
  /** Base64. */
  readonly publicKey: string
  readonly state: PeerState
  /** Undefined until the first handshake is done. */
  readonly session?: SessionSnapshot | undefined
  /** Networks as `address/bits`. */
  readonly allowedIps: readonly string[]
  /** Inner packets and their bytes. */
  readonly bytesOut: number
  readonly bytesIn: number
  readonly packetsOut: number
  readonly packetsIn: number
  readonly resequencer: ResequencerSnapshot
  readonly queue: QueueSnapshot
  readonly paths: readonly PathSnapshot[]
}

/** `idle`: no session and none asked for; `handshake`: asking; `up`: a session and a path; `down`: no path is alive. */
export type PeerState = 'idle' | 'handshake' | 'up' | 'down'

export interface SessionSnapshot {
  readonly ageS: number
  readonly cipher: string
  /** Rekeys since the start. */
  readonly rekeys: number
}

export interface ResequencerSnapshot {
  /** Packets waiting for an earlier one, now. */
  readonly held: number
  /** Holes given up. */
  readonly holesReleased: number
  /** Packets that came after their hole was given up. */
  readonly late: number
  readonly duplicates: number
  /** Acknowledgements inside that gave way to newer ones, as they were to come further apart (ack-spacing.ts). */
  readonly acksThinned: number
}

export interface QueueSnapshot {
  /** What waits now. */
  readonly bytes: number
  readonly packets: number
  /** Acknowledgements inside that gave way to newer ones while they waited for a thin link. */
  readonly acksThinned: number
  /** Bytes of headers that were left out, as the other end knew them. */
  readonly headerBytesSaved: number
  /** Long transfers that have the delay of the slowest path at present (long-transfers.ts). */
  readonly evened: number
  /** Transfers whose acknowledgements come in lumps at present (ack-lumps.ts). */
  readonly lumped: number
}

export interface PathSnapshot {
  readonly id: number
  readonly link: string
  /** Address and port of the other end. */
  readonly remote: string
  readonly state: PathState
  /** Why it is in this state. */
  readonly reason: string
  /** Seconds in this state. */
  readonly sinceS: number
  /** Undefined until measured. */
  readonly rttMs?: number | undefined
  /** One-way delay outwards above that of the fastest path. Undefined until measured. */
  readonly owdDifferenceMs?: number | undefined
  readonly lossOut?: number | undefined
  readonly lossIn?: number | undefined
  /** The largest inner packet that it carries whole, as far as the tunnel wants to know. Undefined until found out. */
  readonly mtu?: number | undefined
  /** Bytes and datagrams on the wire, without IP and UDP headers. */
  readonly bytesOut: number
  readonly bytesIn: number
  readonly packetsOut: number
  readonly packetsIn: number
  readonly weight: number
  /** What the path is held to carry, bytes per second with IP and UDP headers; how it is steered, and what limits it. */
  readonly rate: RateSnapshot
  /** Share of the outgoing bytes that this path carries at present, 0..1. */
  readonly share: number
}

export interface RateSnapshot {
  readonly bytesPerSec: number
  /** Factor on it that steers the queue in the link to its target. */
  readonly gain: number
  readonly queueMs: number
  readonly targetMs: number
  readonly inFlightBytes: number
  readonly inFlightBytesMax: number
  readonly limiter: RateLimiter
  readonly rebases: number
}

/**
 * What keeps a path's rate from being higher: it is still rising; the link; the bytes that may be under way; the traffic,
 * which asks for no more, or not of a path that is as far as this one; loss beyond what is usual; a pause that empties the
 * queue; the sum, which is greater without.
 */
export type RateLimiter =
  | 'starting'
  | 'link'
  | 'in flight'
  | 'application'
  | 'distance'
  | 'loss'
  | 'draining'
  | 'left out'

export interface EventSnapshot {
  /** Seconds since the start. */
  readonly atS: number
  readonly peer?: string | undefined
  /** Link and remote address of the path. */
  readonly path?: string | undefined
  readonly kind: string
  readonly text: string
}
