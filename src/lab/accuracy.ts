import type { DirectionModel } from './link-model.js'
import { delay, monotonicNs, taskIn } from './processes.js'
import { probeProgram } from './programs.js'
import { type PacketRecords, quantile, readPacketRecords } from './records.js'
import { LabState } from './state-directory.js'
import { Topology } from './topology.js'

/** How the emulator keeps what it promises, at one rate. Measured with numbered packets, one way. */
export interface AccuracyRow {
  rateMbit: number
  /** What came through of an offer of 110 %, over what was set. */
  rateShare: number
  /** Delay beyond the one set, with a light load and with 80 % of the rate, ms. */
  idleExcessMs: { p50: number; p99: number }
  loadedExcessMs: { p50: number; p99: number }
  /** Standard deviation with ±5 ms set, ms; a uniform distribution has 2.89. */
  jitterMs: number
  /** Share lost with 1 % set. */
  loss: number
  lossPackets: number
  /** CPU seconds the emulator took per second, of one core, at 110 % offered. */
  cpu: number
}

const PAYLOAD_BYTES = 1458
const FRAME_BYTES = 1500
const DELAY_US = 10_000
const JITTER_US = 5_000
const LOSS = 0.01

const plain = (rateBitsPerSec: number): DirectionModel => ({
  rateBitsPerSec,
  overheadBytes: 0,
  delayUs: DELAY_US,
  jitterUs: 0,
  jitterHoldUs: 0,
  keepOrder: false,
  loss: 0,
  lossBurst: 1,
  duplicate: 0,
  reorder: 0,
  reorderByUs: 0,
  queue: { timeUs: 50_000 },
  pathMtu: 0,
})

/** Measures one rate after the other in namespaces of its own. `seconds` is per measurement, of four. */
export async function measureAccuracy(
  ratesMbit: readonly number[],
  seconds: number,
  report: (row: AccuracyRow) => void,
): Promise<AccuracyRow[]> {
  const rows: AccuracyRow[] = []
  for (const rateMbit of ratesMbit) {
    const state = LabState.create()
    try {
      const row = await measureRate(state, rateMbit, seconds)
      rows.push(row)
      report(row)
    } finally {
      state.remove()
    }
  }
  return rows
}

async function measureRate(state: LabState, rateMbit: number, seconds: number): Promise<AccuracyRow> {
  const rate = rateMbit * 1e6
  const model = plain(rate)
  const topology = await Topology.build(
    state,
    {
      links: [{ name: 'wan', site: 'a', kind: 'emulated', mtu: 1500, nat: false, up: model, down: model }],
      lan: [],
    },
    1,
  )
  const wan = topology.link('wan').wan!
  const perSec = rate / 8 / FRAME_BYTES
  const stream = async (share: number): Promise<PacketRecords> => {
    await delay(150)
    return sendThrough(topology, Math.max(50, perSec * share), seconds)
  }

  const before = await wan.stats()
  const overload = await stream(1.1)
  const after = await wan.stats()
  const half = middle(overload)
  const rateShare = ((half.count - 1) * FRAME_BYTES * 8e9) / (half.spanNs * rate)
  const idle = excess(await sendThrough(topology, Math.min(100, perSec * 0.5), seconds), rate)
  const loaded = excess(await stream(0.8), rate)
  await wan.set('both', { jitterUs: JITTER_US, loss: LOSS })
  await wan.resetCounters()
  const uneven = await stream(0.8)
  const counters = (await wan.stats()).ab
  await topology.stop()
  return {
    rateMbit,
    rateShare,
    idleExcessMs: { p50: quantile(idle, 0.5), p99: quantile(idle, 0.99) },
    loadedExcessMs: { p50: quantile(loaded, 0.5), p99: quantile(loaded, 0.99) },
    jitterMs: deviation(excess(uneven, rate)),
    loss: 1 - uneven.count / counters.inFrames,
    lossPackets: counters.inFrames,
    cpu: (after.cpuUs - before.cpuUs) / ((after.nowNs - before.nowNs) / 1e3),
  }
}

async function sendThrough(topology: Topology, perSec: number, seconds: number): Promise<PacketRecords> {
  const file = topology.state.path(`probe-${monotonicNs()}`)
  const [address, port] = ['10.71.1.1', '7001']
  const receiver = taskIn(topology.end('b'), probeProgram, ['receive', address, port, file])
  await new Promise<void>((resolve) => receiver.onLine(() => resolve()))
  const words = ['send', address, port, String(PAYLOAD_BYTES), String(perSec), String(seconds)]
  await taskIn(topology.end('a'), probeProgram, words).ended
  await delay(200)
  await receiver.stop()
  return readPacketRecords(file)
}

/** The middle eight tenths of the arrivals: neither the filling of the queue nor its emptying. */
function middle(records: PacketRecords): { count: number; spanNs: number } {
  const times = records.arrivedNs.slice().sort()
  const [low, high] = [Math.floor(times.length * 0.1), Math.floor(times.length * 0.9)]
  return { count: high - low + 1, spanNs: times[high]! - times[low]! }
}

/** Delay of each packet beyond what was set, its own time on the wire included, ms. */
function excess(records: PacketRecords, rateBitsPerSec: number): number[] {
  const setNs = DELAY_US * 1e3 + (FRAME_BYTES * 8e9) / rateBitsPerSec
  return Array.from(records.arrivedNs, (at, i) => (at - records.sentNs[i]! - setNs) / 1e6)
}

function deviation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length)
}

export function formatAccuracy(rows: readonly AccuracyRow[]): string {
  const lines = ['  set      rate     delay idle p50/p99   delay loaded p50/p99   jitter   loss     CPU']
  for (const row of rows) {
    lines.push(
      [
        `${row.rateMbit} Mbit`.padStart(9),
        `${(row.rateShare * 100).toFixed(2)} %`.padStart(9),
        `+${row.idleExcessMs.p50.toFixed(2)} / +${row.idleExcessMs.p99.toFixed(2)} ms`.padStart(20),
        `+${row.loadedExcessMs.p50.toFixed(2)} / +${row.loadedExcessMs.p99.toFixed(2)} ms`.padStart(22),
        `${row.jitterMs.toFixed(2)} ms`.padStart(9),
        `${(row.loss * 100).toFixed(2)} %`.padStart(8),
        `${(row.cpu * 100).toFixed(0)} %`.padStart(6),
      ].join(' '),
    )
  }
  return lines.join('\n')
}
