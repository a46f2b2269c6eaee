import { accessSync, closeSync, constants, existsSync, openSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LabError } from './lab-error.js'

/** Root of the package; this file runs from src/lab (tests) and from dist/src/lab. */
export const packageRoot = ((): string => {
  const here = dirname(fileURLToPath(import.meta.url))
  return here.includes('/dist/src') ? join(here, '../../..') : join(here, '../..')
})()

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

/** Whether this machine can run the lab; throws a LabError that says what is missing and how to get it. */
export function requireLab(programs: readonly string[]): void {
  if (process.getuid?.() !== 0) {
    throw new LabError('the lab makes network namespaces and needs root: run it with sudo')
  }
  try {
    closeSync(openSync('/dev/net/tun', 'r+'))
  } catch (error) {
    throw new LabError(
      `/dev/net/tun cannot be opened (${(error as NodeJS.ErrnoException).code}): load the module with "modprobe tun", ` +
        'or give the container the device with --device /dev/net/tun',
    )
  }
  for (const program of programs) {
    if (findProgram(program) === undefined) {
      throw new LabError(
        `${program} is not installed: apt-get install ${PACKAGES[program] ?? program} (or your distribution's package)`,
      )
    }
  }
  for (const program of [wanProgram, probeProgram]) {
    try {
      accessSync(program, constants.X_OK)
    } catch {
      throw new LabError(`${program} has not been built: run "npm run build:native" in ${packageRoot}`)
    }
  }
}

export function requireDaemon(): void {
  if (!existsSync(mainProgram)) {
    throw new LabError(`${mainProgram} has not been built: run "npm run build" in ${packageRoot}`)
  }
}
