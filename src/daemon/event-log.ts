import { SECOND } from '../base/time.js'
import type { Log } from '../control/log.js'
import { EVENTS_MAX } from '../core/constants.js'
import type { Event } from '../core/events.js'
import type { EventSnapshot } from '../core/snapshot.js'

/** The last events, for `plait status` and as log lines. */
export class EventLog {
  private readonly events: EventSnapshot[] = []

  constructor(private readonly log: Log) {}

  /** `startedAt`: when the data plane started, on the clock of the events. */
  add(events: readonly Event[], startedAt: number): void {
    for (const event of events) {
      const text = describeEvent(event)
      const path = 'path' in event ? event.path : undefined
      this.events.push({
        atS: (event.at - startedAt) / SECOND,
        peer: event.peer,
        path,
        kind: event.kind,
        text,
      })
      if (this.events.length > EVENTS_MAX) this.events.shift()
      // A path that comes or goes is worth a line; its short hesitations, and trials without it, are for those who look
      // closely.
      const routine =
        event.kind === 'path-left-out' ||
        (event.kind === 'path-state' &&
          (event.to === 'suspect' || event.from === 'suspect') &&
          event.to !== 'down')
      this.log[routine ? 'debug' : 'info']({ peer: event.peer, path, kind: event.kind }, text)
    }
  }

  since(atS: number): EventSnapshot[] {
    return this.events.filter((event) => event.atS >= atS)
  }
}

export function describeEvent(event: Event): string {
  switch (event.kind) {
    case 'path-state':
      return `${event.from} → ${event.to}: ${event.reason}`
    case 'path-left-out':
      return event.leftOut ? 'left out: the others carry more without it' : 'tried again beside the others'
    case 'mtu':
      return `carries packets of up to ${event.bytes} bytes whole, so that is the tunnel's MTU at most`
    case 'path-moved':
      return `the other end moved from ${event.from} to ${event.to}`
    case 'session':
      return `${event.rekey ? 'keys renewed' : 'session begun'} by ${event.initiator ? 'this end' : 'the other end'}, ${event.cipher}`
    case 'session-ended':
      return `session ended: ${event.reason}`
    case 'peer-restarted':
      return 'the other end restarted'
    case 'handshake-failed':
      return `handshake failed: ${event.reason}`
  }
}
