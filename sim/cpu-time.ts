/** CPU time of this process so far, so that the load of the machine does not count. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

export function formatSpeed(virtualSeconds: number, cpu: number): string {
  return `${virtualSeconds.toFixed(1)} virtual seconds in ${cpu.toFixed(2)} s of CPU: ${(virtualSeconds / cpu).toFixed(0)} x real time`
}
