import { MILLISECOND } from '../src/base/time.js'
import { EGRESS_BYTES_MAX, PENDING_SESSIONS_MAX, YOUNG_SESSIONS_MAX } from '../src/core/constants.js'
import { PATH_IDS } from '../src/wire/message.js'
import { type DropSums, sumAfterWire, sumBeforeWire } from './checkers.js'
import type { Clock, Handler } from './clock.js'
import type { End } from './end.js'
import type { Ledger } from './ledger.js'

/** Often enough to be near the cause, seldom enough to cost nothing. */
const STEP_US = 10 * MILLISECOND
/** Real-time packets and pure ACKs have limits of their own; any limit may be exceeded by the packet that exceeds it. */
const EGRESS_EXTRA_BYTES = (256 << 10) + (128 << 10) + 3 * 2048
const HELD_PACKETS_MAX = 8_192
const SESSIONS_MAX = 1 + YOUNG_SESSIONS_MAX + PENDING_SESSIONS_MAX
const FAULTS_MAX = 10

/**
 * Looks at the whole world every 10 ms: nothing grows beyond its limit, and every packet is somewhere. Packets that
 * have not been on the wire are held by an end or were dropped and counted; those that have arrived likewise.
 */
export class StepChecker {
  readonly faults: string[] = []
  private readonly handler: Handler
  /** Drops before and after the wire, when they were last added up. */
  private droppedBefore = 0
  private droppedAfter = 0

  constructor(
    clock: Clock,
    private readonly ends: readonly End[],
    private readonly ledger: Ledger,
    private readonly drops: () => DropSums,
  ) {
    this.handler = {
      id: clock.nextHandlerId(),
      fire: (_argument, now) => {
        this.look(now)
        if (this.faults.length < FAULTS_MAX) clock.at(now + STEP_US, this.handler)
      },
    }
    clock.at(clock.now + STEP_US, this.handler)
  }

  private look(now: number): void {
    let held = 0
    let died = 0
    let thinned = 0
    let spaced = 0
    for (const end of this.ends) {
      died += end.diedWithRestart
      thinned += end.acksThinned
      spaced += end.acksSpaced
      if (!end.running) continue
      held += end.pool.slotCount - end.pool.freeCount + end.waitingDatagrams
      this.checkLimits(end, now)
    }
    if (!this.ledger.followsWire) return
    const { beforeWire, dataArrived, dataDelivered } = this.ledger
    const accountedBefore = held + died + thinned
    const accountedAfter = dataDelivered + held + died + spaced
    // Drops only ever grow: while those of the last time are enough, nobody need add them up again.
    if (
      beforeWire <= accountedBefore + this.droppedBefore &&
      dataArrived <= accountedAfter + this.droppedAfter
    ) {
      return
    }
    const drops = this.drops()
    this.droppedBefore = sumBeforeWire(drops)
    this.droppedAfter = sumAfterWire(drops)
    if (beforeWire > accountedBefore + this.droppedBefore) {
      const known = `${held} held, ${thinned} thinned and ${this.droppedBefore} dropped`
      this.fault(now, `${beforeWire} packets not on the wire, only ${known}`)
    }
    if (dataArrived > accountedAfter + this.droppedAfter) {
      const known = `${dataDelivered} delivered, ${this.droppedAfter} dropped, ${held} held`
      this.fault(now, `${dataArrived} datagrams with data arrived, only ${known}`)
    }
  }

  private checkLimits(end: End, now: number): void {
    const limit = (what: string, value: number, max: number): void => {
      if (value > max) this.fault(now, `${end.name}: ${value} ${what}, more than ${max}`)
    }
    for (const peer of end.device.peers) {
      limit('bytes in the egress queue', peer.egress.bytes, EGRESS_BYTES_MAX + EGRESS_EXTRA_BYTES)
      limit('packets held for order', peer.resequencer.heldCount, HELD_PACKETS_MAX)
      limit('sessions', peer.sessions.length, SESSIONS_MAX)
      limit('paths', peer.paths.length, PATH_IDS / 2)
    }
  }

  private fault(now: number, text: string): void {
    if (this.faults.length < FAULTS_MAX) this.faults.push(`at ${now}: ${text}`)
  }
}
