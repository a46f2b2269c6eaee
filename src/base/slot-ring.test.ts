import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PacketBatch } from './packet-pool.js'
import { SlotRing } from './slot-ring.js'

describe('SlotRing', () => {
  it('is a queue, over any pushes, shifts and drains', () => {
    const operation = fc.oneof(fc.constant('push'), fc.constant('shift'), fc.nat(5))
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
        const ring = new SlotRing(7)
        const oracle: number[] = []
        let slot = 0
        for (const each of operations) {
          if (each === 'push') {
            if (oracle.length === ring.capacity) continue
            ring.push(slot)
            oracle.push(slot++)
          } else if (each === 'shift') {
            expect(ring.shift()).toBe(oracle.shift() ?? -1)
          } else {
            const batch = new PacketBatch(6)
            batch.slots[0] = 99
            batch.count = 1
            const expected = oracle.splice(0, Math.min(5, oracle.length))
            expect(ring.drainTo(batch)).toBe(expected.length)
            expect([...batch.slots.subarray(0, batch.count)]).toEqual([99, ...expected])
          }
          expect(ring.count).toBe(oracle.length)
        }
      }),
    )
  })

  it('takes as many as it was made for, and stops the program beyond', () => {
    const ring = new SlotRing(3)
    expect(ring.capacity).toBe(4)
    for (let i = 0; i < 4; i++) ring.push(i)
    expect(() => ring.push(4)).toThrow('full')
  })
})
