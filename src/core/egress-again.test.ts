import { beforeEach, expect, it } from 'vitest'
import { MILLISECOND, SECOND } from '../base/time.js'
import { PacketClass } from './flow-table.js'
import {
  dequeue,
  dequeueAll,
  drops,
  enqueue,
  pool,
  queue,
  SLOTS,
  start,
  take,
} from './testing/one-egress-queue.js'

// What waits to be sent again, beside what is new, and how much waits at all.

const { Bulk } = PacketClass

beforeEach(() => start())

/** What was under way is to be sent again; what is refused is let go. */
function again(name: string, bucket: number, now = 0): void {
  const slot = take(name)
  if (!queue.requeueFront(slot, bucket, Bulk, 1000, now)) pool.release(slot)
}

it('lets what is sent again of one flow wait for its turn beside others, and what is new of it behind', () => {
  for (let i = 0; i < 3; i++) enqueue(`new ${i}`, 1, Bulk, 1514)
  for (let i = 0; i < 3; i++) enqueue(`other ${i}`, 2, Bulk, 1514)
  for (let i = 0; i < 3; i++) again(`again ${i}`, 1)
  const order = ['again 0', 'again 1', 'other 0', 'again 2', 'new 0', 'other 1', 'new 1', 'other 2', 'new 2']
  expect(dequeueAll()).toEqual(order)
  expect([queue.packets, queue.bytes, queue.bytesBulk]).toEqual([0, 0, 0])
  // What is too much of a flow is taken from behind what is sent again, up to its end, and the next comes after it.
  start({ packetsMax: 4 })
  again('again 0', 1)
  again('again 1', 1)
  enqueue('new 0', 1)
  enqueue('new 1', 1)
  enqueue('new 2', 1)
  expect(drops.snapshot()).toEqual({ egressFull: 1 })
  again('again 2', 1)
  again('again 3', 1)
  expect(drops.snapshot()).toEqual({ egressFull: 3 })
  expect(dequeue()).toBe('again 0')
  enqueue('new 3', 1)
  again('again 4', 1)
  expect(dequeueAll()).toEqual(['again 1', 'again 2', 'again 3', 'again 4'])
  expect(pool.freeCount).toBe(SLOTS)
})

it('drops nothing that is sent again to keep a queue short', () => {
  for (let i = 0; i < 50; i++) again(`again ${i}`, 1)
  let left = 0
  for (let now = 20 * MILLISECOND; dequeue(now) !== undefined; now += 20 * MILLISECOND) left++
  expect([left, drops.snapshot()]).toEqual([50, {}])
})

it('keeps what is sent again rather than what is new, its beginning rather than its end, and a little of both', () => {
  start({ bytesMax: 40_000, packetsMax: 45 })
  for (let i = 0; i < 40; i++) enqueue(`new ${i}`, 2)
  for (let i = 0; i < 50; i++) again(`again ${i}`, 1)
  expect(drops.snapshot()).toEqual({ egressFull: 10 + 35 })
  const left = dequeueAll()
  expect(left.filter((name) => name.startsWith('again'))).toEqual(
    Array.from({ length: 40 }, (_, i) => `again ${i}`),
  )
  expect(left.filter((name) => name.startsWith('new'))).toEqual(
    Array.from({ length: 5 }, (_, i) => `new ${35 + i}`),
  )
  expect(pool.freeCount).toBe(SLOTS)
  // Nothing new is there to go instead.
  start({ packetsMax: 3 })
  for (let i = 0; i < 5; i++) again(`again ${i}`, 1)
  expect(dequeueAll()).toEqual(['again 0', 'again 1', 'again 2'])
  // At a rate, too, and new bulk still has its 24 kB.
  start()
  queue.review({ roundTripUs: 10 * MILLISECOND, bytesPerSec: 0, capacityBytesPerSec: 100_000, waitUs: 0 }, 0)
  for (let i = 0; i < 100; i++) enqueue(`new ${i}`, 2)
  for (let i = 0; i < 100; i++) again(`again ${i}`, 1)
  expect(queue.bytesBulk).toBe(75_000 + 24_000)
  expect(pool.freeCount).toBe(SLOTS - 99)
})

it('takes no more of a burst than leaves in time at the rate known: what came last is not lost', () => {
  start({ ageUsMax: 2 * SECOND })
  queue.review({ roundTripUs: 10 * MILLISECOND, bytesPerSec: 0, capacityBytesPerSec: 100_000, waitUs: 0 }, 0)
  for (let i = 0; i < 200; i++) enqueue(`packet ${i}`, 1, Bulk, 1000, 0)
  expect(queue.bytesBulk).toBe(75_000)
  expect(drops.snapshot()).toEqual({ egressFull: 125 })
  const left: string[] = []
  for (let now = 10 * MILLISECOND; queue.packets > 0; now += 10 * MILLISECOND) left.push(dequeue(now)!)
  expect(left.at(-1)).toBe('packet 199')
  expect(drops.snapshot().egressOld).toBeUndefined()
  // A very slow line still gets the first segments of a connection, and with no rate known the bytes alone count.
  queue.review({ roundTripUs: 10 * MILLISECOND, bytesPerSec: 0, capacityBytesPerSec: 100, waitUs: 0 }, 0)
  for (let i = 0; i < 200; i++) enqueue('packet', 1, Bulk, 1000, 0)
  expect(queue.bytesBulk).toBe(24_000)
  queue.review({ roundTripUs: 10 * MILLISECOND, bytesPerSec: 0, capacityBytesPerSec: 0, waitUs: 0 }, 0)
  for (let i = 0; i < 200; i++) enqueue('packet', 1, Bulk, 1000, 0)
  expect(queue.bytesBulk).toBe(224_000)
})
