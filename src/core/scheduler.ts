import type { DurationUs, Instant } from '../base/time.js'
import type { AckTiming } from './ack-timing.js'
import type { FlowTable } from './flow-table.js'
import type { Path } from './path.js'

/** Which path, or paths, carry the next packet. One instance per peer. */
export interface Scheduler {
  readonly name: string
  /** Whether what is lost is sent again: packets are kept until the other end reports them. */
  readonly repairs: boolean
  /** Paths chosen by the last {@link pick}, the first `count` of them. */
  readonly chosen: Path[]
  /** By bucket: `PacketFlag` bits with which its packets go. */
  readonly flowFlags: Uint8Array
  /** By bucket: 1 if the flow is brief so far, if that is of interest. */
  readonly briefFlows: Uint8Array<ArrayBuffer> | undefined
  /** When acknowledgements go on that come in; undefined: at once. */
  readonly ackTiming: AckTiming | undefined
  /** How long bulk waits for a near path while a far one is free. */
  readonly waitUsMax: DurationUs
  /** The set of paths that carry data changed. */
  setPaths(paths: readonly Path[]): void
  /**
   * Called a few times a second: for what shows over seconds only. `equalised`: the other end gives all packets the same
   * delay. May change `leftOut` and `onlySooner` of the paths, and {@link waitUsMax}.
   */
  review(equalised: boolean, now: Instant): void
  /** Called many times a second while there is traffic. May change {@link flowFlags}, and {@link briefFlows}: then true. */
  watch(flows: FlowTable, now: Instant): boolean
  /**
   * Chooses for the packet that is next: of `packetClass` (flow-table.ts), with `bulkBytes` waiting behind it. Returns
   * how many of {@link chosen} are valid; 0 when no path may take it now. `brief`: it is of a brief flow, and `bulkBytes`
   * are theirs alone; others may go while it waits.
   */
  pick(packetClass: number, bulkBytes: number, now: Instant, brief?: boolean): number
  /**
   * After a {@link pick} of 1 for bulk: it would choose the same path again until it has been given so many bytes on the
   * wire, and once more for the packet with which that is reached. 0: nothing is known beyond the one packet.
   */
  runBytes(now: Instant): number
  /** `bytes` on the wire, of one packet or of a run, were given to `path`. */
  sent(path: Path, bytes: number, now: Instant): void
  /** After a {@link pick} of 0: when to ask again if nothing else happens. */
  nextRoomAt(now: Instant): Instant
}
