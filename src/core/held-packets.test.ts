import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SEQUENCE_MASK } from '../wire/message.js'
import { HeldPackets, NONE } from './held-packets.js'

interface Packet {
  bucket: number
  sequence: number
  slot: number
  arrivedAt: number
}

/** Order within a bucket whose sequences lie around the wrap. */
function place(sequence: number): number {
  return (sequence + 1000) & SEQUENCE_MASK
}

describe('HeldPackets', () => {
  it('agrees with a list in its three views, full or not, over the wrap of the sequence', () => {
    const operation = fc.oneof(
      { weight: 3, arbitrary: fc.record({ bucket: fc.nat(2), sequence: fc.integer({ min: -20, max: 20 }) }) },
      { weight: 2, arbitrary: fc.record({ bucket: fc.nat(2) }) },
      { weight: 1, arbitrary: fc.constant('renew' as const) },
    )
    fc.assert(
      // A small table is full of collisions, so that deletion has much to move.
      fc.property(
        fc.integer({ min: 1, max: 24 }),
        fc.array(operation, { maxLength: 200 }),
        (capacity, operations) => {
          const held = new HeldPackets(capacity)
          let oracle: Packet[] = []
          const firstOf = (bucket: number): Packet | undefined =>
            oracle
              .filter((each) => each.bucket === bucket)
              .sort((a, b) => place(a.sequence) - place(b.sequence))[0]
          operations.forEach((operation, slot) => {
            if (operation === 'renew') {
              if (oracle.length === 0) return
              held.renewOldest(slot * 100)
              const [oldest, ...others] = oracle
              oracle = [...others, { ...oldest!, arrivedAt: slot * 100 }]
            } else if ('sequence' in operation) {
              const { bucket } = operation
              const sequence = operation.sequence & SEQUENCE_MASK
              const isHeld = oracle.some((each) => each.bucket === bucket && each.sequence === sequence)
              expect(held.find(bucket, sequence) !== NONE).toBe(isHeld)
              if (isHeld || oracle.length === capacity) return
              held.insert(bucket, sequence, slot, slot * 10, slot & 15, slot * 100)
              oracle.push({ bucket, sequence, slot, arrivedAt: slot * 100 })
            } else {
              const { bucket } = operation
              const first = firstOf(bucket)
              if (first === undefined) return
              expect(held.removeFirst(bucket)).toBe(first.slot)
              oracle = oracle.filter((each) => each !== first)
            }
            expect(held.count).toBe(oracle.length)
            for (const { bucket, sequence, slot, arrivedAt } of oracle) {
              const node = held.find(bucket, sequence)
              expect([held.slot[node], held.stampUs[node], held.flags[node], held.arrivedAt[node]]).toEqual([
                slot,
                slot * 10,
                slot & 15,
                arrivedAt,
              ])
              expect([held.bucketOf(node), held.sequenceOf(node)]).toEqual([bucket, sequence])
            }
            for (let b = 0; b < 3; b++) {
              const node = held.first[b]!
              expect(node === NONE ? undefined : held.slot[node]).toBe(firstOf(b)?.slot)
            }
            // The oracle is in order of arrival.
            expect(held.oldest === NONE ? undefined : held.slot[held.oldest]).toBe(oracle[0]?.slot)
          })
        },
      ),
      { numRuns: 200 },
    )
  })

  it('keeps the highest bucket and sequence apart from others', () => {
    const held = new HeldPackets(4)
    held.insert(1023, SEQUENCE_MASK, 7, 0, 0, 0)
    expect(held.bucketOf(held.find(1023, SEQUENCE_MASK))).toBe(1023)
    expect(held.find(1022, SEQUENCE_MASK)).toBe(NONE)
    expect(held.removeFirst(1023)).toBe(7)
    expect(held.find(1023, SEQUENCE_MASK)).toBe(NONE)
  })
})
