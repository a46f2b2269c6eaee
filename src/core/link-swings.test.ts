import { describe, expect, test } from 'vitest'
import { Prng } from '../base/prng.js'
import { MILLISECOND } from '../base/time.js'
import { LinkSwings } from './link-swings.js'

const PACKET_BYTES = 1_500
const WINDOW_US = 50 * MILLISECOND

/** Twenty seconds of a window every 5 ms; `rate`: bytes a second in the window that ends at a time in ms. */
function watch(rate: (ms: number) => number, jitterUs = 0, windowUs = WINDOW_US): LinkSwings {
  const swings = new LinkSwings()
  for (let ms = 0; ms < 20_000; ms += 5) {
    const packets = Math.floor((rate(ms) * windowUs) / 1e6 / PACKET_BYTES)
    swings.observeRate(packets * PACKET_BYTES, windowUs, PACKET_BYTES, jitterUs)
  }
  return swings
}

describe('rate', () => {
  test('of a cell that changes between an eighth and all swings', () => {
    const random = new Prng(1)
    let rate = 0
    const swings = watch((ms) => {
      if (ms % 150 === 0) rate = 600_000 + random.next() * 4_400_000
      return rate
    })
    expect(swings.isQuick).toBe(true)
  })

  test('of a line does not, nor does it look so where windows hold few packets', () => {
    expect(watch(() => 6_000_000).isQuick).toBe(false)
    const random = new Prng(2)
    const fewPackets = () => 60_000 + (random.next() - 0.5) * 30_000
    expect(watch(fewPackets, 0, 100 * MILLISECOND).isQuick).toBe(false)
  })

  test('looks so by jitter, and is not taken for it', () => {
    // Both ends of a window 15 ms early or late.
    const noise = (random: Prng) => (random.next() - random.next()) * 15 * MILLISECOND
    const random = new Prng(3)
    const jittered = () => 4_000_000 * (WINDOW_US / (WINDOW_US + noise(random)))
    expect(watch(jittered, 0).isQuick).toBe(true)
    expect(watch(jittered, 5 * MILLISECOND).isQuick).toBe(false)
  })

  test('that changed once is followed closely for a while only', () => {
    expect(watch((ms) => (ms < 19_000 ? 10_000_000 : 2_500_000)).isQuick).toBe(true)
    expect(watch((ms) => (ms < 2_000 ? 10_000_000 : 2_500_000)).isQuick).toBe(false)
  })

  test('is known again after a while of which nothing arrived', () => {
    expect(watch((ms) => (ms < 100 ? 0 : 6_000_000)).isQuick).toBe(false)
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
