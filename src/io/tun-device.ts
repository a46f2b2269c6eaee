import { type PacketBatch, type PacketPool, SLOT_BYTES, SLOT_HEADROOM } from '../base/packet-pool.js'
import { type Native, native, type TunHandle } from './native.js'

/** Slots kept ready for the next read. A superpacket of 64 KiB has 47 segments of 1400 bytes. */
const READ_SLOTS_MAX = 256

const REMEDIES: Record<string, string> = {
  ENOENT: 'load the kernel module: modprobe tun',
  EACCES: 'run as root, or give the program CAP_NET_ADMIN and access to /dev/net/tun',
  EPERM: 'run as root, or give the program CAP_NET_ADMIN',
  EBUSY: 'the device is in use by another program: choose another name, or stop that program',
  EINVAL:
    'a device of that name and of another kind exists: choose another name, or remove it with ip link del',
}

/** The TUN device: packets to and from the kernel, by batches of slots. */
export class TunDevice {
  readonly name: string
  /** Descriptor to watch for readability; closed by {@link close}. */
  readonly fd: number
  /** The kernel gives and takes superpackets of TCP. */
  readonly offload: boolean
  /** The same for UDP (kernel 6.2 and later). */
  readonly udpOffload: boolean
  private readonly handle: TunHandle
  private readonly spare = new Uint32Array(READ_SLOTS_MAX)
  private spareCount = 0

  /** Creates the device, or takes it if it exists and is free. Throws one sentence with cause and remedy. */
  constructor(
    name: string,
    offload: boolean,
    private readonly pool: PacketPool,
  ) {
    const opened = open(name, offload)
    this.handle = opened.handle
    this.fd = opened.fd
    this.name = opened.name
    this.offload = opened.offload
    this.udpOffload = opened.udpOffload
  }

  /**
   * Reads packets into `batch` from its start, in slots newly taken from the pool, up to its capacity; returns their
   * number. The caller owns the slots. If the batch is full there may be more: read again before waiting. An empty
   * pool reads nothing, and the kernel's queue pushes back. Throws when the device is gone.
   */
  read(batch: PacketBatch): number {
    const limit = Math.min(batch.capacity, READ_SLOTS_MAX)
    if (this.spareCount < limit) {
      this.spareCount += this.pool.takeMany(this.spare, this.spareCount, limit - this.spareCount)
    }
    const { pool, spare } = this
    const readable = Math.min(limit, this.spareCount)
    const count = native.tunRead(
      this.handle,
      pool.slab,
      SLOT_BYTES,
      SLOT_HEADROOM,
      spare,
      readable,
      pool.length,
      pool.flags,
    )
    if (count < 0) throw new Error(`reading from TUN device ${this.name} failed with errno ${-count}`)
    for (let i = 0; i < count; i++) batch.slots[i] = spare[i]!
    if (count > 0) {
      spare.copyWithin(0, count, this.spareCount)
      this.spareCount -= count
    }
    batch.count = count
    return count
  }

  /**
   * Writes slots[from..from + count); returns how many were taken, which the caller may release. Fewer than `count`:
   * wait until the device is writable; the rest of `slots` then holds those that were not taken, in their order.
   * `more`: the next call follows at once, and what its packets may be joined to waits for it.
   */
  write(slots: Uint32Array, from: number, count: number, more = false): number {
    const { pool } = this
    return native.tunWrite(
      this.handle,
      pool.slab,
      SLOT_BYTES,
      SLOT_HEADROOM,
      slots,
      from,
      count,
      pool.length,
      pool.flags,
      more,
    )
  }

  stats(): ReturnType<Native['tunStats']> {
    return native.tunStats(this.handle)
  }

  /** Gives the slots kept ready back and closes; the kernel then removes the device. Stop watching `fd` first. */
  close(): void {
    this.pool.releaseMany(this.spare, 0, this.spareCount)
    this.spareCount = 0
    native.tunClose(this.handle)
  }
}

function open(name: string, offload: boolean): ReturnType<Native['tunOpen']> {
  try {
    return native.tunOpen(name, offload)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const remedy = code === undefined ? undefined : REMEDIES[code]
    if (remedy === undefined) throw error
    throw Object.assign(new Error(`${message}; ${remedy}`, { cause: error }), { code })
  }
}
