import { fileURLToPath } from 'node:url'
import { LabError } from './lab-error.js'
import { delay, type Task, taskIn } from './processes.js'
import type { RequestTraffic } from './scenario.js'
import type { Driver, RequestRecord, Route } from './traffic.js'

const program = fileURLToPath(new URL('./apps/requests-main.js', import.meta.url))
const READY_MS = 5000

/** Keystrokes and fetches: the client is at the scenario's client, the server at its server, whatever the way. */
export class RequestDriver implements Driver {
  private server: Task | undefined

  constructor(
    readonly traffic: RequestTraffic,
    private readonly route: Route,
    private readonly port: number,
  ) {}

  async prepare(): Promise<void> {
    const { serverNamespace, serverAddress } = this.route
    const words = [program, 'serve', serverAddress, String(this.port)]
    const server = taskIn(serverNamespace, process.execPath, words)
    this.server = server
    const ready = new Promise<void>((resolve) => server.onLine(() => resolve()))
    await Promise.race([ready, server.ended, delay(READY_MS)])
    if (server.exit) throw new LabError(`the server of small requests ended at once: ${server.lastWords}`)
  }

  async run(): Promise<RequestRecord> {
    const { clientNamespace, clientAddress, serverAddress } = this.route
    const { kind, name, bytes, intervalUs, forUs } = this.traffic
    const words = [kind, serverAddress, this.port, bytes, intervalUs / 1e3, forUs / 1e6].map(String)
    if (clientAddress !== undefined) words.push(clientAddress)
    const client = taskIn(clientNamespace, process.execPath, [program, ...words])
    await client.ended
    await this.server!.stop()
    try {
      const result = JSON.parse(client.stdout) as Omit<RequestRecord, 'kind'>
      return { kind: 'request', ...result }
    } catch {
      throw new LabError(`"${name}" gave no result: ${client.lastWords}`)
    }
  }
}
