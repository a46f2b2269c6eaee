import { readFileSync } from 'node:fs'
import { rounded } from './statistics.js'

/** What {@link readLate} reads: a time that an event loop did not turn, in ms. */
interface Late {
  thread: number
  /** When it ended, by the monotonic clock. */
  at: number
  lateMs: number
  /** Meanwhile the thread worked, or waited for a processor. */
  workedMs: number
  waitedMs: number
}

/** Of a thread, in ms. */
export interface Stall {
  /** The longest time that its event loop did not turn. */
  worstMs: number
  /** The same without what the machine as a whole stood still; of that one, why. */
  ownMs: number
  workedMs: number
  waitedMs: number
}

/** Starting and compiling take their time. */
const SETTLE_MS = 4_000

/** The lines of loop-watch.ts in `file`, without the start. */
function readLate(file: string): Late[] {
  const all = readFileSync(file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => line.split(' ').map(Number) as [number, number, number, number, number])
    .map(([thread, at, lateMs, workedMs, waitedMs]) => ({ thread, at, lateMs, workedMs, waitedMs }))
  const from = Math.min(...all.map(({ at }) => at)) + SETTLE_MS
  return all.filter(({ at }) => at > from)
}

/** A time that a processor stood still, in ms of the monotonic clock. */
interface Pause {
  from: number
  to: number
}

/**
 * When the machine stood still, from the files of programs that do nothing and go before everything, one on each processor:
 * times that any of them was late, those that overlap as one.
 */
function readPauses(bystanders: readonly string[]): Pause[] {
  const all = bystanders.flatMap((file) =>
    readLate(file).map(({ at, lateMs }) => ({ from: at - lateMs, to: at })),
  )
  all.sort((a, b) => a.from - b.from)
  const pauses: Pause[] = []
  for (const pause of all) {
    const last = pauses.at(-1)
    if (last !== undefined && pause.from <= last.to) last.to = Math.max(last.to, pause.to)
    else pauses.push({ ...pause })
  }
  return pauses
}

/** The stalls of a program's main thread (0) or of the other ones, from the file that its loop-watch.ts wrote. */
export function worstStall(file: string, bystanders: readonly string[], ofMain: boolean): Stall {
  const pauses = readPauses(bystanders)
  const worst = { worstMs: 0, ownMs: 0, workedMs: 0, waitedMs: 0 }
  for (const { thread, at, lateMs, workedMs, waitedMs } of readLate(file)) {
    if ((thread === 0) !== ofMain) continue
    let ownMs = lateMs
    for (const { from, to } of pauses) ownMs -= Math.max(0, Math.min(at, to) - Math.max(at - lateMs, from))
    worst.worstMs = Math.max(worst.worstMs, rounded(lateMs, 1))
    if (ownMs <= worst.ownMs) continue
    worst.ownMs = rounded(ownMs, 1)
    worst.workedMs = rounded(workedMs, 1)
    worst.waitedMs = rounded(waitedMs, 1)
  }
  return worst
}

/** The longest time that a processor of the machine stood still, in ms. */
export function longestPause(bystanders: readonly string[]): number {
  return rounded(Math.max(0, ...readPauses(bystanders).map(({ from, to }) => to - from)), 1)
}
