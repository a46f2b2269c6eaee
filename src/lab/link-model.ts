import type { QueueLimit } from './units.js'

/** What a frame meets in one direction of an emulated link. Shares are 0..1. */
export interface DirectionModel {
  /** Of whole Ethernet frames (14 bytes of header) plus `overheadBytes`; Infinity: not limited. */
  readonly rateBitsPerSec: number
  readonly overheadBytes: number
  readonly delayUs: number
  /** Uniform, plus or minus; a drawn value lasts `jitterHoldUs`. */
  readonly jitterUs: number
  readonly jitterHoldUs: number
  /** Whether a frame with less jitter waits for those before it. */
  readonly keepOrder: boolean
  readonly loss: number
  /** Mean number of frames lost in a row; 1: each on its own. */
  readonly lossBurst: number
  readonly duplicate: number
  readonly reorder: number
  readonly reorderByUs: number
  readonly queue: QueueLimit
  /** Larger IP packets vanish; 0: none. */
  readonly pathMtu: number
}

/** "up" is from the client's side (ends a and c) to end b. */
export type Way = 'up' | 'down'
export const WAYS: readonly Way[] = ['up', 'down']

const nanoseconds = (us: number): number => Math.round(us * 1000)

/** The emulator's KEY=VALUE words (native/wan/main.c) for the keys given. */
export function emulatorSettings(model: Partial<DirectionModel>): string[] {
  const words: string[] = []
  const put = (key: string, value: number | undefined): void => {
    if (value !== undefined) words.push(`${key}=${value}`)
  }
  const { rateBitsPerSec: rate, queue } = model
  put('overhead', model.overheadBytes)
  if (rate !== undefined) put('rate', Number.isFinite(rate) ? Math.round(rate) : -1)
  put('delay', model.delayUs === undefined ? undefined : nanoseconds(model.delayUs))
  put('jitter', model.jitterUs === undefined ? undefined : nanoseconds(model.jitterUs))
  put('jitter-hold', model.jitterHoldUs === undefined ? undefined : nanoseconds(model.jitterHoldUs))
  put('keep-order', model.keepOrder === undefined ? undefined : Number(model.keepOrder))
  put('loss', model.loss)
  put('loss-burst', model.lossBurst)
  put('duplicate', model.duplicate)
  put('reorder', model.reorder)
  put('reorder-by', model.reorderByUs === undefined ? undefined : nanoseconds(model.reorderByUs))
  put('mtu', model.pathMtu)
  if (queue !== undefined) {
    put('queue-bytes', 'bytes' in queue ? queue.bytes : -1)
    put('queue-frames', 'packets' in queue ? queue.packets : -1)
    put('queue-time', 'timeUs' in queue ? nanoseconds(queue.timeUs) : -1)
  }
  return words
}
