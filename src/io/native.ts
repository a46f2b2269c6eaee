import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Opaque handles; each is closed explicitly, and by the garbage collector or the end of the thread at the latest. */
export type TunHandle = { readonly __tun: unique symbol }
export type UdpHandle = { readonly __udp: unique symbol }
export type KeyHandle = { readonly __key: unique symbol }
export type PollHandle = { readonly __poll: unique symbol }
export type TimerHandle = { readonly __timer: unique symbol }

/**
 * The addon: file descriptors, bytes, ciphers and errno, nothing of the protocol. Calls that do I/O take a whole
 * batch. A result below 0 is -errno. Every offset, length and slot is checked against its array; a wrong one throws
 * RangeError and touches no memory.
 */
export interface Native {
  // ---- tun.c
  /**
   * Creates (or takes) the TUN device `name` with IFF_TUN | IFF_NO_PI | IFF_VNET_HDR. `offload` asks for checksum and
   * segmentation offload. Throws an Error with `code` (errno name) and `syscall`.
   */
  tunOpen(
    name: string,
    offload: boolean,
  ): { handle: TunHandle; fd: number; name: string; offload: boolean; udpOffload: boolean }
  /**
   * Reads until `limit` of the slots listed in `slots` are filled or the device has no more; a superpacket is cut into
   * slots. The packet of slot s starts at `s * slotBytes + headroom`. Sets `lengths[s]` and `flags[s]` (bit 0:
   * checksum partial). Returns the number of slots filled, in order; what did not fit of a superpacket comes at the
   * next call, so a full `limit` means: call again, the descriptor may not become readable for the rest.
   * 0: nothing there. The contents of slots that were not filled are undefined.
   */
  tunRead(
    tun: TunHandle,
    slab: Uint8Array,
    slotBytes: number,
    headroom: number,
    slots: Uint32Array,
    limit: number,
    lengths: Uint16Array,
    flags: Uint8Array,
  ): number
  /**
   * Writes the packets of slots[from..from+count), consecutive segments of one flow coalesced. Returns how many were
   * taken. Fewer: the device is full, wait for writability; `slots` is then reordered within the range, so that those
   * taken come first and the others keep their order. Packets the kernel refuses are counted in `stats` and are
   * among those taken. `more`: more will follow at once, for which TCP segments that may be joined by them are not
   * taken either.
   */
  tunWrite(
    tun: TunHandle,
    slab: Uint8Array,
    slotBytes: number,
    headroom: number,
    slots: Uint32Array,
    from: number,
    count: number,
    lengths: Uint16Array,
    flags: Uint8Array,
    more: boolean,
  ): number
  tunStats(tun: TunHandle): {
    readPackets: number
    readFrames: number
    writtenPackets: number
    writtenFrames: number
    /** Packets the kernel did not take. */
    refused: number
    /** Frames read that are no packet. */
    malformed: number
    /** Frames read whose packets are larger than a slot. */
    tooBig: number
    lastErrno: number
  }
  tunClose(tun: TunHandle): void

