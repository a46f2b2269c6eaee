import { ask } from '../src/control/client.js'
import type { EventSnapshot } from '../src/core/snapshot.js'
import { delay } from '../src/lab/processes.js'
import type { Bench } from './measurements.js'
import { ENDS, type End } from './network.js'
import { rssMiB } from './process-figures.js'
import { quantile, rounded } from './statistics.js'
import { TcpServer, tcpFlow } from './tcp.js'
import { WatchedPlait } from './watched-plait.js'

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
  const stalls = watched.stalls()
  const most = { a: rssMiB(plait.pids.a!, 'VmHWM'), b: rssMiB(plait.pids.b!, 'VmHWM') }
  let alarms = 0
  for (const end of ENDS) alarms += falseAlarms(end, (await plait.status(end)).events, say)
  await watched.stop()
  detail['endurance'] = { memory, stalls: stalls.detail }
  say(`${options.minutes} minutes: ${JSON.stringify(stalls.detail)}`)
  return {
    endurance: {
      gbitUp: rounded(up.gbit),
      gbitDown: rounded(down.gbit),
      rssMiBMax: rounded(Math.max(most.a, most.b), 0),
      // Growth over the second half, when everything has been touched.
      rssMiBGrowth: rounded(Math.max(...ENDS.map((end) => growth(memory[end]))), 1),
      ...stalls.worst,
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
  const watched = await WatchedPlait.start(bench, ['testing: { rekey-after: 5s }'])
  const { plait } = watched
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
  await watched.stop()
  return { rekeys: figures }
}

/** A hundred status requests a second during a transfer of a minute, at one end and at both, beside the same without. */
export async function statusRequests(bench: Bench): Promise<Record<string, unknown>> {
  const { network, options, detail } = bench
  const watched = await WatchedPlait.start(bench, [])
  const { plait } = watched
  const server = await TcpServer.start(network, 'b')
  const gbit = { without: [] as number[], one: [] as number[], both: [] as number[] }
  const asking = { without: [], one: ['b'], both: ENDS } as const
  const seconds = Math.round(60 / options.runs)
  let [asked, failed] = [0, 0]
  for (let run = 0; run < options.runs; run++) {
    for (const how of ['without', 'one', 'both'] as const) {
      const timers = asking[how].map((end) =>
        setInterval(() => {
          asked++
          ask(plait.socket(end), 'status', {}).catch(() => failed++)
        }, 10),
      )
      gbit[how].push(rounded((await tcpFlow(network, plait, 'up', seconds)).gbit, 3))
      for (const timer of timers) clearInterval(timer)
    }
    await delay(500)
  }
  await server.stop()
  const stalls = watched.stalls()
  await watched.stop()
  detail['status'] = { gbit, stalls: stalls.detail }
  return {
    status: {
      asked,
      failed,
      gbitWithout: rounded(quantile(gbit.without, 0.5)),
      gbitOneEnd: rounded(quantile(gbit.one, 0.5)),
      gbitBothEnds: rounded(quantile(gbit.both, 0.5)),
      ...stalls.worst,
    },
  }
}
