import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PacketPool, SLOT_BYTES } from '../base/packet-pool.js'
import { Fate, SentPackets } from './sent-packets.js'

const SLOTS = 64
const RING = 16
const RING_MAX = 64

interface Known {
  slot: number
  bytes: number
  at: number
  fate: number
}

const operation = fc.record({
  kind: fc.constantFrom(
    'send',
    'send',
    'send',
    'arrived',
    'lost',
    'settle',
    'relieve',
    'let go',
    'clear',
    'jump',
  ),
  place: fc.nat(1000),
  bytes: fc.integer({ min: 60, max: 1500 }),
  kept: fc.boolean(),
})

test('agrees with a list of all packets ever sent, and conserves slots', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 150 }), (operations) => {
      const pool = new PacketPool(SLOTS * SLOT_BYTES)
      const sent = new SentPackets(pool, RING, RING_MAX)
      let ring = RING
      let first = 0
      const all: Known[] = []
      const outstanding = (): number[] =>
        all.flatMap((each, counter) => (each.fate === Fate.Outstanding ? [counter] : []))
      const held = (): number[] =>
        all.flatMap(({ fate, slot }) => (fate === Fate.Outstanding && slot >= 0 ? [slot] : []))
      const send = (bytes: number, kept: boolean, now: number): void => {
        const slot = kept ? pool.take() : -1
        // It grows while more are open than it has places for, and then forgets the oldest.
        const { settled } = sent
        if (all.length - settled >= ring && ring < RING_MAX) {
          first = all.length - ring
          ring *= 2
        } else if (all.length - settled >= ring && all[settled]!.fate === Fate.Outstanding) {
          all[settled]!.fate = Fate.Arrived
        }
        const counter = sent.add(bytes, slot, slot, 0, now)
        expect(counter).toBe(all.length)
        all.push({ slot, bytes, at: now, fate: Fate.Outstanding })
        first = Math.max(first, all.length - ring)
      }
      for (const [now, { kind, place, bytes, kept }] of operations.entries()) {
        const open = outstanding()
        const counter = open[place % Math.max(1, open.length)]
        if (kind === 'send') send(bytes, kept, now)
        if (kind === 'jump') for (let i = 0; i < RING_MAX / 4; i++) send(bytes, false, now)
        if (kind === 'arrived' && counter !== undefined) {
          sent.arrived(counter)
          all[counter]!.fate = Fate.Arrived
        }
        if (kind === 'lost' && counter !== undefined) {
          const slot = sent.lost(counter)
          expect(slot).toBe(all[counter]!.slot)
          if (slot >= 0) pool.release(slot)
          all[counter]!.fate = Fate.Lost
        }
        if (kind === 'settle') {
          sent.settle()
          expect(sent.settled).toBe(outstanding()[0] ?? all.length)
        }
        if (kind === 'let go') {
          // Times are the numbers of the operations: about half of them ago.
          const before = (now * (place % 100)) / 100
          sent.letGo(before)
          for (const each of all) if (each.fate === Fate.Outstanding && each.at < before) each.slot = -1
        }
        if (kind === 'relieve') {
          const before = held().length
          expect(sent.relieve(place % 5)).toBe(Math.min(before, place % 5))
          let left = place % 5
          for (const each of all) {
            if (left === 0 || each.fate !== Fate.Outstanding || each.slot < 0) continue
            each.slot = -1
            left--
          }
        }
        if (kind === 'clear') {
          sent.clear()
          for (const each of all) if (each.fate === Fate.Outstanding) each.fate = Fate.Arrived
        }
        expect(pool.freeCount).toBe(SLOTS - held().length)
        expect(sent.bytesOutstanding).toBe(outstanding().reduce((sum, each) => sum + all[each]!.bytes, 0))
        expect(sent.bytesTotal).toBe(all.reduce((sum, each) => sum + each.bytes, 0))
        expect(sent.remembers(first - 1)).toBe(false)
        expect(sent.remembers(all.length)).toBe(false)
        for (let each = first; each < all.length; each++) {
          expect(sent.remembers(each)).toBe(true)
          const known = [sent.sentAt(each), sent.fateOf(each), sent.slotOf(each)]
          expect(known).toEqual([all[each]!.at, all[each]!.fate, all[each]!.slot])
        }
      }
    }),
    { numRuns: 300 },
  )
})

test('tells how many bytes and how much idle time came before each packet', () => {
  const sent = new SentPackets(new PacketPool(SLOT_BYTES))
  sent.add(100, -1, 0, 5, 0)
  sent.add(200, -1, 0, 9, 1)
  expect([sent.bytesUpToCounter(0), sent.bytesUpToCounter(1)]).toEqual([100, 300])
  expect([sent.idleUpToCounter(0), sent.idleUpToCounter(1)]).toEqual([5, 9])
})
