import type { Path } from './path.js'

/** Which path, or paths, carry the next packet. One instance per peer. */
export interface Scheduler {
  readonly name: string
  /** Paths chosen by the last {@link pick}, the first `count` of them. */
  readonly chosen: Path[]
  /** The set of paths that carry data changed. */
  setPaths(paths: readonly Path[]): void
  /**
   * Chooses for the packet that is next; `bytes` is its size as sent (0 where it is not known yet). Returns how many
   * of {@link chosen} are valid; 0 when no path has room now.
   */
  pick(bytes: number): number
  /** `bytes` were sent on `path`. */
  sent(path: Path, bytes: number): void
}
