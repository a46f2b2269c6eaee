import { expect, test } from 'vitest'
import {
  formatDuration,
  formatRate,
  parseDuration,
  parsePercent,
  parseQueue,
  parseRate,
  parseSize,
  parseWindow,
} from './units.js'

test.each([
  ['80Mbit/s', 80e6],
  ['0.826Mbit/s', 826_000],
  ['1 Gbit/s', 1e9],
  ['500kbit/s', 500_000],
  ['12bit/s', 12],
])('rate %s', (text, bits) => expect(parseRate(text)).toBeCloseTo(bits, 3))

test.each(['80', '80M', '80mbit/s', '-1Mbit/s', 'Mbit/s', '80Mbit/s ', '1e3Mbit/s', 80, null, undefined, {}])(
  '%s is no rate',
  (text) => expect(parseRate(text)).toBeUndefined(),
)

test('durations, shares, sizes, queues and windows', () => {
  expect(parseDuration('20ms')).toBe(20_000)
  expect(parseDuration('1.5s')).toBe(1_500_000)
  expect(parseDuration(20)).toBeUndefined()
  expect(parsePercent('1%')).toBe(0.01)
  expect(parsePercent('101%')).toBeUndefined()
  expect(parseSize('64kB')).toBe(64_000)
  expect(parseQueue('12packets')).toEqual({ packets: 12 })
  expect(parseQueue('100ms')).toEqual({ timeUs: 100_000 })
  expect(parseQueue('64KiB')).toEqual({ bytes: 65_536 })
  expect(parseQueue('12')).toBeUndefined()
  expect(parseWindow('15s..45s')).toEqual({ fromUs: 15e6, toUs: 45e6 })
  expect(parseWindow('45s..15s')).toBeUndefined()
  expect(parseWindow('15s')).toBeUndefined()
})

test('values are shown in the unit that fits', () => {
  expect(formatRate(91.68e6)).toBe('91.68 Mbit/s')
  expect(formatRate(2e9)).toBe('2 Gbit/s')
  expect(formatRate(750)).toBe('0.75 kbit/s')
  expect(formatDuration(2500)).toBe('2.5 ms')
})
