import { describe, expect, test } from 'vitest'
import { Prng } from '../base/prng.js'
import { MILLISECOND } from '../base/time.js'
import { LinkSwings } from './link-swings.js'

const PACKET_BYTES = 1_500
const WINDOW_US = 50 * MILLISECOND

/** Twenty seconds of a window every `everyMs`; `rate`: bytes a second in the window that ends at a time in ms. */
function watch(
  rate: (ms: number) => number,
  { jitterUs = 0, windowUs = WINDOW_US, everyMs = 5 } = {},
): LinkSwings {
  const swings = new LinkSwings()
  for (let ms = 0; ms < 20_000; ms += everyMs) {
    const packets = Math.floor((rate(ms) * windowUs) / 1e6 / PACKET_BYTES)
    swings.observeRate(packets * PACKET_BYTES, windowUs, PACKET_BYTES, jitterUs, ms * MILLISECOND)
  }
  return swings
}

/** Another rate between an eighth and all every 150 ms. */
function cell(): (ms: number) => number {
  const random = new Prng(1)
  let rate = 0
  let until = 0
  return (ms) => {
    if (ms >= until) {
      rate = 600_000 + random.next() * 4_400_000
      until += 150
    }
    return rate
  }
}

describe('rate', () => {
  test.each([1, 5, 50])('of a cell swings, however often it is looked at (every %i ms)', (everyMs) => {
    expect(watch(cell(), { everyMs }).isUnsteady).toBe(true)
  })

  test('of a line does not, nor does it look so where windows hold few packets', () => {
    expect(watch(() => 6_000_000).isUnsteady).toBe(false)
    const random = new Prng(2)
    const fewPackets = () => 60_000 + (random.next() - 0.5) * 30_000
    expect(watch(fewPackets, { windowUs: 100 * MILLISECOND }).isUnsteady).toBe(false)
  })

  test('looks so by jitter, and is not taken for it', () => {
    // Both ends of a window 15 ms early or late.
    const noise = (random: Prng) => (random.next() - random.next()) * 15 * MILLISECOND
    const random = new Prng(3)
    const jittered = () => 4_000_000 * (WINDOW_US / (WINDOW_US + noise(random)))
    expect(watch(jittered).isUnsteady).toBe(true)
    expect(watch(jittered, { jitterUs: 5 * MILLISECOND }).isUnsteady).toBe(false)
  })

  test.each([1, 5, 50])('that changed once is followed closely for a while only (every %i ms)', (everyMs) => {
    const fall = (at: number) => (ms: number) => (ms < at ? 10_000_000 : 2_500_000)
    expect(watch(fall(19_000), { everyMs }).isUnsteady).toBe(true)
    expect(watch(fall(2_000), { everyMs }).isUnsteady).toBe(false)
  })

  test('that a token bucket let through at the beginning does not weigh for long', () => {
    const swings = new LinkSwings()
    for (let ms = 0; ms < 8_000; ms += 5) {
      const bytes = (ms < 100 ? 30 : 6) * WINDOW_US
      swings.observeRate(bytes, WINDOW_US, PACKET_BYTES, 0, ms * MILLISECOND)
    }
    expect(swings.isUnsteady).toBe(false)
  })

  test('swings after a time in which nothing arrived, or jitter was beyond measure', () => {
    const swinging = cell()
    expect(watch((ms) => (ms < 5_000 ? 0 : swinging(ms))).isUnsteady).toBe(true)
    const swings = new LinkSwings()
    const see = (ms: number, jitterUs: number): void => {
      const bytes = (swinging(ms) * WINDOW_US) / 1e6
      swings.observeRate(bytes, WINDOW_US, PACKET_BYTES, jitterUs, ms * MILLISECOND)
    }
    for (let ms = 20_000; ms < 40_000; ms += 5) see(ms, 50 * MILLISECOND)
    expect(swings.isUnsteady).toBe(false)
    for (let ms = 40_000; ms < 43_000; ms += 5) see(ms, 0)
    expect(swings.isUnsteady).toBe(true)
  })
})

describe('queue', () => {
  const after = (queueUs: (i: number) => number): number => {
    const swings = new LinkSwings()
    for (let i = 0; i < 2_000; i++) swings.observeQueue(queueUs(i))
    return swings.targetUs
  }

  test('that stands asks for nothing more', () => {
    expect(after(() => 5 * MILLISECOND)).toBe(0)
  })

  test('that swings asks for as much as it swings, and at most 20 ms', () => {
    const some = after((i) => (i % 60 < 30 ? 1 : 9) * MILLISECOND)
    expect(some).toBeGreaterThan(4 * MILLISECOND)
    expect(some).toBeLessThan(8 * MILLISECOND)
    expect(after((i) => (i % 60 < 30 ? 1 : 100) * MILLISECOND)).toBe(20 * MILLISECOND)
  })
})
