import { readFileSync } from 'node:fs'

/** Packets that a `plait-probe receive` got, in the order of their arrival. Times are of CLOCK_MONOTONIC, in ns. */
export interface PacketRecords {
  readonly count: number
  readonly number: Float64Array
  readonly sentNs: Float64Array
  readonly arrivedNs: Float64Array
}

/** Samples of one device's counters, as `plait-probe counters` wrote them. NaN while the device was not there. */
export interface CounterRecords {
  readonly count: number
  readonly timeNs: Float64Array
  readonly rxBytes: Float64Array
  readonly txBytes: Float64Array
  readonly rxPackets: Float64Array
  readonly txPackets: Float64Array
}

const NO_DEVICE = 2n ** 64n - 1n

function columns(path: string, width: number): Float64Array[] {
  const bytes = readFileSync(path)
  const count = Math.floor(bytes.length / (width * 8))
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: width }, (_, column) => {
    const values = new Float64Array(count)
    for (let row = 0; row < count; row++) {
      const value = view.getBigUint64((row * width + column) * 8, true)
      values[row] = value === NO_DEVICE ? Number.NaN : Number(value)
    }
    return values
  })
}

export function readPacketRecords(path: string): PacketRecords {
  const [number, sentNs, arrivedNs] = columns(path, 3) as [Float64Array, Float64Array, Float64Array]
  return { count: number.length, number, sentNs, arrivedNs }
}

export function readCounterRecords(path: string): CounterRecords {
  const [timeNs, rxBytes, txBytes, rxPackets, txPackets] = columns(path, 5) as Float64Array[]
  return {
    count: timeNs!.length,
    timeNs: timeNs!,
    rxBytes: rxBytes!,
    txBytes: txBytes!,
    rxPackets: rxPackets!,
    txPackets: txPackets!,
  }
}

/** The value below which `share` of the values lie; NaN of none. */
export function quantile(values: ArrayLike<number>, share: number): number {
  if (values.length === 0) return Number.NaN
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
}

/** What happened to the packets sent within a window. */
export interface PacketSummary {
  received: number
  /** Numbers that never arrived, of those sent within the window. */
  lost: number
  duplicates: number
  /** One-way delay, ms. */
  delayMs: { min: number; p50: number; p99: number; max: number }
  /** The longest time without an arrival, ms. */
  gapMs: number
}

/**
 * `numberAt` tells which numbers were sent in the window: packets go out at a steady pace, so it follows from the
 * start and the pace; those lost at both ends of the window are counted too.
 */
export function summarisePackets(
  records: PacketRecords,
  fromNs: number,
  toNs: number,
  startNs: number,
  packetsPerSec: number,
): PacketSummary {
  const first = Math.max(0, Math.ceil(((fromNs - startNs) * packetsPerSec) / 1e9))
  const end = Math.ceil(((toNs - startNs) * packetsPerSec) / 1e9)
  const seen = new Uint8Array(Math.max(0, end - first))
  const delays: number[] = []
  const arrivals: number[] = []
  let duplicates = 0
  for (let i = 0; i < records.count; i++) {
    const at = records.arrivedNs[i]!
    if (at >= fromNs && at < toNs) arrivals.push(at)
    const index = records.number[i]! - first
    if (index < 0 || index >= seen.length) continue
    if (seen[index]) duplicates++
    else delays.push((at - records.sentNs[i]!) / 1e6)
    seen[index] = 1
  }
  return {
    received: delays.length,
    lost: seen.length - delays.length,
    duplicates,
    delayMs: {
      min: quantile(delays, 0),
      p50: quantile(delays, 0.5),
      p99: quantile(delays, 0.99),
      max: quantile(delays, 1),
    },
    gapMs: longestGapMs(arrivals, fromNs, toNs),
  }
}

/** How often the counters of a device are looked at. */
export const COUNTERS_MS = 10

/** The longest time between two arrivals, or between one and an end of the span, in ms. */
export function longestGapMs(timesNs: ArrayLike<number>, fromNs: number, toNs: number): number {
  let longest = 0
  let before = fromNs
  for (const at of Float64Array.from(timesNs).sort()) {
    if (at < fromNs || at >= toNs) continue
    longest = Math.max(longest, at - before)
    before = at
  }
  return Math.max(longest, toNs - before) / 1e6
}
