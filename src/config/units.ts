/**
 * Quantities with units, as an operator writes them. The unit is obligatory: "100" might be seconds or milliseconds
 * to whoever reads it next.
 */
export interface Unit {
  /** For messages and the manual. */
  readonly what: string
  readonly example: string
  /** Factor from each suffix to the base unit. */
  readonly suffixes: Readonly<Record<string, number>>
}

/** Base unit: µs. */
export const DURATION: Unit = {
  what: 'a duration',
  example: '500ms, 2s or 5m',
  suffixes: { us: 1, ms: 1_000, s: 1_000_000, m: 60_000_000, h: 3_600_000_000 },
}

/** The value in base units, `'bare'` for a number without unit, undefined for anything else. */
export function parseQuantity(text: string, unit: Unit): number | 'bare' | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z/]*)$/.exec(text)
  if (match === null) return undefined
  if (match[2] === '') return 'bare'
  const factor = Object.hasOwn(unit.suffixes, match[2]!) ? unit.suffixes[match[2]!] : undefined
  return factor === undefined ? undefined : Number(match[1]) * factor
}

/** The shortest exact text, for the manual and for messages. */
export function formatQuantity(value: number, unit: Unit): string {
  const falling = Object.entries(unit.suffixes).sort((a, b) => b[1] - a[1])
  const [suffix, factor] =
    falling.find(([, f]) => value >= f && Number.isInteger(value / f)) ?? falling.at(-1)!
  return `${value / factor}${suffix}`
}
