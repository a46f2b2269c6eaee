import { assert } from '../src/base/assert.js'
import {
  ADDRESS_REMOTE_WORDS,
  ADDRESS_WORDS,
  DatagramBatch,
  ROW_ADDRESS,
  ROW_AGE,
  ROW_LENGTH,
  ROW_OFFSET,
  ROW_WORDS,
} from '../src/base/datagram-batch.js'
import { PacketBatch, PacketPool, SlotFlag } from '../src/base/packet-pool.js'
import { Prng } from '../src/base/prng.js'
import { SlotRing } from '../src/base/slot-ring.js'
import { type DurationUs, type Instant, NEVER, SECOND } from '../src/base/time.js'
import { Device, type DeviceConfig } from '../src/core/device.js'
import { dropReasonNames } from '../src/core/drop-reasons.js'
import type { Event } from '../src/core/events.js'
import type { PacketCiphers } from '../src/core/packet-cipher.js'
import type { Primitives } from '../src/noise/primitives.js'
import type { DropSums } from './checkers.js'
import type { Clock, Handler } from './clock.js'
import { EndSocket } from './end-socket.js'
import { Identity, partialChecksum } from './inner-packet.js'
import type { Ledger } from './ledger.js'
import { MachineClock } from './machine-clock.js'
import type { Attachment, Network } from './network.js'

/** How the machine of one end behaves. */
export interface MachineParameters {
  /** The monotonic clock's value when the world begins, and how much faster it runs than the world's. */
  clockBaseUs: number
  clockDriftPpm: number
  /** From a datagram's arrival or a timer's moment to the wake-up. */
  wakeUs: DurationUs
  /** Share of wake-ups that come late, and by how much at most. */
  stallShare: number
  stallUs: DurationUs
  poolBytes: number
  /** The socket takes no more while so many bytes wait in the access line. */
  socketBytesMax: number
}

export const GOOD_MACHINE: MachineParameters = {
  clockBaseUs: 0,
  clockDriftPpm: 0,
  wakeUs: 20,
  stallShare: 0,
  stallUs: 0,
  poolBytes: 8 << 20,
  socketBytesMax: Number.POSITIVE_INFINITY,
}

/** What is shared by all ends, since only one of them works at a time. */
const BATCH_ROWS = 512
const received = new DatagramBatch(0, BATCH_ROWS, 64)
const transmit = new DatagramBatch(BATCH_ROWS * 2048, BATCH_ROWS, 64)
const delivered = new PacketBatch(BATCH_ROWS)
const taken = new PacketBatch(BATCH_ROWS)
const identity = new Identity()
const WAKE_ROUNDS_MAX = 1000
/** Linux's default for a TUN device. */
const TUN_QUEUE_PACKETS = 500
/** A loop that may not read the TUN now tries again after this time at the latest. */
const TUN_RETRY_US = 1_000

export type Receiver = (identity: Identity, view: DataView, at: number, now: Instant) => void

/**
 * One end of the tunnel in the model world: a real Device with its packet memory, its sockets, its TUN and its own
 * clock. The counterpart of daemon/loop.ts.
 */
export class End {
  device: Device
  pool: PacketPool
  /** The packet memory, for those who read and write packets. */
  view: DataView
  /** By flow number: who is told of a delivered packet. */
  readonly receivers: (Receiver | undefined)[] = []
  readonly events: { at: Instant; event: Event }[] = []
  running = true
  /** Packets that found packet memory full when they came from the TUN's side: the kernel's queue would drop them. */
  tunRefused = 0
  /** Sums over former runs. */
  private readonly formerDrops: DropSums = {}
  private formerAcksThinned = 0
  private formerAcksSpaced = 0
  diedWithRestart = 0
  restarts = 0
  /** Packets that came out of the TUN and that went into it, over all runs. */
  readonly tunCounts = { outPackets: 0, outBytes: 0, inPackets: 0, inBytes: 0 }

  private readonly sockets: EndSocket[]
  private readonly blocked: boolean[]
  /** Slots that wait in the TUN for the next wake-up. */
  private readonly tun = new SlotRing(TUN_QUEUE_PACKETS)
  /** Wake-ups after which a timer was still due. */
  overdueTimers = 0
  wakeUps = 0
  private wakePending = false
  /** While {@link wake} runs, which empties the TUN before it ends. */
  private awake = false
  private retryPending = false
  private timerGeneration = 0
  /** When the timer fires, and when the device wants to be asked next: not before. */
  private timerAt: Instant = NEVER
  private timerDue: Instant = NEVER
  private readonly waker: Handler
  /** Looks again for what had no room in the device. */
  private readonly retrier: Handler
  private readonly timer: Handler
  private lastLocal = Number.NEGATIVE_INFINITY
  private asleepUntil = Number.NEGATIVE_INFINITY
  private readonly machineClock: MachineClock
  private readonly random: Prng
  /** Randomness of the traffic that starts here, apart from the machine's. */
  readonly trafficRandom: Prng

