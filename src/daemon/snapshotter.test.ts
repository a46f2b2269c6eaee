import { expect, test } from 'vitest'
import type { Config } from '../config/schema.js'
import { SNAPSHOT_MS, snapshotter } from './snapshotter.js'

const config = { scheduler: 'adaptive', peers: [] } as unknown as Config

test('whoever asks soon gets the same again, and later anew; a refusal is not kept for longer', async () => {
  let now = 0
  let asked = 0
  let refuses = false
  const plane = {
    tunName: 'plait0',
    figures: () => {
      asked++
      if (refuses) return Promise.reject(new Error('the data plane does not answer'))
      return Promise.resolve({ peers: [], drops: {}, offload: [], uptimeS: asked })
    },
  }
  const snapshot = snapshotter(config, plane, { since: () => [] }, { mtu: 1400 }, () => now)
  const first = await snapshot()
  expect(first.device).toMatchObject({ name: 'plait0', uptimeS: 1, scheduler: 'adaptive', mtu: 1400 })
  now += SNAPSHOT_MS - 1
  expect(await snapshot()).toBe(first)
  now += 1
  expect((await snapshot()).device.uptimeS).toBe(2)
  now += SNAPSHOT_MS
  refuses = true
  await expect(snapshot()).rejects.toThrow('does not answer')
  refuses = false
  now += SNAPSHOT_MS
  expect((await snapshot()).device.uptimeS).toBe(4)
})
