import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { OperatorError } from '../base/errors.js'
import { formatCidr, formatHostPort } from '../base/ip-address.js'
import { encodeKey } from '../config/keys.js'
import type { Config } from '../config/schema.js'
import { atOrdinaryPriority } from './priority.js'

export const HOOK_MS_MAX = 30_000
/** Of a command's output, the end goes into the message. */
const OUTPUT_CHARACTERS_MAX = 2_000
/** What Linux takes as one string of an environment, with name, "=" and the final NUL (MAX_ARG_STRLEN, execve(2)), */
const STRING_BYTES_MAX = 128 << 10
/** ... and half of what it takes in all with a stack of 8 MiB. */
const ENVIRONMENT_BYTES_MAX = 1 << 20

/**
 * What a command learns besides its inherited environment; docs/operating.md has the same list. Lists are separated by
 * spaces; no secret is among it. A list that is too long for an environment is left out.
 */
export function hookEnvironment(
  config: Config,
  event: 'up' | 'down',
  running: { file: string; device: string; mtu: number },
): Record<string, string> {
  const environment: Record<string, string> = {
    PLAIT_EVENT: event,
    PLAIT_DEVICE: running.device,
    PLAIT_CONFIG: resolve(running.file),
    PLAIT_ADDRESSES: config.interface.addresses.map(formatCidr).join(' '),
    PLAIT_MTU: String(running.mtu),
    PLAIT_LISTEN: config.interface.listen.map(formatHostPort).join(' '),
    PLAIT_LINKS: config.links.map((link) => link.device).join(' '),
    PLAIT_CONTROL: config.control,
    PLAIT_PEERS: config.peers.map((peer) => peer.name).join(' '),
  }
  config.peers.forEach((peer, i) => {
    environment[`PLAIT_PEER_${i + 1}_PUBLIC_KEY`] = encodeKey(peer.publicKey)
    environment[`PLAIT_PEER_${i + 1}_ALLOWED_IPS`] = peer.allowedIps.map(formatCidr).join(' ')
    environment[`PLAIT_PEER_${i + 1}_ENDPOINT`] = peer.endpoint.map(formatHostPort).join(' ')
  })
  let bytes = 0
  for (const [name, value] of Object.entries(environment)) {
    const own = Buffer.byteLength(`${name}=${value}`) + 1
    if (own > STRING_BYTES_MAX || bytes + own > ENVIRONMENT_BYTES_MAX) delete environment[name]
    else bytes += own
  }
  return environment
}

/**
 * Runs commands one after another by `/bin/sh -c`, each with a time limit; the first that fails ends it.
 *
 * @throws OperatorError `hookFailed`; the caller stops the start (`up`) or logs it (`down`)
 */
export async function runHooks(
  event: 'up' | 'down',
  commands: readonly string[],
  environment: Readonly<Record<string, string>>,
  timeLimitMs = HOOK_MS_MAX,
): Promise<void> {
  for (const [i, command] of commands.entries()) {
    const failure = await runOne(command, environment, timeLimitMs)
    if (failure === undefined) continue
    const which = commands.length > 1 ? `${event} command ${i + 1}` : `${event} command`
    throw new OperatorError('hookFailed', `the ${which} (${shorten(command)}) ${failure}`)
  }
}

function runOne(
  command: string,
  environment: Readonly<Record<string, string>>,
  timeLimitMs: number,
): Promise<string | undefined> {
  return new Promise((done) => {
    let child: ChildProcessByStdio<null, Readable, Readable>
    try {
      // A group of its own, so that a time limit reaches what the shell started, too.
      child = atOrdinaryPriority(() =>
        spawn('/bin/sh', ['-c', command], {
          env: { ...process.env, ...environment },
          stdio: ['ignore', 'pipe', 'pipe'],
          detached: true,
        }),
      )
    } catch (error) {
      // As for a command line that is too long.
      done(`cannot be started: ${(error as Error).message}`)
      return
    }
    let output = ''
    const keep = (data: Buffer): void => {
      output = (output + data.toString()).slice(-OUTPUT_CHARACTERS_MAX)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    let tooLong = false
    const timer = setTimeout(() => {
      tooLong = true
      killGroup(child.pid)
    }, timeLimitMs)
    child.on('error', (error) => {
      clearTimeout(timer)
      done(`cannot be started: ${error.message}`)
    })
    // "exit", not "close": a command may leave something running that keeps our pipe.
    child.on('exit', (status, signal) => {
      clearTimeout(timer)
      // What it wrote just before is still in the pipe.
      setImmediate(() => {
        child.stdout.destroy()
        child.stderr.destroy()
        const said = output.trim() === '' ? '' : `: ${output.trim().split('\n').slice(-3).join(' / ')}`
        if (tooLong) done(`did not end within ${timeLimitMs / 1000} s and was killed${said}`)
        else if (signal !== null) done(`was ended by ${signal}${said}`)
        else if (status !== 0) done(`ended with status ${status}${said}`)
        else done(undefined)
      })
    })
  })
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Gone already.
  }
}

function shorten(command: string): string {
  const line = command.trim().replace(/\s+/g, ' ')
  return line.length > 80 ? `${line.slice(0, 77)}...` : line
}
