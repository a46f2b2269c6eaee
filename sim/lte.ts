import type { Prng } from '../src/base/prng.js'

/** The rate of a radio link changes this often. */
export const LTE_TRACE_STEP_US = 50_000
const TARGET_STEPS = 20

/** Rates like those of an LTE link: a new target each second, approached slowly, with noise, in [low, high]. */
export function lteTrace(random: Prng, low: number, high: number): { next(): number } {
  let rate = (low + high) / 2
  let target = rate
  let step = 0
  return {
    next: () => {
      if (step++ % TARGET_STEPS === 0) target = low + (high - low) * random.next()
      rate += 0.12 * (target - rate) + (random.next() - 0.5) * 0.08 * rate
      rate = Math.max(low, Math.min(high, rate))
      return rate
    },
  }
}
