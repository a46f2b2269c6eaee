/** What the demo measured. */
export interface DemoFigures {
  readonly singles: readonly { readonly name: string; readonly mbit: number }[]
  readonly mbit: number
  readonly pingMs: number
  readonly blackhole: {
    readonly link: string
    /** Longest run of bins of 10 ms in which no numbered packet came. */
    readonly gapMs: number
    readonly lost: number
    readonly sent: number
    /** Until the later of both ends had stopped using the link. */
    readonly noticedMs: number
    /** From its return until both ends used it again. */
    readonly usedAgainMs: number
    /** Whether the TCP transfer was still moving at its end. */
    readonly survived: boolean
  }
}

/** Bonded goodput over the sum of the links' alone. */
export function bondedShare({ singles, mbit }: DemoFigures): number {
  return mbit / singles.reduce((sum, single) => sum + single.mbit, 0)
}

export function demoTable(figures: DemoFigures): string {
  const { singles, mbit, pingMs, blackhole } = figures
  const rows: [string, string][] = [
    ...singles.map((single): [string, string] => [`link ${single.name} alone`, mbits(single.mbit)]),
    ['both links', mbits(mbit)],
    ['share of the sum', `${(bondedShare(figures) * 100).toFixed(1)} %`],
    ['ping through the tunnel', `${pingMs.toFixed(2)} ms`],
    [`link ${blackhole.link} goes silent: noticed`, ms(blackhole.noticedMs)],
    ['longest gap', ms(blackhole.gapMs)],
    ['packets lost', `${blackhole.lost} of ${blackhole.sent}`],
    ['the transfer', blackhole.survived ? 'went on' : 'broke'],
    ['back in use after its return', ms(blackhole.usedAgainMs)],
  ]
  const width = Math.max(...rows.map(([label]) => label.length))
  return `\n${rows.map(([label, value]) => `  ${label.padEnd(width)}   ${value}`).join('\n')}\n`
}

export function demoJson(figures: DemoFigures): string {
  const { singles, mbit, blackhole } = figures
  return JSON.stringify({
    links: singles.map((single) => ({ name: single.name, mbit: round(single.mbit, 1) })),
    bonded: { mbit: round(mbit, 1), share: round(bondedShare(figures), 3) },
    blackhole: {
      gapMs: blackhole.gapMs,
      lost: blackhole.lost,
      // JSON has no NaN: null where it was never noticed.
      noticedMs: Number.isFinite(blackhole.noticedMs) ? round(blackhole.noticedMs, 1) : null,
    },
  })
}

const mbits = (value: number): string => `${value.toFixed(1)} Mbit/s`
const ms = (value: number): string => (Number.isFinite(value) ? `${Math.round(value)} ms` : 'never')

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
