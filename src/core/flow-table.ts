import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { DSCP_EF, type PacketView, Protocol } from '../wire/ip.js'
import { BUCKET_UNORDERED, BUCKETS, SEQUENCE_MASK } from '../wire/message.js'

/** What a packet may expect of the tunnel, best first. */
export const PacketClass = {
  /** First in line, not held back for order. */
  RealTime: 0,
  /** TCP acknowledgements without data: next in line, not held back for order. */
  PureAck: 1,
  /** Fair queueing per flow; in order per flow. */
  Bulk: 2,
} as const

export const FLOWS_MAX_DEFAULT = 4096
/** A flow that was silent for longer loses its bucket to a new one, and a bulk UDP flow is sparse again. */
export const FLOW_IDLE_US: DurationUs = 30 * SECOND
/** UDP above this rate is bulk (QUIC, a VPN inside): it is kept in order from then on. 1 Mbit/s. */
export const SPARSE_BYTES_PER_SEC_MAX = 125_000
/** The limit is lowered so far at most: what a call needs, 100 kbit/s. */
export const SPARSE_BYTES_PER_SEC_MIN = 12_500
/**
 * It is lowered while all real-time packets together take more than this share of what the paths can carry. They wait for
 * no pacer: eighty flows of a swarm, each of them small, filled the buffers of both links.
 */
const REAL_TIME_SHARE_MAX = 0.85
/** Grown back by so much at each review, a few times a second. */
const SPARSE_GROWTH = 1.05

/** The rate of a UDP flow is a sum that fades by a tenth each 100 ms: the bytes of about the last second. */
const METER_STEP_US = 100 * MILLISECOND
const METER_STEPS_MAX = 64
const METER_FADE = Float64Array.from({ length: METER_STEPS_MAX + 1 }, (_, steps) => 0.9 ** steps)

/** Key of a flow: protocol and address words, ports, source, destination. */
const KEY_WORDS = 10
const NONE = -1
const PORT_DNS = 53
/** A new flow takes at most this many idle ones out of the table, so that a storm of new flows stays cheap. */
const EXPIRE_BATCH = 4

/**
 * The outbound flows of one peer: which order bucket and which class a packet has. A flow is an inner 5-tuple;
 * fragments and protocols without ports are flows by their addresses and protocol.
 *
 * Ordered flows get a bucket of their own while there are free ones (1..1023), then share them by hash; bucket 0 is
 * for packets that need no order. All memory is taken by the constructor: about 80 bytes × `flowsMax` + 10 KiB.
 * When the table is full the flow that was silent for longest is forgotten.
 */
export class FlowTable {
  /** Result of {@link classify}: the order bucket. */
  bucket = BUCKET_UNORDERED
  /** Result of {@link classify}: one of {@link PacketClass}. */
  packetClass: number = PacketClass.Bulk
  /** Flows in the table. */
  flows = 0
  /** Flows that are not idle and were forgotten all the same, for lack of room. */
  evicted = 0

  private readonly keys: Int32Array
  private readonly bucketOfFlow: Uint16Array
  /** When the flow last came to the front of the list of use; up to {@link METER_STEP_US} before its last packet. */
  private readonly touchedAt: Float64Array
  private readonly meterBytes: Float64Array
  private readonly hashNext: Int32Array
  private readonly hashHeads: Int32Array
  private readonly hashMask: number
  /** List of use: the newest at the front. */
  private readonly newer: Int32Array
  private readonly older: Int32Array
  private newest = NONE
  private oldest = NONE
  private freeFlow = 0
  /** The flow of the last packet: most packets follow one of their own kind. */
  private last = NONE

  /** What is sparse at present. */
  private sparseBytesPerSecMax = SPARSE_BYTES_PER_SEC_MAX
  /** Of the real-time class, since {@link review}. */
  private realTimeBytes = 0
  private reviewedAt: Instant = Number.NEGATIVE_INFINITY

