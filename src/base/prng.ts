/** Source of randomness handed to the core, so that the simulator can repeat a run from its seed. */
export interface RandomSource {
  /** Fills `out` with random bytes. */
  fill(out: Uint8Array): void
  /** A uniform number in [0, 1). */
  next(): number
}

/**
 * Deterministic generator for simulation and tests: xoshiro128** 1.1 (Blackman and Vigna, 2018), seeded by splitmix32.
 * Not for keys.
 */
export class Prng implements RandomSource {
  private a: number
  private b: number
  private c: number
  private d: number

  constructor(seed: number) {
    let state = seed | 0
    const splitmix = (): number => {
      state = (state + 0x9e3779b9) | 0
      let z = state
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
      return (z ^ (z >>> 15)) >>> 0
    }
    this.a = splitmix()
    this.b = splitmix()
    this.c = splitmix()
    this.d = splitmix() | 1
  }

  nextUint32(): number {
    const x = Math.imul(this.b, 5)
    const result = Math.imul((x << 7) | (x >>> 25), 9)
    const t = this.b << 9
    this.c ^= this.a
    this.d ^= this.b
    this.b ^= this.c
    this.a ^= this.d
    this.c ^= t
    this.d = (this.d << 11) | (this.d >>> 21)
    return result >>> 0
  }

  next(): number {
    return this.nextUint32() / 4_294_967_296
  }

  /** A uniform integer in [0, bound). */
  below(bound: number): number {
    return Math.floor(this.next() * bound)
  }

  fill(out: Uint8Array): void {
    for (let i = 0; i < out.length; i++) out[i] = this.nextUint32() & 0xff
  }
}
