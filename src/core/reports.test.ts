import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import { Shuttle } from '../../sim/shuttle.js'
import { MILLISECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import type { Primitives } from '../noise/primitives.js'
import { Feedback, FeedbackPath, FRAME_HEADER_BYTES, FrameKind, INNER_HEADER_BYTES } from '../wire/message.js'
import { FEEDBACK_US_MAX } from './constants.js'
import { Fate } from './sent-packets.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

test('what a frame says missing is missing, and what it does not arrived, whatever was lost', () => {
  const shuttle = new Shuttle(primitives)
  const runs = fc.array(fc.record({ lost: fc.nat(300), arrived: fc.integer({ min: 1, max: 60 }) }), {
    minLength: 1,
    maxLength: 10,
  })
  fc.assert(
    fc.property(runs, (pattern) => {
      const arrives = pattern.flatMap(({ lost, arrived }) => [
        ...new Array<boolean>(lost).fill(false),
        ...new Array<boolean>(arrived).fill(true),
      ])
      const shown = arrives.slice(0, 500)
      shown[shown.length - 1] = true
      const { sent } = shuttle.channel
      const first = shuttle.send(shown.length, (index) => shown[index]!)
      // So long a few small packets without a gap wait to be reported.
      shuttle.feedback(FEEDBACK_US_MAX + MILLISECOND)
      // One more, later: what is missing is old enough to be lost now.
      const last = shuttle.send(1, () => true)
      shuttle.feedback(FEEDBACK_US_MAX + MILLISECOND)
      expect(shuttle.channel.reportedNewest).toBeGreaterThanOrEqual(last)
      const fates = shown.map((_, index) => sent.fateOf(first + index))
      expect(fates).toEqual(shown.map((arrived) => (arrived ? Fate.Arrived : Fate.Lost)))
    }),
    { numRuns: 40, examples: [[[{ lost: 0, arrived: 1 }]]] },
  )
})

test('nothing of an earlier control packet is left in a frame', () => {
  const shuttle = new Shuttle(primitives)
  shuttle.send(3, (index) => index !== 1)
  const { view } = shuttle.server.control
  for (let i = 0; i < view.byteLength; i++) view.setUint8(i, 0xff)
  shuttle.feedback(6 * MILLISECOND)
  let frame = INNER_HEADER_BYTES
  while (view.getUint8(frame) !== FrameKind.Feedback) {
    expect(view.getUint8(frame)).toBe(FrameKind.TrainReport)
    frame += FRAME_HEADER_BYTES + view.getUint8(frame + 1)
  }
  expect(view.getUint8(frame + FRAME_HEADER_BYTES + Feedback.bytes + FeedbackPath.zero)).toBe(0)
})
