/**
 * The one place where core, io and time meet. A wake-up, whatever caused it, is always the same:
 *
 *     1 read the TUN into the device, if that is what woke us, and send: a packet that waits there waits for nothing else
 *     2 drain every socket into the device, and write to the TUN; then read that again, as the kernel answers a ping or
 *       acknowledges a segment within the write, and the answer need not wait for a wake-up of its own
 *     3 let the device do what is due        (silence is judged only after that)
 *     4 send, per link; write to the TUN
 *     5 arm the timer for the next thing due
 */
import { DatagramBatch } from '../base/datagram-batch.js'
import { PacketBatch, PacketPool } from '../base/packet-pool.js'
import { type Instant, NEVER } from '../base/time.js'
import { BATCH_PACKETS } from '../core/constants.js'
import { Device } from '../core/device.js'
import { Drop, type DropReason } from '../core/drop-reasons.js'
import type { Event } from '../core/events.js'
import { inspectPeers } from '../core/inspect.js'
import { monotonicNow, WakeTimer } from '../io/clock.js'
import { LinkSocket } from '../io/link-socket.js'
import { native, type PollHandle } from '../io/native.js'
import { NativePacketCiphers } from '../io/packet-ciphers.js'
import { systemRandom } from '../io/random.js'
import { TunDevice } from '../io/tun-device.js'
import type { Primitives } from '../noise/primitives.js'
import type { PlaneConfig, PlaneFigures } from './plane-messages.js'

const READABLE = 1
const WRITABLE = 2
const ERROR = 4
/** Sixteen GRO messages of up to 64 KiB, of which a call takes two of full size, or all if they are small. */
const RECEIVE_SLAB_BYTES = 16 * 65_536
const RECEIVE_ROWS = 1024
/** One wake-up's worth of sealed packets for one link. */
const TRANSMIT_SLAB_BYTES = 2 * BATCH_PACKETS * 2048
/** Packets of one read of the TUN: more than the 47 that the largest superpacket is cut into. */
const TUN_BATCH = 256
/** A burst of 50 ms at 600 Mbit/s, as far as net.core.rmem_max or our privileges let it. */
const SOCKET_BUFFER_BYTES = 4 << 20
/** A device whose queue is full refuses without saying when it has room: such a link is tried again this soon. */
const FULL_RETRY_US = 500
/** What it refuses for so long it may refuse for ever, as a shaper does what is larger than its burst. */
const FULL_US_MAX = 50_000
/** So long one side is read without a pause: the rest is still there at the next wake-up, after timers and the other side. */
const READING_US_MAX = 2_000

interface LinkIo {
  socket: LinkSocket
  poll: PollHandle
  transmit: DatagramBatch
  blocked: boolean
  /** When a blocked link is to be tried without being told that it is writable. */
  retryAt: Instant
  /** Since when the device has taken nothing though the socket has room, {@link NEVER}: it takes something. */
  fullSince: Instant
}

export class Loop {
  private readonly pool: PacketPool
  private readonly device: Device
  private readonly tun: TunDevice
  private readonly tunPoll: PollHandle
  private readonly links: LinkIo[] = []
  private readonly timer: WakeTimer
  private readonly received = new DatagramBatch(RECEIVE_SLAB_BYTES, RECEIVE_ROWS, 64)
  private readonly fromTun = new PacketBatch(TUN_BATCH)
  private readonly toTun = new PacketBatch(BATCH_PACKETS * 4)
  private readonly startedAt: Instant
  private readonly offloadWanted: boolean
  private tunPaused = false
  /** Reading ended before the TUN was empty: what is left may be segments of ours already, of which nobody tells. */
  private tunUnfinished = false
  private closed = false

  /** Opens everything; an Error of the system's (with `code` and `syscall`) leaves nothing open. */
  constructor(
    config: PlaneConfig,
    primitives: Primitives,
    private readonly onEvents: (events: Event[], startedAt: Instant) => void,
  ) {
    const now = monotonicNow()
    this.startedAt = now
    this.offloadWanted = config.offload
    this.pool = new PacketPool(config.slabBytes)
    this.device = new Device(config.device, {
      now,
      random: systemRandom,
      primitives,
      ciphers: new NativePacketCiphers(config.withoutAes),
      pool: this.pool,
      workClock: monotonicNow,
    })
    this.tun = new TunDevice(config.tunName, config.offload, this.pool)
    try {
      config.sockets.forEach((options, id) => {
        const socket = new LinkSocket({
          ...options,
          receiveBufferBytes: SOCKET_BUFFER_BYTES,
          sendBufferBytes: SOCKET_BUFFER_BYTES,
          offload: config.offload,
          reuseAddress: options.port !== 0 && options.device !== '',
        })
        const poll = native.pollStart(socket.fd, READABLE, (events) => this.socketReady(id, events))
        const transmit = new DatagramBatch(TRANSMIT_SLAB_BYTES, BATCH_PACKETS * 4, 64)
        this.links.push({ socket, poll, transmit, blocked: false, retryAt: NEVER, fullSince: NEVER })
      })
    } catch (error) {
      this.closeLinks()
      this.tun.close()
      throw error
    }
    this.tunPoll = native.pollStart(this.tun.fd, READABLE, () => this.wake(true))
    this.timer = new WakeTimer(() => this.wake(false))
    this.wake(false)
  }

