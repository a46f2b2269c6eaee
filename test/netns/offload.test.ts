/**
 * Checksums of what is forwarded. Between the TUN devices a checksum travels as a flag and is never computed, so the
 * question is what leaves towards a third machine: behind each end stands a host in a namespace of its own, on a
 * device without checksum and segmentation offload, where every packet has to be complete as on a real wire.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { runSync, Task, taskIn } from '../../src/lab/processes.js'
import { probeProgram } from '../../src/lab/programs.js'
import { readPacketRecords } from '../../src/lab/records.js'
import { delay, describeNetns, type End, Net, until } from './harness.js'

const HOST: Record<4 | 6, Record<End, string>> = {
  4: { a: '10.78.1.2', b: '10.78.2.2' },
  6: { a: 'fd78:0:0:1::2', b: 'fd78:0:0:2::2' },
}
const ENDS: readonly End[] = ['a', 'b']
const streamProgram = join(import.meta.dirname, 'stream.mjs')
const STREAM_BYTES = 20_000_000
const DATAGRAMS = 1000

/** The third and fourth namespace, and what runs in them. */
class Lan {
  constructor(
    readonly net: Net,
    offload: boolean,
  ) {
    for (const end of ENDS) this.add(end, offload ? 'on' : 'off')
  }

  host(end: End): string {
    return this.net.state.namespace(`lan-${end}`)
  }

  private add(end: End, offload: 'on' | 'off'): void {
    const [host, gateway] = [this.host(end), this.net.namespace(end)]
    const number = end === 'a' ? 1 : 2
    const ip = (namespace: string, words: string): string =>
      runSync('ip', ['-n', namespace, ...words.split(' ')])
    runSync('ip', ['netns', 'add', host])
    ip(host, 'link set lo up')
    runSync('ip', `link add eth0 netns ${host} type veth peer name lan netns ${gateway}`.split(' '))
    for (const [namespace, device, last] of [
      [host, 'eth0', 2],
      [gateway, 'lan', 1],
    ] as const) {
      const switches = ['-K', device, 'tx', offload, 'rx', offload]
      runSync('ip', ['netns', 'exec', namespace, 'ethtool', ...switches])
      ip(namespace, `link set ${device} up`)
      ip(namespace, `address add 10.78.${number}.${last}/24 dev ${device}`)
      ip(namespace, `address add fd78:0:0:${number}::${last}/64 dev ${device} nodad`)
    }
    ip(host, `route add default via 10.78.${number}.1`)
    ip(host, `-6 route add default via fd78:0:0:${number}::1`)
  }

  task(end: End, program: string, ...args: string[]): Task {
    return taskIn(this.host(end), program, args)
  }

  /** Sends a stream from one host to the other; the hashes at both. */
  async stream(from: End, address: string): Promise<{ sent: Hashed; received: Hashed }> {
    const receiver = this.task(other(from), process.execPath, streamProgram, 'receive', address, '7200')
    await until(
      () => receiver.stdout.startsWith('ready'),
      5000,
      () => receiver.lastWords,
    )
    const words = [streamProgram, 'send', address, '7200', String(STREAM_BYTES)]
    const sender = this.task(from, process.execPath, ...words)
    await Promise.all([sender.ended, receiver.ended])
    const received = JSON.parse(receiver.stdout.split('\n')[1]!) as Hashed
    return { sent: JSON.parse(sender.stdout) as Hashed, received }
  }

  /** Sends numbered UDP packets; how many came. */
  async datagrams(from: End, address: string): Promise<number> {
    const file = this.net.state.path(`datagrams-${from}-${address.length}`)
    const receiver = this.task(other(from), probeProgram, 'receive', address, '7300', file)
    await until(
      () => receiver.stdout !== '',
      5000,
      () => receiver.lastWords,
    )
    const sender = this.task(from, probeProgram, 'send', address, '7300', '1301', '2000', '0.5')
    await sender.ended
    await delay(300)
    await receiver.stop()
    return new Set(readPacketRecords(file).number).size
  }

