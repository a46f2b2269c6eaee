import { beforeEach, expect, it } from 'vitest'
import { PacketPool, SLOT_BYTES } from '../base/packet-pool.js'
import { SlotRing } from '../base/slot-ring.js'
import { MILLISECOND, SECOND } from '../base/time.js'
import { SEQUENCE_MASK } from '../wire/message.js'
import { DropCounters } from './drop-reasons.js'
import { Resequencer, type ResequencerOptions } from './resequencer.js'

const SLOTS = 6000
let pool: PacketPool
let drops: DropCounters
let output: SlotRing
let resequencer: Resequencer
/** What each slot stands for. */
let names: string[]

function start(options: ResequencerOptions = {}): void {
  pool = new PacketPool(SLOTS * SLOT_BYTES)
  drops = new DropCounters()
  output = new SlotRing(SLOTS)
  resequencer = new Resequencer(pool, drops, output, options)
  resequencer.setPaths([0, 1])
  names = []
}

beforeEach(() => start())

/** A packet named `bucket:sequence` comes. */
function receive(bucket: number, sequence: number, stampUs = 0, now = 0, flags = 0): void {
  const slot = pool.take()
  expect(slot).toBeGreaterThanOrEqual(0)
  names[slot] = `${bucket}:${sequence & SEQUENCE_MASK}`
  resequencer.receive(slot, bucket, sequence & SEQUENCE_MASK, stampUs, flags, now)
}

/** What has been delivered since the last call. */
function delivered(): string[] {
  const result: string[] = []
  for (let slot = output.shift(); slot >= 0; slot = output.shift()) {
    result.push(names[slot]!)
    pool.release(slot)
  }
  return result
}

/** Lets two paths with delays of 10 and 30 ms be known. */
function knowPaths(stampUs: number): void {
  resequencer.pathDelivered(0, stampUs, stampUs + 10 * MILLISECOND)
  resequencer.pathDelivered(1, stampUs, stampUs + 30 * MILLISECOND)
}

it('waits longer where packets overtake each other within a path, and less again when they no longer do', () => {
  knowPaths(0)
  resequencer.setPaths([0])
  let now = 10 * MILLISECOND
  let sequence = 0
  /** One packet overtakes two others by `byUs`; whether it had to wait for them. */
  const overtake = (byUs: number): boolean => {
    now += 20 * MILLISECOND
    const stamp = now - 10 * MILLISECOND
    receive(1, sequence + 2, stamp + byUs, now)
    resequencer.pathDelivered(0, stamp + byUs + 1, now)
    resequencer.handleTimeout(now)
    const waited = resequencer.heldCount > 0
    receive(1, sequence, stamp, now + byUs)
    receive(1, sequence + 1, stamp, now + byUs)
    resequencer.handleTimeout(now + byUs)
    sequence += 3
    expect(delivered()).toHaveLength(3)
    return waited
  }
  expect(overtake(MILLISECOND)).toBe(false)
  expect(resequencer.toleranceUs).toBe(500)
  expect(overtake(MILLISECOND)).toBe(true)
  const late = resequencer.lateDelivered
  now += 20 * SECOND
  expect(overtake(MILLISECOND)).toBe(false)
  expect(resequencer.lateDelivered).toBe(late + 2)
})
