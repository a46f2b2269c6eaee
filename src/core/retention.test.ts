import { expect, test } from 'vitest'
import { PacketPool, SLOT_BYTES } from '../base/packet-pool.js'
import { REPAIR_AGE_US, Retention } from './retention.js'

test('a packet is wanted until a copy of it arrived or it is too old', () => {
  const retention = new Retention(new PacketPool(2 * SLOT_BYTES))
  retention.firstSent(1, 1_000)
  expect(retention.ageUs(1, 4_000)).toBe(3_000)
  expect(retention.noLongerWanted(1, 1_000 + REPAIR_AGE_US)).toBe(false)
  expect(retention.noLongerWanted(1, 1_001 + REPAIR_AGE_US)).toBe(true)
  expect(retention.noLongerWanted(1, 1_001 + REPAIR_AGE_US, 2 * REPAIR_AGE_US)).toBe(false)
  retention.arrived(1, retention.ticketOf(1))
  expect(retention.noLongerWanted(1, 2_000)).toBe(true)
})

test('the arrival of a packet says nothing of a later one in the same slot', () => {
  const retention = new Retention(new PacketPool(2 * SLOT_BYTES))
  retention.firstSent(0, 0)
  const former = retention.ticketOf(0)
  retention.firstSent(0, 10)
  retention.arrived(0, former)
  expect(retention.noLongerWanted(0, 20)).toBe(false)
})

test('a packet waits once at a time, and a later one in its slot anew', () => {
  const retention = new Retention(new PacketPool(2 * SLOT_BYTES))
  retention.firstSent(0, 0)
  expect([retention.enterQueue(0), retention.enterQueue(0)]).toEqual([true, false])
  retention.leaveQueue(0)
  expect(retention.enterQueue(0)).toBe(true)
  retention.firstSent(0, 10)
  expect(retention.enterQueue(0)).toBe(true)
})
