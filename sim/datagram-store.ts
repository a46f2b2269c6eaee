import { copyEnds, isFullData, viewOf } from './null-cipher.js'

/** Bytes of one datagram slot: no model datagram is longer. */
export const DATAGRAM_BYTES_MAX = 2048
const CHUNK_SLOTS = 256

/** Datagrams under way in the model network: slots in chunks that are added as needed, with parallel notes. */
export class DatagramStore {
  /** @param endsOnly of full data packets only {@link copyEnds head and tail} are kept */
  constructor(readonly endsOnly = false) {}

  private readonly chunks: Uint8Array[] = []
  private readonly views: DataView[] = []
  private slotCount = 0
  private free = new Int32Array(CHUNK_SLOTS)
  private freeTop = 0
  length = new Uint16Array(CHUNK_SLOTS)
  /** Address numbers of {@link AddressBook}. */
  source = new Int32Array(CHUNK_SLOTS)
  destination = new Int32Array(CHUNK_SLOTS)
  /** When it reached the far socket. */
  arrivedAt = new Float64Array(CHUNK_SLOTS)
  /** 1: sent by the attacker or a copy made by a link, so it proves nothing about what an end sent. */
  forged = new Uint8Array(CHUNK_SLOTS)

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

  chunk(slot: number): Uint8Array {
    return this.chunks[slot >> 8]!
  }

  /** The same bytes as {@link chunk}. */
  view(slot: number): DataView {
    return this.views[slot >> 8]!
  }

  /** Byte offset of the datagram in its chunk. */
  offset(slot: number): number {
    return (slot & (CHUNK_SLOTS - 1)) * DATAGRAM_BYTES_MAX
  }

  bytes(slot: number): Uint8Array {
    const at = this.offset(slot)
    return this.chunk(slot).subarray(at, at + this.length[slot]!)
  }

  write(slot: number, from: Uint8Array, at: number, length: number): void {
    if (this.endsOnly && isFullData(from[at]!, length)) {
      copyEnds(this.view(slot), this.offset(slot), viewOf(from), at, length)
    } else this.chunk(slot).set(from.subarray(at, at + length), this.offset(slot))
    this.length[slot] = length
  }

  /** Copies the datagram out. */
  read(slot: number, to: Uint8Array, at: number): void {
    const length = this.length[slot]!
    if (this.endsOnly && isFullData(this.chunk(slot)[this.offset(slot)]!, length)) {
      copyEnds(viewOf(to), at, this.view(slot), this.offset(slot), length)
    } else to.set(this.bytes(slot), at)
  }

  copy(slot: number): number {
    const other = this.take()
    this.write(other, this.chunk(slot), this.offset(slot), this.length[slot]!)
    this.source[other] = this.source[slot]!
    this.destination[other] = this.destination[slot]!
    this.forged[other] = 1
    return other
  }

  private grow(): void {
    const slots = this.slotCount + CHUNK_SLOTS
    const chunk = new Uint8Array(CHUNK_SLOTS * DATAGRAM_BYTES_MAX)
    this.chunks.push(chunk)
    this.views.push(new DataView(chunk.buffer))
    if (this.length.length < slots) {
      const capacity = this.length.length * 2
      const enlarge = <T extends Uint8Array | Uint16Array | Int32Array | Float64Array>(
        old: T,
        fresh: T,
      ): T => {
        fresh.set(old)
        return fresh
      }
      this.free = enlarge(this.free, new Int32Array(capacity))
      this.length = enlarge(this.length, new Uint16Array(capacity))
      this.source = enlarge(this.source, new Int32Array(capacity))
      this.destination = enlarge(this.destination, new Int32Array(capacity))
      this.arrivedAt = enlarge(this.arrivedAt, new Float64Array(capacity))
      this.forged = enlarge(this.forged, new Uint8Array(capacity))
    }
    for (let slot = slots - 1; slot >= this.slotCount; slot--) this.free[this.freeTop++] = slot
    this.slotCount = slots
  }
}
