import { type DestinationStream, destination, type Logger, pino } from 'pino'

export type Log = Logger
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

/**
 * Keys of objects that never reach the log, at the top and one and two levels down: whole configurations may be
 * logged by mistake, secrets may not.
 */
const SECRETS = ['privateKey', 'presharedKey', 'private-key', 'preshared-key', 'secret', 'psk', 'key']

/**
 * Messages as JSON lines on standard error, written at once: the last line before a crash is the one that matters,
 * and the daemon logs events, never packets.
 */
export function makeLog(
  level: LogLevel,
  stream: DestinationStream = destination({ fd: 2, sync: true }),
): Log {
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
