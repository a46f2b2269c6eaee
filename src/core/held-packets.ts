import type { Instant } from '../base/time.js'
import { BUCKETS, SEQUENCE_BITS, SEQUENCE_MASK, sequenceDifference } from '../wire/message.js'

export const NONE = -1

/**
 * Packets that wait for an earlier one of their bucket. Three views of the same nodes: a hash table by bucket and
 * sequence, a list per bucket in order of sequence, and one list of all in order of arrival. Everything is taken by
 * the constructor: about 57 bytes × capacity.
 */
export class HeldPackets {
  count = 0
  /** First and last node of each bucket in order of sequence, or {@link NONE}. */
  readonly first = new Int32Array(BUCKETS).fill(NONE)
  private readonly last = new Int32Array(BUCKETS).fill(NONE)
  /** The node that has waited longest, or {@link NONE}. */
  oldest = NONE
  private newest = NONE

  // By node.
  readonly slot: Int32Array
  readonly stampUs: Float64Array
  readonly flags: Uint8Array
  readonly arrivedAt: Float64Array
  private readonly key: Int32Array
  private readonly next: Int32Array
  private readonly previous: Int32Array
  private readonly newer: Int32Array
  private readonly older: Int32Array
  /** Head of the free nodes, chained through {@link next}. */
  private free = 0

  /** Open addressing with linear probing; at most half full. Holds nodes. */
  private readonly table: Int32Array
  private readonly tableMask: number
  private readonly hashShift: number

  constructor(readonly capacity: number) {
    this.slot = new Int32Array(capacity)
    this.stampUs = new Float64Array(capacity)
    this.flags = new Uint8Array(capacity)
    this.arrivedAt = new Float64Array(capacity)
    this.key = new Int32Array(capacity)
    this.next = Int32Array.from({ length: capacity }, (_, i) => (i + 1 < capacity ? i + 1 : NONE))
    this.previous = new Int32Array(capacity)
    this.newer = new Int32Array(capacity)
    this.older = new Int32Array(capacity)
    const tableBits = Math.ceil(Math.log2(Math.max(2, capacity))) + 1
    this.table = new Int32Array(1 << tableBits).fill(NONE)
    this.tableMask = (1 << tableBits) - 1
    this.hashShift = 32 - tableBits
  }

  bucketOf(node: number): number {
    return this.key[node]! >>> SEQUENCE_BITS
  }

  sequenceOf(node: number): number {
    return this.key[node]! & SEQUENCE_MASK
  }

  /** The node of a packet, or {@link NONE}. */
  find(bucket: number, sequence: number): number {
    const key = keyOf(bucket, sequence)
    for (let at = this.home(key); ; at = (at + 1) & this.tableMask) {
      const node = this.table[at]!
      if (node === NONE || this.key[node] === key) return node
    }
  }

  /** Holds a packet that is not held yet; there must be room. All of a bucket lie within half the sequence space. */
  insert(bucket: number, sequence: number, slot: number, stampUs: number, flags: number, now: Instant): void {
    const node = this.free
    this.free = this.next[node]!
    const key = keyOf(bucket, sequence)
    this.key[node] = key
    this.slot[node] = slot
    this.stampUs[node] = stampUs
    this.flags[node] = flags
    this.arrivedAt[node] = now
    this.linkAfter(this.predecessor(bucket, sequence), node, bucket)
    this.linkNewest(node)
    let at = this.home(key)
    while (this.table[at] !== NONE) at = (at + 1) & this.tableMask
    this.table[at] = node
    this.count++
  }

  /** Takes out the first packet of a bucket that holds one; returns its slot. */
  removeFirst(bucket: number): number {
    const node = this.first[bucket]!
    const next = this.next[node]!
    this.first[bucket] = next
    if (next === NONE) this.last[bucket] = NONE
    else this.previous[next] = NONE
    this.unlinkByAge(node)
    this.removeFromTable(node)
    this.next[node] = this.free
    this.free = node
    this.count--
    return this.slot[node]!
  }

  /** The packet that has waited longest has waited for no time now. */
  renewOldest(now: Instant): void {
    const node = this.oldest
    this.unlinkByAge(node)
    this.arrivedAt[node] = now
    this.linkNewest(node)
  }

  private linkNewest(node: number): void {
    this.older[node] = this.newest
    this.newer[node] = NONE
    if (this.newest === NONE) this.oldest = node
    else this.newer[this.newest] = node
    this.newest = node
  }

  private unlinkByAge(node: number): void {
    const newer = this.newer[node]!
    const older = this.older[node]!
    if (newer === NONE) this.newest = older
    else this.older[newer] = older
    if (older === NONE) this.oldest = newer
    else this.newer[older] = newer
  }

  /** The node of a bucket after which `sequence` belongs, or {@link NONE} for the front. */
  private predecessor(bucket: number, sequence: number): number {
    const last = this.last[bucket]!
    if (last === NONE || sequenceDifference(sequence, this.sequenceOf(last)) > 0) return last
    const first = this.first[bucket]!
    if (sequenceDifference(sequence, this.sequenceOf(first)) < 0) return NONE
    // Between others, most packets have a neighbour: runs come on one path, or fill the gaps of another.
    const before = this.find(bucket, (sequence - 1) & SEQUENCE_MASK)
    if (before !== NONE) return before
    const after = this.find(bucket, (sequence + 1) & SEQUENCE_MASK)
    if (after !== NONE) return this.previous[after]!
    // Few do not; they are near one of the ends.
    let low = first
    let high = this.previous[last]!
    for (;;) {
      const above = this.next[low]!
      if (sequenceDifference(this.sequenceOf(above), sequence) > 0) return low
      if (sequenceDifference(this.sequenceOf(high), sequence) < 0) return high
      low = above
      high = this.previous[high]!
    }
  }

  private linkAfter(before: number, node: number, bucket: number): void {
    const after = before === NONE ? this.first[bucket]! : this.next[before]!
    this.previous[node] = before
    this.next[node] = after
    if (before === NONE) this.first[bucket] = node
    else this.next[before] = node
    if (after === NONE) this.last[bucket] = node
    else this.previous[after] = node
  }

  /** Deletion by backward shift: what follows moves up unless it is at home, so that no tombstones gather. */
  private removeFromTable(node: number): void {
    const { table, tableMask } = this
    let hole = this.home(this.key[node]!)
    while (table[hole] !== node) hole = (hole + 1) & tableMask
    for (let at = (hole + 1) & tableMask; ; at = (at + 1) & tableMask) {
      const other = table[at]!
      if (other === NONE) break
      const distance = (at - this.home(this.key[other]!)) & tableMask
      if (distance >= ((at - hole) & tableMask)) {
        table[hole] = other
        hole = at
      }
    }
    table[hole] = NONE
  }

  private home(key: number): number {
    return Math.imul(key, 0x9e3779b1) >>> this.hashShift
  }
}

function keyOf(bucket: number, sequence: number): number {
  return (bucket << SEQUENCE_BITS) | sequence
}
