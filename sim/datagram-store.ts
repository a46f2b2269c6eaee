import { copyBytes, copyEnds, isFullData, viewOf } from './null-cipher.js'

/** Bytes of one datagram slot: no model datagram is longer. */
export const DATAGRAM_BYTES_MAX = 2048
const SLOTS_FIRST = 256
/** Up to here, as acknowledgements are, copying by words is the faster way. */
const SMALL_BYTES = 256

/** Datagrams under way in the model network: slots of one slab that grows as needed, with parallel notes. */
export class DatagramStore {
  /** @param endsOnly of full data packets only {@link copyEnds head and tail} are kept */
  constructor(readonly endsOnly = false) {}

  /** All slots, one after the other; another array after {@link take} had to make room. */
  slab = new Uint8Array(SLOTS_FIRST * DATAGRAM_BYTES_MAX)
  /** The same bytes as {@link slab}. */
  view = new DataView(this.slab.buffer)
  private slotCount = 0
  private free = new Int32Array(SLOTS_FIRST)
  private freeTop = 0
  length = new Uint16Array(SLOTS_FIRST)
  /** Address numbers of {@link AddressBook}. */
  source = new Int32Array(SLOTS_FIRST)
  destination = new Int32Array(SLOTS_FIRST)
  /** When it reached the far socket. */
  arrivedAt = new Float64Array(SLOTS_FIRST)
  /** 1: sent by the attacker or a copy made by a link, so it proves nothing about what an end sent. */
  forged = new Uint8Array(SLOTS_FIRST)
  /** Which inner packet it was sent with, by the ledger: flow, -1 for none, and number. */
  flow = new Int32Array(SLOTS_FIRST)
  number = new Uint32Array(SLOTS_FIRST)

  get taken(): number {
    return this.slotCount - this.freeTop
  }

  take(): number {
    if (this.freeTop === 0) this.grow()
    return this.free[--this.freeTop]!
  }

  release(slot: number): void {
    this.free[this.freeTop++] = slot
  }

  /** Byte offset of the datagram in the slab. */
  offset(slot: number): number {
    return slot * DATAGRAM_BYTES_MAX
  }

  bytes(slot: number): Uint8Array {
    const at = this.offset(slot)
    return this.slab.subarray(at, at + this.length[slot]!)
  }

  write(slot: number, from: Uint8Array, at: number, length: number): void {
    const to = this.offset(slot)
    if (this.endsOnly && isFullData(from[at]!, length)) copyEnds(this.view, to, viewOf(from), at, length)
    else if (length <= SMALL_BYTES) copyBytes(this.view, to, viewOf(from), at, length)
    else this.slab.set(from.subarray(at, at + length), to)
    this.length[slot] = length
  }

  copy(slot: number): number {
    const other = this.take()
    this.write(other, this.slab, this.offset(slot), this.length[slot]!)
    this.source[other] = this.source[slot]!
    this.destination[other] = this.destination[slot]!
    this.forged[other] = 1
    return other
  }

  private grow(): void {
    const slots = this.slotCount === 0 ? SLOTS_FIRST : this.slotCount * 2
    if (this.length.length < slots) {
      const enlarge = <T extends Uint8Array | Uint16Array | Int32Array | Uint32Array | Float64Array>(
        old: T,
        fresh: T,
      ): T => {
        fresh.set(old)
        return fresh
      }
      this.slab = enlarge(this.slab, new Uint8Array(slots * DATAGRAM_BYTES_MAX))
      this.view = new DataView(this.slab.buffer)
      this.free = enlarge(this.free, new Int32Array(slots))
      this.length = enlarge(this.length, new Uint16Array(slots))
      this.source = enlarge(this.source, new Int32Array(slots))
      this.destination = enlarge(this.destination, new Int32Array(slots))
      this.arrivedAt = enlarge(this.arrivedAt, new Float64Array(slots))
      this.forged = enlarge(this.forged, new Uint8Array(slots))
      this.flow = enlarge(this.flow, new Int32Array(slots))
      this.number = enlarge(this.number, new Uint32Array(slots))
    }
    // Taken from the top: in order, a piece at a time, as which slot is taken shows in the trace.
    for (let slot = slots - 1; slot >= this.slotCount; slot--) this.free[this.freeTop++] = slot
    this.slotCount = slots
  }
}
