import { COUNTERS_MS, type CounterRecords, longestGapMs, quantile, summarisePackets } from './records.js'
import type { Measure } from './scenario.js'
import type { PingRecord, QuicRecord, RequestRecord, TcpRecord, TrafficRecord } from './traffic.js'

/** A span of the lab's clock. */
export interface SpanNs {
  readonly fromNs: number
  readonly toNs: number
}

/** Bits of payload a second within a span, from the record's intervals; those cut by an end count in part. */
export function bulkGoodput(record: TcpRecord | QuicRecord, span: SpanNs): number {
  let bytes = 0
  for (const interval of record.intervals) bytes += interval.bytes * partWithin(interval, span)
  return (bytes * 8e9) / (span.toNs - span.fromNs)
}

/** Share of an interval that lies within a span. */
function partWithin(interval: SpanNs, span: SpanNs): number {
  const overlap = Math.min(interval.toNs, span.toNs) - Math.max(interval.fromNs, span.fromNs)
  return Math.max(0, overlap) / (interval.toNs - interval.fromNs)
}

/** Jain's index of all streams' bytes within a span (Jain, Chiu and Hawe, 1984): (sum x)² / (n sum x²). */
export function jainIndex(records: readonly TrafficRecord[], span: SpanNs): number {
  const shares = records.flatMap((record) => (record.kind === 'tcp' ? streamBytes(record, span) : []))
  const sum = shares.reduce((total, x) => total + x, 0)
  const squares = shares.reduce((total, x) => total + x * x, 0)
  return squares === 0 ? Number.NaN : sum ** 2 / (shares.length * squares)
}

function streamBytes(record: TcpRecord, span: SpanNs): number[] {
  const bytes: number[] = []
  for (const interval of record.intervals) {
    const part = partWithin(interval, span)
    for (const [stream, of] of (interval.streams ?? [interval.bytes]).entries()) {
      bytes[stream] = (bytes[stream] ?? 0) + of * part
    }
  }
  return bytes
}

/** Segments that the sender sent again in the intervals whose middle lies within a span; NaN: not recorded. */
export function resentWithin(record: TcpRecord, span: SpanNs): number {
  if (!record.resent) return Number.NaN
  let count = 0
  for (const interval of record.resent) {
    const middle = (interval.fromNs + interval.toNs) / 2
    if (middle >= span.fromNs && middle < span.toNs) count += interval.count
  }
  return count
}

const USED_SPAN_US = 200_000

/**
 * Time from `fromUs` until a link carries, over a fifth of a second, what `bitsPerSecAt` asks for; NaN: never. The end of
 * that fifth counts. `looks` are its bytes so far, in rising time.
 */
export function timeToUseMs(
  looks: readonly { readonly timeUs: number; readonly bytes: number }[],
  fromUs: number,
  bitsPerSecAt: (timeUs: number) => number,
): number {
  let tail = 0
  for (const [head, { timeUs, bytes }] of looks.entries()) {
    while (tail < head && timeUs - looks[tail + 1]!.timeUs >= USED_SPAN_US) tail++
    const { timeUs: sinceUs, bytes: before } = looks[tail]!
    if (timeUs - sinceUs < USED_SPAN_US) continue
    const needed = bitsPerSecAt(timeUs)
    if (needed > 0 && ((bytes - before) * 8e6) / (timeUs - sinceUs) >= needed) return (timeUs - fromUs) / 1e3
  }
  return Number.NaN
}

/**
 * The longest time in which a device received nothing, in ms, from samples every 10 ms: between two that show something
 * new, so to 10 ms either way. The device's silence before the span counts only from its start.
 */
export function counterGapMs(records: CounterRecords, span: SpanNs): number {
  let longest = 0
  let newAt = span.fromNs
  let before = Number.NaN
  for (let i = 0; i < records.count; i++) {
    const at = records.timeNs[i]!
    const packets = records.rxPackets[i]!
    if (at < span.fromNs) {
      before = packets
      continue
    }
    if (at >= span.toNs) break
    longest = Math.max(longest, at - newAt)
    if (Number.isNaN(packets)) continue
    if (packets !== before) newAt = at
    before = packets
  }
  return Math.round(longest / 1e6 / COUNTERS_MS) * COUNTERS_MS
}

