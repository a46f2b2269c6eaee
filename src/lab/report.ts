import { escapeHtml, type Mark, plotSvg } from './plot.js'
import { describeMeasure, formatValue } from './result-text.js'
import type { ScenarioResult, ScenarioRun } from './runner.js'
import { isBulk, scenarioEndUs } from './scenario.js'
import {
  delaySeries,
  goodputSeries,
  linkLosses,
  linkQueues,
  linkRates,
  pathRtts,
  type Series,
} from './series.js'

/** The page's look. No font, picture or script from elsewhere: the file is all there is. */
const STYLE = `
:root { color-scheme: light dark; --ink: #1c2530; --paper: #fff; --soft: #667; --grid: #dde2e8; --good: #1a7f4b; --bad: #b3261e;
  --c0: #2563eb; --c1: #f08c00; --c2: #0d9488; --c3: #9333ea; --c4: #db2777; --c5: #65a30d; --c6: #0891b2; --c7: #a16207; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --paper: #12161c; --soft: #9aa5b1; --grid: #2a323c; --good: #4ade80;
  --bad: #ff8a80; --c0: #6ea0ff; --c1: #ffb454; --c2: #2dd4bf; --c3: #c084fc; --c4: #f472b6; --c5: #a3e635; --c6: #22d3ee; --c7: #eab308; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p { margin: .4rem 0; } .soft, small { color: var(--soft); } .how { overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--grid); vertical-align: top; } th { color: var(--soft); font-weight: 500; }
.ok { color: var(--good); font-weight: 600; } .fail { color: var(--bad); font-weight: 600; }
figure { margin: 1rem 0 1.4rem; } figcaption { font-weight: 600; margin-bottom: .2rem; } svg { width: 100%; height: auto; display: block; }
.key { font-weight: 400; font-size: .85rem; margin-left: .9rem; white-space: nowrap; } .key i { display: inline-block; width: .75rem; height: .75rem; border-radius: 2px; margin-right: .35rem; }
.grid { stroke: var(--grid); } .tick, .marktext { fill: var(--soft); font-size: 12px; } .marktext { fill: var(--ink); }
.mark { stroke: var(--ink); stroke-dasharray: 3 3; opacity: .6; } .area { opacity: .8; stroke: none; } .line { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
${Array.from({ length: 8 }, (_, i) => `.area.s${i} { fill: var(--c${i}); } .line.s${i} { stroke: var(--c${i}); } i.s${i} { background: var(--c${i}); }`).join('\n')}
.line.over { stroke: var(--ink); stroke-width: 1.8; } i.over { background: var(--ink); }
`

/** One self-contained HTML file: the table of expectations, and what happened over time. */
export function reportHtml(result: ScenarioResult, knownFailing: string | undefined): string {
  const { scenario } = result
  const verdict = result.ok
    ? '<span class="ok">all expectations hold</span>'
    : '<span class="fail">not all expectations hold</span>'
  const hows = [...new Set(result.verdicts.flatMap((v) => (v.achievable ? [v.achievable.how] : [])))]
  const notes = [...new Set(result.runs.flatMap((run) => run.phase.notes))]
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>plait lab: ${escapeHtml(scenario.name)}</title><link rel="icon" href="data:,"><style>${STYLE}</style></head><body>
<h1>${escapeHtml(scenario.name)}</h1>
<p>${escapeHtml(scenario.about)}</p>
<p>${verdict}${knownFailing === undefined ? '' : ` <span class="soft">(known to fail: ${escapeHtml(knownFailing)})</span>`}
<span class="soft">seeds ${result.runs.map((run) => run.seed).join(', ')}${result.quick ? ', quick: all times shortened' : ''}</span></p>
<h2>Expectations</h2>
${verdictTable(result)}
${comparisonTable(result, 'plain', 'Without plait, on the same links')}
${comparisonTable(result, 'plait', 'Plait over one link alone')}
${hows.map((how) => `<p class="soft how">Achievable: ${escapeHtml(how)}</p>`).join('\n')}
${notes.map((note) => `<p class="soft how">Note: ${escapeHtml(note)}</p>`).join('\n')}
${result.runs.map((run) => runSection(result, run)).join('\n')}
</body></html>
`
}

function verdictTable(result: ScenarioResult): string {
  const rows = result.verdicts.map(
    (verdict) =>
      `<tr><td class="${verdict.ok ? 'ok">holds' : 'fail">fails'}</td><td>${escapeHtml(describeMeasure(verdict))}</td>` +
      `<td>${escapeHtml(formatValue(verdict))}</td><td>${escapeHtml(verdict.limit)}</td></tr>`,
  )
  return `<div class="wide"><table><thead><tr><th></th><th>measure</th><th>result</th><th>expected</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`
}

function comparisonTable(result: ScenarioResult, through: 'plain' | 'plait', title: string): string {
  const rows = result.comparisons
    .filter((comparison) => comparison.through === through)
    .map(
      (c) =>
        `<tr><td>${escapeHtml(c.title)}</td><td>${c.window[0]}..${c.window[1]} s</td><td>${
          c.bitsPerSec === null
            ? escapeHtml(c.reason ?? 'none')
            : `${(c.bitsPerSec / 1e6).toFixed(2)} Mbit/s (${(c.share! * 100).toFixed(1)} % of its achievable)`
        }</td></tr>`,
    )
  if (rows.length === 0) return ''
  return `<h2>${title}</h2><div class="wide"><table><tbody>${rows.join('')}</tbody></table></div>`
}

function runSection(result: ScenarioResult, run: ScenarioRun): string {
  const { scenario } = result
  const { phase } = run
  const endS = scenarioEndUs(scenario) / 1e6
  const marks: Mark[] = phase.events.map((event) => ({ timeS: event.timeUs / 1e6, text: event.text }))
  const plots: string[] = []
  const plot = (
    title: string,
    unit: string,
    series: readonly Series[],
    stacked = false,
    over: Series[] = [],
  ): void => {
    if ([...series, ...over].every((s) => s.values.every((v) => !Number.isFinite(v)))) return
    plots.push(plotSvg({ title, unit, series, stacked, over, marks, endS }))
  }
  for (const way of ['down', 'up'] as const) {
    const traffic = scenario.traffic.filter((t) => t.way === way && t.kind !== 'ping')
    if (traffic.length === 0) continue
    const goodput = traffic
      .filter(isBulk)
      .map((t) => ({ ...goodputSeries(phase, t.name), name: `${t.name}, payload received` }))
    plot(
      `Throughput ${way}`,
      'Mbit/s, frames on each link',
      linkRates(scenario, phase.samples, way),
      true,
      goodput,
    )
    plot(`Queue ${way}`, 'ms waiting at each link', linkQueues(scenario, phase.samples, way))
    plot(`Loss ${way}`, '% of the frames of each link', linkLosses(scenario, phase.samples, way))
  }
  plot('Round trip of each path', 'ms, as plait at end a measures it', pathRtts(scenario, phase.samples, 'a'))
  const delays = scenario.traffic.flatMap((t) => delaySeries(phase, t.name) ?? [])
  if (delays.length > 0) {
    const title = 'Delay of packets, round trip of pings, time of requests'
    const unit = 'ms, 99th percentile of each tenth of a second'
    plots.push(
      plotSvg({
        title,
        unit,
        series: delays,
        stacked: false,
        marks,
        endS,
        firstColour: scenario.links.length,
      }),
    )
  }
  const title = result.runs.length > 1 ? `Seed ${run.seed}` : 'Over time'
  return `<h2>${title}</h2>\n${plots.join('\n')}`
}
