import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findProgram } from '../../src/lab/programs.js'
import { reportHtml } from '../../src/lab/report.js'
import { exampleResult } from '../../src/lab/testing/example-result.js'

const executablePath =
  findProgram('chromium') ?? findProgram('chromium-browser') ?? findProgram('google-chrome')
if (executablePath === undefined) {
  console.log(
    'the report is not looked at in a browser: chromium is not installed (apt-get install chromium)',
  )
}

describe.runIf(executablePath !== undefined)('the report in Chromium', () => {
  const folder = mkdtempSync(join(tmpdir(), 'plait-report-'))
  const file = join(folder, 'report.html')
  let browser: Browser

  beforeAll(async () => {
    writeFileSync(file, reportHtml(exampleResult(), undefined))
    browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] })
  }, 60_000)
  afterAll(async () => {
    await browser?.close()
    rmSync(folder, { recursive: true })
  })

  test.each([
    ['a desk', 1280, 800],
    ['a telephone', 360, 740],
  ])('shows table and plots on %s, asks nobody, and reports no error', async (_, width, height) => {
    const page = await browser.newPage({ viewport: { width, height } })
    const complaints: string[] = []
    const requests: string[] = []
    page.on('console', (message) => complaints.push(message.text()))
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('request', (request) => requests.push(request.url()))
    await page.goto(`file://${file}`)

    expect(await page.locator('h1').textContent()).toBe('example')
    expect(await page.locator('table').first().locator('tbody tr').count()).toBe(3)
    expect(await page.locator('td.ok').first().textContent()).toBe('holds')
    expect(await page.locator('td.fail').count()).toBe(1)
    const plots = page.locator('figure')
    expect(await plots.count()).toBeGreaterThanOrEqual(4)
    for (const plot of await plots.all()) {
      const box = (await plot.locator('svg').boundingBox())!
      expect(box.width).toBeGreaterThan(width < 400 ? 300 : 800)
      expect(box.x + box.width).toBeLessThanOrEqual(width)
    }
    // Two areas, one on the other: where the first link is down, the second lies on the ground.
    const areas = page.locator('figure').first().locator('polygon.area')
    expect(await areas.count()).toBe(2)
    for (const area of await areas.all()) expect((await area.boundingBox())!.height).toBeGreaterThan(20)
    expect(await page.locator('figure').first().locator('.marktext').allTextContents()).toEqual([
      'one down',
      'one up',
    ])
    const colours = await areas.evaluateAll((nodes) => nodes.map((node) => getComputedStyle(node).fill))
    expect(new Set(colours).size).toBe(2)
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width)
    expect(requests.filter((url) => !url.startsWith('file:') && !url.startsWith('data:'))).toEqual([])
    expect(complaints).toEqual([])
    await page.close()
  })
})
