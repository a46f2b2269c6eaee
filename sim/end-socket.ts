import type { Network, Socket } from './network.js'

/** About what a socket's receive buffer holds. */
const DATAGRAMS_MAX = 4_096

/** One socket of an end: what has arrived waits in it for the end's next wake-up. */
export class EndSocket implements Socket {
  readonly slots = new Int32Array(DATAGRAMS_MAX)
  count = 0
  open = true

  /** @param wake called for each datagram that is taken in */
  constructor(
    private readonly network: Network,
    private readonly wake: () => void,
  ) {}

  receive(slot: number): void {
    if (this.count === DATAGRAMS_MAX) {
      this.network.lose(slot)
      return
    }
    this.slots[this.count++] = slot
    this.wake()
  }
}
