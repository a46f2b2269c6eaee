/**
 * Words of one address record: what a datagram's other end is, and which of our addresses it was sent to or shall
 * leave from. Word 0 = family (4 or 6) | remote port << 16; words 1..4 = remote address in network byte order (IPv4
 * in word 1, the others 0); word 5 = interface index or 0; words 6..9 = our address in the same form, all 0 for
 * "the kernel chooses".
 */
export const ADDRESS_WORDS = 10
/** Words compared to tell whether two records have the same remote end: the first five. */
export const ADDRESS_REMOTE_WORDS = 5

/** Words of one row of {@link DatagramBatch.rows}. */
export const ROW_WORDS = 4
/** Row: byte offset in the slab. */
export const ROW_OFFSET = 0
/** Row: length in bytes. */
export const ROW_LENGTH = 1
/** Row: index of the address record. */
export const ROW_ADDRESS = 2
/**
 * Row: on receiving, how long ago the kernel got it, in µs, bits 0..23; outer ECN bits in bits 24..25.
 * On sending, outer ECN bits in bits 24..25.
 */
export const ROW_AGE = 3

/**
 * Datagrams of one socket in a slab, with parallel rows and address records: filled by the socket for the core to
 * read, or by the core for the socket to send. Consecutive rows of equal size and address leave as one GSO message.
 */
export class DatagramBatch {
  /** Where the rows' offsets point; whoever fills the batch may put another one in its place. */
  slab: Uint8Array
  readonly rows: Uint32Array
  readonly addresses: Uint32Array
  /** Rows in use. */
  count = 0
  /** Address records in use. */
  addressCount = 0
  /** Bytes of the slab in use (sending). */
  bytes = 0
  /** Rows already sent (sending); the rest waits for the socket. */
  sent = 0

  constructor(
    slabBytes: number,
    readonly capacity: number,
    readonly addressCapacity: number,
  ) {
    this.slab = new Uint8Array(slabBytes)
    this.rows = new Uint32Array(capacity * ROW_WORDS)
    this.addresses = new Uint32Array(addressCapacity * ADDRESS_WORDS)
  }

  clear(): void {
    this.count = 0
    this.addressCount = 0
    this.bytes = 0
    this.sent = 0
  }
}
