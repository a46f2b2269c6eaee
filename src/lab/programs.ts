import { accessSync, closeSync, constants, existsSync, openSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { OperatorError } from '../base/errors.js'

/** Root of the package; this file runs from src/lab (tests) and from dist/src/lab. */
export const packageRoot = ((): string => {
  const here = dirname(fileURLToPath(import.meta.url))
  return here.includes('/dist/src') ? join(here, '../../..') : join(here, '../..')
})()

/** What `plait` is where it is installed; it starts {@link mainProgram}. */
export const plaitProgram = join(packageRoot, 'bin/plait')
export const mainProgram = join(packageRoot, 'dist/src/cli/main.js')
export const wanProgram = join(packageRoot, 'build/Release/plait-wan')
export const probeProgram = join(packageRoot, 'build/Release/plait-probe')

const PACKAGES: Record<string, string> = {
  ip: 'iproute2',
  tc: 'iproute2',
  iperf3: 'iperf3',
  ping: 'iputils-ping',
  nft: 'nftables',
  mptcpize: 'mptcpd',
}

export function findProgram(name: string): string | undefined {
  for (const folder of `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`.split(delimiter)) {
    if (folder !== '' && existsSync(join(folder, name))) return join(folder, name)
  }
  return undefined
}

/**
 * Whether this machine can run the lab.
 *
 * @throws OperatorError that says what is missing and how to get it
 */
export function requireLab(programs: readonly string[]): void {
  if (process.getuid?.() !== 0) {
    throw new OperatorError('privileges', 'the lab makes network namespaces, which takes root', {
      remedy: 'run it with sudo',
    })
  }
  try {
    closeSync(openSync('/dev/net/tun', 'r+'))
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code
    throw new OperatorError('tunMissing', `/dev/net/tun cannot be opened (${reason})`, {
      remedy: 'modprobe tun; in a container: --device /dev/net/tun',
    })
  }
  for (const program of programs) {
    if (findProgram(program) !== undefined) continue
    throw new OperatorError('toolMissing', `${program} is not installed`, {
      remedy: `apt-get install ${PACKAGES[program] ?? program}`,
    })
  }
  for (const program of [wanProgram, probeProgram]) {
    try {
      accessSync(program, constants.X_OK)
    } catch {
      throw new OperatorError('toolMissing', `${program} has not been built`, {
        remedy: `run "npm run build:native" in ${packageRoot}`,
      })
    }
  }
}

export function requireDaemon(): void {
  if (existsSync(mainProgram)) return
  throw new OperatorError('toolMissing', `${mainProgram} has not been built`, {
    remedy: `run "npm run build" in ${packageRoot}`,
  })
}