  private readonly freeBuckets = new Uint16Array(BUCKETS - 1)
  private freeBucketCount = 0
  private readonly flowsOfBucket = new Uint32Array(BUCKETS)
  private readonly sequences = new Uint32Array(BUCKETS)
  private readonly protocols = new Uint8Array(BUCKETS)

  /**
   * @param hashSeed a random 32-bit number, so that nobody can aim many flows at one place of the table
   * @param flowsMax flows that are remembered
   */
  constructor(
    private readonly hashSeed = 0,
    readonly flowsMax = FLOWS_MAX_DEFAULT,
  ) {
    this.keys = new Int32Array(flowsMax * KEY_WORDS)
    this.bucketOfFlow = new Uint16Array(flowsMax)
    this.touchedAt = new Float64Array(flowsMax)
    this.meterBytes = new Float64Array(flowsMax)
    this.hashNext = new Int32Array(flowsMax)
    this.newer = new Int32Array(flowsMax)
    this.older = new Int32Array(flowsMax)
    this.hashMask = 2 ** Math.ceil(Math.log2(flowsMax)) * 2 - 1
    this.hashHeads = new Int32Array(this.hashMask + 1)
    this.reset()
  }

  /** Bytes of the table. */
  get bytes(): number {
    return this.flowsMax * (KEY_WORDS * 4 + 2 + 8 + 8 + 12) + this.hashHeads.length * 4 + BUCKETS * 10
  }

  /** Forgets all flows and starts all sequences at 0: for another boot of the other end, and never else. */
  reset(): void {
    this.flows = 0
    this.newest = NONE
    this.oldest = NONE
    this.last = NONE
    this.hashHeads.fill(NONE)
    this.freeFlow = 0
    for (let flow = 0; flow < this.flowsMax; flow++) {
      this.hashNext[flow] = flow + 1 < this.flowsMax ? flow + 1 : NONE
    }
    this.freeBucketCount = BUCKETS - 1
    for (let i = 0; i < BUCKETS - 1; i++) this.freeBuckets[i] = BUCKETS - 1 - i
    this.flowsOfBucket.fill(0)
    this.sequences.fill(0)
  }

  /** The next sequence of a bucket: 22 bits that wrap, never reused otherwise while the peer lives. */
  nextSequence(bucket: number): number {
    const sequence = this.sequences[bucket]!
    this.sequences[bucket] = (sequence + 1) & SEQUENCE_MASK
    return sequence
  }

  /** The next sequence of a bucket, which it keeps. */
  sequenceOf(bucket: number): number {
    return this.sequences[bucket]!
  }

  /** The bucket of the flow that `view` shows a packet of; that for packets without order if there is none. */
  bucketOf(view: PacketView): number {
    let flow = this.hashHeads[this.hash(view)]!
    while (flow !== NONE && !this.matches(flow, view)) flow = this.hashNext[flow]!
    return flow === NONE ? BUCKET_UNORDERED : this.bucketOfFlow[flow]!
  }

  /** Whether the flow of a bucket, the last one if several share it, is of TCP. */
  isTcp(bucket: number): boolean {
    return this.protocols[bucket] === Protocol.Tcp
  }

  /** Called a few times a second. `bytesPerSec`: what the paths can carry together, 0 if that is not known. */
  review(bytesPerSec: number, now: Instant): void {
    const allowed = (REAL_TIME_SHARE_MAX * bytesPerSec * (now - this.reviewedAt)) / SECOND
    const isTooMuch = bytesPerSec > 0 && this.realTimeBytes > allowed
    this.sparseBytesPerSecMax = isTooMuch
      ? Math.max(SPARSE_BYTES_PER_SEC_MIN, this.sparseBytesPerSecMax / 2)
      : Math.min(SPARSE_BYTES_PER_SEC_MAX, this.sparseBytesPerSecMax * SPARSE_GROWTH)
    this.realTimeBytes = 0
    this.reviewedAt = now
  }