  get tunName(): string {
    return this.tun.name
  }
  get ports(): number[] {
    return this.links.map((link) => link.socket.port)
  }

  figures(): PlaneFigures {
    const now = monotonicNow()
    return {
      peers: inspectPeers(this.device, now),
      drops: this.device.drops.snapshot(this.kernelDrops()) as Record<string, number>,
      offload: this.offloadNotes(),
      uptimeS: (now - this.startedAt) / 1_000_000,
    }
  }

  /** The device of a link may be another one of the same name by now: a stick that was pulled and plugged in again. */
  rebind(): void {
    for (const { socket } of this.links) socket.rebind()
  }

  /** Address records by peer. */
  setEndpoints(records: readonly Uint32Array[][]): void {
    const now = monotonicNow()
    records.forEach((endpoints, peer) => {
      this.device.handleEndpoints(peer, endpoints, now)
    })
    this.wake(false)
  }

  /** The TUN's MTU, and what it would be by the configuration and the devices alone. */
  setMtu(wanted: number, present: number): void {
    this.device.handleMtu(wanted, present, monotonicNow())
    this.wake(false)
  }

  /** Says goodbye to the peers and gives everything back. */
  close(): void {
    if (this.closed) return
    this.closed = true
    const now = monotonicNow()
    this.device.close(now)
    for (let id = 0; id < this.links.length; id++) this.transmit(id, now)
    this.timer.stop()
    native.pollStop(this.tunPoll)
    this.closeLinks()
    this.tun.close()
  }

  private socketReady(id: number, events: number): void {
    const wokeAt = monotonicNow()
    if ((events & ERROR) !== 0) this.dropErrors(id)
    if ((events & WRITABLE) !== 0) this.unblock(id, wokeAt)
    this.wake(false, wokeAt)
  }

  /**
   * What the kernel queued about datagrams sent earlier, ICMP messages mostly, has to be taken: until then the socket
   * is ready without end. None of it is believed, as anybody can send ICMP; health is judged by authenticated answers.
   */
  private dropErrors(id: number): void {
    const { socket } = this.links[id]!
    while (socket.takeError() !== undefined) {}
  }

  private wake(tunReadable: boolean, wokeAt = monotonicNow()): void {
    if (this.closed) return
    if (tunReadable || this.tunUnfinished) this.readTun(wokeAt)
    const written = this.drainSockets()
    const now = monotonicNow()
    if (written) this.readTun(now)
    this.device.handleTimeout(now)
    if (this.tunPaused) this.readTun(now)
    for (let id = 0; id < this.links.length; id++) {
      if (this.links[id]!.retryAt <= now) this.unblock(id, now)
      this.transmit(id, now)
    }
    this.writeTun()
    this.device.handleWakeUpEnd(monotonicNow() - wokeAt, now)
    this.forwardEvents()
    this.arm(now)
  }

  /** Returns whether anything was written to the TUN. */
  private drainSockets(): boolean {
    let written = false
    for (let id = 0; id < this.links.length; id++) {
      const { socket } = this.links[id]!
      let until = NEVER
      while (socket.receive(this.received) > 0) {
        // Ages count from the call that read them. An older clock reading would make the delay of whatever comes
        // after a long round look too short, and with it the queue of the link too long for ever.
        const now = monotonicNow()
        this.device.handleDatagrams(id, this.received, now)
        if (until === NEVER) until = now + READING_US_MAX
        if (!socket.mayHaveMore || now > until) break
        // At once, while the cache still has what was opened.
        if (this.writeTun(true)) written = true
      }
      if (this.writeTun()) written = true
    }
    return written
  }

  private readTun(now: Instant): void {
    for (;;) {
      if (this.device.tunRoom < TUN_BATCH) {
        if (!this.tunPaused) native.pollChange(this.tunPoll, 0)
        this.tunPaused = true
        return
      }
      if (this.tunPaused) native.pollChange(this.tunPoll, READABLE)
      this.tunPaused = false
      const count = this.tun.read(this.fromTun)
      this.tunUnfinished = count === TUN_BATCH
      if (count === 0) return
      this.device.handleTun(this.fromTun, now)
      for (let id = 0; id < this.links.length; id++) this.transmit(id, now)
      if (count < TUN_BATCH || monotonicNow() - now > READING_US_MAX) return
    }
  }

