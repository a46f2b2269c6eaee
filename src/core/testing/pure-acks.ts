import type { PacketPool } from '../../base/packet-pool.js'
import { TcpFlag } from '../../wire/ip.js'

/** A pure acknowledgement as it stands in a slot. */
export interface Ack {
  family: 4 | 6
  flow: number
  sequence: number
  acknowledgement: number
  window: number
  flags: number
  timestamp: number | undefined
  /** Edges of blocks, the newest first. */
  sack: [number, number][]
  /** Options in place of these. */
  options: number[] | undefined
}

export const PLAIN: Ack = {
  family: 4,
  flow: 1,
  sequence: 7_000,
  acknowledgement: 1_000,
  window: 500,
  flags: TcpFlag.Ack,
  timestamp: 10,
  sack: [],
  options: undefined,
}

/** Writes it into a slot of `pool` as its packet would stand there. */
export function write(pool: PacketPool, slot: number, ack: Ack): void {
  const view = new DataView(pool.slab.buffer, pool.packetAt(slot), 2000)
  const options: number[] = ack.options ?? []
  const word = (value: number): number[] => [
    value >>> 24,
    (value >>> 16) & 255,
    (value >>> 8) & 255,
    value & 255,
  ]
  if (ack.options === undefined) {
    if (ack.timestamp !== undefined) options.push(1, 1, 8, 10, ...word(ack.timestamp >>> 0), ...word(0x1234))
    if (ack.sack.length > 0) options.push(1, 1, 5, 2 + 8 * ack.sack.length)
    for (const [left, right] of ack.sack) options.push(...word(left >>> 0), ...word(right >>> 0))
  }
  const ip = ack.family === 4 ? 20 : 40
  const bytes = ip + 20 + options.length
  if (ack.family === 4) {
    view.setUint32(0, 0x45000000 | bytes)
    view.setUint32(4, (Math.floor(ack.timestamp ?? 0) & 0xffff) << 16)
    view.setUint32(8, 0x40060000)
    view.setUint32(12, 0x0a000001)
    view.setUint32(16, 0x0a000002)
  } else {
    view.setUint32(0, 0x60000000)
    view.setUint32(4, ((bytes - 40) << 16) | (6 << 8) | 64)
    for (let i = 8; i < 40; i += 4) view.setUint32(i, 0xfd000000 | i)
  }
  view.setUint16(ip, 443)
  view.setUint16(ip + 2, 10_000 + ack.flow)
  view.setUint32(ip + 4, ack.sequence)
  view.setUint32(ip + 8, ack.acknowledgement >>> 0)
  view.setUint16(ip + 12, ((5 + options.length / 4) << 12) | ack.flags)
  view.setUint16(ip + 14, ack.window)
  view.setUint32(ip + 16, 0)
  options.forEach((each, i) => {
    view.setUint8(ip + 20 + i, each)
  })
  pool.length[slot] = bytes
  pool.flags[slot] = 0
}

export function read(pool: PacketPool, slot: number): Ack {
  const view = new DataView(pool.slab.buffer, pool.packetAt(slot), pool.length[slot])
  const family = view.getUint8(0) >> 4 === 4 ? 4 : 6
  const ip = family === 4 ? 20 : 40
  const sack: [number, number][] = []
  let timestamp: number | undefined
  for (let at = ip + 20; at < view.byteLength; at += view.getUint8(at) === 1 ? 1 : view.getUint8(at + 1)) {
    if (view.getUint8(at) === 8) timestamp = view.getUint32(at + 2)
    if (view.getUint8(at) !== 5) continue
    for (let block = at + 2; block < at + view.getUint8(at + 1); block += 8)
      sack.push([view.getUint32(block), view.getUint32(block + 4)])
  }
  return {
    family,
    flow: view.getUint16(ip + 2) - 10_000,
    sequence: view.getUint32(ip + 4),
    acknowledgement: view.getUint32(ip + 8),
    window: view.getUint16(ip + 14),
    flags: view.getUint16(ip + 12) & 0xfff,
    timestamp,
    sack,
    options: undefined,
  }
}
