import type { Network } from './network.js'

/** Round trips of pings to `address` from a, in µs: `count` of them, one every `intervalMs`, so that all is idle between. */
export async function roundTripsUs(
  network: Network,
  address: string,
  count: number,
  intervalMs: number,
): Promise<number[]> {
  const words = ['-n', '-c', String(count), '-i', String(intervalMs / 1000), '-s', '56', address]
  const task = network.task('a', 'ping', ...words)
  await task.ended
  const times = [...task.stdout.matchAll(/ time=([\d.]+) ms/g)].map((match) => Number(match[1]) * 1000)
  if (times.length < count * 0.99) throw new Error(`ping ${address}: ${times.length} of ${count} answers`)
  return times
}
