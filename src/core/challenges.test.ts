import { expect, test } from 'vitest'
import { Prng } from '../base/prng.js'
import { Challenges } from './challenges.js'

const random = new Prng(5)

test('an answer is known by its challenge, also after newer ones were sent, but not for ever', () => {
  const challenges = new Challenges()
  const sent = [10, 20, 30, 40, 50, 60, 70, 80, 90].map((now) => challenges.make(random, now).slice())
  expect([challenges.firstSentAt, challenges.lastSentAt]).toEqual([10, 90])
  expect(sent.map((each) => challenges.sentAtOf(each))).toEqual([Number.NaN, 20, 30, 40, 50, 60, 70, 80, 90])
})

test('nothing else is an answer: no zeros before the first, no other length, no other bytes', () => {
  const challenges = new Challenges()
  expect(challenges.sentAtOf(new Uint8Array(8))).toBeNaN()
  const challenge = challenges.make(random, 1).slice()
  expect(challenges.sentAtOf(challenge.subarray(0, 7))).toBeNaN()
  expect(challenges.sentAtOf(new Uint8Array([...challenge, 0]))).toBeNaN()
  challenge[3]! ^= 1
  expect(challenges.sentAtOf(challenge)).toBeNaN()
})
