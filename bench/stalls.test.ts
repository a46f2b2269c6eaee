import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { longestPause, worstStall } from './stalls.js'

const folder = mkdtempSync(join(tmpdir(), 'plait-stalls-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, lines: readonly string[]): string {
  const path = join(folder, name)
  writeFileSync(path, `${lines.join('\n')}\n`)
  return path
}

// Thread, end, lateness, worked, waited; of the seconds after the start nothing counts.
const start = '0 1000.00 0 0 0\n0 1600.00 300.00 250.00 10.00'

it('what a stall has in common with a pause of any processor is not its own, and is counted once', () => {
  const watched = file('both', [start, '1 9060.00 70.00 8.00 2.00', '1 9500.00 12.00 11.00 1.00'])
  const bystanders = [
    file('processor0', [start, '0 9055.00 55.00 0.00 0.00']),
    file('processor1', [start, '0 9050.00 55.00 0.00 0.00']),
  ]
  expect(worstStall(watched, bystanders, false)).toEqual({
    worstMs: 70,
    ownMs: 12,
    workedMs: 11,
    waitedMs: 1,
  })
  expect(longestPause(bystanders)).toBe(60)
})

it('threads are told apart, and a bystander that was never late takes nothing off', () => {
  const watched = file('threads', [start, '0 9060.00 17.00 3.00 13.00', '1 9060.00 9.00 8.00 0.00'])
  const bystanders = [file('calm', [start])]
  expect(worstStall(watched, bystanders, true)).toMatchObject({ worstMs: 17, ownMs: 17, waitedMs: 13 })
  expect(worstStall(watched, bystanders, false)).toMatchObject({ worstMs: 9, ownMs: 9 })
  expect(longestPause(bystanders)).toBe(0)
})
