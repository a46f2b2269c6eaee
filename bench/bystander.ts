/**
 * Does nothing, on one processor and before everything else there: if its event loop is late (loop-watch.ts, node --import),
 * then that processor stood still. Argument: the processor's number. Needs `node --single-threaded`: where the thread that
 * goes before all spins for another one, the processor is gone for a second.
 */
import { execFileSync } from 'node:child_process'

const thread = String(process.pid)
execFileSync('taskset', ['--cpu-list', '--pid', process.argv[2]!, thread])
execFileSync('chrt', ['--fifo', '--pid', '1', thread])
setInterval(() => {}, 1e6)
