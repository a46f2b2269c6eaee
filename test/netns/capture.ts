import { readFileSync } from 'node:fs'
import type { Task } from '../../src/lab/processes.js'
import { delay, type End, type Net, until } from './harness.js'

/** One captured UDP datagram over IPv4. */
export interface Captured {
  readonly source: string
  readonly sourcePort: number
  readonly payload: Buffer
}

const PCAP_HEADER_BYTES = 24
const RECORD_HEADER_BYTES = 16
const ETHERNET_BYTES = 14

/** Records what passes a device of an end, with tcpdump; `filter` in its words. */
export async function startCapture(
  net: Net,
  end: End,
  device: string,
  filter: string,
): Promise<{ stop(): Promise<Captured[]> }> {
  const file = net.state.path(`${end}-${device}-${Math.random().toString(36).slice(2)}.pcap`)
  const words = ['-i', device, '-U', '-n', '-Z', 'root', '-w', file, filter]
  const task: Task = net.task(end, 'tcpdump', ...words)
  await until(
    () => task.stderr.includes('listening on'),
    5000,
    () => `tcpdump does not listen: ${task.lastWords}`,
  )
  return {
    stop: async () => {
      await delay(200)
      await task.stop('SIGINT')
      return readPcap(readFileSync(file))
    },
  }
}

/** Little endian pcap of Ethernet frames, as tcpdump writes on this machine. */
function readPcap(bytes: Buffer): Captured[] {
  const packets: Captured[] = []
  let at = PCAP_HEADER_BYTES
  while (at + RECORD_HEADER_BYTES <= bytes.length) {
    const length = bytes.readUInt32LE(at + 8)
    const frame = bytes.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + length)
    at += RECORD_HEADER_BYTES + length
    const ip = frame.subarray(ETHERNET_BYTES)
    const udp = ip.subarray((ip[0]! & 0xf) * 4)
    packets.push({
      source: [...ip.subarray(12, 16)].join('.'),
      sourcePort: udp.readUInt16BE(0),
      payload: Buffer.from(udp.subarray(8, udp.readUInt16BE(4))),
    })
  }
  return packets
}

/** Sends datagrams to the server from a socket of the client's that is not plait's. */
export async function sendDatagrams(
  net: Net,
  datagrams: readonly Uint8Array[],
  options: { localPort?: number; perSecond?: number; waitMs?: number } = {},
): Promise<{ sent: number; replies: number; types: Record<string, number> }> {
  const program = new URL('./datagrams.mjs', import.meta.url).pathname
  const { localPort = 0, perSecond = 2000, waitMs = 300 } = options
  const words = [localPort, net.serverAddress, 51820, waitMs, perSecond].map(String)
  const task = net.task('a', process.execPath, program, ...words)
  task.child.stdin!.end(JSON.stringify(datagrams.map((each) => Buffer.from(each).toString('hex'))))
  await task.ended
  if (task.exit?.code !== 0) throw new Error(`datagrams.mjs: ${task.lastWords}`)
  return JSON.parse(task.stdout) as Awaited<ReturnType<typeof sendDatagrams>>
}
