/** A fault of ours, never of the network's or the operator's: stop rather than go on with a broken state. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`plait: internal error: ${message}`)
}
