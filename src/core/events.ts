/** What the core tells the daemon, besides packets. Rare: never one per packet. */
export type Event =
  | {
      kind: 'path-state'
      at: number
      peer: string
      path: string
      from: PathState
      to: PathState
      reason: string
    }
  | { kind: 'path-left-out'; at: number; peer: string; path: string; leftOut: boolean }
  /** The tunnel carries packets of up to `bytes` whole, as `path` does, which carries least. */
  | { kind: 'mtu'; at: number; peer: string; path: string; bytes: number }
  | { kind: 'path-moved'; at: number; peer: string; path: string; from: string; to: string }
  | { kind: 'session'; at: number; peer: string; cipher: string; initiator: boolean; rekey: boolean }
  | { kind: 'session-ended'; at: number; peer: string; reason: string }
  | { kind: 'peer-restarted'; at: number; peer: string }
  /** A message proved wrong, or nobody answers; the same reason at most once a minute of each peer. */
  | { kind: 'handshake-failed'; at: number; peer: string; reason: string }

/**
 *     probing ──answer──▶ up ⇄ lossy, late ──silence──▶ suspect ──still silent──▶ down
 *        ▲                        ▲                        │                       │
 *        └────────── new try ─────┼──────── answer ────────┘                       │
 *        └─────────────────────────────────────────────────────────────────────────┘
 */
export type PathState = 'probing' | 'up' | 'lossy' | 'late' | 'suspect' | 'down'

/** States in which a path carries data. */
export function carriesData(state: PathState): boolean {
  return state === 'up' || state === 'lossy' || state === 'late'
}