  /** Sets {@link bucket} and {@link packetClass} for the packet that `view` shows. */
  classify(view: PacketView, now: Instant): void {
    const protocol = view.protocol
    if (protocol === Protocol.Tcp) {
      // Fragments have neither flags nor a known payload. EF changes nothing here: a stream needs its order.
      if (view.isPureAck) {
        this.bucket = BUCKET_UNORDERED
        this.packetClass = PacketClass.PureAck
        return
      }
      const flow = this.find(view, now)
      let bucket = this.bucketOfFlow[flow]!
      if (bucket === BUCKET_UNORDERED) bucket = this.assignBucket(flow)
      this.bucket = bucket
      this.packetClass = PacketClass.Bulk
      return
    }
    const isDns =
      protocol === Protocol.Udp && (view.destinationPort === PORT_DNS || view.sourcePort === PORT_DNS)
    if (view.dscp === DSCP_EF || isDns) {
      this.bucket = BUCKET_UNORDERED
      this.packetClass = PacketClass.RealTime
      this.realTimeBytes += view.length
      return
    }
    const flow = this.find(view, now)
    let bucket = this.bucketOfFlow[flow]!
    if (bucket === BUCKET_UNORDERED) {
      const bytes = this.meterBytes[flow]! + view.length
      this.meterBytes[flow] = bytes
      if (bytes > this.sparseBytesPerSecMax) bucket = this.assignBucket(flow)
      else this.realTimeBytes += view.length
    }
    this.bucket = bucket
    this.packetClass = bucket === BUCKET_UNORDERED ? PacketClass.RealTime : PacketClass.Bulk
  }

  /** The flow of a packet, entered if it is new, marked as used. */
  private find(view: PacketView, now: Instant): number {
    let flow = this.last
    if (flow === NONE || !this.matches(flow, view)) {
      const head = this.hash(view)
      flow = this.hashHeads[head]!
      while (flow !== NONE && !this.matches(flow, view)) flow = this.hashNext[flow]!
      if (flow === NONE) flow = this.enter(view, head, now)
      this.last = flow
    }
    const silentUs = now - this.touchedAt[flow]!
    if (silentUs >= METER_STEP_US) this.touch(flow, silentUs, now)
    return flow
  }

  private matches(flow: number, view: PacketView): boolean {
    const { keys } = this
    const { words, sourceAt, destinationAt } = view
    const at = flow * KEY_WORDS
    if (keys[at + 1] !== view.ports || keys[at] !== keyKind(view)) return false
    if (keys[at + 2] !== (words[sourceAt]! | 0) || keys[at + 6] !== (words[destinationAt]! | 0)) return false
    if (view.addressWords === 1) return true
    return (
      keys[at + 3] === (words[sourceAt + 1]! | 0) &&
      keys[at + 4] === (words[sourceAt + 2]! | 0) &&
      keys[at + 5] === (words[sourceAt + 3]! | 0) &&
      keys[at + 7] === (words[destinationAt + 1]! | 0) &&
      keys[at + 8] === (words[destinationAt + 2]! | 0) &&
      keys[at + 9] === (words[destinationAt + 3]! | 0)
    )
  }

  private hash(view: PacketView): number {
    const { words, sourceAt, destinationAt } = view
    let h = mix(this.hashSeed, view.ports)
    h = mix(h, keyKind(view))
    for (let i = 0; i < view.addressWords; i++) {
      h = mix(h, words[sourceAt + i]!)
      h = mix(h, words[destinationAt + i]!)
    }
    return (h ^ (h >>> 15)) & this.hashMask
  }

  /** Once in 100 ms and flow: brings it to the front of the list of use and lets its meter fade. */
  private touch(flow: number, silentUs: DurationUs, now: Instant): void {
    if (silentUs > FLOW_IDLE_US) {
      this.meterBytes[flow] = 0
      this.freeBucketOf(flow)
      this.touchedAt[flow] = now
    } else {
      const steps = Math.min(METER_STEPS_MAX, Math.floor(silentUs / METER_STEP_US))
      this.meterBytes[flow]! *= METER_FADE[steps]!
      this.touchedAt[flow] = now - (silentUs % METER_STEP_US)
    }
    if (flow === this.newest) return
    this.unlink(flow)
    this.linkNewest(flow)
  }

