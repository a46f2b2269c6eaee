/** A power of two, so that a counter's place in the ring is its low bits. 2 KiB per path and session. */
const BITS = 16_384
const WORDS = BITS / 32

/** How far behind the newest a counter may be. One word of the ring is always the one being filled. */
export const REPLAY_WINDOW_WIDTH = BITS - 32
/** Counters from here on are refused: far beyond the packets of a key, and where doubles still count exactly. */
export const COUNTER_LIMIT = 2 ** 48

/**
 * Which counters of one path and session were seen: the sliding bitmap of RFC 6479, whose window moves by whole words
 * so that nothing is shifted. Ask and tell only after authentication.
 */
export class ReplayWindow {
  /** The largest counter accepted, -1 before the first. */
  newest = -1
  private readonly seen = new Uint32Array(WORDS)

  /** Whether `counter` (a whole number) would be accepted. */
  check(counter: number): boolean {
    if (counter > this.newest) return counter < COUNTER_LIMIT
    if (counter < 0 || this.newest - counter >= REPLAY_WINDOW_WIDTH) return false
    return (this.seen[(counter >>> 5) & (WORDS - 1)]! & (1 << (counter & 31))) === 0
  }

  /** Takes `counter`; false if it was seen before, is too old to tell, or is no counter. */
  accept(counter: number): boolean {
    const newest = this.newest
    // The operators below read the low 32 bits of the double, which is all that the ring needs.
    const word = (counter >>> 5) & (WORDS - 1)
    const bit = 1 << (counter & 31)
    if (counter > newest) {
      if (counter >= COUNTER_LIMIT) return false
      this.newest = counter
      if (counter - newest >= REPLAY_WINDOW_WIDTH) {
        this.seen.fill(0)
      } else {
        for (let w = (newest >>> 5) & (WORDS - 1); w !== word; ) {
          w = (w + 1) & (WORDS - 1)
          this.seen[w] = 0
        }
      }
      this.seen[word]! |= bit
      return true
    }
    if (counter < 0 || newest - counter >= REPLAY_WINDOW_WIDTH) return false
    const bits = this.seen[word]!
    if ((bits & bit) !== 0) return false
    this.seen[word] = bits | bit
    return true
  }

  reset(): void {
    this.newest = -1
    this.seen.fill(0)
  }
}

/** The counter nearest to `newest` (-1: none yet) whose low 32 bits are `low32`; never below 0. */
export function reconstructCounter(low32: number, newest: number): number {
  const counter = newest + ((low32 - newest) | 0)
  return counter < 0 ? counter + 4_294_967_296 : counter
}
