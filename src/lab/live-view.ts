import type { Sample } from './phase.js'
import type { Scenario } from './scenario.js'
import { linkRates } from './series.js'

const BAR_CELLS = 40
const CLEAR_LINE = '\u001b[K'
const SAMPLES_SHOWN = 5

/**
 * The live picture of a run, drawn over itself: a bar per link, the total, what happened last. Rates are means of
 * half a second.
 */
export class LiveView {
  private lines = 0
  private readonly samples: Sample[] = []
  private readonly highest: number[]
  private readonly way: 'up' | 'down'
  title = ''

  constructor(
    private readonly scenario: Scenario,
    private readonly write: (text: string) => void,
  ) {
    this.way = scenario.traffic.find((t) => t.kind !== 'ping')?.way ?? 'down'
    this.highest = scenario.links.map((link) => {
      const trace = link.traces[this.way]
      if (trace && 'lte' in trace) return trace.lte.maxBitsPerSec / 1e6
      const rate = link[this.way].rateBitsPerSec / 1e6
      return Number.isFinite(rate) ? rate : 1
    })
  }

  show(sample: Sample, events: readonly { timeUs: number; text: string }[], endUs: number): void {
    this.samples.push(sample)
    if (this.samples.length > SAMPLES_SHOWN + 1) this.samples.shift()
    const rates = linkRates(this.scenario, this.samples, this.way)
    const rows = [`${this.title}  ${(sample.timeUs / 1e6).toFixed(1)} of ${(endUs / 1e6).toFixed(0)} s`]
    let total = 0
    for (const [index, link] of this.scenario.links.entries()) {
      const values = rates.find((series) => series.name === link.name)?.values
      if (!values || values.length === 0) continue
      const rate = values.reduce((sum, value) => sum + value, 0) / values.length
      total += rate
      const state = this.stateOf(sample, link.name)
      rows.push(
        `${link.name.padEnd(12)} ${bar(rate / this.highest[index]!)} ${rate.toFixed(1).padStart(7)} Mbit/s  ${state}`,
      )
    }
    const sum = this.highest.reduce((a, b) => a + b, 0)
    rows.push(`${'together'.padEnd(12)} ${bar(total / sum)} ${total.toFixed(1).padStart(7)} Mbit/s`)
    for (const event of events.slice(-3))
      rows.push(`  ${(event.timeUs / 1e6).toFixed(1).padStart(5)} s  ${event.text}`)
    this.draw(rows)
  }

  /** Leaves what is drawn; the next picture begins below it. */
  end(): void {
    this.lines = 0
    this.samples.length = 0
  }

  private stateOf(sample: Sample, link: string): string {
    const paths = sample.status.a?.peers.flatMap((peer) => peer.paths) ?? []
    const path = paths.find((candidate) => candidate.link === link)
    if (!path) return ''
    return `${path.state}${path.rttMs === undefined ? '' : `, ${path.rttMs.toFixed(0)} ms`}`
  }

  private draw(rows: readonly string[]): void {
    const up = this.lines > 0 ? `\u001b[${this.lines}A` : ''
    const blank = Math.max(0, this.lines - rows.length)
    const text = [...rows, ...Array<string>(blank).fill('')].map((row) => `\r${row}${CLEAR_LINE}\n`).join('')
    this.lines = rows.length + blank
    this.write(up + text)
  }
}

function bar(share: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * BAR_CELLS)
  return `${'█'.repeat(filled)}${'░'.repeat(BAR_CELLS - filled)}`
}
