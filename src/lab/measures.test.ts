import { expect, test } from 'vitest'
import {
  bulkGoodput,
  bulkTimeToFullMs,
  counterGapMs,
  counterTimeToFullMs,
  jainIndex,
  packetMeasure,
  resentWithin,
  timeToUseMs,
} from './measures.js'
import type { CounterRecords, PacketRecords } from './records.js'
import { resentBy, type TcpRecord } from './traffic.js'

/** Samples every 10 ms from 0: bytes a second as a function of the time in ms; NaN: no device. */
function counters(bytesPerSec: (ms: number) => number, samples: number): CounterRecords {
  const records = {
    count: samples,
    timeNs: new Float64Array(samples),
    rxBytes: new Float64Array(samples),
    txBytes: new Float64Array(samples),
    rxPackets: new Float64Array(samples),
    txPackets: new Float64Array(samples),
  }
  let bytes = 0
  for (let i = 0; i < samples; i++) {
    const rate = bytesPerSec(i * 10)
    bytes += Number.isNaN(rate) ? 0 : rate / 100
    records.timeNs[i] = i * 10e6
    records.rxBytes[i] = Number.isNaN(rate) ? Number.NaN : bytes
    records.rxPackets[i] = Number.isNaN(rate) ? Number.NaN : Math.floor(bytes / 1000)
  }
  return records
}

const span = (fromMs: number, toMs: number) => ({ fromNs: fromMs * 1e6, toNs: toMs * 1e6 })

test('a gap is the longest silence of the device, also while it is not there', () => {
  const steady = counters(() => 1e6, 300)
  // Two samples that both show something new.
  expect(counterGapMs(steady, span(0, 3000))).toBe(10)
  expect(
    counterGapMs(
      counters((ms) => (ms >= 1000 && ms < 1070 ? 0 : 1e6), 300),
      span(0, 3000),
    ),
  ).toBe(80)
  expect(
    counterGapMs(
      counters((ms) => (ms >= 1000 && ms < 1200 ? Number.NaN : 1e6), 300),
      span(0, 3000),
    ),
  ).toBe(210)
  // Only what lies within the span counts.
  expect(
    counterGapMs(
      counters((ms) => (ms >= 1000 ? 0 : 1e6), 300),
      span(0, 1500),
    ),
  ).toBe(500)
})

test('time to full rate is the start of the first half second that has it', () => {
  const ramp = counters((ms) => (ms < 1200 ? 1e5 : 1e6), 400)
  const at = counterTimeToFullMs(ramp, span(0, 4000), () => 0.95 * 8e6)
  expect(at).toBeGreaterThan(1100)
  expect(at).toBeLessThanOrEqual(1200)
  expect(counterTimeToFullMs(ramp, span(0, 1000), () => 0.95 * 8e6)).toBeNaN()
  expect(counterTimeToFullMs(ramp, span(2000, 4000), () => 0.95 * 8e6)).toBeLessThanOrEqual(10)
})

test('goodput counts the parts of intervals within the span', () => {
  const record = {
    kind: 'tcp' as const,
    startNs: 0,
    retransmits: 0,
    intervals: Array.from({ length: 20 }, (_, i) => ({
      fromNs: i * 100e6,
      toNs: (i + 1) * 100e6,
      bytes: i < 10 ? 0 : 1e6,
    })),
  }
  expect(bulkGoodput(record, span(1000, 2000))).toBeCloseTo(80e6)
  expect(bulkGoodput(record, span(950, 1050))).toBeCloseTo(40e6)
  expect(bulkTimeToFullMs(record, span(0, 2000), () => 79e6)).toBe(1000)
})

/** A packet every 20 ms from time 0, 10 ms on its way, without those in `lost`. */
function voice(count: number, lost: number[], late: number[] = []): PacketRecords {
  const numbers = Array.from({ length: count }, (_, i) => i).filter((n) => !lost.includes(n))
  return {
    count: numbers.length,
    number: Float64Array.from(numbers),
    sentNs: Float64Array.from(numbers, (n) => n * 20e6),
    arrivedNs: Float64Array.from(numbers, (n) => n * 20e6 + (late.includes(n) ? 60e6 : 10e6)),
  }
}

test('packets are counted by when they were sent, also those lost at the end', () => {
  const record = (packets: PacketRecords) => ({
    kind: 'udp' as const,
    startNs: 0,
    packetsPerSec: 50,
    sent: 100,
    packets,
  })
  expect(packetMeasure(record(voice(100, [])), 'lost', span(0, 2000))).toBe(0)
  expect(packetMeasure(record(voice(100, [7, 98, 99])), 'lost', span(0, 2000))).toBe(3)
  expect(packetMeasure(record(voice(100, [7, 98, 99])), 'lost', span(0, 1000))).toBe(1)
  expect(packetMeasure(record(voice(100, [10, 11, 12, 13])), 'gap', span(0, 2000))).toBe(100)
  expect(packetMeasure(record(voice(100, [], [50])), 'delay-p50', span(0, 2000))).toBe(10)
  expect(packetMeasure(record(voice(100, [], [50])), 'delay-p99', span(0, 2000))).toBe(60)
})

