import { describe, expect, it } from 'vitest'
import { Ewma } from './ewma.js'

describe('Ewma', () => {
  it('takes the first sample whole, then moves by its weight', () => {
    const ewma = new Ewma(0.25)
    expect(ewma.value).toBeNaN()
    expect(ewma.update(8)).toBe(8)
    expect(ewma.update(4)).toBe(7)
    ewma.reset()
    expect(ewma.update(0)).toBe(0)
  })
})
