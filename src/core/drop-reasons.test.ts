import { expect, it } from 'vitest'
import { PACKET_BYTES_MAX } from '../base/packet-pool.js'
import { DROP_REASONS, Drop, DropCounters } from './drop-reasons.js'

it('shows what occurred, what the kernel counted included', () => {
  const drops = new DropCounters()
  expect(drops.snapshot()).toEqual({})
  drops.count(Drop.authFailed)
  drops.count(Drop.tunWriteFailed, 3)
  expect(drops.snapshot({ tunWriteFailed: 2, sendFailed: 5, tunTooBig: 0 })).toEqual({
    authFailed: 1,
    tunWriteFailed: 5,
    sendFailed: 5,
  })
})

it('names the size of packet that there is room for', () => {
  expect(DROP_REASONS.tunTooBig).toContain(`${PACKET_BYTES_MAX} bytes`)
})
