import { delay, type Task } from '../src/lab/processes.js'
import { ENDS, type End, type Network } from './network.js'
import { cpuSeconds, deviceBytes } from './process-figures.js'
import type { Tunnel } from './tunnel.js'

export type Direction = 'up' | 'down'
export const DIRECTIONS: readonly Direction[] = ['up', 'down']

export interface TcpResult {
  gbit: number
  retransmits: number
  /** Processor seconds per 10^9 bytes carried, of each end's process. */
  secondsPerGB: Partial<Record<End, number>>
}

/** Start of a flow that is left out: slow start, and adaptive scheduling learning its links. */
const RAMP_SECONDS = 1

/** Linux's own default, whatever this machine prefers: one that paces makes small superpackets, and shows other things. */
const CONGESTION_CONTROL = 'cubic'

/** An iperf3 server that stays, at b or at the host behind it. */
export class TcpServer {
  private constructor(private readonly task: Task) {}

  static async start(network: Network, where: string): Promise<TcpServer> {
    const task = network.task(where, 'iperf3', '-s', '--forceflush')
    await new Promise<void>((resolve, reject) => {
      task.onLine((line) => line.includes('Server listening') && resolve())
      void task.ended.then(() => reject(new Error(`iperf3 -s ended: ${task.lastWords}`)))
    })
    return new TcpServer(task)
  }

  async stop(): Promise<void> {
    await this.task.stop()
  }
}

interface IperfReport {
  error?: string
  /** Without sums where the transfer failed. */
  end?: { sum_received?: { bits_per_second: number }; sum_sent?: { retransmits: number } }
}

/** One TCP flow, as an ordinary client makes it, for `seconds` after the ramp; up is from a to b. */
export async function tcpFlow(
  network: Network,
  tunnel: Tunnel,
  direction: Direction,
  seconds: number,
  at: { from?: string; address?: string } = {},
): Promise<TcpResult> {
  const words = [
    '-c',
    at.address ?? tunnel.addresses.b,
    '-t',
    String(seconds),
    '-O',
    String(RAMP_SECONDS),
    '-C',
    CONGESTION_CONTROL,
    '-J',
  ]
  const task = network.task(at.from ?? 'a', 'iperf3', ...words, ...(direction === 'down' ? ['-R'] : []))
  await delay(RAMP_SECONDS * 1000)
  const before = figures(tunnel)
  await delay((seconds - 0.3) * 1000)
  const after = figures(tunnel)
  await task.ended
  const report = JSON.parse(task.stdout || '{}') as IperfReport
  const { sum_received: received, sum_sent: sent } = report.end ?? {}
  if (received === undefined || sent === undefined)
    throw new Error(`iperf3 through ${tunnel.name}: ${report.error ?? task.lastWords}`)
  const secondsPerGB: Partial<Record<End, number>> = {}
  for (const end of ENDS) {
    const [from, to] = [before[end], after[end]]
    if (from && to) secondsPerGB[end] = ((to.cpu - from.cpu) / (to.bytes - from.bytes)) * 1e9
  }
  return {
    gbit: received.bits_per_second / 1e9,
    retransmits: sent.retransmits,
    secondsPerGB,
  }
}

function figures(tunnel: Tunnel): Partial<Record<End, { cpu: number; bytes: number }>> {
  const result: Partial<Record<End, { cpu: number; bytes: number }>> = {}
  for (const end of ENDS) {
    const pid = tunnel.pids[end]
    if (pid !== undefined) result[end] = { cpu: cpuSeconds(pid), bytes: deviceBytes(pid, tunnel.device) }
  }
  return result
}
