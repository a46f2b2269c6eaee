/**
 * Loaded before the program (node --import): in each of its threads, how late the event loop was at worst, and why. A line
 * per second and thread goes to the file that PLAIT_LOOP_WATCH names: thread, and in ms the longest lateness, then of the
 * same stretch the time that the thread worked and the time that it waited for a processor (schedstat, kernel's
 * Documentation/scheduler/sched-stats.rst); what is left of the lateness, the machine stood still. Last comes the longest
 * that the thread worked between two looks at the clock, late or not.
 */
import { appendFileSync, openSync, readSync } from 'node:fs'
import { threadId } from 'node:worker_threads'

const PERIOD_MS = 2
const file = process.env['PLAIT_LOOP_WATCH']

if (file !== undefined) {
  const text = Buffer.alloc(64)
  const schedstat = openSync('/proc/thread-self/schedstat', 'r')
  let [at, worked, waited] = [performance.now(), 0, 0]
  let worst = [0, 0, 0]
  let longestWork = 0
  let reportAt = at + 1000
  setInterval(() => {
    const now = performance.now()
    const length = readSync(schedstat, text, 0, text.length, 0)
    const [workedNow, waitedNow] = text.toString('latin1', 0, length).split(' ').map(Number)
    const late = now - at - PERIOD_MS
    const work = (workedNow! - worked) / 1e6
    if (late > worst[0]!) worst = [late, work, (waitedNow! - waited) / 1e6]
    longestWork = Math.max(longestWork, work)
    ;[at, worked, waited] = [now, workedNow!, waitedNow!]
    if (now < reportAt) return
    reportAt = now + 1000
    appendFileSync(file, `${threadId} ${[...worst, longestWork].map((ms) => ms.toFixed(2)).join(' ')}\n`)
    worst = [0, 0, 0]
    longestWork = 0
  }, PERIOD_MS).unref()
}