  constructor(
    readonly name: string,
    readonly config: DeviceConfig,
    readonly machine: MachineParameters,
    readonly attachments: Attachment[],
    private readonly clock: Clock,
    private readonly network: Network,
    private readonly ledger: Ledger,
    private readonly primitives: Primitives,
    private readonly ciphers: PacketCiphers,
    seed: number,
  ) {
    this.machineClock = new MachineClock(machine.clockBaseUs, machine.clockDriftPpm)
    this.random = new Prng(seed)
    this.trafficRandom = new Prng(~seed)
    this.waker = { id: clock.nextHandlerId(), fire: () => this.wake() }
    this.retrier = {
      id: clock.nextHandlerId(),
      fire: () => {
        this.retryPending = false
        this.wake()
      },
    }
    this.timer = {
      id: clock.nextHandlerId(),
      fire: (generation) => {
        if (generation === this.timerGeneration) this.timerFired()
      },
    }
    const datagramArrived = (): void => this.scheduleWake()
    this.sockets = attachments.map(() => new EndSocket(network, datagramArrived))
    this.blocked = attachments.map(() => false)
    attachments.forEach((attachment, link) => {
      attachment.socket = this.sockets[link]
    })
    this.pool = new PacketPool(machine.poolBytes)
    this.view = new DataView(this.pool.slab.buffer)
    this.device = this.start()
    this.scheduleWake()
  }

  /** This end's monotonic clock at the world's `now`. */
  local(now: Instant): Instant {
    return this.machineClock.local(now)
  }

  /** This end's clock now. */
  get now(): Instant {
    return this.local(this.clock.now)
  }

  private start(): Device {
    return new Device(this.config, {
      now: this.local(this.clock.now),
      random: new Prng(this.random.nextUint32()),
      primitives: this.primitives,
      ciphers: this.ciphers,
      pool: this.pool,
    })
  }

  /** Ends the program: without a word as by SIGKILL, or with Close frames. Nothing is received until {@link restart}. */
  stop(graceful: boolean): void {
    if (!this.running) return
    if (graceful) {
      this.device.close(this.local(this.clock.now))
      this.drain(this.local(this.clock.now))
    }
    this.formerAcksThinned = this.acksThinned
    this.formerAcksSpaced = this.acksSpaced
    this.running = false
    for (const socket of this.sockets) {
      socket.open = false
      this.diedWithRestart += socket.count
      for (let i = 0; i < socket.count; i++) this.network.lose(socket.slots[i]!)
      socket.count = 0
    }
    this.diedWithRestart += this.pool.slotCount - this.pool.freeCount
    this.addDrops(this.formerDrops)
    this.timerGeneration++
    this.timerAt = NEVER
    while (this.tun.shift() >= 0);
  }

  /** A new program with the same keys: another boot id, empty memory. */
  restart(): void {
    if (this.running) this.stop(false)
    this.restarts++
    this.pool = new PacketPool(this.machine.poolBytes)
    this.view = new DataView(this.pool.slab.buffer)
    this.blocked.fill(false)
    this.device = this.start()
    this.running = true
    for (const socket of this.sockets) socket.open = true
    this.scheduleWake()
  }

  /**
   * The machine sleeps from now until `until`: nothing runs, and what comes to its sockets is lost beyond their
   * buffers. `clockRuns`: a machine that was merely stopped; else a suspend, during which the clock stands still.
   */
  suspend(until: Instant, clockRuns: boolean): void {
    this.asleepUntil = until
    if (!clockRuns) this.machineClock.stop(this.clock.now)
    this.clock.call(until, () => {
      this.asleepUntil = Number.NEGATIVE_INFINITY
      this.machineClock.goOn(until)
      this.timerGeneration++
      this.timerAt = NEVER
      this.scheduleWake()
    })
  }

  private get asleep(): boolean {
    return this.clock.now < this.asleepUntil
  }

  /** Datagrams that wait at the sockets. */
  get waitingDatagrams(): number {
    let count = 0
    for (const socket of this.sockets) count += socket.count
    return count
  }

  private addDrops(to: DropSums): void {
    const counts = this.device.drops.snapshot()
    for (const reason of dropReasonNames) {
      if (counts[reason]) to[reason] = (to[reason] ?? 0) + counts[reason]
    }
  }

