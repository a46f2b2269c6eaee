import { expect, test } from 'vitest'
import { Prng } from '../src/base/prng.js'
import { Clock, type Handler } from './clock.js'

function record(clock: Clock, log: string[], name: string): Handler {
  return { id: clock.nextHandlerId(), fire: (argument, now) => log.push(`${now} ${name} ${argument}`) }
}

test('events happen in order of time, then of asking; a past time means now', () => {
  const clock = new Clock()
  const log: string[] = []
  const a = record(clock, log, 'a')
  const b = record(clock, log, 'b')
  clock.at(20, a, 1)
  clock.at(10, b, 2)
  clock.at(20, b, 3)
  clock.at(-5, a, 4)
  clock.call(10, (now) => clock.at(now - 7, a, 5))
  clock.run(15)
  expect(log).toEqual(['0 a 4', '10 b 2', '10 a 5'])
  expect(clock.now).toBe(15)
  clock.run(20)
  expect(log.slice(3)).toEqual(['20 a 1', '20 b 3'])
  expect(clock.pending).toBe(0)
})

test('a hundred thousand random events come out sorted, also while more are added', () => {
  const clock = new Clock()
  const random = new Prng(7)
  let last = -1
  let count = 0
  const handler: Handler = {
    id: 1,
    fire: (argument, now) => {
      expect(now >= last).toBe(true)
      last = now
      count++
      if (argument > 0) clock.at(now + random.below(1000), handler, argument - 1)
    },
  }
  for (let i = 0; i < 20_000; i++) clock.at(random.below(50_000), handler, 4)
  clock.run(1e9)
  expect(count).toBe(100_000)
})

test('the trace hash tells runs apart', () => {
  const run = (seed: number): string => {
    const clock = new Clock()
    const random = new Prng(seed)
    const handler: Handler = { id: 3, fire: () => undefined }
    for (let i = 0; i < 1000; i++) clock.at(random.below(1000), handler, i)
    clock.run(1000)
    return clock.trace.toString()
  }
  expect(run(1)).toBe(run(1))
  expect(run(1)).not.toBe(run(2))
  expect(run(1)).toMatch(/^[0-9a-f]{16}$/)
})
