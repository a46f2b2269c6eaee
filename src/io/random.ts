import { randomFillSync } from 'node:crypto'
import type { RandomSource } from '../base/prng.js'

const word = new Uint32Array(1)

/** The operating system's randomness, good for keys. */
export const systemRandom: RandomSource = {
  fill(out) {
    randomFillSync(out)
  },
  next() {
    randomFillSync(word)
    return word[0]! / 4_294_967_296
  },
}
