import { fileURLToPath } from 'node:url'
import { LabError } from './lab-error.js'
import { delay, monotonicNs, type Task, taskIn } from './processes.js'
import type { QuicTraffic } from './scenario.js'
import type { Driver, Interval, QuicRecord, Route } from './traffic.js'

const program = fileURLToPath(new URL('./apps/quic-main.js', import.meta.url))
const READY_MS = 5000

export class QuicDriver implements Driver {
  private receiver: Task | undefined

  constructor(
    readonly traffic: QuicTraffic,
    private readonly route: Route,
    private readonly port: number,
  ) {}

  private get ends(): { from: string; to: string; address: string } {
    const { clientNamespace, serverNamespace, serverAddress, returnAddress } = this.route
    return this.traffic.way === 'up'
      ? { from: clientNamespace, to: serverNamespace, address: serverAddress }
      : { from: serverNamespace, to: clientNamespace, address: returnAddress }
  }

  async prepare(): Promise<void> {
    const { to, address } = this.ends
    const receiver = taskIn(to, process.execPath, [program, 'receive', address, String(this.port)])
    this.receiver = receiver
    const ready = new Promise<void>((resolve) => receiver.onLine(() => resolve()))
    await Promise.race([ready, receiver.ended, delay(READY_MS)])
    if (receiver.exit) throw new LabError(`the QUIC-like receiver ended at once: ${receiver.lastWords}`)
  }

  async run(): Promise<QuicRecord> {
    const { from, address } = this.ends
    const startNs = monotonicNs()
    const words = [program, 'send', address, String(this.port), String(this.traffic.forUs / 1e6)]
    const sender = taskIn(from, process.execPath, words)
    await sender.ended
    if (sender.exit?.code !== 0) throw new LabError(`the QUIC-like sender failed: ${sender.lastWords}`)
    const receiver = this.receiver!
    await receiver.stop()
    try {
      const { lost } = JSON.parse(sender.stdout) as { lost: number }
      const last = receiver.stdout.trim().split('\n').at(-1)!
      const { intervals } = JSON.parse(last) as { intervals: Interval[] }
      return { kind: 'quic', startNs, retransmits: lost, intervals }
    } catch {
      throw new LabError(`QUIC-like transfer "${this.traffic.name}" gave no result: ${receiver.lastWords}`)
    }
  }
}
