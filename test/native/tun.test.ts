import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { encode, Flag, type Packet, TCP } from './oracle.js'

const reason =
  process.getuid?.() !== 0 ? 'not root' : existsSync('/dev/net/tun') ? undefined : '/dev/net/tun is missing'
if (reason !== undefined) console.warn(`TUN tests skipped: ${reason}`)

/** Network and process namespaces: nothing outlives the case, however it ends. */
const UNSHARE = ['--net', '--pid', '--fork', '--kill-child', '--mount', '--mount-proc']

/** Runs one case of netns-child.mjs in a network namespace of its own, which ends with it. */
// biome-ignore lint/suspicious/noExplicitAny: each case prints its own shape, checked by the expectations
async function inNamespace(name: string, ...args: string[]): Promise<any> {
  const child = fileURLToPath(new URL('netns-child.mjs', import.meta.url))
  const { stdout } = await promisify(execFile)(
    'unshare',
    [...UNSHARE, process.execPath, child, name, ...args],
    {
      timeout: 60_000,
    },
  )
  return JSON.parse(stdout)
}

describe.skipIf(reason !== undefined)('the TUN device', () => {
  const whole = { v4: true, v6: true, back4: true, back6: true, checksumErrors: 0 }
  const clean = { refused: 0, malformed: 0, tooBig: 0 }

  it.each(['offload', 'offloadFewSlots'])(
    'carries TCP in superpackets (%s)',
    async (name) => {
      const result = await inNamespace(name)
      expect(result).toMatchObject({ ...whole, offload: [true, true], a: clean, b: clean })
      for (const end of [result.a, result.b]) {
        // 60 MB each way are 43,000 full segments, and their acknowledgements.
        expect(end.readPackets).toBeGreaterThan(43_000)
        expect(end.readFrames).toBeLessThan(end.readPackets / 3)
        if (name === 'offload') expect(end.writtenFrames).toBeLessThan(end.writtenPackets / 2)
      }
      expect(result.a.readPackets).toBe(result.b.writtenPackets)
      expect(result.b.readPackets).toBe(result.a.writtenPackets)
    },
    60_000,
  )

  it.each(['plain', 'mixed'])(
    'carries TCP without offload on either end (%s)',
    async (name) => {
      const result = await inNamespace(name)
      expect(result).toMatchObject({ ...whole, offload: [name === 'mixed', false], a: clean, b: clean })
      expect(result.b.readFrames).toBe(result.b.readPackets)
      expect(result.b.writtenFrames).toBe(result.b.writtenPackets)
    },
    60_000,
  )

  it('carries UDP, in superpackets where the kernel has them', async () => {
    const result = await inNamespace('udp')
    expect(result).toMatchObject({ wrong: 0, checksumErrors: 0, a: clean, b: clean })
    if (result.udpOffload) expect(result.b.writtenFrames).toBeLessThan(result.b.writtenPackets / 5)
  })

  const base: Packet = {
    ...{ version: 4, protocol: TCP, host: 2, port: 1, tos: 0, ttl: 64, flowLabel: 0, id: 1 },
    ...{ dontFragment: true, moreFragments: false, ipOptions: false, sequence: 0, acknowledgement: 0 },
    ...{ flags: Flag.ack, window: 1, tcpOptions: [], checksum: 'partial', ipChecksumWrong: false },
    payload: new Uint8Array(100),
  }

  it('keeps back segments that the next call may go on from, and nothing else', async () => {
    // Flow 2 sends six segments, of which four are in the first call; flows 3 and 4 one each in it.
    const flows: [host: number, index: number][] = [
      ...([
        [2, 0],
        [3, 0],
        [2, 1],
        [2, 2],
        [4, 0],
        [2, 3],
      ] as [number, number][]),
      ...([
        [2, 4],
        [2, 5],
      ] as [number, number][]),
    ]
    const packets = flows.map(([host, index]) =>
      Array.from(encode({ ...base, host, id: index, sequence: index * 100 })),
    )
    const result = await inNamespace('more', JSON.stringify(packets), '6')
    expect(result.taken).toBe(2)
    expect(result.order).toEqual([1, 4, 0, 2, 3, 5])
    expect(result.before).toMatchObject({ writtenPackets: 2, writtenFrames: 2 })
    expect(result.rest).toBe(6)
    expect(result.after).toMatchObject({ writtenPackets: 8, writtenFrames: 3, refused: 0 })
  })

  it('takes a batch again from where it was full, in order', async () => {
    // Two flows in turn, four packets each: two frames.
    const packets = Array.from({ length: 8 }, (_, i) =>
      Array.from(encode({ ...base, host: 2 + (i & 1), id: i >> 1, sequence: (i >> 1) * 100 })),
    )
    const [EAGAIN, EINVAL] = [11, 22]
    const inOrder = [0, 1, 2, 3, 4, 5, 6, 7]
    const faults = [
      [0, 0, 0],
      [EAGAIN, 0, 1],
      [EAGAIN, 1, 1],
      [EINVAL, 0, 1],
      [EINVAL, 1, 1],
    ]
    const { results, stats } = await inNamespace('full', JSON.stringify(packets), JSON.stringify(faults))
    expect(results).toEqual([
      { taken: 8, order: inOrder, rest: 0, packets: 8, frames: 2 },
      // Nothing went.
      { taken: 0, order: inOrder, rest: 8, packets: 8, frames: 2 },
      // The first flow's frame went, the second's did not.
      { taken: 4, order: [0, 2, 4, 6, 1, 3, 5, 7], rest: 4, packets: 8, frames: 2 },
      // The kernel would not have one of the frames: its packets went singly.
      { taken: 8, order: inOrder, rest: 0, packets: 8, frames: 5 },
      { taken: 8, order: inOrder, rest: 0, packets: 8, frames: 5 },
    ])
    expect(stats.refused).toBe(0)
  })

  it('refuses what is wrong, with a count or an error', async () => {
    const r = await inNamespace('refusals')
    expect(r.taken).toEqual([1, 1, 1, 1])
    expect(r.stats).toMatchObject({ refused: 4, writtenPackets: 0 })
    expect(r.tooLong).toBe('RangeError')
    for (const [what, { read, write }] of Object.entries<{ read: string; write: string }>(r.bounds)) {
      expect([what, read, write]).toEqual([what, 'RangeError', 'RangeError'])
    }
    expect(r.busy).toMatchObject({ name: 'Error', code: 'EBUSY', syscall: 'ioctl' })
    expect(r.kind).toMatchObject({ name: 'Error', code: 'EINVAL', syscall: 'ioctl' })
    expect(r.gone).toBeLessThan(0)
    expect(r.closed).toBe('RangeError')
  })
})

describe.skipIf(reason !== undefined)('a link socket', () => {
  it('refuses datagrams above the MTU singly, and tells the MTU', async () => {
    const result = await inNamespace('mtu')
    for (const [name, family] of [
      ['v4', 4],
      ['v6', 6],
    ] as const) {
      const { small, before, big, after, errors, remote } = result[name]
      expect(small).toBe(4)
      expect(before).toMatchObject({ gso: true, sentDatagrams: 4, sentMessages: 1, sendRefused: 0 })
      expect(big).toBe(4)
      // The short one at the end of the run still goes.
      expect(after).toMatchObject({ gso: true, sentDatagrams: 5, sendRefused: 3, lastSendErrno: 90 })
      expect(errors.length).toBeGreaterThan(0)
      for (const error of errors) expect(error).toEqual({ errno: 90, mtu: 1300, family, remote })
    }
  })
})

describe.skipIf(reason !== undefined)('route netlink', () => {
  it('tells of changes', async () => {
    expect(await inNamespace('netlink')).toEqual({ quiet: false, link: true, drained: false, woken: 1 })
  })
})
