import type { Snapshot } from '../core/snapshot.js'

const BAR_CELLS = 40
const EVENT_LINES = 6

export interface Rates {
  /** Mbit/s on the wire by link, from this end; state of the path. */
  readonly links: readonly { name: string; mbit: number; state: string }[]
  /** Mbit/s of inner packets. */
  readonly tunnelMbit: number
}

/** Rates between two snapshots of one end. */
export class RateMeter {
  private before: { at: number; snapshot: Snapshot } | undefined

  measure(snapshot: Snapshot, atMs: number, links: readonly string[]): Rates {
    const { before } = this
    this.before = { at: atMs, snapshot }
    const seconds = before ? (atMs - before.at) / 1000 : Number.POSITIVE_INFINITY
    const mbit = (now: number, then: number | undefined): number =>
      Math.max(0, ((now - (then ?? now)) * 8) / 1e6 / seconds)
    const peer = snapshot.peers[0]
    const peerBefore = before?.snapshot.peers[0]
    return {
      links: links.map((name) => {
        const path = peer?.paths.find((each) => each.link === name)
        const was = peerBefore?.paths.find((each) => each.link === name)
        return { name, mbit: path ? mbit(path.bytesOut, was?.bytesOut) : 0, state: path?.state ?? 'not used' }
      }),
      tunnelMbit: peer ? mbit(peer.bytesOut, peerBefore?.bytesOut) : 0,
    }
  }
}

/**
 * What the demo shows while it runs: at a terminal a picture that is drawn anew in place, elsewhere a line for each
 * step and event.
 */
export class DemoView {
  private readonly live: boolean
  private readonly events: string[] = []
  private step = ''
  private rates: Rates | undefined
  private drawnLines = 0
  private readonly startedAt = performance.now()
  private lastPlainAt = Number.NEGATIVE_INFINITY

  constructor(
    private readonly out: NodeJS.WriteStream,
    private readonly fullMbit: number,
  ) {
    this.live = out.isTTY === true
  }

  /** What is being done now. */
  begin(step: string): void {
    this.step = step
    if (this.live) this.draw()
    else this.line(step)
  }

  event(text: string): void {
    if (this.live) {
      this.events.push(`${this.clock}  ${text}`)
      this.draw()
    } else this.line(`  ${text}`)
  }

  show(rates: Rates): void {
    this.rates = rates
    if (this.live) {
      this.draw()
    } else if (rates.tunnelMbit > 1 && performance.now() - this.lastPlainAt >= 1000) {
      this.lastPlainAt = performance.now()
      const links = rates.links.map(({ name, mbit, state }) => `${name} ${mbit.toFixed(1)} (${state})`)
      this.line(`  ${links.join('  ')}  tunnel ${rates.tunnelMbit.toFixed(1)} Mbit/s`)
    }
  }

  /** Leaves the last picture standing; what is written next comes below it. */
  end(): void {
    if (this.live && this.drawnLines > 0) this.out.write('\x1b[?25h')
    this.drawnLines = 0
  }

  private get clock(): string {
    return `${((performance.now() - this.startedAt) / 1000).toFixed(1).padStart(6)} s`
  }

  private line(text: string): void {
    this.out.write(`${this.clock}  ${text}\n`)
  }

  private draw(): void {
    const width = Math.max(40, (this.out.columns ?? 80) - 1)
    const rows = ['', `  ${this.step}`, '']
    for (const { name, mbit, state } of this.rates?.links ?? [])
      rows.push(`  ${name.padEnd(7)}${bar(mbit, this.fullMbit)} ${figure(mbit)}  ${state}`)
    if (this.rates) {
      const { tunnelMbit } = this.rates
      rows.push(`  ${'tunnel'.padEnd(7)}${bar(tunnelMbit, this.fullMbit)} ${figure(tunnelMbit)}`)
    }
    rows.push('')
    for (const event of this.events.slice(-EVENT_LINES)) rows.push(`  ${event}`)
    while (rows.length < 7 + EVENT_LINES) rows.push('')
    const up = this.drawnLines > 0 ? `\x1b[${this.drawnLines}A` : '\x1b[?25l'
    const text = rows.map((row) => `\r\x1b[K${row.slice(0, width)}\n`).join('')
    this.drawnLines = rows.length
    this.out.write(up + text)
  }
}

function bar(mbit: number, full: number): string {
  const cells = Math.min(BAR_CELLS, Math.round((mbit / full) * BAR_CELLS))
  return '█'.repeat(cells) + '░'.repeat(BAR_CELLS - cells)
}

function figure(mbit: number): string {
  return `${mbit.toFixed(1).padStart(6)} Mbit/s`
}
