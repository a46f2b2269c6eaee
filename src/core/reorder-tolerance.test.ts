import { beforeEach, expect, it } from 'vitest'
import { MILLISECOND, SECOND } from '../base/time.js'
import { delivered, knowPaths, receive, resequencer, start } from './testing/one-resequencer.js'

beforeEach(() => start())

it('waits longer where packets overtake each other within a path, and less again when they no longer do', () => {
  knowPaths(0)
  resequencer.setPaths([0])
  let now = 10 * MILLISECOND
  let sequence = 0
  /** One packet overtakes two others by `byUs`; whether it had to wait for them. */
  const overtake = (byUs: number): boolean => {
    now += 20 * MILLISECOND
    const stamp = now - 10 * MILLISECOND
    receive(1, sequence + 2, stamp + byUs, now)
    resequencer.pathDelivered(0, stamp + byUs + 1, now)
    resequencer.handleTimeout(now)
    const waited = resequencer.heldCount > 0
    receive(1, sequence, stamp, now + byUs)
    receive(1, sequence + 1, stamp, now + byUs)
    resequencer.handleTimeout(now + byUs)
    sequence += 3
    expect(delivered()).toHaveLength(3)
    return waited
  }
  expect(overtake(MILLISECOND)).toBe(false)
  expect(resequencer.toleranceUs).toBe(500)
  expect(overtake(MILLISECOND)).toBe(true)
  const late = resequencer.lateDelivered
  now += 20 * SECOND
  expect(overtake(MILLISECOND)).toBe(false)
  expect(resequencer.lateDelivered).toBe(late + 2)
})
