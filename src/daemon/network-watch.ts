import { native, PollEvent } from '../io/native.js'

/** Changes come in bursts: a DHCP client takes address and routes away before it sets the new ones. */
const SETTLE_MS = 250
/** A router that learns routes all day is not to keep us busy. */
const PAUSE_MS = 1000

export interface NetworkWatch {
  /** No call is under way afterwards. */
  close(): Promise<void>
}

/**
 * Calls `onChange` a moment after links, addresses or routes of this machine have changed: one call at a time, and one
 * for all that changes in the meantime. It must not reject. What it changes itself may bring one more call.
 */
export function watchNetwork(onChange: () => Promise<void>): NetworkWatch {
  const { fd } = native.netlinkOpen()
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  let isRunning = false
  let changed = false

  const run = (): void => {
    timer = undefined
    changed = false
    isRunning = true
    running = onChange().then(() => {
      isRunning = false
      if (changed) plan(PAUSE_MS)
    })
  }
  const plan = (delayMs: number): void => {
    changed = true
    if (!isRunning) timer ??= setTimeout(run, delayMs)
  }
  const poll = native.pollStart(fd, PollEvent.Readable, () => {
    if (native.netlinkDrain(fd)) plan(SETTLE_MS)
  })

  return {
    close: async () => {
      native.pollStop(poll)
      native.closeFd(fd)
      await running
      clearTimeout(timer)
    },
  }
}
