import { expect, test } from 'vitest'
import { World } from '../../sim/world.js'
import { SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import { inspectPeers } from './inspect.js'

test('says of a path that is too far that this is why it carries no more, unless something else is', async () => {
  const world = new World({
    seed: 1,
    primitives: await loadPrimitives(),
    scheduler: 'adaptive',
    links: [{}, {}],
  })
  world.run(2 * SECOND)
  const { end } = world.client
  const path = end.device.peers[0]!.paths[0]!
  const limiter = (): string => inspectPeers(end.device, end.now)[0]!.paths[0]!.rate.limiter
  path.rate.limiter = 'application'
  expect(limiter()).toBe('application')
  path.onlySooner = true
  expect(limiter()).toBe('distance')
  path.rate.limiter = 'loss'
  expect(limiter()).toBe('loss')
  path.leftOut = true
  expect(limiter()).toBe('left out')
})
