import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { delay, type Task } from '../src/lab/processes.js'
import type { Network } from './network.js'
import type { Tunnel } from './tunnel.js'

const program = join(dirname(fileURLToPath(import.meta.url)), 'udp-load.js')
const PORT = 9500
/** What RFC 2544 calls throughput has no loss at all; on a machine that others share that measures the others. */
export const LOSS_MAX = 0.005
const RATE_MIN = 10_000
const RATE_MAX = 1_000_000

export interface UdpRun {
  /** Packets per second that arrived. */
  pps: number
  loss: number
}

/** Sends `perSecond` UDP packets of `bytes` from a to b for `seconds`. */
export async function udpRun(
  network: Network,
  tunnel: Tunnel,
  bytes: number,
  perSecond: number,
  seconds: number,
): Promise<UdpRun> {
  const receiver = network.task('b', process.execPath, program, 'receive', String(PORT))
  await Promise.race([new Promise<void>((resolve) => receiver.onLine(() => resolve())), receiver.ended])
  const words = [tunnel.addresses.b, String(PORT), String(bytes), String(perSecond), String(seconds)]
  const sender = network.task('a', process.execPath, program, 'send', ...words)
  await sender.ended
  await delay(200)
  await receiver.stop()
  const sent = count(sender, 'sent')
  const received = count(receiver, 'received')
  return { pps: received / seconds, loss: 1 - received / sent }
}

function count(task: Task, key: 'sent' | 'received'): number {
  const line = task.stdout.trim().split('\n').at(-1) ?? ''
  if (!line.startsWith('{')) throw new Error(`udp-load ${task.args.join(' ')}: ${task.lastWords}`)
  return (JSON.parse(line) as Record<string, number>)[key]!
}

/** The highest rate that arrives with less than {@link LOSS_MAX} of loss, to within 5 %: up in steps of 1.3, then by halves. */
export async function udpCapacity(
  network: Network,
  tunnel: Tunnel,
  bytes: number,
  seconds: number,
): Promise<number> {
  let good = 0
  let low = RATE_MIN
  let high = RATE_MAX
  let rate = 60_000
  while (high / low > 1.05) {
    const run = await udpRun(network, tunnel, bytes, rate, seconds)
    const held = run.loss < LOSS_MAX && run.pps > rate * 0.95
    if (run.loss < LOSS_MAX) good = Math.max(good, run.pps)
    if (held) low = rate
    else high = rate
    rate = high === RATE_MAX ? rate * 1.3 : low === RATE_MIN ? rate / 1.3 : Math.sqrt(low * high)
    if (rate < RATE_MIN || rate > RATE_MAX) break
  }
  return good
}
