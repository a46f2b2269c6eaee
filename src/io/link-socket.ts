import { ADDRESS_WORDS, type DatagramBatch } from '../base/datagram-batch.js'
import { type Native, native, type UdpHandle } from './native.js'

export type LinkSocketOptions = Parameters<Native['udpOpen']>[0]

const REMEDIES: Record<string, string> = {
  EADDRINUSE: 'another program has the port: choose another, or stop that program',
  EADDRNOTAVAIL: 'this machine does not have the address (yet): see ip addr',
  EPERM: 'run as root, or give the program CAP_NET_RAW',
  EACCES: 'ports below 1024 need root or CAP_NET_BIND_SERVICE',
}

/** What the kernel reported about something sent earlier. */
export interface LinkSocketError {
  errno: number
  /** For EMSGSIZE: the MTU, IP header included, that the path or device has. Else 0. */
  mtu: number
  /** Address record of the remote end (base/datagram-batch.ts), valid until the next call. */
  address: Uint32Array
}

/** The UDP socket of one link: datagrams by batches. */
export class LinkSocket {
  /** Descriptor to watch for readiness; closed by {@link close}. */
  readonly fd: number
  readonly port: number
  /** Whether the last {@link receive} may have left something. */
  mayHaveMore = false
  private readonly handle: UdpHandle
  private readonly device: string
  private readonly addressCount = new Uint32Array(2)
  private readonly errorAddress = new Uint32Array(ADDRESS_WORDS)

  /** Throws one sentence with cause and remedy, and `code`. A device that is not there may come: see {@link rebind}. */
  constructor(options: LinkSocketOptions) {
    const opened = openOrWait(options)
    this.handle = opened.handle
    this.device = options.device
    this.fd = opened.fd
    this.port = opened.port
  }

  /** Sends what of the batch is not sent yet. False: the socket is full, call again when it is writable. */
  send(batch: DatagramBatch): boolean {
    const { rows, sent, count } = batch
    batch.sent += native.udpSend(this.handle, batch.slab, rows, sent, count - sent, batch.addresses)
    return batch.sent === batch.count
  }

  /** Fills the batch anew; returns its count. 0: nothing there. */
  receive(batch: DatagramBatch): number {
    const count = native.udpReceive(this.handle, batch.slab, batch.rows, batch.addresses, this.addressCount)
    if (count < 0) throw new Error(`receiving on the socket of port ${this.port} failed with errno ${-count}`)
    batch.count = count
    batch.addressCount = this.addressCount[0]!
    this.mayHaveMore = this.addressCount[1] === 1
    return count
  }

  /** One queued error, or undefined when there is none left. */
  takeError(): LinkSocketError | undefined {
    const error = native.udpError(this.handle, this.errorAddress)
    return error && { errno: error.errno, mtu: error.mtu, address: this.errorAddress }
  }

  /** To the device that has its name now, if there is one. */
  rebind(): void {
    if (this.device !== '') native.udpBindDevice(this.handle, this.device)
  }

  stats(): ReturnType<Native['udpStats']> {
    return native.udpStats(this.handle)
  }

  /** Stop watching `fd` first. */
  close(): void {
    native.udpClose(this.handle)
  }
}

/** Where nothing that is sent leaves the machine. */
const LOOPBACK = 'lo'

function openOrWait(options: LinkSocketOptions): ReturnType<Native['udpOpen']> {
  try {
    return open(options)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENODEV' || options.device === '') throw error
    return open({ ...options, device: LOOPBACK })
  }
}

function open(options: LinkSocketOptions): ReturnType<Native['udpOpen']> {
  try {
    return native.udpOpen(options)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const remedy = code === undefined ? undefined : REMEDIES[code]
    if (remedy === undefined) throw error
    throw Object.assign(new Error(`${message}; ${remedy}`, { cause: error }), { code })
  }
}
