import { BUCKETS } from '../wire/message.js'

const NONE = -1

/** Where a flow is: in no list, among those that have just begun, or among those that have had their first turn. */
export enum Turn {
  None = 0,
  New = 1,
  Old = 2,
}

/** The flows that wait for their turn, by bucket, in two lists (FQ-CoDel, RFC 8290, section 4.2). */
export class FlowTurns {
  /** By {@link Turn}: the first flow, or -1. */
  readonly first = new Int32Array(3).fill(NONE)
  /** By bucket: the flow behind it, or -1. */
  readonly next = new Int32Array(BUCKETS)
  private readonly last = new Int32Array(3).fill(NONE)
  private readonly turns = new Uint8Array(BUCKETS)

  has(bucket: number): boolean {
    return this.turns[bucket] !== Turn.None
  }

  append(bucket: number, turn: number): void {
    this.turns[bucket] = turn
    this.next[bucket] = NONE
    const last = this.last[turn]!
    if (last === NONE) this.first[turn] = bucket
    else this.next[last] = bucket
    this.last[turn] = bucket
  }

  /** Takes the first flow from a list. */
  shift(turn: number): void {
    const bucket = this.first[turn]!
    const next = this.next[bucket]!
    this.first[turn] = next
    if (next === NONE) this.last[turn] = NONE
    this.turns[bucket] = Turn.None
  }

  /** No bulk waits: whoever comes next begins anew. */
  clear(): void {
    for (let turn: number = Turn.New; turn <= Turn.Old; turn++) {
      while (this.first[turn] !== NONE) this.shift(turn)
    }
  }
}
