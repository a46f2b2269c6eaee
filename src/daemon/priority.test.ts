import { execFileSync, spawnSync } from 'node:child_process'
import { getPriority, setPriority } from 'node:os'
import { afterEach, expect, it } from 'vitest'
import { atOrdinaryPriority, raisePriority } from './priority.js'

const before = getPriority()
/** Raising it needs a privilege, as everything here does that touches the system. */
const mayRaise = spawnSync('nice', ['-n', '-1', 'true'], { stdio: 'pipe' }).stderr.length === 0
const niceness = (): number => Number(execFileSync('nice', { encoding: 'utf8' }))

afterEach(() => {
  if (mayRaise) setPriority(before)
})

it.runIf(mayRaise)('what is started goes first like the thread itself, but programs of others do not', () => {
  raisePriority()
  expect(getPriority()).toBe(-10)
  expect(niceness()).toBe(-10)
  expect(atOrdinaryPriority(niceness)).toBe(before)
  expect(getPriority()).toBe(-10)
})
