import { describe, expect, it } from 'vitest'
import { MILLISECOND, SECOND } from '../base/time.js'
import { BusyPeriod } from './busy-period.js'

const BYTES_PER_SEC = 1_000_000

/** Its age after `bytes` every 10 ms for a second, and so long a pause before the last. */
function ageMs(bytes: number, pauseMs: number): number {
  const busy = new BusyPeriod()
  for (let now = 0; now < SECOND; now += 10 * MILLISECOND) busy.sent(bytes, BYTES_PER_SEC, now)
  const now = 990 * MILLISECOND + pauseMs * MILLISECOND
  busy.sent(bytes, BYTES_PER_SEC, now)
  return busy.ageUs(now) / MILLISECOND
}

describe('BusyPeriod', () => {
  it('goes on while a tenth of the rate is sent, and begins again with what comes after less', () => {
    expect(ageMs(1_001, 10)).toBe(1000)
    expect(ageMs(500, 10)).toBe(0)
  })

  it('begins again after half a second of nothing, however much was sent', () => {
    expect(ageMs(1_000_000, 490)).toBe(1480)
    expect(ageMs(1_000_000, 500)).toBe(0)
  })

  it('has lasted for ever before anything was sent', () => {
    expect(new BusyPeriod().ageUs(0)).toBe(Number.POSITIVE_INFINITY)
  })
})
