import { SlotFlag } from '../src/base/packet-pool.js'
import { type Instant, MILLISECOND } from '../src/base/time.js'
import { Ecn } from '../src/wire/ip.js'
import type { End } from './end.js'
import { type InnerHeader, partialChecksum, type SegmentFields, writeSegment } from './inner-packet.js'
import type { FlowRecord } from './ledger.js'

export function emptyFields(): SegmentFields {
  return {
    sequence: 0,
    acknowledgement: 0,
    payloadBytes: 0,
    syn: false,
    fin: false,
    ecn: Ecn.NotEct,
    ece: false,
    cwr: false,
    window: 0xffff,
    stampMs: 0,
    sack: new Uint32Array(8),
    sackCount: 0,
  }
}

/** A time as segments carry it. */
export function stampOf(time: Instant): number {
  return Math.floor(time / MILLISECOND) & 0xffff
}

/** Whether a stamp is older than one of `time`: they are less than half a minute apart. */
export function isOlder(stampMs: number, time: Instant): boolean {
  return (stampMs - stampOf(time)) << 16 < 0
}

/** Puts one TCP segment into the TUN of `end`; false when there is no room. */
export function emit(
  end: End,
  header: InnerHeader,
  record: FlowRecord,
  fields: SegmentFields,
  now: Instant,
): boolean {
  const slot = end.tunSlot()
  if (slot < 0) return false
  const number = record.next(now)
  end.pool.length[slot] = writeSegment(end.view, end.pool.packetAt(slot), header, fields, number)
  end.pool.flags[slot] = partialChecksum(number) ? SlotFlag.ChecksumPartial : 0
  end.tunSend(slot)
  return true
}
