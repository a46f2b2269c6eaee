import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { OperatorError } from '../base/errors.js'
import { type Answer, parseRequest, REQUEST_BYTES_MAX, type Verbs } from './api.js'

/** Enough for dashboards and scripts at once; the next one is turned away at once instead of waiting. */
const CLIENTS_MAX = 64
/** A client that neither asks nor reads for so long is cut off. */
const IDLE_MS_MAX = 10_000
/** An answer waiting beyond this for a slow reader stops the connection: the daemon's memory is not theirs. */
const ANSWER_BYTES_MAX = 8 << 20

export interface ControlSocket {
  /** Stops, cuts all clients off and removes the socket file. */
  close(): Promise<void>
}

/**
 * Serves the verbs on a Unix socket of mode 0600: a line of JSON in, a line of JSON out, in order, any number of them on one
 * connection. A socket file left over by a killed program is replaced, one that somebody answers on is not.
 *
 * @throws OperatorError `alreadyRunning` or `controlSocket`
 */
export async function serveControl(path: string, verbs: Verbs): Promise<ControlSocket> {
  await removeStale(path)
  const clients = new Set<Socket>()
  const server = createServer((socket) => {
    if (clients.size >= CLIENTS_MAX) {
      socket.destroy()
      return
    }
    clients.add(socket)
    socket.on('close', () => clients.delete(socket))
    serveClient(socket, verbs)
  })
  await listen(server, path)
  return {
    close: () =>
      new Promise((done) => {
        for (const client of clients) client.destroy()
        // libuv removes the file of a listening pipe that it closes.
        server.close(() => done())
      }),
  }
}

async function removeStale(path: string): Promise<void> {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
    const stat = lstatSync(path, { throwIfNoEntry: false })
    if (stat === undefined) return
    if (!stat.isSocket()) throw new OperatorError('controlSocket', `${path} is there and is no socket`)
  } catch (error) {
    if (error instanceof OperatorError) throw error
    throw new OperatorError('controlSocket', `the control socket ${path} cannot be made (${codeOf(error)})`)
  }
  if (await isAnswered(path)) throw new OperatorError('alreadyRunning', `another plait answers on ${path}`)
  try {
    unlinkSync(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    throw new OperatorError(
      'controlSocket',
      `the old control socket ${path} cannot be removed (${codeOf(error)})`,
    )
  }
}

/** Whether somebody listens on the socket. Any refusal but "nobody there" counts as somebody. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((answer) => {
    const socket = createConnection(path)
    socket.on('connect', () => {
      socket.destroy()
      answer(true)
    })
    socket.on('error', (error) => answer(codeOf(error) !== 'ECONNREFUSED' && codeOf(error) !== 'ENOENT'))
  })
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((done, failed) => {
    server.once('error', (error) => {
      failed(
        new OperatorError('controlSocket', `the control socket ${path} cannot be made (${codeOf(error)})`),
      )
    })
    // The mask makes the file private from its first moment on; chmod is for file systems with their own ideas.
    const mask = process.umask(0o177)
    try {
      server.listen(path, () => {
        server.removeAllListeners('error')
        server.on('error', () => {})
        done()
      })
    } finally {
      process.umask(mask)
    }
    server.once('listening', () => chmodSync(path, 0o600))
  })
}

function serveClient(socket: Socket, verbs: Verbs): void {
  let pending = Buffer.alloc(0)
  let busy = Promise.resolve()
  let waiting = 0
  socket.setTimeout(IDLE_MS_MAX, () => socket.destroy())
  socket.on('error', () => socket.destroy())
  socket.on('data', (data) => {
    pending = pending.length === 0 ? data : Buffer.concat([pending, data])
    for (let end = pending.indexOf(10); end >= 0; end = pending.indexOf(10)) {
      const line = pending.subarray(0, end)
      pending = pending.subarray(end + 1)
      if (line.length > REQUEST_BYTES_MAX || ++waiting > CLIENTS_MAX) {
        refuse(socket)
        return
      }
      busy = busy.then(async () => {
        const answer = await answerTo(line.toString('utf8'), verbs)
        waiting--
        if (socket.destroyed) return
        socket.write(`${JSON.stringify(answer)}\n`)
        if (socket.writableLength > ANSWER_BYTES_MAX) socket.destroy()
      })
    }
    if (pending.length > REQUEST_BYTES_MAX) refuse(socket)
  })
}

function refuse(socket: Socket): void {
  const answer: Answer = {
    ok: false,
    error: `a request has at most ${REQUEST_BYTES_MAX} bytes, one line each`,
  }
  socket.removeAllListeners('data')
  socket.resume()
  socket.end(`${JSON.stringify(answer)}\n`)
}

async function answerTo(line: string, verbs: Verbs): Promise<Answer> {
  try {
    const request = parseRequest(line)
    const serve = verbs[request.verb] as (args: unknown) => unknown
    return { ok: true, result: await serve(request.args) }
  } catch (error) {
    return { ok: false, error: error instanceof Error ? error.message : String(error) }
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error)
}
