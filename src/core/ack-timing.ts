/**
 * When acknowledgements that the other end sent go on to a sender at this one: further apart at first (ack-spacing.ts),
 * then in lumps (ack-lumps.ts), and, once its transfer is evened, a little later (ack-delay.ts).
 */
import type { DurationUs, Instant } from '../base/time.js'
import { AckDelay } from './ack-delay.js'
import { AckLumps } from './ack-lumps.js'
import { AckSpacing } from './ack-spacing.js'
import type { BusyPeriod } from './busy-period.js'
import type { FlowTable } from './flow-table.js'
import { type LongTransfers, spreadUs } from './long-transfers.js'
import type { Path } from './path.js'

export class AckTiming {
  private readonly lumps = new AckLumps()
  private readonly delay = new AckDelay()
  private readonly spacing = new AckSpacing()
  private paths: readonly Path[] = []
  private hasOneDelay = false

  /** @param busy of all that the paths carry, `transfers` among it */
  constructor(
    private readonly transfers: LongTransfers,
    private readonly busy: BusyPeriod,
  ) {}

  /** Transfers whose acknowledgements come in lumps. */
  get lumped(): number {
    return this.lumps.count
  }

  /** Called many times a second while there is traffic. `equalised`: the other end gives all packets the same delay. */
  watch(flows: FlowTable, paths: readonly Path[], equalised: boolean, now: Instant): void {
    this.paths = paths
    this.hasOneDelay = equalised || this.transfers.evens
    // With one delay for all packets no path is far.
    this.lumps.watch(this.transfers, flows, equalised ? [] : paths, now)
    this.delay.watch(this.transfers, spreadUs(paths), now)
  }

  /** Whether acknowledgements of what is sent may have to wait that come in now. */
  mayHold(now: Instant): boolean {
    return this.lumps.mayHold(now) || this.delay.mayHold(now)
  }

  /** When one that comes in now is to go on, of what went out in `bucket`; may be past. */
  dueAt(bucket: number, now: Instant): Instant {
    return Math.max(this.lumps.dueAt(bucket, now), this.delay.dueAt(bucket, now))
  }

  /** How far apart they are to come to the senders of bulk, while `bulkBytes` of it wait; 0: as they do. */
  spacingUs(bulkBytes: number, now: Instant): DurationUs {
    // What is evened has one round trip, of which its sender is to see all.
    if (this.hasOneDelay) return 0
    return this.spacing.spacingUs(this.paths, this.busy.ageUs(now), bulkBytes, now)
  }
}
