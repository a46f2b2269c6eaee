import { getPriority, setPriority } from 'node:os'

/** Niceness: where the processor is short, packets go before what else the machine does. */
const PRIORITY = -10
let ordinary: number | undefined

/** For this thread and those that it starts from now on. Without the privilege (CAP_SYS_NICE) they stay as they are. */
export function raisePriority(): void {
  const before = getPriority()
  if (before > PRIORITY && trySetPriority(PRIORITY)) ordinary = before
}

/** For programs of others: what `start` starts has the priority that this one was started with. */
export function atOrdinaryPriority<T>(start: () => T): T {
  if (ordinary === undefined || !trySetPriority(ordinary)) return start()
  try {
    return start()
  } finally {
    trySetPriority(PRIORITY)
  }
}

function trySetPriority(priority: number): boolean {
  try {
    setPriority(priority)
    return true
  } catch {
    return false
  }
}
