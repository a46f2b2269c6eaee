import type { Prng } from '../src/base/prng.js'
import type { Instant } from '../src/base/time.js'
import { MessageType } from '../src/wire/message.js'
import type { Clock, Handler } from './clock.js'
import { addressOf, type Network, type Watcher } from './network.js'

const KEPT = 64

/**
 * Somebody who sees everything and may send anything, but has no keys: keeps copies of what passes and sends them
 * again, once or many times, soon or late, from the true source address or from one of its own.
 */
export class Attacker implements Watcher {
  /** Datagrams sent again. */
  replayed = 0
  /** Only handshake messages are kept. */
  handshakesOnly = false
  private readonly kept: { bytes: Uint8Array; source: number; destination: number }[] = []
  private running = false
  private readonly handler: Handler
  private readonly ownAddress: number

  constructor(
    private readonly clock: Clock,
    private readonly network: Network,
    private readonly random: Prng,
    /** Mean time between two replays. */
    private readonly intervalUs: number,
  ) {
    this.ownAddress = network.addresses.number(addressOf(203, 0, 113, 66, 6666), 0)
    this.handler = { id: clock.nextHandlerId(), fire: (_argument, now) => this.act(now) }
  }

  start(): void {
    this.running = true
    this.network.watchers.push(this)
    this.clock.at(this.clock.now + this.wait(), this.handler)
  }

  stop(): void {
    this.running = false
    const index = this.network.watchers.indexOf(this)
    if (index >= 0) this.network.watchers.splice(index, 1)
  }

  private wait(): number {
    return -this.intervalUs * Math.log(1 - this.random.next())
  }

  sent(slot: number): void {
    const store = this.network.store
    const type = store.slab[store.offset(slot)]!
    const handshake = type <= MessageType.CookieReply
    // Handshake messages are few, so keep them all; of the rest some.
    if (!handshake && (this.handshakesOnly || this.random.next() > 0.02)) return
    const entry = {
      bytes: store.bytes(slot).slice(),
      source: store.source[slot]!,
      destination: store.destination[slot]!,
    }
    if (this.kept.length < KEPT) this.kept.push(entry)
    else this.kept[this.random.below(KEPT)] = entry
  }

  private act(now: Instant): void {
    if (!this.running) return
    if (this.kept.length > 0) {
      const entry = this.kept[this.random.below(this.kept.length)]!
      const spoofed = this.random.next() < 0.5
      const copies = this.random.next() < 0.1 ? 5 : 1
      for (let i = 0; i < copies; i++) {
        this.network.inject(entry.bytes, spoofed ? entry.source : this.ownAddress, entry.destination, now)
        this.replayed++
      }
    }
    this.clock.at(now + this.wait(), this.handler)
  }
}
