import { expect, test } from 'vitest'
import { MILLISECOND, SECOND } from '../base/time.js'
import { Pacer } from './pacer.js'

test('spaces packets at the rate, however late the ticks come', () => {
  const pacer = new Pacer()
  let bytes = 0
  for (let now = 0; now <= 10 * SECOND; now += 1_700) {
    while (pacer.mayISend(now)) {
      pacer.sent(1_500, 1e6, now)
      bytes += 1_500
    }
  }
  expect(bytes / 1e7).toBeCloseTo(1, 2)
  expect(pacer.idleUs).toBe(0)
})

test('a pause earns a burst of 2 ms and counts as idle beyond it', () => {
  const pacer = new Pacer()
  pacer.sent(1_000, 1e6, 0)
  let burst = 0
  while (pacer.mayISend(SECOND)) {
    pacer.sent(1_000, 1e6, SECOND)
    burst++
  }
  expect(burst).toBe(3)
  // From the end of the first packet's credit on.
  expect(pacer.idleUs).toBe(SECOND - 2 * MILLISECOND - (-2 * MILLISECOND + 1_000))
})

test('what may not wait overdraws, and those after it pay', () => {
  const pacer = new Pacer()
  pacer.sent(10_000, 1e6, 0)
  expect(pacer.mayISend(0)).toBe(false)
  pacer.sent(10_000, 1e6, 0)
  expect(pacer.waitUs(0)).toBe(18 * MILLISECOND)
  expect(pacer.waitUs(18 * MILLISECOND)).toBe(0)
  expect(pacer.mayISend(18 * MILLISECOND)).toBe(true)
})

test('tells beforehand how much it will let go', () => {
  for (const idleUs of [0, 300, 1_999, 2_000, SECOND]) {
    const pacer = new Pacer()
    pacer.sent(1_000, 1e6, 0)
    const now = 1_000 - 2 * MILLISECOND + idleUs
    const credit = pacer.creditBytes(1e6, now)
    let bytes = 0
    while (pacer.mayISend(now) && pacer.waitUs(now) === 0) {
      pacer.sent(10, 1e6, now)
      bytes += 10
    }
    expect(bytes).toBeGreaterThanOrEqual(credit)
    expect(bytes).toBeLessThanOrEqual(credit + 10)
  }
})

test('packets that do not wait cannot hold up those that do for longer than a quarter of a second', () => {
  const pacer = new Pacer()
  for (let i = 0; i < 100; i++) pacer.sent(1_500, 15_000, 0)
  expect(pacer.waitUs(0)).toBe(250_000)
  expect(pacer.mayISend(250_000)).toBe(true)
  // One packet at a very low rate takes its time all the same.
  pacer.sent(1_500, 1_500, 1_000_000)
  expect(pacer.waitUs(1_000_000)).toBe(998_000)
})
