/**
 * Which flows are brief so far, as pages and keystrokes are: they began a short while ago, or were silent then, and have
 * sent little since. Such a flow is there with its last packet, which must not wait for one that went a far way; one that
 * lasts fills the far way meanwhile.
 */
import { type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { BUCKETS, SEQUENCE_MASK } from '../wire/message.js'
import type { FlowTable } from './flow-table.js'

const WATCH_US = 100 * MILLISECOND
const PACKET_BYTES = 1_460
/** Brief is what has sent no more than so many full packets, nor than the paths carry in such a time. */
const BRIEF_PACKETS_MAX = 700
const BRIEF_US = 500 * MILLISECOND
/** Silent is what has had less than this share of the paths in each watch for so long. */
const SILENT_SHARE = 0.05
const SILENT_US = 500 * MILLISECOND

export class BriefFlows {
  /** By bucket: 1 if the flow is brief, else 0. */
  readonly flags: Uint8Array<ArrayBuffer> = new Uint8Array(BUCKETS).fill(1)
  /** There are flows that are not. */
  hasLasting = false
  /** By bucket: its next sequence at the last watch, and when it was last silent; when it was last not silent. */
  private readonly sequence = new Uint32Array(BUCKETS)
  private readonly silentSequence = new Uint32Array(BUCKETS)
  private readonly busyAt = new Float64Array(BUCKETS).fill(Number.NEGATIVE_INFINITY)
  private watchedAt: Instant = Number.NEGATIVE_INFINITY

  /**
   * Called many times a second while there is traffic. `bytesPerSec`: what the paths can carry together. Returns whether
   * it has looked, which it does every 100 ms.
   */
  watch(flows: Pick<FlowTable, 'sequenceOf'>, bytesPerSec: number, now: Instant): boolean {
    const us = now - this.watchedAt
    if (us < WATCH_US) return false
    this.watchedAt = now
    const packetsPerUs = bytesPerSec / PACKET_BYTES / SECOND
    const silentMax = SILENT_SHARE * packetsPerUs * us
    const briefMax = Math.min(BRIEF_PACKETS_MAX, packetsPerUs * BRIEF_US)
    this.hasLasting = false
    for (let bucket = 1; bucket < BUCKETS; bucket++) {
      const sequence = flows.sequenceOf(bucket)
      const packets = (sequence - this.sequence[bucket]!) & SEQUENCE_MASK
      this.sequence[bucket] = sequence
      if (packets > silentMax) this.busyAt[bucket] = now
      if (now - this.busyAt[bucket]! >= SILENT_US) {
        this.silentSequence[bucket] = sequence
        this.flags[bucket] = 1
      } else if (((sequence - this.silentSequence[bucket]!) & SEQUENCE_MASK) > briefMax) {
        this.flags[bucket] = 0
      }
      if (this.flags[bucket] === 0) this.hasLasting = true
    }
    return true
  }
}