test('pings are counted by sequence', () => {
  const rttMs = new Map(Array.from({ length: 50 }, (_, i) => [i + 1, 20] as const))
  rttMs.delete(10)
  const record = { kind: 'ping' as const, startNs: 0, intervalNs: 20e6, sent: 50, rttMs }
  expect(packetMeasure(record, 'lost', span(0, 1000))).toBe(1)
  expect(packetMeasure(record, 'lost', span(500, 1000))).toBe(0)
  expect(packetMeasure(record, 'rtt-p99', span(0, 1000))).toBe(20)
})

test("Jain's index is 1 for equal shares and 1/n where one has everything, over all records and within the span", () => {
  const record = (...streams: number[]): TcpRecord => ({
    kind: 'tcp',
    startNs: 0,
    retransmits: 0,
    resent: [],
    intervals: [
      { fromNs: 0, toNs: 1e9, bytes: 0, streams: streams.map(() => 5) },
      { fromNs: 1e9, toNs: 2e9, bytes: 0, streams },
    ],
  })
  expect(jainIndex([record(7, 7), record(7)], span(1000, 2000))).toBeCloseTo(1)
  expect(jainIndex([record(9, 0), record(0, 0)], span(1000, 2000))).toBeCloseTo(1 / 4)
  expect(jainIndex([record(1, 2, 3)], span(1000, 2000))).toBeCloseTo(36 / (3 * 14))
  expect(jainIndex([record(9, 0)], span(0, 1000))).toBeCloseTo(1)
  expect(jainIndex([record(0, 0)], span(1000, 2000))).toBeNaN()
})

test('segments sent again are read from iperf3 as it goes, not from its sum', () => {
  const lines = `[ ID] Interval           Transfer     Bitrate         Retr  Cwnd
[  5]   0.00-0.50   sec   630 MBytes  10.6 Gbits/sec    5   1023 KBytes
[  7]   0.00-0.50   sec   621 MBytes  10.4 Gbits/sec    6    895 KBytes
[SUM]   0.00-0.50   sec  1.22 GBytes  21.0 Gbits/sec   11
- - - - - - - - - - - - - - - - - - - - - - - - -
[  5]   0.50-1.00   sec   550 MBytes  9.23 Gbits/sec    8   1023 KBytes
[SUM]   0.50-1.00   sec  1.07 GBytes  18.5 Gbits/sec   19
[  5]   0.00-1.00   sec  1.15 GBytes  9.89 Gbits/sec   13             sender
[SUM]   0.00-1.00   sec  2.30 GBytes  19.7 Gbits/sec   30             sender
[SUM]   0.00-1.00   sec  2.29 GBytes  19.6 Gbits/sec                  receiver
`
  expect(resentBy(lines, 7e9, true)).toEqual([
    { fromNs: 7e9, toNs: 7.5e9, count: 11 },
    { fromNs: 7.5e9, toNs: 8e9, count: 19 },
  ])
  const single = lines.replace(/^\[(SUM| {2}7)\].*\n/gm, '')
  const resent = resentBy(single, 0, false)
  expect(resent.map((interval) => interval.count)).toEqual([5, 8])
  const record: TcpRecord = { kind: 'tcp', startNs: 0, retransmits: 13, intervals: [], resent }
  expect(resentWithin(record, span(0, 1000))).toBe(13)
  expect(resentWithin(record, span(500, 1000))).toBe(8)
})

test('a link is in use once it has carried its share for a fifth of a second', () => {
  const looks = Array.from({ length: 50 }, (_, i) => ({
    timeUs: i * 100_000,
    // Nothing until 2 s but for one burst at 1 s, then 1 Mbyte/s.
    bytes: (i >= 10 ? 30_000 : 0) + Math.max(0, i - 20) * 100_000,
  }))
  expect(timeToUseMs(looks, 0, () => 5e6)).toBe(2200)
  expect(timeToUseMs(looks, 0, () => 9e6)).toBeNaN()
  expect(timeToUseMs(looks.slice(0, 1), 0, () => 1)).toBeNaN()
  // Of a link that can carry nothing nothing is asked.
  expect(timeToUseMs(looks, 0, (timeUs) => (timeUs < 3e6 ? 0 : 4e6))).toBe(3000)
})

test('requests count by when they began', () => {
  const answered = Array.from({ length: 100 }, (_, i) => ({ atNs: i * 10e6, ms: i < 50 ? 10 : 20 }))
  const record = { kind: 'request' as const, startNs: 0, sent: 101, answered }
  expect(packetMeasure(record, 'rtt-p50', span(0, 490))).toBe(10)
  expect(packetMeasure(record, 'fetch-p50', span(500, 1000))).toBe(20)
  expect(packetMeasure(record, 'fetch-p99', span(0, 1000))).toBe(20)
})
