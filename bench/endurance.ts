import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ask } from '../src/control/client.js'
import type { EventSnapshot } from '../src/core/snapshot.js'
import { delay } from '../src/lab/processes.js'
import type { Bench } from './measurements.js'
import { ENDS, type End } from './network.js'
import { Plait } from './plait.js'
import { rssMiB } from './process-figures.js'
import { quantile, rounded } from './statistics.js'
import { TcpServer, tcpFlow } from './tcp.js'

const watchProgram = join(dirname(fileURLToPath(import.meta.url)), 'loop-watch.js')
/** Only stalls from the first seconds on count: starting and compiling take their time. */
const SETTLE_SECONDS = 3

/** How late an event loop was, in ms: the worst of all seconds and their 99th percentile; of the worst, why. */
interface Stall {
  worstMs: number
  /** Of the worst: the thread itself was at work; it waited for a processor. */
  workedMs: number
  waitedMs: number
  p99Ms: number
  /** The longest that the thread itself was at work in one go, late or not. */
  ownMs: number
}

interface Stalls {
  main: Stall
  plane: Stall
}

/** A pair of plaits whose event loops are watched. */
class WatchedPlait {
  private constructor(
    readonly plait: Plait,
    private readonly files: Record<End, string>,
  ) {}

  static async start(bench: Bench, config: readonly string[]): Promise<WatchedPlait> {
    const { network, options } = bench
    const { scheduler } = options
    const files = { a: network.path('watch-a'), b: network.path('watch-b') }
    for (const end of ENDS) writeFileSync(files[end], '')
    const plait = await Plait.start(network, {
      name: 'watched',
      number: 5,
      links: ['link1'],
      config: [...(scheduler === undefined ? [] : [`scheduler: ${scheduler}`]), ...config],
      nodeArguments: ['--import', watchProgram],
      environment: (end) => ({ PLAIT_LOOP_WATCH: files[end] }),
    })
    return new WatchedPlait(plait, files)
  }

  stalls(end: End): Stalls {
    const of = (threads: (thread: number) => boolean): Stall => {
      const seconds = readFileSync(this.files[end], 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => line.split(' ').map(Number) as [number, number, number, number, number])
        .filter(([thread]) => threads(thread))
        .slice(SETTLE_SECONDS)
      const [, worst, worked, waited] = seconds.reduce((most, second) =>
        second[1] > most[1] ? second : most,
      )
      const late = seconds.map(([, ms]) => ms)
      return {
        worstMs: rounded(worst, 1),
        workedMs: rounded(worked, 1),
        waitedMs: rounded(waited, 1),
        p99Ms: rounded(quantile(late, 0.99), 1),
        ownMs: rounded(Math.max(...seconds.map(([, , , , ms]) => ms)), 1),
      }
    }
    return { main: of((thread) => thread === 0), plane: of((thread) => thread !== 0) }
  }
}

/** Full speed for minutes, one way and then the other: memory and event loops. */
export async function endurance(bench: Bench): Promise<Record<string, unknown>> {
  const { network, options, say, detail } = bench
  const watched = await WatchedPlait.start(bench, [])
  const { plait } = watched
  const server = await TcpServer.start(network, 'b')
  const memory: Record<End, number[]> = { a: [], b: [] }
  const sampler = setInterval(() => {
    for (const end of ENDS) memory[end].push(rounded(rssMiB(plait.pids[end]!), 1))
  }, 5000)
  const seconds = (options.minutes * 60) / 2
  const up = await tcpFlow(network, plait, 'up', seconds)
  const down = await tcpFlow(network, plait, 'down', seconds)
  clearInterval(sampler)
  await server.stop()
  const stalls = { a: watched.stalls('a'), b: watched.stalls('b') }
  const most = { a: rssMiB(plait.pids.a!, 'VmHWM'), b: rssMiB(plait.pids.b!, 'VmHWM') }
  let alarms = 0
  for (const end of ENDS) alarms += falseAlarms(end, (await plait.status(end)).events, say)
  await plait.stop()
  detail['endurance'] = { memory, stalls }
  const worst = Math.max(...ENDS.flatMap((end) => [stalls[end].main.worstMs, stalls[end].plane.worstMs]))
  say(`${options.minutes} minutes: ${JSON.stringify(stalls)}`)
  return {
    endurance: {
      gbitUp: rounded(up.gbit),
      gbitDown: rounded(down.gbit),
      rssMiBMax: rounded(Math.max(most.a, most.b), 0),
      // Growth over the second half, when everything has been touched.
      rssMiBGrowth: rounded(Math.max(...ENDS.map((end) => growth(memory[end]))), 1),
      stallMsMax: worst,
      falseAlarms: alarms,
    },
  }
}

function growth(samples: readonly number[]): number {
  const half = samples.slice(samples.length / 2)
  return half.length < 2 ? 0 : half.at(-1)! - half[0]!
}

/** How often an end suspected its path or called it down, though nothing is wrong with the link. */
function falseAlarms(end: End, events: readonly EventSnapshot[], say: Bench['say']): number {
  const alarms = events.filter(({ text }) => / → (suspect|down)/.test(text))
  for (const { text, atS } of alarms) say(`${end}, ${atS.toFixed(1)} s: ${text}`)
  return alarms.length
}

/** A minute of saturation with new keys every 5 s: no path may be called down. */
export async function rekeys(bench: Bench): Promise<Record<string, unknown>> {
  const { network, say } = bench
  const { plait } = await WatchedPlait.start(bench, ['testing: { rekey-after: 5s }'])
  const server = await TcpServer.start(network, 'b')
  const { gbit } = await tcpFlow(network, plait, 'up', 60)
  await server.stop()
  const figures = { gbit: rounded(gbit), sessions: 0, falseAlarms: 0 }
  for (const end of ENDS) {
    const { events, device } = await plait.status(end)
    figures.falseAlarms += falseAlarms(end, events, say)
    figures.sessions = Math.max(figures.sessions, events.filter(({ kind }) => kind === 'session').length)
    say(`${end}: drops ${JSON.stringify(device.drops)}`)
  }
  await plait.stop()
  return { rekeys: figures }
}

/** A hundred status requests a second during a transfer of a minute, beside the same transfer without them. */
export async function statusRequests(bench: Bench): Promise<Record<string, unknown>> {
  const { network, options, detail } = bench
  const watched = await WatchedPlait.start(bench, [])
  const { plait } = watched
  const server = await TcpServer.start(network, 'b')
  const gbit = { with: [] as number[], without: [] as number[] }
  const seconds = Math.round(60 / options.runs)
  let [asked, failed] = [0, 0]
  for (let run = 0; run < options.runs; run++) {
    gbit.without.push(rounded((await tcpFlow(network, plait, 'up', seconds)).gbit, 3))
    const timers = ENDS.map((end) =>
      setInterval(() => {
        asked++
        ask(plait.socket(end), 'status', {}).catch(() => failed++)
      }, 10),
    )
    gbit.with.push(rounded((await tcpFlow(network, plait, 'up', seconds)).gbit, 3))
    for (const timer of timers) clearInterval(timer)
    await delay(500)
  }
  await server.stop()
  const stalls = { a: watched.stalls('a'), b: watched.stalls('b') }
  await plait.stop()
  detail['status'] = { gbit, stalls }
  return {
    status: {
      asked,
      failed,
      gbitWith: rounded(quantile(gbit.with, 0.5)),
      gbitWithout: rounded(quantile(gbit.without, 0.5)),
      stallMsMax: Math.max(...ENDS.flatMap((end) => [stalls[end].main.worstMs, stalls[end].plane.worstMs])),
    },
  }
}
