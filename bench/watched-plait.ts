import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Task } from '../src/lab/processes.js'
import type { Bench } from './measurements.js'
import { ENDS, type End } from './network.js'
import { Plait } from './plait.js'
import { longestPause, type Stall, worstStall } from './stalls.js'

const watchProgram = fileURLToPath(new URL('./loop-watch.js', import.meta.url))
const bystanderProgram = fileURLToPath(new URL('./bystander.js', import.meta.url))

interface Stalls {
  main: Stall
  plane: Stall
}

/** A pair of plaits whose event loops are watched, and on each processor a program that does nothing, to know the machine's pauses. */
export class WatchedPlait {
  private constructor(
    readonly plait: Plait,
    private readonly bystanders: readonly Task[],
    private readonly files: Record<End, string>,
    private readonly bystanderFiles: readonly string[],
  ) {}

  static async start(bench: Bench, config: readonly string[]): Promise<WatchedPlait> {
    const { network, options } = bench
    const { scheduler } = options
    const files = { a: network.path('watch-a'), b: network.path('watch-b') }
    const numbers = processors()
    const bystanderFiles = numbers.map((processor) => network.path(`watch-processor${processor}`))
    for (const file of [...Object.values(files), ...bystanderFiles]) writeFileSync(file, '')
    const bystanders = numbers.map((processor, index) =>
      network.task(
        'a',
        'env',
        `PLAIT_LOOP_WATCH=${bystanderFiles[index]}`,
        ...[process.execPath, '--single-threaded', '--import', watchProgram],
        ...[bystanderProgram, String(processor)],
      ),
    )
    const plait = await Plait.start(network, {
      name: 'watched',
      number: 5,
      links: ['link1'],
      config: [...(scheduler === undefined ? [] : [`scheduler: ${scheduler}`]), ...config],
      environment: (end) => ({ PLAIT_LOOP_WATCH: files[end], NODE_OPTIONS: `--import=${watchProgram}` }),
    })
    return new WatchedPlait(plait, bystanders, files, bystanderFiles)
  }

  async stop(): Promise<void> {
    await this.plait.stop()
    await Promise.all(this.bystanders.map((task) => task.stop('SIGTERM', 5000)))
  }

  /** Of all threads, in ms: the worst stall, that without the machine's pauses, and the longest of these. */
  stalls(): {
    detail: Record<End, Stalls>
    worst: { stallMsMax: number; ownStallMsMax: number; pauseMsMax: number }
  } {
    const of = (end: End): Stalls => ({
      main: worstStall(this.files[end], this.bystanderFiles, true),
      plane: worstStall(this.files[end], this.bystanderFiles, false),
    })
    const detail = { a: of('a'), b: of('b') }
    const all = ENDS.flatMap((end) => [detail[end].main, detail[end].plane])
    const worst = {
      stallMsMax: Math.max(...all.map(({ worstMs }) => worstMs)),
      ownStallMsMax: Math.max(...all.map(({ ownMs }) => ownMs)),
      pauseMsMax: longestPause(this.bystanderFiles),
    }
    return { detail, worst }
  }
}

/** Those that we may run on, by number. */
function processors(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]!
  return list.split(',').flatMap((range) => {
    const [first, last] = range.split('-').map(Number) as [number, number | undefined]
    return Array.from({ length: (last ?? first) - first + 1 }, (_, index) => first + index)
  })
}