  /** Packets that a kernel of this network refused for their checksum, as tcpdump and the kernels' counters tell. */
  refused(): Record<string, number> {
    const found: Record<string, number> = {}
    const namespaces = ENDS.flatMap((end) => [this.host(end), this.net.namespace(end)])
    for (const namespace of namespaces) {
      const words = ['netns', 'exec', namespace, 'nstat', '-asz', '*CsumErrors', '*InHdrErrors']
      for (const line of runSync('ip', words).split('\n')) {
        const [name, count] = line.trim().split(/\s+/)
        if (name !== undefined && !name.startsWith('#') && Number(count) > 0) {
          found[`${namespace.split('-').slice(2).join('-')} ${name}`] = Number(count)
        }
      }
    }
    return found
  }
}

interface Hashed {
  bytes: number
  sha256: string
}

const other = (end: End): End => (end === 'a' ? 'b' : 'a')

/** What tcpdump says of the checksums of TCP and UDP packets that reach a host from the other's address. */
class Watch {
  private constructor(
    private readonly task: Task,
    private readonly file: string,
  ) {}

  static async start(lan: Lan, at: End, source: string): Promise<Watch> {
    const file = lan.net.state.path(`seen-${at}-${source.length}.pcap`)
    const filter = `src host ${source} and (ip6 proto 6 or ip6 proto 17 or tcp or udp)`
    const words = ['-i', 'eth0', '-U', '-n', '-Z', 'root', '-s', '0', '-c', '4000', '-w', file, filter]
    const task = lan.task(at, 'tcpdump', ...words)
    await until(
      () => task.stderr.includes('listening on'),
      5000,
      () => task.lastWords,
    )
    return new Watch(task, file)
  }

  async stop(): Promise<{ rightTcp: number; rightUdp: number; wrong: number; largest: number }> {
    await this.task.stop('SIGINT')
    const reader = new Task('tcpdump', ['-r', this.file, '-n', '-vv'])
    await reader.ended
    const count = (pattern: RegExp): number => (reader.stdout.match(pattern) ?? []).length
    return {
      rightTcp: count(/cksum 0x[0-9a-f]+ \(correct\)/g),
      rightUdp: count(/\[udp sum ok\]/g),
      wrong: count(/incorrect|bad (udp )?cksum/g),
      largest: largestFrame(readFileSync(this.file)),
    }
  }
}

function largestFrame(pcap: Buffer): number {
  let largest = 0
  for (let at = 24; at + 16 <= pcap.length; at += 16 + pcap.readUInt32LE(at + 8)) {
    largest = Math.max(largest, pcap.readUInt32LE(at + 12))
  }
  return largest
}

describeNetns.each([
  { title: 'hosts on devices without offload', offload: false },
  { title: 'hosts on devices with offload', offload: true },
])('forwarding between $title', ({ offload }) => {
  let net: Net
  let lan: Lan
  beforeAll(async () => {
    net = await Net.build([{ name: 'one' }, { name: 'two' }])
    lan = new Lan(net, offload)
    const behind = (end: End): string[] => {
      const number = end === 'a' ? 1 : 2
      return [`10.78.${number}.0/24`, `"fd78:0:0:${number}::/64"`]
    }
    await net.up({ a: { allowedIps: behind('b') }, b: { allowedIps: behind('a') } })
  }, 20_000)
  afterAll(() => net?.stopAll())

  it.each([
    [4, 'a'],
    [4, 'b'],
    [6, 'a'],
    [6, 'b'],
  ] as const)('IPv%d from the host behind %s', { timeout: 40_000 }, async (version, from) => {
    const to = other(from)
    const watch = await Watch.start(lan, to, HOST[version][from])
    expect(await lan.datagrams(from, HOST[version][to])).toBe(DATAGRAMS)
    const { sent, received } = await lan.stream(from, HOST[version][to])
    expect(received.bytes).toBe(STREAM_BYTES)
    expect(received.sha256).toBe(sent.sha256)
    const seen = await watch.stop()
    if (offload) {
      // The device takes superpackets whose checksum it would complete: nothing to hold tcpdump's word against.
      expect(seen.largest).toBeGreaterThan(1514)
    } else {
      expect(seen.largest).toBeLessThanOrEqual(1514)
      expect(seen.rightTcp).toBeGreaterThan(1000)
      expect(seen.rightUdp).toBe(DATAGRAMS)
      expect(seen.wrong).toBe(0)
    }
    expect(lan.refused()).toEqual({})
  })
})
