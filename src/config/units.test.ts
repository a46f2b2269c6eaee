import { describe, expect, it } from 'vitest'
import { DURATION, formatQuantity, parseQuantity } from './units.js'

describe('units', () => {
  it.each([
    ['100ms', DURATION, 100_000],
    ['2s', DURATION, 2_000_000],
    ['1.5 s', DURATION, 1_500_000],
    ['5m', DURATION, 300_000_000],
  ])('reads %s', (text, unit, value) => expect(parseQuantity(text, unit)).toBe(value))

  it.each(['5', '0', '1.5', '5 '])('tells %j as bare', (text) =>
    expect(parseQuantity(text, DURATION)).toBe('bare'),
  )

  it.each([
    '',
    's',
    '-1s',
    '1 second',
    '1S',
    '1e3s',
    '1,5s',
    '0x1s',
    '1s ',
    ' 1s',
    '1constructor',
    '1toString',
  ])('refuses %j', (text) => expect(parseQuantity(text, DURATION)).toBeUndefined())

  it('writes what it reads', () => {
    for (const text of ['100ms', '2s', '5m', '1h', '90s', '1us']) {
      expect(formatQuantity(parseQuantity(text, DURATION) as number, DURATION)).toBe(text)
    }
  })
})
