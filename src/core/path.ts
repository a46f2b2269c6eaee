import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { formatAddress } from './address.js'
import type { Challenges } from './challenges.js'
import { carriesData, type PathState } from './events.js'
import { HealthMonitor } from './health-monitor.js'
import type { Link } from './link.js'
import { Pacer } from './pacer.js'
import { PathMtu } from './path-mtu.js'
import type { Peer } from './peer.js'
import { RateEstimator } from './rate-estimator.js'
import type { Channel } from './session.js'

/** Paths drain their queues one after the other, so that never all of them hold back at once. */
const DRAIN_STAGGER_US = 0.7 * SECOND

/** Loss-free failover is promised up to 500 Mbit/s; packets are kept up to this, and again below half of it. */
const RETAIN_BYTES_PER_SEC_MAX = 75_000_000
/** ACKs overdraw the pacer by so much: that long they would wait in the link at most. */
const ACK_WAIT_US = 3 * MILLISECOND
/** ... and go beyond the in-flight cap by a quarter, which bulk never fills. */
const ACK_CAP_FACTOR = 1.25
const ACK_RETRY_US = 500
/** A loss calls for keeping packets for so long. */
const RETENTION_LOSS_US = 2 * SECOND

/** Link × remote address of one peer: what the scheduler chooses among. */
export class Path {
  readonly health = new HealthMonitor()
  readonly pacer = new Pacer()
  readonly rate: RateEstimator
  readonly mtu: PathMtu
  /** Bulk waited because it was at its in-flight cap, since the rate was last looked at. */
  capped = false
  /** Gets no bulk at present, since the sum is greater without it: see far-paths.ts. */
  leftOut = false
  /** Is so far that it takes only what it brings sooner than the near paths: see schedulers/adaptive.ts. */
  onlySooner = false
  /** What was last told of it. */
  leftOutTold = false
  /** Trains sent so far, see train.ts. */
  trains = 0
  /** Bytes scheduled on it in this wake-up and not sealed yet. */
  unsealedBytes = 0
  state: PathState = 'probing'
  /** Why it is in this state, for people. */
  reason = 'not yet answered'
  since: Instant
  /** Its part in the session used for sending; undefined until one has been joined. */
  channel: Channel | undefined
  /** The remote address in use: believed, since a challenge to it was answered (or about to be, while probing). */
  remote: Uint32Array
  /** A source address seen on an authenticated packet and not yet proved. */
  candidate: { link: Link; remote: Uint32Array; challenges: Challenges } | undefined
  /** When its address last changed. */
  movedAt: Instant = Number.NEGATIVE_INFINITY
  lastSentAt: Instant = Number.NEGATIVE_INFINITY
  lastHeardAt: Instant = Number.NEGATIVE_INFINITY
  /** When feedback last left on it, and up to when its share of the path is used up by it; see feedback.ts. */
  feedbackAt: Instant = Number.NEGATIVE_INFINITY
  feedbackPaidUntil: Instant = Number.NEGATIVE_INFINITY

  bytesOut = 0
  bytesIn = 0
  packetsOut = 0
  packetsIn = 0
  /** Bytes per second sent lately, smoothed; see {@link measure}. */
  rateOutBytesPerSec = 0
  /**
   * Whether what is sent on it is kept until it has arrived. Beyond some 600 Mbit/s, where nothing was lost lately, it is
   * not: thousands of slots would wait out of the cache, which costs a tenth of the speed.
   */
  retains = true
  private measuredBytes = 0
  private measuredAt: Instant
  /** Scheduler's own: virtual time of weighted round-robin, in bytes per weight. */
  virtualBytes = 0

  constructor(
    readonly peer: Peer,
    /** Place in peer.paths; kept while the path lives. */
    readonly id: number,
    public link: Link,
    remote: Uint32Array,
    /** From the configuration, never forgotten; otherwise learnt from the other end. */
    readonly configured: boolean,
    now: Instant,
  ) {
    this.remote = remote
    this.since = now
    this.measuredAt = now
    this.rate = new RateEstimator(id * DRAIN_STAGGER_US)
    this.mtu = new PathMtu(peer.device.mtuWanted)
  }

  /** Sends on `channel` from now on. */
  useChannel(channel: Channel | undefined): void {
    this.channel = channel
    this.rate.startWindow()
  }

  /** Bytes whose arrival the other end has not reported. */
  get inFlightBytes(): number {
    return this.unsealedBytes + (this.channel?.sent.bytesOutstanding ?? 0)
  }

  /** Predicted time from now to the arrival of a packet of `bytes` given to it now, on a scale common to all paths. */
  arrivalUs(bytes: number, now: Instant): number {
    const waitUs = this.pacer.waitUs(now)
    return waitUs + (bytes * SECOND) / this.rate.rateBytesPerSec + this.rate.owdUs(now + waitUs)
  }

  /**
   * When a pure ACK may go: not while the path has more to carry than would wait in it anyway. Bulk under way is no
   * hindrance, being held to the in-flight cap itself.
   */
  ackAt(now: Instant): Instant {
    if (this.inFlightBytes > ACK_CAP_FACTOR * this.rate.inFlightBytesMax) {
      this.capped = true
      return now + ACK_RETRY_US
    }
    if (this.pacer.nextAt <= now + ACK_WAIT_US) return now
    this.capped = true
    return Math.max(this.pacer.nextAt - ACK_WAIT_US, now + ACK_RETRY_US)
  }

  /** Called a few times a second. */
  measure(now: Instant): void {
    if (now <= this.measuredAt) return
    const rate = ((this.bytesOut - this.measuredBytes) / (now - this.measuredAt)) * SECOND
    this.rateOutBytesPerSec += (rate - this.rateOutBytesPerSec) * 0.4
    this.measuredBytes = this.bytesOut
    this.measuredAt = now
    const clean = now - this.health.lostAt > RETENTION_LOSS_US
    const limit = this.retains ? RETAIN_BYTES_PER_SEC_MAX : RETAIN_BYTES_PER_SEC_MAX / 2
    this.retains = this.rateOutBytesPerSec < limit || !clean
  }

  get name(): string {
    return this.peer.pathsOnLink(this.link) > 1
      ? `${this.link.name} ${formatAddress(this.remote)}`
      : this.link.name
  }

  get weight(): number {
    return this.link.weight
  }

  /** Whether the scheduler may put data on it. */
  get usable(): boolean {
    return this.channel !== undefined && carriesData(this.state)
  }
}

/** Of the nearest of them, as far as they have been measured: each {@link RateEstimator.baseUs} is on one scale. */
export function leastBaseUs(paths: readonly Path[]): DurationUs {
  let leastUs = Number.POSITIVE_INFINITY
  for (const { rate } of paths) leastUs = Math.min(leastUs, rate.baseUs)
  return leastUs
}
