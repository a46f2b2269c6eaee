import { readFileSync } from 'node:fs'

/** /proc counts in clock ticks, which are 10 ms on every Linux that Node runs on. */
const TICKS_PER_SEC = 100

/** Processor time of all threads of a process so far, user and system, in seconds. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SEC
}

/** Resident memory of a process, in MiB: now, or the most it ever had. */
export function rssMiB(pid: number, which: 'VmRSS' | 'VmHWM' = 'VmRSS'): number {
  const line = new RegExp(`^${which}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1]) / 1024
}

/** Bytes received and sent by a device of the network namespace that the process lives in. */
export function deviceBytes(pid: number, device: string): number {
  const line = new RegExp(`^\\s*${device}:(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/net/dev`, 'utf8'))
  const fields = line?.[1]?.trim().split(/\s+/) ?? []
  return Number(fields[0]) + Number(fields[8])
}

/** Load average of the last minute. */
export function loadAverage(): number {
  return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0])
}
