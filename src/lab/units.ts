/** Readers of "80Mbit/s", "10ms", "1%", "64kB". Each returns undefined for what it does not understand. */

const RATES: Record<string, number> = { 'bit/s': 1, 'kbit/s': 1e3, 'Mbit/s': 1e6, 'Gbit/s': 1e9 }
const DURATIONS: Record<string, number> = { us: 1, ms: 1e3, s: 1e6, min: 60e6 }
const SIZES: Record<string, number> = { B: 1, kB: 1e3, MB: 1e6, KiB: 1024, MiB: 1_048_576 }

/** What is expected where such a value stands, for messages. */
export const EXPECTED = {
  rate: 'a rate such as 80Mbit/s (bit/s, kbit/s, Mbit/s, Gbit/s)',
  duration: 'a duration such as 20ms (us, ms, s, min)',
  percent: 'a share such as 1%',
  size: 'a size such as 64kB (B, kB, MB, KiB, MiB)',
  queue: 'a queue limit such as 100ms, 64kB or 12packets',
  window: 'a window such as 15s..45s',
}

function quantity(text: unknown, units: Record<string, number>): number | undefined {
  if (typeof text !== 'string') return undefined
  const match = /^(\d+(?:\.\d+)?) ?([A-Za-z/]+)$/.exec(text)
  if (!match) return undefined
  const factor = units[match[2]!]
  return factor === undefined ? undefined : Number(match[1]) * factor
}

/** Bits per second. */
export const parseRate = (text: unknown): number | undefined => quantity(text, RATES)
/** Microseconds. */
export const parseDuration = (text: unknown): number | undefined => quantity(text, DURATIONS)
/** Bytes. */
export const parseSize = (text: unknown): number | undefined => quantity(text, SIZES)

/** 0..1. */
export function parsePercent(text: unknown): number | undefined {
  if (typeof text !== 'string') return undefined
  const match = /^(\d+(?:\.\d+)?) ?%$/.exec(text)
  return match && Number(match[1]) <= 100 ? Number(match[1]) / 100 : undefined
}

/** How much may wait before a queue drops: one of three measures. */
export type QueueLimit = { bytes: number } | { timeUs: number } | { packets: number }

export function parseQueue(text: unknown): QueueLimit | undefined {
  if (typeof text === 'string') {
    const match = /^(\d+) ?packets?$/.exec(text)
    if (match) return { packets: Number(match[1]) }
  }
  const timeUs = parseDuration(text)
  if (timeUs !== undefined) return { timeUs }
  const bytes = parseSize(text)
  return bytes === undefined ? undefined : { bytes }
}

export interface Window {
  readonly fromUs: number
  readonly toUs: number
}

export function parseWindow(text: unknown): Window | undefined {
  if (typeof text !== 'string') return undefined
  const parts = text.split('..')
  if (parts.length !== 2) return undefined
  const fromUs = parseDuration(parts[0]!.trim())
  const toUs = parseDuration(parts[1]!.trim())
  return fromUs === undefined || toUs === undefined || toUs <= fromUs ? undefined : { fromUs, toUs }
}

export function formatRate(bitsPerSec: number): string {
  if (bitsPerSec >= 1e9) return `${trim(bitsPerSec / 1e9)} Gbit/s`
  if (bitsPerSec >= 1e6) return `${trim(bitsPerSec / 1e6)} Mbit/s`
  return `${trim(bitsPerSec / 1e3)} kbit/s`
}

export function formatDuration(us: number): string {
  if (us >= 1e6) return `${trim(us / 1e6)} s`
  if (us >= 1e3) return `${trim(us / 1e3)} ms`
  return `${trim(us)} µs`
}

function trim(value: number): string {
  return value >= 100 ? value.toFixed(1).replace(/\.0$/, '') : value.toFixed(2).replace(/\.?0+$/, '')
}
