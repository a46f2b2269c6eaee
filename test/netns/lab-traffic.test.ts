import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openEntries } from '../../src/lab/matrix.js'
import { mainProgram } from '../../src/lab/programs.js'

// The lab's own traffic programs, and the matrix, as their user starts them.

const folder = mkdtempSync(join(tmpdir(), 'plait-lab-'))
afterAll(() => rmSync(folder, { recursive: true }))

const file = join(folder, 'mixed.yaml')
writeFileSync(
  file,
  `name: mixed
about: Everything at once.
ecn: true
links:
  - { name: one, rate: 20Mbit/s, rtt: 10ms }
  - { name: two, rate: 10Mbit/s, rtt: 20ms }
traffic:
  - { name: bulk, kind: tcp, streams: 3, for: 4s }
  - { name: quic, kind: quic, for: 4s }
  - { name: keys, kind: echo, interval: 50ms, for: 4s }
  - { name: page, kind: fetch, bytes: 20000, interval: 200ms, for: 4s }
expect:
  - { what: goodput, of: quic, window: 1s..4s, min: 100kbit/s }
  - { what: goodput, of: quic, window: 1s..4s, min: 1%, versus: { of: bulk, window: 1s..4s } }
  - { what: jain, of: bulk, window: 1s..4s, min: 0.1 }
  - { what: retransmits, of: bulk, window: 0s..4s, max: 100000 }
  - { what: rtt-p50, of: keys, window: 1s..4s, max: 2s }
  - { what: fetch-p50, of: page, window: 1s..4s, max: 4s }
  - { what: time-to-use, of: [one, two], window: 0s..4s, max: 4s }
`,
)

test.runIf(process.getuid?.() === 0)(
  'transfers over UDP and small requests are measured, and the matrix plays each run once',
  { timeout: 120_000 },
  () => {
    const runs = join(folder, 'runs.jsonl')
    const words = [
      'lab',
      'matrix',
      file,
      '--congestion',
      'cubic',
      '--seeds',
      '3',
      '--json',
      runs,
      '--markdown',
    ]
    const matrix = () =>
      spawnSync(process.execPath, [mainProgram, ...words], { encoding: 'utf8', timeout: 90_000 })
    const first = matrix()
    expect(first.stderr).toContain('1 of 1: mixed, cubic, seed 3')
    const entry = openEntries(runs)[0]!
    expect(entry).toMatchObject({ scenario: 'mixed', congestion: 'cubic', seed: 3 })
    expect(entry.verdicts.filter((verdict) => !verdict.ok)).toEqual([])
    const [quic, versus, jain, , keys, page] = entry.verdicts
    // Both links less the payload's share, shared with TCP.
    expect(quic!.share).toBeLessThan(1)
    expect(versus!.reference).toBeGreaterThan(1e6)
    expect(jain!.value).toBeLessThanOrEqual(1)
    // No answer is faster than the light: 5 ms each way, and a connection has to be opened for a page.
    expect(keys!.value).toBeGreaterThan(9.9)
    expect(page!.value).toBeGreaterThan(19.8)
    expect(first.stdout).toMatch(/^\| mixed \| CUBIC \| .* \| holds \|$/m)
    expect(first.status).toBe(0)

    const before = readFileSync(runs, 'utf8')
    const second = matrix()
    expect(second).toMatchObject({ status: 0, stderr: '', stdout: first.stdout })
    expect(readFileSync(runs, 'utf8')).toBe(before)
  },
)
