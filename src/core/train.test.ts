import { beforeAll, expect, test } from 'vitest'
import { World } from '../../sim/world.js'
import { SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import type { Primitives } from '../noise/primitives.js'
import { FRAME_HEADER_BYTES, FrameKind, INNER_HEADER_BYTES, TrainReport } from '../wire/message.js'
import { ControlWriter } from './control.js'
import { OUTER_BYTES } from './session.js'
import { TrainArrival } from './train.js'

let primitives: Primitives
beforeAll(async () => {
  primitives = await loadPrimitives()
})

/** What the report says, or undefined if none is due. */
function report(arrival: TrainArrival): Record<string, number> | undefined {
  if (!arrival.toReport) return undefined
  const writer = new ControlWriter().begin()
  arrival.write(writer, 6)
  const at = INNER_HEADER_BYTES
  expect(writer.view.getUint8(at)).toBe(FrameKind.TrainReport)
  const body = at + FRAME_HEADER_BYTES
  return {
    path: writer.view.getUint8(body + TrainReport.path),
    number: writer.view.getUint8(body + TrainReport.number),
    packets: writer.view.getUint8(body + TrainReport.packets),
    received: writer.view.getUint32(body + TrainReport.received, true),
    spanUs: writer.view.getUint32(body + TrainReport.spanUs, true),
  }
}

test('reports number, bytes after the first and span of the newest train, three times', () => {
  const arrival = new TrainArrival()
  expect(report(arrival)).toBeUndefined()
  const first = Uint8Array.of(1, 10)
  arrival.arrived(first, 1_400, 1_000)
  arrival.arrived(first, 1_399, 3_000)
  // Overtaken within the path: the span does not shrink.
  arrival.arrived(first, 1_398, 2_500)
  const told = { path: 6, number: 1, packets: 3, received: 1_399 + 1_398 + 2 * OUTER_BYTES, spanUs: 2_000 }
  expect([report(arrival), report(arrival), report(arrival), report(arrival)]).toEqual([
    told,
    told,
    told,
    undefined,
  ])
  arrival.arrived(Uint8Array.of(2, 32), 1_400, 9_000)
  expect(report(arrival)).toEqual({ path: 6, number: 2, packets: 1, received: 0, spanUs: 0 })
})

test('a frame too short to be of a train is none', () => {
  const arrival = new TrainArrival()
  arrival.arrived(Uint8Array.of(1), 1_400, 0)
  expect(arrival.toReport).toBe(false)
})

test.each([4, 30, 200])('a path of %i Mbit/s begins near its rate before any data was sent', (mbit) => {
  const bytesPerSec = mbit * 125_000
  const world = new World({
    seed: 8,
    primitives,
    scheduler: 'adaptive',
    links: [{ up: { rateBytesPerSec: bytesPerSec, overheadBytes: OUTER_BYTES } }],
  })
  world.run(1 * SECOND)
  const [path] = world.client.end.device.peers[0]!.paths
  // 10 % below what was measured; links above 15 Mbit/s are measured by a second, longer train.
  expect(path!.rate.rateBytesPerSec / bytesPerSec).toBeGreaterThan(0.8)
  expect(path!.rate.rateBytesPerSec / bytesPerSec).toBeLessThan(1.02)
  expect(path!.trains).toBe(mbit > 15 ? 2 : 1)
})
