import type { ValueReader } from './scenario-reader.js'
import {
  EXPECTED,
  parseDuration,
  parsePercent,
  parseQueue,
  parseRate,
  parseSize,
  parseWindow,
  type Window,
} from './units.js'

/** The kinds of values in a scenario file: what is expected, and how it is read. */

export const rate: ValueReader<number> = {
  expected: `${EXPECTED.rate}, or unlimited`,
  read: (raw) => (raw === 'unlimited' ? Number.POSITIVE_INFINITY : parseRate(raw)),
}
export const duration: ValueReader<number> = { expected: EXPECTED.duration, read: parseDuration }
export const percent: ValueReader<number> = { expected: EXPECTED.percent, read: parsePercent }
export const size: ValueReader<number> = { expected: EXPECTED.size, read: parseSize }
export const queue = { expected: EXPECTED.queue, read: parseQueue }
export const windowReader: ValueReader<Window> = { expected: EXPECTED.window, read: parseWindow }
export const flag: ValueReader<boolean> = {
  expected: 'true or false',
  read: (raw) => (typeof raw === 'boolean' ? raw : undefined),
}
export const text: ValueReader<string> = {
  expected: 'a text',
  read: (raw) => (typeof raw === 'string' && raw.trim() !== '' ? raw.trim() : undefined),
}
export const word = (lengthMax: number): ValueReader<string> => ({
  expected: `a word of 1 to ${lengthMax} small letters, digits and dashes`,
  read: (raw) =>
    typeof raw === 'string' && raw.length <= lengthMax && /^[a-z0-9][a-z0-9-]*$/.test(raw) ? raw : undefined,
})
export const whole = (from: number, to: number): ValueReader<number> => ({
  expected: `a whole number from ${from} to ${to}`,
  read: (raw) =>
    Number.isInteger(raw) && Number(raw) >= from && Number(raw) <= to ? Number(raw) : undefined,
})
export const number = (from: number, to: number): ValueReader<number> => ({
  expected: `a number from ${from} to ${to}`,
  read: (raw) => (typeof raw === 'number' && raw >= from && raw <= to ? raw : undefined),
})
export const oneOf = <T extends string | number>(...values: readonly T[]): ValueReader<T> => ({
  expected: values.length === 1 ? String(values[0]) : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`,
  read: (raw) => values.find((value) => value === raw),
})
/** Names that must be known, one or a list. */
export const namesOf = (known: readonly string[], what: string): ValueReader<string[]> => ({
  expected:
    known.length === 0
      ? `the name of ${what}, of which there is none`
      : `the name of ${what}: ${known.join(', ')}`,
  read: (raw) => {
    const list = Array.isArray(raw) ? raw : [raw]
    return list.length > 0 && list.every((name) => known.includes(name as string))
      ? (list as string[])
      : undefined
  },
})
export const nameOf = (known: readonly string[], what: string): ValueReader<string> => ({
  expected: namesOf(known, what).expected,
  read: (raw) => (typeof raw === 'string' && known.includes(raw) ? raw : undefined),
})
