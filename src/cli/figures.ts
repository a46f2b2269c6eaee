/** Numbers and tables for people. */

/** Columns of equal width, two spaces in front and between; those in `right` are set to the right. */
export function table(rows: readonly (readonly string[])[], right: readonly number[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) =>
    row
      .map((cell, i) => `  ${right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)}`)
      .join('')
      .trimEnd(),
  )
}

/** 12 s, 3 m 05 s, 2 h 10 m, 4 d 03 h. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds))
  const two = (n: number): string => String(n).padStart(2, '0')
  if (s < 60) return `${s} s`
  if (s < 3_600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${two(Math.floor((s % 3_600) / 60))} m`
  return `${Math.floor(s / 86_400)} d ${two(Math.floor((s % 86_400) / 3_600))} h`
}

/** Decimal units with three digits. */
export function size(bytes: number): string {
  return scaled(bytes, ['B', 'kB', 'MB', 'GB', 'TB', 'PB'])
}

export function rate(bytesPerSec: number): string {
  return scaled(Math.max(0, bytesPerSec) * 8, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s'])
}

function scaled(value: number, units: readonly string[]): string {
  let scaledValue = value
  let unit = 0
  while (scaledValue >= 999.5 && unit < units.length - 1) {
    scaledValue /= 1_000
    unit++
  }
  const digits = unit === 0 || scaledValue >= 99.95 ? 0 : scaledValue >= 9.995 ? 1 : 2
  return `${scaledValue.toFixed(digits)} ${units[unit]}`
}

export function milliseconds(value: number | undefined): string {
  if (value === undefined) return '-'
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ms`
}

export function percent(share: number | undefined): string {
  return share === undefined ? '-' : `${(share * 100).toFixed(share > 0 && share < 0.1 ? 2 : 0)} %`
}