const FULL_SPAN_NS = 500e6

/**
 * Time from the span's start until half a second begins in which a device receives `bitsPerSec(time)` or more; NaN:
 * never within the span.
 */
export function counterTimeToFullMs(
  records: CounterRecords,
  span: SpanNs,
  bitsPerSecAt: (halfSecond: SpanNs) => number,
): number {
  let tail = 0
  for (let head = 0; head < records.count; head++) {
    const now = records.timeNs[head]!
    if (now > span.toNs) break
    while (records.timeNs[tail]! < Math.max(span.fromNs, now - FULL_SPAN_NS)) tail++
    const from = records.timeNs[tail]!
    // A sample may be late by a bin.
    if (now - from < FULL_SPAN_NS - 2 * COUNTERS_MS * 1e6) continue
    const bits = (records.rxBytes[head]! - records.rxBytes[tail]!) * 8e9
    if (bits / (now - from) >= bitsPerSecAt({ fromNs: from, toNs: now })) return (from - span.fromNs) / 1e6
  }
  return Number.NaN
}

/** The same from the record's intervals, where there is no device to look at. */
export function bulkTimeToFullMs(
  record: TcpRecord | QuicRecord,
  span: SpanNs,
  bitsPerSecAt: (halfSecond: SpanNs) => number,
): number {
  for (const interval of record.intervals) {
    const from = interval.fromNs
    const half = { fromNs: from, toNs: from + FULL_SPAN_NS }
    if (from < span.fromNs || half.toNs > span.toNs) continue
    if (bulkGoodput(record, half) >= bitsPerSecAt(half)) return (from - span.fromNs) / 1e6
  }
  return Number.NaN
}

/** A measure of packets, pings or requests within a span. */
export function packetMeasure(record: TrafficRecord, what: Measure, span: SpanNs): number {
  if (record.kind === 'ping') return pingMeasure(record, what, span)
  if (record.kind === 'request') return requestMeasure(record, what, span)
  if (record.kind !== 'udp') return Number.NaN
  const summary = summarisePackets(
    record.packets,
    span.fromNs,
    span.toNs,
    record.startNs,
    record.packetsPerSec,
  )
  switch (what) {
    case 'gap':
      return summary.gapMs
    case 'lost':
      return summary.lost
    case 'delay-p50':
      return summary.delayMs.p50
    case 'delay-p99':
      return summary.delayMs.p99
    default:
      return Number.NaN
  }
}

function pingMeasure(record: PingRecord, what: Measure, span: SpanNs): number {
  const first = Math.max(1, Math.ceil((span.fromNs - record.startNs) / record.intervalNs) + 1)
  const last = Math.min(record.sent, Math.floor((span.toNs - record.startNs) / record.intervalNs))
  const rtts: number[] = []
  const arrivals: number[] = []
  for (let sequence = first; sequence <= last; sequence++) {
    const rtt = record.rttMs.get(sequence)
    if (rtt === undefined) continue
    rtts.push(rtt)
    arrivals.push(record.startNs + (sequence - 1) * record.intervalNs + rtt * 1e6)
  }
  switch (what) {
    case 'gap':
      return longestGapMs(arrivals, span.fromNs, span.toNs)
    case 'lost':
      return Math.max(0, last - first + 1) - rtts.length
    case 'rtt-p50':
      return quantile(rtts, 0.5)
    case 'rtt-p99':
      return quantile(rtts, 0.99)
    default:
      return Number.NaN
  }
}

function requestMeasure(record: RequestRecord, what: Measure, span: SpanNs): number {
  const within = record.answered.filter(({ atNs }) => atNs >= span.fromNs && atNs < span.toNs)
  const p99 = what === 'rtt-p99' || what === 'fetch-p99'
  // Those without an answer may have been in any span: in each they took for ever.
  const lost = new Array<number>(record.sent - record.answered.length).fill(Number.POSITIVE_INFINITY)
  return quantile([...within.map(({ ms }) => ms), ...lost], p99 ? 0.99 : 0.5)
}
