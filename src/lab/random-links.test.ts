import { expect, test } from 'vitest'
import { describeLink, randomScenarios } from './random-links.js'
import { randomOutcome, randomTable } from './random-runs.js'
import { referenceLinks } from './runner.js'
import { exampleResult } from './testing/example-result.js'

const cases = randomScenarios(7, 200)

test('the same seed makes the same links, whatever the count; another seed makes others', () => {
  expect(randomScenarios(7, 3)).toEqual(cases.slice(0, 3))
  expect(randomScenarios(8, 3).map((s) => s.about)).not.toEqual(cases.slice(0, 3).map((s) => s.about))
  expect(new Set(cases.map((s) => s.about)).size).toBe(200)
})

test('links are pairs and triples within the bounds, and some lose, jitter and have shallow queues', () => {
  const seen = { pairs: 0, lossy: 0, jittery: 0, shallow: 0, clean: 0 }
  for (const { links } of cases) {
    expect([2, 3]).toContain(links.length)
    if (links.length === 2) seen.pairs++
    const sum = links.reduce((total, link) => total + link.down.rateBitsPerSec, 0)
    expect(sum).toBeLessThanOrEqual(150e6)
    for (const { down } of links) {
      expect(down.rateBitsPerSec).toBeGreaterThanOrEqual(5e6)
      expect(down.rateBitsPerSec).toBeLessThanOrEqual(100e6)
      expect(down.delayUs).toBeGreaterThanOrEqual(2500)
      expect(down.delayUs).toBeLessThanOrEqual(75_000)
      expect(down.loss).toBeLessThanOrEqual(0.02)
      expect(down.jitterUs).toBeLessThan(down.delayUs)
      if (down.loss > 0) seen.lossy++
      if (down.jitterUs > 0) seen.jittery++
      if ('packets' in down.queue) {
        expect(down.queue.packets).toBeGreaterThanOrEqual(12)
        seen.shallow++
      }
      if (down.loss === 0 && down.jitterUs === 0) seen.clean++
    }
  }
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(40)
})

test('alone are tried only the links that may be the best', () => {
  for (const scenario of cases) {
    const tried = referenceLinks(scenario)
    const capacity = (name: string): number => {
      const { down } = scenario.links.find((link) => link.name === name)!
      return down.rateBitsPerSec * (1 - down.loss)
    }
    const all = scenario.links.map((link) => link.name)
    const best = Math.max(...all.map(capacity))
    expect(tried.map(capacity)).toContain(best)
    for (const name of all) expect(tried.includes(name)).toBe(capacity(name) >= 0.6 * best)
  }
})

test('a link in words', () => {
  const { links } = cases.find((s) => s.links.some((l) => l.down.loss > 0 && 'packets' in l.down.queue))!
  const words = links.map(describeLink).join('; ')
  expect(words).toMatch(/^[\d.]+ Mbit\/s, \d+ ms(, [\d.]+ % loss)?(, \d+ ms jitter)?, queue \d+ (ms|packets)/)
})

test('the table has the figure of all links, of the best alone, and their ratio', () => {
  const example = exampleResult()
  const verdict = { ...example.verdicts[0]!, reference: 50e6, ok: true }
  const outcome = randomOutcome({
    ...example,
    verdicts: [verdict],
    comparisons: ['one', 'two'].map((link, index) => ({
      through: 'plait' as const,
      link,
      title: `${link} alone`,
      traffic: 'bulk',
      window: [6, 10] as const,
      bitsPerSec: index === 0 ? 50e6 : 19e6,
      share: 0.9,
    })),
  })
  expect(outcome).toMatchObject({ bestAlone: { link: 'one', bitsPerSec: 50e6 }, ratio: 1.24 })
  const failing = { ...outcome, ratio: 0.9, ok: false }
  const text = randomTable([outcome, failing], true)
  expect(text).toMatch(/\| 62\.0 Mbit\/s \| 96\.6 % \| one 50\.0 Mbit\/s \| 1\.240 \| holds \|/)
  expect(text).toContain('1 of 2 hold, the lowest ratio is 0.900')
})
