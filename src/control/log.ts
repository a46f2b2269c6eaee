import { type DestinationStream, destination, type Logger, pino } from 'pino'

export type Log = Logger
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

/**
 * Keys of objects that never reach the log, at the top and one and two levels down: whole configurations may be
 * logged by mistake, secrets may not.
 */
const SECRETS = ['privateKey', 'presharedKey', 'private-key', 'preshared-key', 'secret', 'psk', 'key']

/** Where lines wait that cannot be written now; beyond it they are lost. */
const WAITING_BYTES_MAX = 1 << 20

/**
 * Lines for `fd`, written at once: the last one before a crash is the one that matters. What cannot be written, to a
 * disk that is full or a terminal that is closed, is lost, and the tunnel goes on.
 */
export function linesTo(fd: number): DestinationStream {
  const stream = destination({ fd, sync: true, maxLength: WAITING_BYTES_MAX })
  stream.on('error', () => {})
  return stream
}

/** Messages as JSON lines, on standard error. The daemon logs events, never packets. */
export function makeLog(level: LogLevel, stream: DestinationStream = linesTo(2)): Log {
  const paths = SECRETS.flatMap((name) => [
    `["${name}"]`,
    `*["${name}"]`,
    `*.*["${name}"]`,
    `*[*]["${name}"]`,
  ])
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (name) => ({ level: name }) },
      redact: { paths: [...new Set(paths)], censor: 'secret' },
    },
    stream,
  )
}