  /** Acknowledgements that gave way to newer ones before they left, in all runs of this end. */
  get acksThinned(): number {
    if (!this.running) return this.formerAcksThinned
    return this.device.peers.reduce((sum, peer) => sum + peer.egress.acksThinned, this.formerAcksThinned)
  }

  /** ... and after they had come. */
  get acksSpaced(): number {
    if (!this.running) return this.formerAcksSpaced
    return this.device.peers.reduce((sum, peer) => sum + peer.spacedAcks.thinned, this.formerAcksSpaced)
  }

  /** Drops counted so far by all runs of this end. */
  drops(): DropSums {
    const sums = { ...this.formerDrops }
    if (this.running) this.addDrops(sums)
    return sums
  }

  /**
   * A slot for a packet that comes from the TUN, or -1 when the kernel would drop it: packet memory full or the
   * program not running. To be filled (slab, length, flags) and given to {@link tunSend}.
   */
  tunSlot(): number {
    if (!this.running || this.asleep) return -1
    // One is left, or what waits in the TUN, whose memory this is too, could keep itself from being read for ever.
    const slot = this.tun.count < TUN_QUEUE_PACKETS && this.device.tunRoom > 1 ? this.pool.take() : -1
    if (slot < 0) this.tunRefused++
    return slot
  }

  tunSend(slot: number): void {
    this.tunCounts.inPackets++
    this.tunCounts.inBytes += this.pool.length[slot]!
    this.tun.push(slot)
    if (!this.awake) this.scheduleWake()
  }

  private scheduleWake(): void {
    if (this.wakePending) return
    this.wakePending = true
    let delay = this.machine.wakeUs
    if (this.machine.stallShare > 0 && this.random.next() < this.machine.stallShare) {
      delay += this.random.next() * this.machine.stallUs
    }
    this.clock.at(this.clock.now + delay, this.waker)
  }

  /** One turn of the loop. */
  private wake(): void {
    this.wakePending = false
    if (!this.running || this.asleep) return
    const now = this.local(this.clock.now)
    assert(now >= this.lastLocal, "an end's clock went back")
    this.lastLocal = now
    this.wakeUps++
    this.awake = true
    let brought = false
    for (let link = 0; link < this.sockets.length; link++) {
      if (this.sockets[link]!.count === 0) continue
      brought = true
      this.readSocket(link, now)
    }
    this.readTun(now)
    if (brought || this.device.nextTimeout() <= now) this.device.handleTimeout(now)
    this.drain(now)
    // What a host answers to what it just got is in the TUN before the loop has come round.
    for (let round = 0; this.tun.count > 0 && this.device.tunRoom > 0; round++) {
      assert(round < WAKE_ROUNDS_MAX, `${this.name}: the TUN is never empty`)
      this.readTun(now)
      this.drain(now)
    }
    this.awake = false
    if (this.tun.count > 0 && !this.retryPending) {
      this.retryPending = true
      this.clock.at(this.clock.now + TUN_RETRY_US, this.retrier)
    }
    this.armTimer()
  }

  private readTun(now: Instant): void {
    while (this.tun.count > 0) {
      const room = this.device.tunRoom
      if (room === 0) return
      taken.count = 0
      const count = Math.min(room, taken.capacity)
      while (taken.count < count && this.tun.count > 0) taken.slots[taken.count++] = this.tun.shift()
      this.device.handleTun(taken, now)
    }
  }

  private readSocket(link: number, now: Instant): void {
    const socket = this.sockets[link]!
    const store = this.network.store
    for (let next = 0; next < socket.count; ) {
      received.clear()
      // Read where they are.
      received.slab = store.slab
      const first = next
      let lastSource = -1
      while (next < socket.count && received.count < received.capacity) {
        const slot = socket.slots[next]!
        const source = store.source[slot]!
        if (source !== lastSource) {
          if (received.addressCount === received.addressCapacity) break
          this.writeSource(received, link, source)
          lastSource = source
        }
        const row = received.count++ * ROW_WORDS
        received.rows[row + ROW_OFFSET] = store.offset(slot)
        received.rows[row + ROW_LENGTH] = store.length[slot]!
        received.rows[row + ROW_ADDRESS] = received.addressCount - 1
        const age = now - this.local(store.arrivedAt[slot]!)
        received.rows[row + ROW_AGE] = Math.min(Math.max(age, 0), SECOND)
        next++
      }
      this.device.handleDatagrams(link, received, now)
      for (let i = first; i < next; i++) {
        const slot = socket.slots[i]!
        store.length[slot] = 0
        store.release(slot)
      }
    }
    socket.count = 0
  }

