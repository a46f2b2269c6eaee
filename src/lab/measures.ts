import { type CounterRecords, GAP_BIN_MS, longestEmptyMs, quantile, summarisePackets } from './records.js'
import type { Measure } from './scenario.js'
import type { PingRecord, TcpRecord, TrafficRecord } from './traffic.js'

/** A span of the lab's clock. */
export interface SpanNs {
  readonly fromNs: number
  readonly toNs: number
}

/** Bits of payload a second within a span, from iperf3's tenths of a second; those cut by an end count in part. */
export function tcpGoodput(record: TcpRecord, span: SpanNs): number {
  let bytes = 0
  for (const interval of record.intervals) {
    const overlap = Math.min(interval.toNs, span.toNs) - Math.max(interval.fromNs, span.fromNs)
    if (overlap > 0) bytes += (interval.bytes * overlap) / (interval.toNs - interval.fromNs)
  }
  return (bytes * 8e9) / (span.toNs - span.fromNs)
}

/**
 * The longest time in which a device received nothing, in ms, from samples every 10 ms. The device's silence before
 * the span counts only from its start.
 */
export function counterGapMs(records: CounterRecords, span: SpanNs): number {
  let longest = 0
  let quietSince = span.fromNs
  let before = Number.NaN
  for (let i = 0; i < records.count; i++) {
    const at = records.timeNs[i]!
    const packets = records.rxPackets[i]!
    if (at < span.fromNs) {
      before = packets
      continue
    }
    if (at >= span.toNs) break
    const quiet = Number.isNaN(packets) || packets === before
    if (quiet) longest = Math.max(longest, at - quietSince)
    else quietSince = at
    if (!Number.isNaN(packets)) before = packets
  }
  return Math.floor(longest / 1e6 / GAP_BIN_MS + 0.5) * GAP_BIN_MS
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
    if (now - from < FULL_SPAN_NS - 2 * GAP_BIN_MS * 1e6) continue
    const bits = (records.rxBytes[head]! - records.rxBytes[tail]!) * 8e9
    if (bits / (now - from) >= bitsPerSecAt({ fromNs: from, toNs: now })) return (from - span.fromNs) / 1e6
  }
  return Number.NaN
}

/** The same from iperf3's intervals, where there is no device to look at. */
export function tcpTimeToFullMs(
  record: TcpRecord,
  span: SpanNs,
  bitsPerSecAt: (halfSecond: SpanNs) => number,
): number {
  for (const interval of record.intervals) {
    const from = interval.fromNs
    const half = { fromNs: from, toNs: from + FULL_SPAN_NS }
    if (from < span.fromNs || half.toNs > span.toNs) continue
    if (tcpGoodput(record, half) >= bitsPerSecAt(half)) return (from - span.fromNs) / 1e6
  }
  return Number.NaN
}

/** A measure of packets or pings within a span. */
export function packetMeasure(record: TrafficRecord, what: Measure, span: SpanNs): number {
  if (record.kind === 'ping') return pingMeasure(record, what, span)
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
      return longestEmptyMs(arrivals, span.fromNs, span.toNs)
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
