import { readdirSync } from 'node:fs'
import { createConnection } from 'node:net'
import { OperatorError } from '../base/errors.js'
import type { Answer, Arguments, Result, VerbName } from './api.js'

/** Where sockets are unless the configuration says otherwise. */
export const CONTROL_FOLDER = '/run/plait'
const ANSWER_MS_MAX = 5_000
const ANSWER_BYTES_MAX = 64 << 20

/**
 * Asks a running plait.
 *
 * @throws OperatorError `notRunning` when nobody listens, `controlProtocol` when the answer is none
 */
export function ask<V extends VerbName>(
  path: string,
  verb: V,
  args: Partial<Arguments<V>>,
): Promise<Result<V>> {
  return new Promise((done, failed) => {
    const chunks: Buffer[] = []
    let bytes = 0
    const socket = createConnection(path)
    const give = (error: OperatorError): void => {
      socket.destroy()
      failed(error)
    }
    socket.setTimeout(ANSWER_MS_MAX, () => {
      give(
        new OperatorError(
          'controlProtocol',
          `plait on ${path} does not answer within ${ANSWER_MS_MAX / 1000} s`,
        ),
      )
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EACCES') {
        give(
          new OperatorError('notRunning', `${path} may not be used by this user`, {
            remedy: 'run it as root',
          }),
        )
      } else
        give(new OperatorError('notRunning', `no plait answers on ${path} (${error.code ?? error.message})`))
    })
    socket.on('connect', () => socket.write(`${JSON.stringify({ verb, args })}\n`))
    socket.on('data', (data) => {
      chunks.push(data)
      bytes += data.length
      if (bytes > ANSWER_BYTES_MAX)
        give(new OperatorError('controlProtocol', `the answer on ${path} has no end`))
      else if (data.includes(10)) {
        socket.destroy()
        try {
          done(resultOf(Buffer.concat(chunks).toString('utf8'), path) as Result<V>)
        } catch (error) {
          failed(error)
        }
      }
    })
    socket.on('close', () => {
      failed(new OperatorError('controlProtocol', `plait on ${path} closed the connection without an answer`))
    })
  })
}

function resultOf(text: string, path: string): unknown {
  let answer: Answer
  try {
    answer = JSON.parse(text.slice(0, text.indexOf('\n'))) as Answer
  } catch {
    throw new OperatorError('controlProtocol', `what answers on ${path} is not plait`)
  }
  if (answer.ok) return answer.result
  throw new OperatorError('controlProtocol', `plait on ${path} refused: ${answer.error}`)
}

/**
 * The socket of the tunnel `name`, or of the only one that there is.
 *
 * @throws OperatorError `notRunning` when there is none, `usage` when there are several
 */
export function findSocket(name: string | undefined, folder = CONTROL_FOLDER): string {
  if (name?.includes('/')) return name
  if (name !== undefined) return `${folder}/${name}.sock`
  const names = socketNames(folder)
  if (names.length === 1) return `${folder}/${names[0]}.sock`
  if (names.length === 0) throw new OperatorError('notRunning', `there is no control socket in ${folder}`)
  throw new OperatorError('usage', `several tunnels are up: ${names.join(', ')}`, {
    remedy: `name one: plait status ${names[0]}`,
  })
}

function socketNames(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((file) => file.endsWith('.sock'))
      .map((file) => file.slice(0, -'.sock'.length))
      .sort()
  } catch {
    return []
  }
}
