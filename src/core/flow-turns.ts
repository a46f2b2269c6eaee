import { BUCKETS } from '../wire/message.js'

const NONE = -1
/** What a flow may send before the next has its turn: one full packet. */
export const QUANTUM_BYTES = 1514

/** Where a flow is: in no list, or in one of those that are served in this order. */
enum Turn {
  None = 0,
  /** It is brief, had its turn, and waited for a better path than there was. */
  Waiting = 1,
  /** It has just begun. */
  New = 2,
  /** It has had its first turn. */
  Old = 3,
}

/**
 * The flows that wait for their turn, by bucket: deficit round robin in which those that have just begun go before those
 * that go on (FQ-CoDel, RFC 8290, section 4.2). A brief flow may let its turn pass, and has it later.
 */
export class FlowTurns {
  /** Those that are brief leave their turn to others, for now. */
  briefWait = false
  /** By {@link Turn}: the first flow, or -1. */
  private readonly first = new Int32Array(4).fill(NONE)
  private readonly last = new Int32Array(4).fill(NONE)
  /** By bucket: the flow behind it, or -1. */
  private readonly next = new Int32Array(BUCKETS)
  private readonly turns = new Uint8Array(BUCKETS)
  private readonly deficits = new Int32Array(BUCKETS)

  /** @param brief by bucket: whether the flow is brief */
  constructor(private readonly brief: Uint8Array) {}

  /** A packet of the flow has come. */
  enter(bucket: number): void {
    if (this.turns[bucket] !== Turn.None) return
    this.deficits[bucket] = QUANTUM_BYTES
    this.append(bucket, Turn.New)
  }

  /** The flow whose turn it is, or -1. It may have no packets any more, see {@link dismiss}. */
  peek(): number {
    for (;;) {
      const turn = this.turn
      const bucket = this.first[turn]!
      if (bucket === NONE) return NONE
      if (this.deficits[bucket]! <= 0) {
        this.deficits[bucket]! += QUANTUM_BYTES
        this.shift(turn)
        this.append(bucket, Turn.Old)
      } else if (this.briefWait && this.brief[bucket] !== 0) {
        this.shift(turn)
        this.append(bucket, Turn.Waiting)
      } else {
        return bucket
      }
    }
  }

  /** The flow whose turn it is has sent so much. */
  charge(bucket: number, bytes: number): void {
    this.deficits[bucket]! -= bytes
  }

  /** The flow whose turn it is has no packets. A new one waits for another turn, so that it cannot be new again at once. */
  dismiss(): void {
    const turn = this.turn
    const bucket = this.first[turn]!
    this.shift(turn)
    if (turn !== Turn.Old && this.first[Turn.Old] !== NONE) this.append(bucket, Turn.Old)
  }

  /** No bulk waits: whoever comes next begins anew. */
  clear(): void {
    for (let turn: number = Turn.Waiting; turn <= Turn.Old; turn++) {
      while (this.first[turn] !== NONE) this.shift(turn)
    }
  }

  /** All flows, to be asked with -1 first and then with what it returned, until that is -1. */
  after(bucket: number): number {
    let turn: number = bucket === NONE ? Turn.None : this.turns[bucket]!
    let next = bucket === NONE ? NONE : this.next[bucket]!
    while (next === NONE && turn < Turn.Old) next = this.first[++turn]!
    return next
  }

  private get turn(): number {
    if (this.first[Turn.Waiting] !== NONE && !this.briefWait) return Turn.Waiting
    return this.first[Turn.New] !== NONE ? Turn.New : Turn.Old
  }

  private append(bucket: number, turn: number): void {
    this.turns[bucket] = turn
    this.next[bucket] = NONE
    const last = this.last[turn]!
    if (last === NONE) this.first[turn] = bucket
    else this.next[last] = bucket
    this.last[turn] = bucket
  }

  private shift(turn: number): void {
    const bucket = this.first[turn]!
    const next = this.next[bucket]!
    this.first[turn] = next
    if (next === NONE) this.last[turn] = NONE
    this.turns[bucket] = Turn.None
  }
}
