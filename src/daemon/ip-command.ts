import { execFile } from 'node:child_process'
import { OperatorError } from '../base/errors.js'

const IP_MS_MAX = 10_000
const OUTPUT_BYTES_MAX = 64 << 20

export interface IpResult {
  readonly ok: boolean
  readonly stdout: string
  readonly stderr: string
  /** First line of what ip said on standard error. */
  readonly problem: string
}

/**
 * Runs iproute2's `ip`; `input` goes to its standard input. A refusal is a result.
 *
 * @throws OperatorError `toolMissing` when there is no ip
 */
export type RunIp = (args: readonly string[], input?: string) => Promise<IpResult>

export const runIp: RunIp = (args, input) =>
  new Promise((done, failed) => {
    // The reader of ip's output is this program: no language, no colours.
    const env = { ...process.env, LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` }
    const options = { env, timeout: IP_MS_MAX, maxBuffer: OUTPUT_BYTES_MAX, encoding: 'utf8' as const }
    const child = execFile('ip', args, options, (error, stdout, stderr) => {
      if (error !== null && (error as NodeJS.ErrnoException).code === 'ENOENT') {
        failed(new OperatorError('toolMissing', 'the program ip is not found'))
        return
      }
      const problem = stderr.trim().split('\n')[0] || (error === null ? '' : error.message)
      done({ ok: error === null, stdout, stderr, problem })
    })
    child.stdin?.on('error', () => {})
    child.stdin?.end(input ?? '')
  })

/** The JSON that `ip -j` printed, which prints nothing at all for an empty list. */
export function parseIpJson(result: IpResult): Record<string, unknown>[] {
  if (!result.ok || result.stdout.trim() === '') return []
  try {
    const value: unknown = JSON.parse(result.stdout)
    return Array.isArray(value) ? (value as Record<string, unknown>[]) : []
  } catch {
    return []
  }
}
