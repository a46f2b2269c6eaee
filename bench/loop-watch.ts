/**
 * Loaded before the program (node --import): in each of its threads, when the event loop was late, and why. Each time goes
 * as a line to the file that PLAIT_LOOP_WATCH names: thread, end (ms of the monotonic clock), and in ms the lateness, the
 * time that the thread worked meanwhile, and the time that it waited for a processor (schedstat, kernel's
 * Documentation/scheduler/sched-stats.rst). The first line tells when it began.
 */
import { appendFile, openSync, readSync } from 'node:fs'
import { threadId } from 'node:worker_threads'

const PERIOD_MS = 2
/** Less is not worth a line. */
const LATE_MS_MIN = 4
const file = process.env['PLAIT_LOOP_WATCH']

if (file !== undefined) {
  const text = Buffer.alloc(64)
  const schedstat = openSync('/proc/thread-self/schedstat', 'r')
  let [at, worked, waited] = [monotonicMs(), 0, 0]
  let lines = `${threadId} ${at.toFixed(2)} 0 0 0\n`
  let writeAt = at + 1000
  setInterval(() => {
    const now = monotonicMs()
    const length = readSync(schedstat, text, 0, text.length, 0)
    const [workedNow, waitedNow] = text.toString('latin1', 0, length).split(' ').map(Number)
    const late = now - at - PERIOD_MS
    if (late > LATE_MS_MIN) {
      const parts = [now, late, (workedNow! - worked) / 1e6, (waitedNow! - waited) / 1e6]
      lines += `${threadId} ${parts.map((ms) => ms.toFixed(2)).join(' ')}\n`
    }
    ;[at, worked, waited] = [now, workedNow!, waitedNow!]
    if (now < writeAt || lines === '') return
    writeAt = now + 1000
    // Not by this thread: a disk may take its time.
    appendFile(file, lines, () => {})
    lines = ''
  }, PERIOD_MS).unref()
}

function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000
}
