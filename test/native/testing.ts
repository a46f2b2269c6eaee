import { type Native, native, type TunHandle, type UdpHandle } from '../../src/io/native.js'

/** What the addon exports for tests alone. */
export interface NativeTesting extends Native {
  /** Seals or opens one text with associated data of any length; undefined when the tag is wrong. */
  aeadOnce(
    cipher: number,
    key: Uint8Array,
    nonce: Uint8Array,
    associated: Uint8Array,
    text: Uint8Array,
    open: boolean,
  ): Uint8Array | undefined
  /** Cuts a superpacket; returns the number of segments or -1. `vnet`: see {@link VnetHeader}. */
  offloadCut(vnet: Uint32Array, packet: Uint8Array, out: Uint8Array, lengths: Uint32Array): number
  /**
   * Coalesces; `packets` has offset, length, flags of each. `rows` gets offset, length, number of packets of each
   * frame in `out` (its 10 bytes of header first), `order` the packets as they left. Returns the number of frames.
   */
  offloadCoalesce(
    slab: Uint8Array,
    packets: Uint32Array,
    udp: boolean,
    out: Uint8Array,
    rows: Uint32Array,
    order: Uint32Array,
  ): number
  /** The next `times` sends (of GSO messages only, if so asked) fail with `errno`. */
  udpFault(socket: UdpHandle, errno: number, times: number, gsoOnly: boolean): void
  /** After `after` writes, `times` fail with `errno`. */
  tunFault(tun: TunHandle, errno: number, after: number, times: number): void
}

export const testing = native as NativeTesting