  // ---- udp.c
  /**
   * A UDP socket, non-blocking, bound to `device` (SO_BINDTODEVICE) unless empty and to `address`:`port` (empty: any;
   * one dual-stack IPv6 socket where the kernel has IPv6, else IPv4). With a device the address need not be there yet.
   * DF set (IP_MTU_DISCOVER probe), PKTINFO, IP_RECVERR, receive time stamps and ECN on. Throws an Error with `code`
   * and `syscall`.
   */
  udpOpen(options: {
    device: string
    address: string
    port: number
    receiveBufferBytes: number
    sendBufferBytes: number
    offload: boolean
    reuseAddress: boolean
  }): { handle: UdpHandle; fd: number; port: number; gso: boolean; gro: boolean }
  /**
   * Sends rows [from, from+count) of a DatagramBatch (base/datagram-batch.ts). Runs of equal size and address leave as
   * UDP_SEGMENT messages, all by sendmmsg. Returns the number of rows taken; fewer than `count` means that the socket
   * is full (EAGAIN, ENOBUFS): wait for writability. Datagrams the kernel refuses otherwise are counted per errno and
   * are among those taken.
   */
  udpSend(
    socket: UdpHandle,
    slab: Uint8Array,
    rows: Uint32Array,
    from: number,
    count: number,
    addresses: Uint32Array,
  ): number
  /**
   * Receives into the slab from its start: fills rows and address records, GRO messages split by their stride.
   * Returns the number of rows; 0: nothing there. `addressCount[0]` is set to the number of records, and
   * `addressCount[1]`, if there is one, to 1 when there may be more. A call takes one message per 64 KiB of slab (per
   * 16 KiB without GRO), per 64 rows and per record, 64 at most, and about 128 KiB by the size of the last messages: a
   * slab below 64 KiB and a batch below 64 rows are refused.
   */
  udpReceive(
    socket: UdpHandle,
    slab: Uint8Array,
    rows: Uint32Array,
    addresses: Uint32Array,
    addressCount: Uint32Array,
  ): number
  /**
   * Takes one queued socket error (ICMP, path MTU): its errno, the MTU for EMSGSIZE, the remote address. A datagram
   * that was too big for the device itself comes here too, with port 0.
   */
  udpError(socket: UdpHandle, address: Uint32Array): { errno: number; mtu: number } | undefined
  udpStats(socket: UdpHandle): {
    gso: boolean
    gro: boolean
    /** The errno for which GSO was turned off, or 0. */
    gsoErrno: number
    sentDatagrams: number
    sentMessages: number
    receivedDatagrams: number
    receivedMessages: number
    sendRefused: number
    lastSendErrno: number
    /** Received but larger than the place for it. */
    receiveDropped: number
    /** Dropped by the kernel because the receive buffer was full. */
    receiveOverflow: number
  }
  /** Binds to the device that has this name now (SO_BINDTODEVICE); false if there is none, and nothing has changed. */
  udpBindDevice(socket: UdpHandle, device: string): boolean
  udpClose(socket: UdpHandle): void

  // ---- aead.c  (see core/packet-cipher.ts for the rows)
  /** 1 = ChaCha20-Poly1305, 2 = AES-256-GCM; `openssl`: by OpenSSL, even where there is a {@link gcmLibrary}. */
  keyCreate(cipher: number, key: Uint8Array, openssl: boolean): KeyHandle
  keySeal(
    key: KeyHandle,
    destination: Uint8Array,
    source: Uint8Array,
    rows: Uint32Array,
    from: number,
    count: number,
  ): void
  keyOpen(
    key: KeyHandle,
    destination: Uint8Array,
    source: Uint8Array,
    rows: Uint32Array,
    from: number,
    count: number,
  ): void
  keyDestroy(key: KeyHandle): void
  /** Whether the processor has AES instructions. */
  hasAes(): boolean
  /** Version of Intel's Multi-Buffer Crypto for IPsec, if that is what does AES-256-GCM. */
  gcmLibrary(): string | undefined

  // ---- poll.c
  /**
   * Calls back on readiness, `events`: {@link PollEvent}. Works in worker threads (the caller's libuv loop). `Error`
   * comes with `Readable`: take the errors with udpError until there is none, else it is called again at once.
   * Keep the handle: a collected one stops.
   */
  pollStart(fd: number, events: number, callback: (events: number) => void): PollHandle
  pollChange(poll: PollHandle, events: number): void
  /** Must be called before the descriptor is closed. */
  pollStop(poll: PollHandle): void
  /** A timerfd on the caller's loop: about 50 µs exact, where Node's own timers are 1 ms coarse. */
  timerStart(callback: () => void): TimerHandle
  /** Fires once, `microseconds` from now; arming again replaces the former time. Below 0: disarms. */
  timerArm(timer: TimerHandle, microseconds: number): void
  timerStop(timer: TimerHandle): void
  /** CLOCK_MONOTONIC in µs. */
  monotonicUs(): number

  // ---- netlink.c
  /** A route netlink socket that tells of links, addresses and routes: readable when something changed. */
  netlinkOpen(): { fd: number }
  /** Reads and throws away what is queued; true if anything was there. */
  netlinkDrain(fd: number): boolean
  closeFd(fd: number): void
}

/** Readiness, as asked for and as reported; `Error` is only reported. */
export const PollEvent = { Readable: 1, Writable: 2, Error: 4 } as const

function packageRoot(): string {
  // The same file is run from src/ (tests) and from dist/src/ (installed).
  const here = dirname(fileURLToPath(import.meta.url))
  return here.includes(`${'/dist/'}src`) ? join(here, '../../..') : join(here, '../..')
}

const require = createRequire(import.meta.url)
/** The addon, loaded from prebuilds/ or build/ by node-gyp-build. */
export const native: Native = require('node-gyp-build')(packageRoot())
