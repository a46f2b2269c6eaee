import { PacketPool, SLOT_BYTES } from '../src/base/packet-pool.js'
import { NEVER } from '../src/base/time.js'
import { IncomingContexts } from '../src/core/header-contexts.js'
import { compressedLength, isCompressed } from '../src/wire/header-compression.js'
import { FRAME_HEADER_BYTES, FrameKind, INNER_HEADER_BYTES, PacketFlag } from '../src/wire/message.js'

/** Reads the compressed packets of one end as the other does, from the contexts that go by on the wire. */
export class HeaderTap {
  private readonly pool = new PacketPool(SLOT_BYTES)
  private readonly contexts = new IncomingContexts(this.pool)
  private readonly slot = this.pool.take()
  /** Where {@link expand} puts the packet. */
  readonly view = new DataView(this.pool.slab.buffer)
  readonly at = this.pool.packetAt(this.slot)

  get bytes(): number {
    return this.pool.length[this.slot]!
  }

  /** A control packet goes by, whose sealed part begins at `at`: a context is always told alone. */
  listen(slab: Uint8Array, at: number): void {
    const frame = at + INNER_HEADER_BYTES
    if (slab[frame] !== FrameKind.HeaderContext) return
    const body = frame + FRAME_HEADER_BYTES
    // Heard in the order of sending: each is the latest, also from an end that has begun anew.
    this.contexts.learn(slab.subarray(body, body + slab[frame + 1]!), NEVER)
  }

  /** Whether the sealed part of a data packet, `bytes` at `from`, is a compressed packet that can be read. */
  expand(slab: Uint8Array, from: number, bytes: number): boolean {
    const { pool, slot, at } = this
    // Most are not: their first byte tells.
    pool.slab[at] = slab[from + INNER_HEADER_BYTES]!
    pool.length[slot] = bytes - INNER_HEADER_BYTES
    if (!isCompressed(pool, slot)) return false
    pool.slab.set(slab.subarray(from + INNER_HEADER_BYTES, from + bytes), at)
    const hasTrailer = (slab[from]! & PacketFlag.Trailer) !== 0
    const length = compressedLength(pool, slot, hasTrailer)
    if (length < 0) return false
    pool.length[slot] = length
    return this.contexts.expand(slot)
  }
}