  private enter(view: PacketView, head: number, now: Instant): number {
    for (let i = 0; i < EXPIRE_BATCH; i++) {
      const oldest = this.oldest
      if (oldest === NONE || now - this.touchedAt[oldest]! <= FLOW_IDLE_US) break
      this.forget(oldest)
    }
    if (this.freeFlow === NONE) {
      this.evicted++
      this.forget(this.oldest)
    }
    const flow = this.freeFlow
    this.freeFlow = this.hashNext[flow]!
    const { keys } = this
    const { words, addressWords, sourceAt, destinationAt } = view
    const at = flow * KEY_WORDS
    keys[at] = keyKind(view)
    keys[at + 1] = view.ports
    for (let i = 0; i < addressWords; i++) {
      keys[at + 2 + i] = words[sourceAt + i]!
      keys[at + 6 + i] = words[destinationAt + i]!
    }
    this.hashNext[flow] = this.hashHeads[head]!
    this.hashHeads[head] = flow
    this.bucketOfFlow[flow] = BUCKET_UNORDERED
    this.meterBytes[flow] = 0
    this.touchedAt[flow] = now
    this.linkNewest(flow)
    this.flows++
    return flow
  }

  private forget(flow: number): void {
    this.freeBucketOf(flow)
    this.unlink(flow)
    const head = this.hashOfKey(flow)
    if (this.hashHeads[head] === flow) {
      this.hashHeads[head] = this.hashNext[flow]!
    } else {
      let before = this.hashHeads[head]!
      while (this.hashNext[before] !== flow) before = this.hashNext[before]!
      this.hashNext[before] = this.hashNext[flow]!
    }
    this.hashNext[flow] = this.freeFlow
    this.freeFlow = flow
    if (this.last === flow) this.last = NONE
    this.flows--
  }

  /** {@link hash} of a flow in the table. */
  private hashOfKey(flow: number): number {
    const { keys } = this
    const at = flow * KEY_WORDS
    let h = mix(this.hashSeed, keys[at + 1]!)
    h = mix(h, keys[at]!)
    const addressWords = keys[at]! >>> 8
    for (let i = 0; i < addressWords; i++) {
      h = mix(h, keys[at + 2 + i]!)
      h = mix(h, keys[at + 6 + i]!)
    }
    return (h ^ (h >>> 15)) & this.hashMask
  }

  private assignBucket(flow: number): number {
    // A flow shares a bucket, by its place in the table, only while all of them are in use.
    const bucket =
      this.freeBucketCount > 0 ? this.freeBuckets[--this.freeBucketCount]! : 1 + (flow % (BUCKETS - 1))
    this.flowsOfBucket[bucket]!++
    this.protocols[bucket] = this.keys[flow * KEY_WORDS]!
    this.bucketOfFlow[flow] = bucket
    return bucket
  }

  private freeBucketOf(flow: number): void {
    const bucket = this.bucketOfFlow[flow]!
    if (bucket === BUCKET_UNORDERED) return
    this.bucketOfFlow[flow] = BUCKET_UNORDERED
    if (--this.flowsOfBucket[bucket]! === 0) this.freeBuckets[this.freeBucketCount++] = bucket
  }

  private linkNewest(flow: number): void {
    this.newer[flow] = NONE
    this.older[flow] = this.newest
    if (this.newest === NONE) this.oldest = flow
    else this.newer[this.newest] = flow
    this.newest = flow
  }

  private unlink(flow: number): void {
    const newer = this.newer[flow]!
    const older = this.older[flow]!
    if (newer === NONE) this.newest = older
    else this.older[newer] = older
    if (older === NONE) this.oldest = newer
    else this.newer[older] = newer
  }
}

/** Protocol in the low byte, words of an address above; a fragment is another flow than whole packets. */
function keyKind(view: PacketView): number {
  return view.protocol | (view.addressWords << 8)
}

function mix(hash: number, word: number): number {
  const h = Math.imul(hash ^ word, 0x9e3779b1)
  return h ^ (h >>> 15)
}
