import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { WindowedFilter } from './windowed-filter.js'

describe('WindowedFilter', () => {
  it.each(['min', 'max'] as const)(
    'is within the true %s of the window and of its newest quarter',
    (kind) => {
      const best = kind === 'min' ? Math.min : Math.max
      const sample = fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: -50, max: 50 }))
      fc.assert(
        fc.property(fc.array(sample, { minLength: 1, maxLength: 200 }), (samples) => {
          const filter = new WindowedFilter(kind, 400)
          expect(filter.value).toBeNaN()
          const history: { at: number; value: number }[] = []
          let now = 0
          for (const [gap, value] of samples) {
            now += gap
            history.push({ at: now, value })
            const result = filter.update(value, now)
            expect(filter.value).toBe(result)
            const values = history.filter(({ at }) => now - at <= 400).map((each) => each.value)
            // A real sample of the window, no better than its best, and no worse than the newest one.
            expect(values).toContain(result)
            expect(best(result, value)).toBe(result)
            expect(best(result, ...values)).toBe(best(...values))
          }
        }),
      )
    },
  )

  it('forgets the best once it is older than the window, and takes the next best', () => {
    const filter = new WindowedFilter('min', 100)
    expect(filter.update(5, 0)).toBe(5)
    expect(filter.update(8, 30)).toBe(5)
    expect(filter.update(9, 60)).toBe(5)
    expect(filter.update(20, 100)).toBe(5)
    expect(filter.update(20, 101)).toBe(8)
    expect(filter.update(20, 131)).toBe(9)
    expect(filter.update(30, 400)).toBe(30)
    filter.clear()
    expect(filter.value).toBeNaN()
    expect(filter.update(50, 401)).toBe(50)
  })

  it('is exact where samples only rise or only fall', () => {
    const filter = new WindowedFilter('max', 1000)
    for (let i = 0; i < 50; i++) expect(filter.update(i, i * 10)).toBe(i)
  })
})
