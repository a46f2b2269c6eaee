import { type Instant, SECOND } from '../base/time.js'

/** Ours (WireGuard's figures): handshake messages of one source address while under load. */
export const SOURCE_HANDSHAKES_PER_SECOND = 20
export const SOURCE_BURST = 5
/** Ours: sources remembered. They have proved their address by a cookie; a full table refuses newcomers till the sweep. */
export const SOURCES_MAX = 4096
const SWEEP_INTERVAL_US = SECOND
const COST_US = SECOND / SOURCE_HANDSHAKES_PER_SECOND
const SAVED_US_MAX = SOURCE_BURST * COST_US

interface Bucket {
  /** Time saved up, spent at {@link COST_US} a message. */
  savedUs: number
  at: Instant
}

/** A token bucket for each source: an IPv4 address, or the /64 of an IPv6 address. */
export class SourceLimiter {
  private readonly buckets = new Map<string, Bucket>()
  private sweepAt: Instant = Number.NEGATIVE_INFINITY

  /** `source`: the first five words of an address record (base/datagram-batch.ts). The port does not matter. */
  allow(source: Uint32Array, now: Instant): boolean {
    if (now >= this.sweepAt) this.sweep(now)
    const key = (source[0]! & 0xffff) === 6 ? `${source[1]} ${source[2]}` : `${source[1]}`
    const bucket = this.buckets.get(key)
    if (bucket === undefined) {
      if (this.buckets.size >= SOURCES_MAX) return false
      this.buckets.set(key, { savedUs: SAVED_US_MAX - COST_US, at: now })
      return true
    }
    bucket.savedUs = Math.min(SAVED_US_MAX, bucket.savedUs + now - bucket.at)
    bucket.at = now
    if (bucket.savedUs < COST_US) return false
    bucket.savedUs -= COST_US
    return true
  }

  get size(): number {
    return this.buckets.size
  }

  /** Forgets the sources that have a full bucket again: they are as good as unknown. */
  private sweep(now: Instant): void {
    for (const [key, bucket] of this.buckets) {
      if (bucket.savedUs + now - bucket.at >= SAVED_US_MAX) this.buckets.delete(key)
    }
    this.sweepAt = now + SWEEP_INTERVAL_US
  }
}
