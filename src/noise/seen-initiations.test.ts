import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Prng } from '../base/prng.js'
import { SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import { Initiation } from '../wire/message.js'
import type { Primitives } from './primitives.js'
import { SAME_ANSWER_US, SEEN_MAX, SeenInitiations } from './seen-initiations.js'

let primitives: Primitives
let random: Prng
let seen: SeenInitiations

beforeAll(async () => {
  primitives = await loadPrimitives()
})
beforeEach(() => {
  random = new Prng(3)
  seen = new SeenInitiations(primitives, random)
})

function message(): Uint8Array {
  const bytes = new Uint8Array(Initiation.bytes)
  random.fill(bytes)
  return bytes
}
const answer = Uint8Array.of(1, 2, 3)

describe('SeenInitiations', () => {
  it('gives a copy the same answer for a second, then silence for good', () => {
    const first = message()
    expect(seen.lookUp(first, 0)).toBe('new')
    seen.remember(first, answer, 0)
    expect(seen.lookUp(first.slice(), 0)).toBe(answer)
    expect(seen.lookUp(first, SAME_ANSWER_US - 1)).toBe(answer)
    expect(seen.lookUp(first, SAME_ANSWER_US)).toBe('handshakeReplayed')
    expect(seen.lookUp(first, 1e12)).toBe('handshakeReplayed')
    expect(seen.lookUp(message(), 0)).toBe('new')
  })

  it('knows a copy with another mac2, and no message that differs elsewhere', () => {
    const first = message()
    seen.remember(first, answer, 0)
    const raced = first.slice()
    raced.fill(0, Initiation.mac2)
    expect(seen.lookUp(raced, 1)).toBe(answer)
    for (let at = 0; at < Initiation.mac1; at++) {
      const other = first.slice()
      other[at]! ^= 1
      expect(seen.lookUp(other, 1)).toBe('new')
    }
  })

  it('stays silent to copies of a message that was not answered', () => {
    const first = message()
    seen.remember(first, undefined, 0)
    expect(seen.lookUp(first, 0)).toBe('handshakeReplayed')
    seen.remember(first, answer, 1)
    expect(seen.lookUp(first, 1)).toBe('handshakeReplayed')
  })

  it('remembers the last 4096 and no more', () => {
    const messages = Array.from({ length: SEEN_MAX + 10 }, message)
    messages.forEach((one, index) => {
      seen.remember(one, answer, index)
    })
    const now = messages.length
    expect(seen.size).toBe(SEEN_MAX)
    messages.forEach((one, index) => {
      expect(seen.lookUp(one, now)).toBe(index < 10 ? 'new' : answer)
    })
    expect(seen.lookUp(messages[10]!, 10 + SECOND)).toBe('handshakeReplayed')
    expect(seen.lookUp(messages.at(-1)!, 10 + SECOND)).toBe(answer)
    expect(seen.lookUp(messages.at(-1)!, now + SECOND)).toBe('handshakeReplayed')
    expect(seen.size).toBe(SEEN_MAX)
  })
})
