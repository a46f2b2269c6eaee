import { readFileSync } from 'node:fs'
import { OperatorError } from '../base/errors.js'
import { Prng } from '../base/prng.js'
import type { Window } from './units.js'

/** A rate that changes at given times; after `periodUs` it begins again. */
export interface RateTrace {
  readonly points: readonly { readonly afterUs: number; readonly rateBitsPerSec: number }[]
  readonly periodUs: number
}

/** A cell's rate as a phone sees it: within bounds, a new value every step. */
export interface LteModel {
  readonly minBitsPerSec: number
  readonly maxBitsPerSec: number
  readonly stepUs: number
}

const LTE_PERIOD_US = 600e6
/** How far of its range the rate may move in one step. With 150 ms steps it crosses half the range in 2 to 3 s. */
const LTE_STRIDE = 0.25

/** A bounded random walk from a seed, reflected at both bounds, so that the mean is the middle of the range. */
export function lteTrace(model: LteModel, seed: number): RateTrace {
  const random = new Prng(seed)
  const points: { afterUs: number; rateBitsPerSec: number }[] = []
  let level = random.next()
  for (let afterUs = 0; afterUs < LTE_PERIOD_US; afterUs += model.stepUs) {
    points.push({
      afterUs,
      rateBitsPerSec: Math.round(model.minBitsPerSec + level * (model.maxBitsPerSec - model.minBitsPerSec)),
    })
    level += (random.next() * 2 - 1) * LTE_STRIDE
    if (level < 0) level = -level
    if (level > 1) level = 2 - level
  }
  return { points, periodUs: LTE_PERIOD_US }
}

/**
 * Lines of "milliseconds bit/s", rising, the first at 0; the last line's time ends the period.
 *
 * @throws OperatorError with line and column
 */
export function readTraceFile(path: string): RateTrace {
  const fault = (text: string, line: number): OperatorError =>
    new OperatorError('configBadValue', text, {
      place: { file: path, line, column: 1 },
      remedy: 'a line for 20 Mbit/s from half a second on: 500 20000000',
    })
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw fault(`the rate trace cannot be read (${(error as NodeJS.ErrnoException).code})`, 1)
  }
  const points: { afterUs: number; rateBitsPerSec: number }[] = []
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/#.*/, '').trim()
    if (line === '') continue
    const match = /^(\d+(?:\.\d+)?)\s+(\d+)$/.exec(line)
    const afterUs = match ? Number(match[1]) * 1000 : Number.NaN
    const risen = points.length === 0 ? afterUs === 0 : afterUs > points.at(-1)!.afterUs
    if (!match || !risen) {
      throw fault(`"${line}", expected "milliseconds bit/s" with times that rise from 0`, index + 1)
    }
    points.push({ afterUs, rateBitsPerSec: Number(match[2]) })
  }
  if (points.length < 2) throw fault('a rate trace needs at least two lines', 1)
  const last = points.pop()!
  return { points, periodUs: last.afterUs }
}

/** The emulator's words for a trace. */
export function emulatorTrace(trace: RateTrace): string {
  const points = trace.points.map((p) => `${Math.round(p.afterUs * 1000)}:${p.rateBitsPerSec}`)
  return `${Math.round(trace.periodUs * 1000)} ${points.join(' ')}`
}

/** Rate at a time after the start of the trace. */
export function traceRateAt(trace: RateTrace, timeUs: number): number {
  const within = timeUs % trace.periodUs
  let low = 0
  let high = trace.points.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (trace.points[middle]!.afterUs <= within) low = middle
    else high = middle - 1
  }
  return trace.points[low]!.rateBitsPerSec
}

/** Mean rate over a window, sampled every millisecond. */
export function traceMean(trace: RateTrace, window: Window): number {
  let sum = 0
  let count = 0
  for (let t = window.fromUs; t < window.toUs; t += 1000) {
    sum += traceRateAt(trace, t)
    count++
  }
  return sum / count
}
