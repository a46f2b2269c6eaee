/**
 * Loaded before the program (node --import): in each of its threads, how late the event loop was at worst. A line per
 * second and thread goes to the file that PLAIT_LOOP_WATCH names: thread, milliseconds.
 */
import { appendFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { threadId } from 'node:worker_threads'

const RESOLUTION_MS = 2
const file = process.env['PLAIT_LOOP_WATCH']

if (file !== undefined) {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delays.enable()
  setInterval(() => {
    appendFileSync(file, `${threadId} ${(delays.max / 1e6 - RESOLUTION_MS).toFixed(2)}\n`)
    delays.reset()
  }, 1000).unref()
}
