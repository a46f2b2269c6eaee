/** A moment on a monotonic clock, in microseconds. A double counts them exactly for 285 years. */
export type Instant = number
/** A span of time in microseconds. */
export type DurationUs = number

export const MILLISECOND: DurationUs = 1_000
export const SECOND: DurationUs = 1_000_000
/** Nothing to wait for. */
export const NEVER: Instant = Number.POSITIVE_INFINITY
