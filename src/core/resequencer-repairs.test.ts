import { beforeEach, expect, it } from 'vitest'
import { MILLISECOND } from '../base/time.js'
import { PacketFlag } from '../wire/message.js'
import { delivered, receive, resequencer, start } from './testing/one-resequencer.js'

// How long a hole is kept open for what is sent again.

beforeEach(() => start())

it('holds what comes after repairs for as long as these fill the hole from its front', () => {
  start({ repairs: true, holdUsMax: 300 * MILLISECOND })
  for (const bucket of [1, 2]) receive(bucket, 101)
  receive(1, 100)
  // A repair each 10 ms for a second.
  for (let i = 0; i < 100; i++) {
    const now = (i + 1) * 10 * MILLISECOND
    receive(1, i, now, now, PacketFlag.Repair)
    resequencer.handleTimeout(now)
    expect(resequencer.nextTimeout()).toBeGreaterThan(now)
    const all = i === 29 ? [`1:${i}`, '2:101'] : [`1:${i}`]
    expect(delivered()).toEqual(i === 99 ? ['1:99', '1:100', '1:101'] : all)
  }
})

it('gives such a hole up as soon as the repairs end, or after a second of them', () => {
  for (const { lastMs, givenUpMs } of [
    { lastMs: 280, givenUpMs: 330 },
    { lastMs: 400, givenUpMs: 450 },
    { lastMs: 5000, givenUpMs: 2300 },
  ]) {
    start({ repairs: true, holdUsMax: 300 * MILLISECOND })
    receive(1, 1000)
    receive(1, 1001, 0, 150 * MILLISECOND)
    // Behind a hole of its own, and young.
    receive(1, 1003, 0, (givenUpMs - 100) * MILLISECOND)
    let heardAt = 0
    for (let ms = 10; heardAt === 0; ms += 10) {
      const now = ms * MILLISECOND
      while (resequencer.nextTimeout() < now) resequencer.handleTimeout(resequencer.nextTimeout())
      if (ms <= lastMs) receive(1, ms / 10 - 1, now, now, PacketFlag.Repair)
      resequencer.handleTimeout(now)
      if (delivered().includes('1:1000')) heardAt = ms
    }
    expect(heardAt).toBe(givenUpMs)
    expect(resequencer.heldCount).toBe(1)
    expect(resequencer.nextTimeout()).toBe((givenUpMs + 200) * MILLISECOND)
  }
})

it('gives up first what waits for repairs alone when room is needed', () => {
  start({ repairs: true, holdUsMax: 300 * MILLISECOND })
  receive(1, 100)
  receive(2, 100, 0, 200 * MILLISECOND)
  for (let i = 0; i < 31; i++) {
    const now = (i + 1) * 10 * MILLISECOND
    receive(1, i, now, now, PacketFlag.Repair)
    resequencer.handleTimeout(now)
  }
  delivered()
  expect(resequencer.relieve(310 * MILLISECOND)).toBe(true)
  expect(delivered()).toEqual(['1:100'])
  expect(resequencer.relieve(310 * MILLISECOND)).toBe(true)
  expect(delivered()).toEqual(['2:100'])
})

it('does not take packets that come by themselves, or behind the hole, for repairs that fill it', () => {
  start({ repairs: true, holdUsMax: 300 * MILLISECOND })
  for (const bucket of [1, 2]) receive(bucket, 50)
  for (let i = 0; i < 30; i++) {
    const now = (i + 1) * 10 * MILLISECOND
    receive(1, i, now, now)
    receive(2, i + 1, now, now, PacketFlag.Repair)
    expect(resequencer.holesReleased).toBe(0)
    resequencer.handleTimeout(now)
  }
  expect(resequencer.holesReleased).toBe(3)
  expect(delivered()).toEqual(expect.arrayContaining(['1:50', '2:1', '2:50']))
})
