import type { Series } from './series.js'

export interface Mark {
  readonly timeS: number
  readonly text: string
}

export interface PlotOptions {
  readonly title: string
  readonly unit: string
  readonly series: readonly Series[]
  /** One area on top of the other, instead of lines. */
  readonly stacked: boolean
  /** A line over the areas, such as what arrives of their sum. */
  readonly over?: readonly Series[]
  readonly marks: readonly Mark[]
  readonly endS: number
  /** Colour class of each series: links keep theirs in every plot. */
  readonly firstColour?: number
}

const WIDTH = 900
const HEIGHT = 230
const LEFT = 56
const RIGHT = 12
const TOP = 24
const BOTTOM = 28

/** A time plot as an SVG picture: it needs no script, prints, and scales with the page. */
export function plotSvg(options: PlotOptions): string {
  const { series, stacked, marks, endS } = options
  const over = options.over ?? []
  const tops = stacked ? stack(series) : series.map((s) => s.values)
  const highest = [...tops, ...over.map((s) => s.values)].flat().filter(Number.isFinite)
  const max = niceMax(highest.length > 0 ? highest.reduce((a, b) => Math.max(a, b), 0) : 1)
  const x = (s: number): string =>
    (LEFT + (Math.min(endS, Math.max(0, s)) / endS) * (WIDTH - LEFT - RIGHT)).toFixed(1)
  const y = (v: number): string => (HEIGHT - BOTTOM - (v / max) * (HEIGHT - TOP - BOTTOM)).toFixed(1)
  const colour = (i: number): string => `s${((options.firstColour ?? 0) + i) % 8}`
  const parts: string[] = []
  for (let i = 0; i <= 4; i++) {
    const value = (max * i) / 4
    parts.push(
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(value)}" y2="${y(value)}"/>`,
      `<text class="tick" x="${LEFT - 6}" y="${y(value)}" dy="4" text-anchor="end">${Number(value.toPrecision(3))}</text>`,
    )
  }
  const step = [1, 2, 5, 10, 15, 30, 60, 300, 900, 3600].find((s) => endS / s <= 12) ?? endS
  for (let s = 0; s <= endS; s += step) {
    parts.push(`<text class="tick" x="${x(s)}" y="${HEIGHT - 8}" text-anchor="middle">${s} s</text>`)
  }
  if (stacked) {
    for (let i = series.length - 1; i >= 0; i--) {
      const times = series[i]!.timesS
      const upper = times.map((t, k) => `${x(t)},${y(tops[i]![k]!)}`)
      const lower = times.map((t, k) => `${x(t)},${y(i === 0 ? 0 : (tops[i - 1]![k] ?? 0))}`).reverse()
      if (upper.length > 0)
        parts.push(`<polygon class="area ${colour(i)}" points="${[...upper, ...lower].join(' ')}"/>`)
    }
  } else {
    for (const [i, s] of series.entries()) parts.push(line(s, `line ${colour(i)}`, x, y))
  }
  for (const s of over) parts.push(line(s, 'line over', x, y))
  for (const [i, mark] of marks.entries()) {
    const level = TOP + 10 + (i % 3) * 12
    parts.push(
      `<line class="mark" x1="${x(mark.timeS)}" x2="${x(mark.timeS)}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/>`,
      `<text class="marktext" x="${x(mark.timeS)}" y="${level}" dx="4"${nearRight(mark.timeS, endS)}>${escapeHtml(mark.text)}</text>`,
    )
  }
  const legend = [
    ...series.map((s, i) => `<span class="key"><i class="${colour(i)}"></i>${escapeHtml(s.name)}</span>`),
    ...over.map((s) => `<span class="key"><i class="over"></i>${escapeHtml(s.name)}</span>`),
  ]
  return `<figure><figcaption>${escapeHtml(options.title)} <small>${escapeHtml(options.unit)}</small> ${legend.join('')}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(options.title)}">${parts.join('')}</svg></figure>`
}

function nearRight(timeS: number, endS: number): string {
  return timeS > endS * 0.85 ? ' text-anchor="end"' : ''
}

/** A line with gaps where there is no value. */
function line(s: Series, classes: string, x: (s: number) => string, y: (v: number) => string): string {
  let path = ''
  let drawing = false
  for (const [i, time] of s.timesS.entries()) {
    const value = s.values[i]!
    if (!Number.isFinite(value)) {
      drawing = false
      continue
    }
    path += `${drawing ? 'L' : 'M'}${x(time)} ${y(value)}`
    drawing = true
  }
  return `<path class="${classes}" d="${path}"/>`
}

/** Running sums: what the upper edge of each area is. */
function stack(series: readonly Series[]): number[][] {
  const tops: number[][] = []
  for (const [i, s] of series.entries()) {
    tops.push(s.values.map((value, k) => (Number.isFinite(value) ? value : 0) + (tops[i - 1]?.[k] ?? 0)))
  }
  return tops
}

function niceMax(value: number): number {
  if (value <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].find((m) => m * power >= value) ?? 10) * power
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}
