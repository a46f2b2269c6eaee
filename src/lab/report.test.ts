import { expect, test } from 'vitest'
import { LiveView } from './live-view.js'
import { reportHtml } from './report.js'
import { formatResult, resultJson } from './result-text.js'
import { exampleResult } from './testing/example-result.js'

const result = exampleResult()

test('the verdicts follow from the records', () => {
  const [goodput, lost, full] = result.verdicts
  expect(goodput).toMatchObject({ ok: true, window: [6, 10] })
  expect(goodput!.value).toBeCloseTo(62e6)
  expect(goodput!.share).toBeCloseTo(62 / ((70 * 1388) / 1514), 3)
  expect(lost).toMatchObject({ ok: false, value: 1 })
  expect(full).toMatchObject({ ok: true, value: 0 })
  expect(result.ok).toBe(false)
})

test('the table has a row per expectation, the comparison, and how achievable was computed', () => {
  const text = formatResult(result, 'no repair yet')
  expect(text).toMatch(
    /ok +goodput of bulk, 6\.\.10 s +62\.00 Mbit\/s \(96\.6 %\) +expected at least 90 % of achievable/,
  )
  expect(text).toMatch(/FAIL +packets lost of call, 0\.\.10 s +1 +expected at most 0/)
  expect(text).toContain('kernel MPTCP, bulk, 6..10 s  60.00 Mbit/s (92.0 % of its achievable)')
  expect(text).toContain('achievable: (one 50 Mbit/s + two 20 Mbit/s: rate less loss')
  expect(text).toContain('known to fail: no repair yet')
})

test('the JSON has every figure and survives its journey', () => {
  const json = JSON.parse(JSON.stringify(resultJson(result, undefined)))
  expect(json).toMatchObject({ scenario: 'example', ok: false, knownFailing: null, seeds: [1] })
  expect(json.expectations[0].achievableBitsPerSec).toBeCloseTo((70e6 * 1388) / 1514)
  expect(json.runs[0].traffic[0]).toMatchObject({ name: 'bulk', retransmits: 12 })
  expect(json.runs[0].links.map((l: { name: string }) => l.name)).toEqual(['one', 'two'])
})

test('the report is one file without anything from elsewhere, and nothing in it is taken for markup', () => {
  const html = reportHtml(result, undefined)
  expect(html).not.toMatch(/https?:|src=|@import|url\(/)
  expect(html).toContain('Two links &#60;one&#62; &#38; &#34;two&#34;.')
  expect(html).not.toContain('<one>')
  expect(html.match(/<figure>/g)!.length).toBeGreaterThanOrEqual(4)
  expect(html).not.toMatch(/NaN|undefined|Infinity/)
})

test('the live view redraws in place and shows each link and the sum', () => {
  let drawn = ''
  const view = new LiveView(result.scenario, (text) => {
    drawn = text
  })
  const { samples, events } = result.runs[0]!.phase
  for (const sample of samples.slice(0, 30)) view.show(sample, [], 10e6)
  expect(drawn).toMatch(/one +█{40} +50\.0 Mbit\/s/)
  expect(drawn).toMatch(/together +█{40} +70\.0 Mbit\/s/)
  expect(drawn.startsWith('\u001b[4A')).toBe(true)
  for (const sample of samples.slice(40, 60)) view.show(sample, events, 10e6)
  expect(drawn).toMatch(/one +░{40} +0\.0 Mbit\/s/)
  expect(drawn).toContain('4.0 s  one down')
})