  /** Appends the address record of a received datagram: who sent it, and where it was sent to. */
  private writeSource(batch: DatagramBatch, link: number, source: number): void {
    const at = batch.addressCount++ * ADDRESS_WORDS
    const record = this.network.addresses.record(source)
    const { addresses } = batch
    for (let i = 0; i < ADDRESS_REMOTE_WORDS; i++) addresses[at + i] = record[i]!
    addresses[at + 5] = link + 1
    addresses[at + 6] = this.attachments[link]!.localWord
    for (let i = 7; i < ADDRESS_WORDS; i++) addresses[at + i] = 0
  }

  /** What the core has to say now: to the sockets, to the TUN, to the log. */
  private drain(now: Instant): void {
    for (let link = 0; link < this.attachments.length; link++) {
      if (this.device.hasTransmit(link)) this.sendOn(link, now)
    }
    for (let round = 0; ; round++) {
      assert(round < WAKE_ROUNDS_MAX, `${this.name}: pollDeliver never comes to an end`)
      delivered.count = 0
      const count = this.device.pollDeliver(delivered)
      for (let i = 0; i < count; i++) this.deliver(delivered.slots[i]!)
      if (count < delivered.capacity) break
    }
    for (let event = this.device.pollEvent(); event; event = this.device.pollEvent()) {
      this.events.push({ at: this.clock.now, event })
    }
  }

  private sendOn(link: number, now: Instant): void {
    const attachment = this.attachments[link]!
    for (let round = 0; !this.blocked[link]; round++) {
      assert(round < WAKE_ROUNDS_MAX, `${this.name}: pollTransmit never comes to an end`)
      transmit.clear()
      this.device.pollTransmit(link, transmit, now)
      if (transmit.count === 0) return
      let lastRecord = -1
      let destination = -1
      let refused = false
      for (let i = 0; i < transmit.count; i++) {
        const row = i * ROW_WORDS
        const record = transmit.rows[row + ROW_ADDRESS]!
        if (record !== lastRecord) {
          assert(record < transmit.addressCount, 'a datagram without an address record')
          destination = this.network.addresses.number(transmit.addresses, record * ADDRESS_WORDS)
          lastRecord = record
          const from = transmit.addresses[record * ADDRESS_WORDS + 6]!
          refused = from !== 0 && from === attachment.formerWord
          if (from !== 0 && from !== attachment.localWord && !refused) {
            this.ledger.fault(`${this.name}: an answer leaves from an address that is not the link's own`)
          }
        }
        if (refused) continue
        const at = transmit.rows[row + ROW_OFFSET]!
        this.network.send(
          attachment,
          transmit.slab,
          at,
          transmit.rows[row + ROW_LENGTH]!,
          destination,
          this.clock.now,
        )
      }
      const line = attachment.up
      if (line && line.queueBytes > this.machine.socketBytesMax) {
        this.blocked[link] = true
        this.device.handleLinkBlocked(link, true, now)
        const device = this.device
        line.roomBelow = this.machine.socketBytesMax / 2
        line.onRoom = () => {
          if (device !== this.device || !this.running) return
          this.blocked[link] = false
          this.device.handleLinkBlocked(link, false, this.local(this.clock.now))
          this.scheduleWake()
        }
      }
      if (!this.device.hasTransmit(link)) return
    }
  }

  private deliver(slot: number): void {
    const at = this.pool.packetAt(slot)
    const now = this.clock.now
    this.tunCounts.outPackets++
    this.tunCounts.outBytes += this.pool.length[slot]!
    const flow = this.ledger.delivered(this.view, at, this.pool.length[slot]!, now, identity)
    if (flow) {
      const partial = (this.pool.flags[slot]! & SlotFlag.ChecksumPartial) !== 0
      if (partial !== partialChecksum(identity.number)) {
        this.ledger.fault(
          `${this.name}: the checksum flag of ${flow.name} packet ${identity.number} is not as sent`,
        )
      }
      this.clock.trace.add(identity.number)
      this.receivers[flow.id]?.(identity, this.view, at, now)
    }
    this.pool.release(slot)
  }

  private armTimer(): void {
    let next = this.device.nextTimeout()
    // A timer that is still due after its work was done would make the real loop spin.
    if (next <= this.lastLocal) {
      this.overdueTimers++
      next = this.lastLocal + 1
    }
    this.timerDue = next
    // One that fires sooner looks again then: most timeouts move away before they come.
    if (next < this.timerAt) this.setTimer(next)
  }

  private setTimer(at: Instant): void {
    this.timerAt = at
    this.clock.at(this.machineClock.worldTime(at), this.timer, ++this.timerGeneration)
  }

  private timerFired(): void {
    this.timerAt = NEVER
    if (this.asleep) return
    if (this.timerDue > this.now) this.setTimer(this.timerDue)
    else this.scheduleWake()
  }
}
