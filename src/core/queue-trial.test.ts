import { describe, expect, it } from 'vitest'
import { MILLISECOND, SECOND } from '../base/time.js'
import { QueueTrial } from './queue-trial.js'

const STEP_US = 10 * MILLISECOND
const STEP_PACKETS = 40

/** Runs a link that carries 4,000 packets/s for so many seconds; `lossAt` says what it loses with that share of the queue. */
function run(trial: QueueTrial, seconds: number, lossAt: (share: number) => number, from = 0): number[] {
  const shares: number[] = []
  let owed = 0
  for (let now = from; now < from + seconds * SECOND; now += STEP_US) {
    owed += STEP_PACKETS * lossAt(trial.share)
    const lost = Math.floor(owed)
    owed -= lost
    trial.onLoss(STEP_PACKETS, lost, now)
    shares.push(trial.share)
  }
  return shares
}

const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

describe('queue trial', () => {
  it('waits until the rates are known', () => {
    expect(new Set(run(new QueueTrial(), 3, () => 0.1))).toEqual(new Set([1]))
  })

  it('aims at the usual queue where little is lost', () => {
    expect(new Set(run(new QueueTrial(), 60, () => 0.004))).toEqual(new Set([1]))
  })

  it('stays with the shorter queue where that fits the buffer', () => {
    const trial = new QueueTrial()
    run(trial, 8, (share) => (share === 1 ? 0.03 : 0.001))
    expect(trial.share).toBeLessThan(1)
  })

  it('leaves a link alone that loses whatever the queue, and tries it ever more rarely', () => {
    const trial = new QueueTrial()
    const shares = run(trial, 600, () => 0.02)
    expect(trial.share).toBe(1)
    expect(mean(shares.slice(0, 6_000))).toBeGreaterThan(0.94)
    expect(mean(shares.slice(30_000))).toBeGreaterThan(0.997)
  })

  it('comes back when the buffer has grown', () => {
    const trial = new QueueTrial()
    run(trial, 8, (share) => (share === 1 ? 0.03 : 0))
    const shares = run(trial, 120, () => 0, 8 * SECOND)
    expect(shares[0]).toBeLessThan(1)
    expect(trial.share).toBe(1)
  })

  it('tries a longer queue seldom while that loses', () => {
    const trial = new QueueTrial()
    run(trial, 8, (share) => (share === 1 ? 0.03 : 0))
    const shares = run(trial, 600, (share) => (share === 1 ? 0.03 : 0), 8 * SECOND)
    expect(shares.filter((share) => share === 1).length / shares.length).toBeLessThan(0.02)
  })

  it('does not take for better what was sent before the change', () => {
    const trial = new QueueTrial()
    let now = 0
    for (; trial.share === 1; now += STEP_US) trial.onLoss(STEP_PACKETS, 1, now)
    // Reports on the packets that were under way: without loss, but they say nothing of the shorter queue.
    for (let i = 0; i < 25; i++, now += STEP_US) trial.onLoss(200, 0, now)
    for (let i = 0; i < 100; i++, now += STEP_US) trial.onLoss(STEP_PACKETS, 1, now)
    expect(trial.share).toBe(1)
  })
})
