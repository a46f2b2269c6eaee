/**
 * Small requests over TCP, for the lab: keystrokes as of ssh, and fetches as of web pages.
 *
 *     requests-main.js serve ADDRESS PORT                                "ready" once it listens; until SIGTERM
 *     requests-main.js echo|fetch ADDRESS PORT BYTES INTERVAL_MS SECONDS [FROM_ADDRESS]
 *         at the end {"sent":N,"answered":[{"atNs":..,"ms":..},...]}; atNs of CLOCK_MONOTONIC
 *
 * A request is a line: the number of bytes wanted, and filling up to the size of a keystroke or of an HTTP request. One
 * request at a time; a fetch opens a connection of its own, and the time it takes begins before that.
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { constants, setPriority } from 'node:os'
import { delay, monotonicNs } from '../processes.js'

const FETCH_REQUEST_BYTES = 300
/** A request that has not been answered by then is given up. */
const PATIENCE_MS = 5000

function serve(address: string, port: number): void {
  const server = createServer({ noDelay: true }, (socket) => {
    let line = ''
    socket.setEncoding('latin1').on('error', () => {})
    socket.on('data', (text: string) => {
      const lines = (line + text).split('\n')
      line = lines.pop()!
      for (const request of lines) socket.write(Buffer.alloc(Number.parseInt(request, 10)))
    })
  })
  server.listen(port, address, () => process.stdout.write('ready\n'))
  process.once('SIGTERM', () => process.exit(0))
}

const requestLine = (answerBytes: number, requestBytes: number): string =>
  `${String(answerBytes).padEnd(requestBytes - 1)}\n`

/** Resolves with true once `bytes` have been read, with false when they do not come. */
function answer(socket: Socket, bytes: number): Promise<boolean> {
  return new Promise((resolve) => {
    let missing = bytes
    const settle = (good: boolean): void => {
      clearTimeout(timer)
      socket.removeAllListeners('data').removeAllListeners('close')
      resolve(good)
    }
    const timer = setTimeout(() => settle(false), PATIENCE_MS)
    socket.on('close', () => settle(false))
    socket.on('data', (chunk: Buffer) => {
      missing -= chunk.length
      if (missing <= 0) settle(true)
    })
  })
}

function open({ address, port, from }: Job): Socket {
  const socket = connect({ host: address, port, localAddress: from, noDelay: true })
  socket.on('error', () => {})
  return socket
}

async function fetchOnce(job: Job): Promise<boolean> {
  const socket = open(job)
  const done = answer(socket, job.bytes)
  socket.write(requestLine(job.bytes, FETCH_REQUEST_BYTES))
  const good = await done
  socket.destroy()
  return good
}

interface Job {
  readonly kind: 'echo' | 'fetch'
  readonly address: string
  readonly port: number
  readonly bytes: number
  readonly intervalMs: number
  readonly seconds: number
  readonly from: string | undefined
}

async function ask(job: Job): Promise<void> {
  const { kind, bytes, intervalMs, seconds } = job
  let session: Socket | undefined
  if (kind === 'echo') {
    session = open(job)
    await Promise.race([once(session, 'connect'), delay(PATIENCE_MS)])
  }
  const answered: { atNs: number; ms: number }[] = []
  const startNs = monotonicNs()
  const sinceMs = (): number => (monotonicNs() - startNs) / 1e6
  let sent = 0
  for (let slot = 0; slot * intervalMs < seconds * 1000; ) {
    await delay(slot * intervalMs - sinceMs())
    const atNs = monotonicNs()
    let good: boolean
    if (session) {
      const done = answer(session, bytes)
      session.write(requestLine(bytes, bytes))
      good = await done
    } else good = await fetchOnce(job)
    sent++
    if (good) answered.push({ atNs, ms: (monotonicNs() - atNs) / 1e6 })
    // What takes longer than the interval leaves out those that were due meanwhile.
    slot = Math.max(slot + 1, Math.ceil(sinceMs() / intervalMs))
  }
  session?.destroy()
  process.stdout.write(`${JSON.stringify({ startNs, sent, answered })}\n`)
}

// The way is measured, not how long this program waits for its turn.
setPriority(constants.priority.PRIORITY_HIGH)
const [verb, address, port, bytes, intervalMs, seconds, from] = process.argv.slice(2)
if (verb === 'serve') serve(address!, Number(port))
else {
  const kind = verb === 'echo' ? 'echo' : 'fetch'
  const numbers = { bytes: Number(bytes), intervalMs: Number(intervalMs), seconds: Number(seconds) }
  await ask({ kind, address: address!, port: Number(port), ...numbers, from })
}
