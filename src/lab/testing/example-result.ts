import type { Sample } from '../phase.js'
import type { ScenarioResult } from '../runner.js'
import { parseScenario } from '../scenario-load.js'
import { combine, judge } from '../verdict.js'
import type { WanCounters } from '../wan-link.js'

/** A made-up run of two links, one of which is down for a while: what tests of tables and reports look at. */
export function exampleResult(): ScenarioResult {
  const scenario = parseScenario(
    new TextEncoder().encode(`name: example
about: Two links <one> & "two".
links:
  - { name: one, rate: 50Mbit/s, rtt: 20ms }
  - { name: two, rate: 20Mbit/s, rtt: 60ms }
traffic:
  - { name: bulk, kind: tcp, for: 10s }
  - { name: call, kind: voip, for: 10s }
events:
  - { at: 4s, link: one, do: down }
  - { at: 6s, link: one, do: up }
expect:
  - { what: goodput, of: bulk, window: 6s..10s, min: 90% }
  - { what: lost, of: call, window: 0s..10s, max: 0 }
  - { what: time-to-full, of: bulk, window: 0s..4s, max: 1s }
`),
    'example.yaml',
  )
  const isDown = (s: number): boolean => s >= 4 && s < 6
  const samples: Sample[] = Array.from({ length: 101 }, (_, i) => {
    const s = i / 10
    const downS = Math.min(Math.max(0, s - 4), 2)
    const wan = scenario.links.map((link, index) => {
      const carried = (index === 0 ? s - downS : s) * (link.down.rateBitsPerSec / 8)
      const ba = wanCounters(carried, isDown(s), link.down.rateBitsPerSec)
      return { nowNs: s * 1e9, cpuUs: 0, ab: wanCounters(carried / 20, false, link.up.rateBitsPerSec), ba }
    })
    return { timeUs: s * 1e6, wan, status: {} }
  })
  const numbers = Array.from({ length: 500 }, (_, n) => n).filter((n) => n !== 250)
  const phase: ScenarioResult['runs'][number]['phase'] = {
    mode: { kind: 'tunnel' },
    zeroNs: 0,
    tunMtu: 1440,
    samples,
    failures: new Map(),
    counters: {},
    events: [
      { timeUs: 4e6, text: 'one down' },
      { timeUs: 6e6, text: 'one up' },
    ],
    notes: [],
    records: new Map([
      [
        'bulk',
        {
          kind: 'tcp' as const,
          startNs: 0,
          retransmits: 12,
          intervals: Array.from({ length: 100 }, (_, i) => ({
            fromNs: i * 1e8,
            toNs: (i + 1) * 1e8,
            bytes: (isDown(i / 10) ? 18e6 : 62e6) / 80,
          })),
        },
      ],
      [
        'call',
        {
          kind: 'udp' as const,
          startNs: 0,
          packetsPerSec: 50,
          sent: 500,
          packets: {
            count: numbers.length,
            number: Float64Array.from(numbers),
            sentNs: Float64Array.from(numbers, (n) => n * 20e6),
            arrivedNs: Float64Array.from(numbers, (n) => n * 20e6 + 12e6 + (n % 7) * 1e6),
          },
        },
      ],
    ]),
  }
  const verdicts = judge(scenario, 1, phase)
  return {
    scenario,
    quick: false,
    runs: [{ seed: 1, phase, verdicts }],
    verdicts: combine([verdicts], scenario.expect),
    comparisons: [
      {
        through: 'plain',
        title: 'kernel MPTCP',
        traffic: 'bulk',
        window: [6, 10],
        bitsPerSec: 60e6,
        share: 0.92,
      },
      {
        through: 'plain',
        title: 'two alone',
        traffic: 'bulk',
        window: [6, 10],
        bitsPerSec: null,
        share: null,
        reason: 'no <answer>',
      },
    ],
    ok: verdicts.every((verdict) => verdict.ok),
  }
}

function wanCounters(bytes: number, down: boolean, rateBitsPerSec: number): WanCounters {
  const frames = Math.round(bytes / 1514)
  return {
    inFrames: frames,
    inBytes: bytes,
    outFrames: frames,
    outBytes: bytes,
    droppedQueue: 0,
    droppedLoss: 0,
    droppedBlackhole: 0,
    droppedSize: 0,
    droppedMemory: 0,
    droppedWrite: 0,
    duplicated: 0,
    reordered: 0,
    waitingBytes: down ? 0 : rateBitsPerSec / 80,
    waitingBytesMax: 0,
    inFlight: 0,
    rateBitsPerSec,
    blackhole: down,
    lateUsMax: 0,
    lateUsMean: 0,
  }
}