  private transmit(id: number, now: Instant): void {
    const link = this.links[id]!
    if (link.blocked) return
    const { transmit, socket } = link
    while (this.device.hasTransmit(id)) {
      transmit.clear()
      this.device.pollTransmit(id, transmit, now)
      if (!socket.send(transmit)) {
        link.blocked = true
        native.pollChange(link.poll, READABLE | WRITABLE)
        this.device.handleLinkBlocked(id, true, now)
        return
      }
    }
  }

  /** The socket may have room again: first what it did not take, then whatever waits for the link. */
  private unblock(id: number, now: Instant): void {
    const link = this.links[id]!
    if (!link.blocked) return
    const { sent } = link.transmit
    link.retryAt = NEVER
    const isDone = link.socket.send(link.transmit)
    if (isDone || link.transmit.sent > sent) link.fullSince = NEVER
    if (isDone) {
      link.blocked = false
      native.pollChange(link.poll, READABLE)
      this.device.handleLinkBlocked(id, false, now)
    } else if (link.transmit.sent > sent) {
      native.pollChange(link.poll, READABLE | WRITABLE)
    } else {
      // Writable, and yet nothing was taken: it is the queue of the device that is full, not the socket's buffer.
      native.pollChange(link.poll, READABLE)
      link.retryAt = now + FULL_RETRY_US
      if (link.fullSince === NEVER) link.fullSince = now
      if (now - link.fullSince > FULL_US_MAX) {
        link.transmit.sent++
        link.fullSince = now
        this.device.drops.count(Drop.sendFailed)
      }
    }
  }

  /**
   * Returns whether anything was written. `more`: what comes next may belong to the superpacket that the last packets
   * begin, so these wait for it.
   */
  private writeTun(more = false): boolean {
    const { toTun, device, pool } = this
    let any = false
    while (device.pollDeliver(toTun) > 0 || (!more && toTun.count > 0)) {
      const written = this.tun.write(toTun.slots, 0, toTun.count, more)
      const ended = more ? written : toTun.count
      if (written < ended) device.drops.count(Drop.tunWriteFailed, ended - written)
      pool.releaseMany(toTun.slots, 0, ended)
      toTun.slots.copyWithin(0, ended, toTun.count)
      toTun.count -= ended
      any = true
    }
    return any
  }

  private forwardEvents(): void {
    let events: Event[] | undefined
    for (let event = this.device.pollEvent(); event; event = this.device.pollEvent()) {
      events ??= []
      events.push(event)
    }
    if (events) this.onEvents(events, this.startedAt)
  }

  private arm(now: Instant): void {
    let next = this.device.nextTimeout()
    for (const { retryAt } of this.links) next = Math.min(next, retryAt)
    if (this.tunUnfinished && !this.tunPaused) next = now
    this.timer.armAt(Math.max(next, now + 1), now)
  }

  /** What the kernel refused or dropped: it never came to the core. */
  private kernelDrops(): Partial<Record<DropReason, number>> {
    const { malformed, tooBig, refused } = this.tun.stats()
    const drops = {
      tunMalformed: malformed,
      tunTooBig: tooBig,
      tunWriteFailed: refused,
      sendFailed: 0,
      receiveOverflow: 0,
      badLength: 0,
    }
    for (const { socket } of this.links) {
      const { sendRefused, receiveOverflow, receiveDropped } = socket.stats()
      drops.sendFailed += sendRefused
      drops.receiveOverflow += receiveOverflow
      drops.badLength += receiveDropped
    }
    return drops
  }

  private offloadNotes(): string[] {
    const notes: string[] = []
    if (!this.offloadWanted) return ['switched off by the configuration']
    if (!this.tun.offload) notes.push(`${this.tun.name}: the kernel refuses TCP segmentation offload`)
    else if (!this.tun.udpOffload)
      notes.push(`${this.tun.name}: no UDP segmentation offload (kernel before 6.2)`)
    this.links.forEach(({ socket }, id) => {
      const { gso, gro } = socket.stats()
      if (!gso) notes.push(`${this.device.links[id]!.name}: the kernel or device refuses UDP_SEGMENT`)
      if (!gro) notes.push(`${this.device.links[id]!.name}: the kernel refuses UDP_GRO`)
    })
    return notes
  }

  private closeLinks(): void {
    for (const { poll, socket } of this.links) {
      native.pollStop(poll)
      socket.close()
    }
    this.links.length = 0
  }
}
