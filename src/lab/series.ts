import type { Way } from './link-model.js'
import type { Phase, Sample } from './phase.js'
import { quantile } from './records.js'
import type { Scenario } from './scenario.js'
import type { EndName } from './topology.js'
import type { WanCounters } from './wan-link.js'

/** Values over time; NaN where there is none. */
export interface Series {
  readonly name: string
  readonly timesS: readonly number[]
  readonly values: readonly number[]
}

const wanOf = (sample: Sample, link: number, way: Way): WanCounters | undefined =>
  way === 'up' ? sample.wan[link]?.ab : sample.wan[link]?.ba

/** What each link delivered, Mbit/s of whole frames. */
export function linkRates(scenario: Scenario, samples: readonly Sample[], way: Way): Series[] {
  return differences(scenario, samples, way, (now, before, seconds) => {
    return ((now.outBytes - before.outBytes) * 8) / 1e6 / seconds
  })
}

/** Share of the frames lost on each link, by chance or for want of room, %. */
export function linkLosses(scenario: Scenario, samples: readonly Sample[], way: Way): Series[] {
  const lost = (c: WanCounters): number =>
    c.droppedLoss + c.droppedQueue + c.droppedBlackhole + c.droppedSize + c.droppedMemory
  return differences(scenario, samples, way, (now, before) => {
    const frames = now.inFrames - before.inFrames
    return frames > 0 ? Math.min(100, (100 * (lost(now) - lost(before))) / frames) : 0
  })
}

/** What waits in each link's queue, ms at its rate then. */
export function linkQueues(scenario: Scenario, samples: readonly Sample[], way: Way): Series[] {
  return differences(scenario, samples, way, (now) =>
    now.rateBitsPerSec > 0 ? (now.waitingBytes * 8e3) / now.rateBitsPerSec : 0,
  )
}

const SPAN_US_MIN = 20_000

function differences(
  scenario: Scenario,
  samples: readonly Sample[],
  way: Way,
  value: (now: WanCounters, before: WanCounters, seconds: number) => number,
): Series[] {
  return scenario.links.flatMap((link, index) => {
    const timesS: number[] = []
    const values: number[] = []
    for (let i = 1; i < samples.length; i++) {
      const [before, now] = [wanOf(samples[i - 1]!, index, way), wanOf(samples[i]!, index, way)]
      if (!before || !now) return []
      // Two looks close together would make noise of single frames; all links leave out the same ones.
      if (samples[i]!.timeUs - samples[i - 1]!.timeUs < SPAN_US_MIN) continue
      // The emulator itself says when it counted.
      const ns = samples[i]!.wan[index]!.nowNs - samples[i - 1]!.wan[index]!.nowNs
      const seconds = Math.max(ns / 1e9, SPAN_US_MIN / 1e6)
      timesS.push(samples[i]!.timeUs / 1e6)
      values.push(value(now, before, seconds))
    }
    return [{ name: link.name, timesS, values }]
  })
}

/** Round trip of each path as plait measures it, ms. */
export function pathRtts(scenario: Scenario, samples: readonly Sample[], end: EndName): Series[] {
  return scenario.links.map((link) => {
    const timesS: number[] = []
    const values: number[] = []
    for (const sample of samples) {
      const paths = sample.status[end]?.peers.flatMap((peer) => peer.paths) ?? []
      const path = paths.find((candidate) => candidate.link === link.name)
      timesS.push(sample.timeUs / 1e6)
      values.push(path?.rttMs ?? Number.NaN)
    }
    return { name: link.name, timesS, values }
  })
}

/** Payload of a bulk transfer, Mbit/s. */
export function goodputSeries(phase: Phase, name: string): Series {
  const record = phase.records.get(name)
  const intervals = record?.kind === 'tcp' || record?.kind === 'quic' ? record.intervals : []
  return {
    name,
    timesS: intervals.map((i) => (i.toNs - phase.zeroNs) / 1e9),
    values: intervals.map((i) => (i.bytes * 8e3) / (i.toNs - i.fromNs)),
  }
}

const DELAY_STEP_S = 0.1
const SILENCE_S = 0.5

/** Delay of packets (one way), pings or requests (there and back), ms: the 99th percentile of each tenth of a second. */
export function delaySeries(phase: Phase, name: string): Series | undefined {
  const record = phase.records.get(name)
  const bins = new Map<number, number[]>()
  const put = (ns: number, ms: number): void => {
    const bin = Math.floor((ns - phase.zeroNs) / 1e9 / DELAY_STEP_S)
    const values = bins.get(bin) ?? []
    values.push(ms)
    bins.set(bin, values)
  }
  if (record?.kind === 'udp') {
    const { arrivedNs, sentNs } = record.packets
    for (let i = 0; i < arrivedNs.length; i++) put(sentNs[i]!, (arrivedNs[i]! - sentNs[i]!) / 1e6)
  } else if (record?.kind === 'ping') {
    for (const [sequence, rtt] of record.rttMs) put(record.startNs + (sequence - 1) * record.intervalNs, rtt)
  } else if (record?.kind === 'request') {
    for (const { atNs, ms } of record.answered) put(atNs, ms)
  } else return undefined
  const timesS: number[] = []
  const values: number[] = []
  for (const [bin, delays] of [...bins].sort((a, b) => a[0] - b[0])) {
    const timeS = bin * DELAY_STEP_S
    if (timesS.length > 0 && timeS - timesS.at(-1)! > SILENCE_S) {
      // Nothing came for a while: the line ends and begins anew.
      timesS.push(timeS)
      values.push(Number.NaN)
    }
    timesS.push(timeS)
    values.push(quantile(delays, 0.99))
  }
  return { name, timesS, values }
}
