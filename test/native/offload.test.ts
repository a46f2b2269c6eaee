import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as oracle from './oracle.js'
import { Flag, Gso, type Packet, TCP, UDP } from './oracle.js'
import { testing } from './testing.js'

const RUNS = { numRuns: 300 }
/** Groups that the addon keeps open, COALESCE_GROUPS of native/offload.h. */
const GROUPS = 8
const VNET_BYTES = 10

function bytesFrom(seed: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (seed * 31 + i * 7 + (i >> 8)) & 0xff)
}

/** Bytes as text, which compares and prints a good deal faster. */
function text(packets: Uint8Array[] | undefined): string[] | undefined {
  return packets?.map((packet) => Buffer.from(packet).toString('hex'))
}

function cutNatively(vnet: number[], packet: Uint8Array): Uint8Array[] | undefined {
  const out = new Uint8Array(packet.length * 60 + 65536)
  const lengths = new Uint32Array(70_000)
  const count = testing.offloadCut(Uint32Array.from(vnet), packet, out, lengths)
  if (count < 0) return undefined
  let at = 0
  return Array.from(lengths.subarray(0, count), (length) => {
    at += length
    return out.slice(at - length, at)
  })
}

interface Frame {
  vnet: {
    flags: number
    gso: number
    headerBytes: number
    segmentBytes: number
    start: number
    offset: number
  }
  packet: Uint8Array
  members: number[]
}

function coalesceNatively(packets: Uint8Array[], partial: boolean[], udp = true): Frame[] {
  const slab = new Uint8Array(packets.reduce((total, packet) => total + packet.length, 0))
  const list = new Uint32Array(packets.length * 3)
  let at = 0
  packets.forEach((packet, i) => {
    slab.set(packet, at)
    list.set([at, packet.length, partial[i] ? 1 : 0], i * 3)
    at += packet.length
  })
  const before = slab.slice()
  const out = new Uint8Array(slab.length + packets.length * 200 + 200)
  const rows = new Uint32Array(packets.length * 3)
  const order = new Uint32Array(packets.length)
  const count = testing.offloadCoalesce(slab, list, udp, out, rows, order)
  expect(Buffer.compare(slab, before)).toBe(0)
  let next = 0
  return Array.from({ length: count }, (_, i) => {
    const [start, bytes, members] = rows.subarray(i * 3, i * 3 + 3) as unknown as [number, number, number]
    const view = new DataView(out.buffer, start, VNET_BYTES)
    next += members
    return {
      vnet: {
        flags: view.getUint8(0),
        gso: view.getUint8(1),
        headerBytes: view.getUint16(2, true),
        segmentBytes: view.getUint16(4, true),
        start: view.getUint16(6, true),
        offset: view.getUint16(8, true),
      },
      packet: out.slice(start + VNET_BYTES, start + bytes),
      members: Array.from(order.subarray(next - members, next)),
    }
  })
}

const BASE: Packet = {
  version: 4,
  protocol: TCP,
  host: 2,
  port: 40000,
  tos: 0,
  ttl: 64,
  flowLabel: 0,
  id: 100,
  dontFragment: true,
  moreFragments: false,
  ipOptions: false,
  sequence: 1000,
  acknowledgement: 77,
  flags: Flag.ack,
  window: 502,
  tcpOptions: [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
  payload: new Uint8Array(0),
  checksum: 'partial',
  ipChecksumWrong: false,
}

const superpacket = fc.record({
  version: fc.constantFrom<4 | 6>(4, 6),
  protocol: fc.constantFrom<6 | 17>(TCP, UDP),
  segmentBytes: fc.integer({ min: 1, max: 3000 }),
  segments: fc.integer({ min: 1, max: 60 }),
  shortBy: fc.nat(),
  id: fc.nat(65535),
  sequence: fc.nat(0xffffffff),
  flags: fc.nat(255),
  seed: fc.nat(255),
  options: fc.integer({ min: 0, max: 10 }),
})

describe('cutting', () => {
  it('makes the segments that the oracle makes', () => {
    fc.assert(
      fc.property(superpacket, (s) => {
        const most = Math.min(s.segments * s.segmentBytes, 65_000)
        const payload = bytesFrom(s.seed, Math.max(1, most - (s.shortBy % s.segmentBytes)))
        const packet = oracle.encode({
          ...BASE,
          ...s,
          payload,
          tcpOptions: Array.from({ length: s.options * 4 }, () => 1),
        })
        const { transport, payload: at } = oracle.offsets(packet)
        const gso = s.protocol === UDP ? Gso.udp : s.version === 4 ? Gso.tcp4 : Gso.tcp6
        const vnet = [1, gso, at, s.segmentBytes, transport, s.protocol === TCP ? 16 : 6]
        const segments = cutNatively(vnet, packet)
        const expected = oracle.cut(packet, s.segmentBytes)
        expect(text(segments?.map((segment) => oracle.finished(segment, true)))).toEqual(
          text(expected.map((segment) => oracle.finished(segment, true))),
        )
        // A partial checksum is the pseudo-header's sum, as one's complement number.
        for (const segment of segments!) {
          const field = oracle.get16(segment, transport + (s.protocol === TCP ? 16 : 6))
          expect(field % 0xffff).toBe(oracle.pseudoSum(segment, transport, s.protocol) % 0xffff)
        }
      }),
      RUNS,
    )
  })

  it('refuses what is malformed', () => {
    const packet = oracle.encode({ ...BASE, payload: bytesFrom(1, 3000) })
    const vnet = [1, Gso.tcp4, 52, 1000, 20, 16]
    expect(cutNatively(vnet, packet)).toHaveLength(3)
    const wrong: [string, number[], Uint8Array][] = [
      ['no segment size', [1, Gso.tcp4, 52, 0, 20, 16], packet],
      ['another version', [1, Gso.tcp6, 52, 1000, 20, 16], packet],
      ['another protocol', [1, Gso.udp, 52, 1000, 20, 16], packet],
      ['checksum elsewhere', [1, Gso.tcp4, 52, 1000, 24, 16], packet],
      ['checksum at another offset', [1, Gso.tcp4, 52, 1000, 20, 6], packet],
      ['longer than its header says', vnet, Uint8Array.from([...packet, 0])],
      ['shorter than its header says', vnet, packet.subarray(0, 2000)],
      ['headers cut off', vnet, packet.subarray(0, 39)],
      ['empty', vnet, new Uint8Array(0)],
      ['no payload', vnet, oracle.encode(BASE)],
    ]
    for (const [what, header, bytes] of wrong) expect(cutNatively(header, bytes), what).toBeUndefined()
  })

  it('survives any bytes', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom(0x45, 0x46, 0x4f, 0x60, 0x6f),
        fc.array(fc.nat(65535), { minLength: 6, maxLength: 6 }),
        (bytes, first, vnet) => {
          if (bytes.length > 0) bytes[0] = first
          const segments = cutNatively(vnet, bytes)
          if (segments !== undefined) expect(segments.length).toBeGreaterThan(0)
        },
      ),
      { numRuns: 3000 },
    )
  })
})

/** One step of a flow: which one, how many bytes, and what is unusual about it. */
const step = fc.record({
  flow: fc.nat(11),
  bytes: fc.constantFrom(100, 100, 100, 100, 60, 140),
  oddity: fc.constantFrom(
    ...Array.from({ length: 24 }, () => 'none' as const),
    ...(['psh', 'fin', 'syn', 'rst', 'urg', 'cwr', 'ece', 'ack', 'window', 'ttl', 'tos', 'df'] as const),
    ...(['idJump', 'idFixed', 'options', 'empty', 'gap', 'wrong', 'complete', 'partial', 'none16'] as const),
    ...(['fragment', 'ipOptions', 'label', 'ipWrong'] as const),
  ),
})

interface FlowState {
  version: 4 | 6
  protocol: typeof TCP | typeof UDP
  sequence: number
  id: number
  idFixed: boolean
  checksum: Packet['checksum']
  changes: Partial<Packet>
}

/** Twelve flows of all four kinds, each going on where it was. */
function stream(steps: { flow: number; bytes: number; oddity: string }[]): Packet[] {
  const flows: FlowState[] = Array.from({ length: 12 }, (_, i) => ({
    version: i % 2 === 0 ? 4 : 6,
    protocol: i % 4 < 2 ? TCP : UDP,
    sequence: i === 0 ? 0xffffff00 : 1000,
    id: i === 4 ? 65_530 : 10,
    idFixed: false,
    checksum: i % 3 === 0 ? 'complete' : 'partial',
    changes: {},
  }))
  return steps.map(({ flow, bytes, oddity }, index) => {
    const state = flows[flow]!
    const only: Partial<Packet> = {}
    const flags: Partial<Record<string, number>> = Flag
    if (oddity in Flag && oddity !== 'ack') only.flags = Flag.ack | flags[oddity]!
    if (oddity === 'ack') state.changes.acknowledgement = index
    if (oddity === 'window') state.changes.window = index
    if (oddity === 'ttl') state.changes.ttl = 63 - (index & 1)
    if (oddity === 'tos') state.changes.tos = index & 3
    if (oddity === 'df') state.changes.dontFragment = index % 2 === 0
    if (oddity === 'label') state.changes.flowLabel = index
    if (oddity === 'options')
      state.changes.tcpOptions = [1, 1, 8, 10, 0, 0, 0, (index + 100) & 0xff, 0, 0, 0, 2]
    if (oddity === 'idJump') state.id += 5
    if (oddity === 'idFixed') state.idFixed = !state.idFixed
    if (oddity === 'gap') state.sequence += 10
    if (oddity === 'wrong') only.checksum = 'wrong'
    if (oddity === 'none16' && state.protocol === UDP) only.checksum = 'none'
    if (oddity === 'complete' || oddity === 'partial') state.checksum = oddity
    if (oddity === 'fragment') only.moreFragments = true
    if (oddity === 'ipOptions') only.ipOptions = true
    if (oddity === 'ipWrong') only.ipChecksumWrong = true
    const packet: Packet = {
      ...BASE,
      version: state.version,
      protocol: state.protocol,
      host: 2 + flow,
      id: state.id & 0xffff,
      sequence: state.sequence >>> 0,
      payload: bytesFrom(index, oddity === 'empty' ? 0 : bytes),
      checksum: state.checksum,
      ...state.changes,
      ...only,
    }
    // A fragment is never marked partial: whoever made it had to finish the checksum.
    if (packet.moreFragments && packet.version === 4) packet.checksum = 'complete'
    state.sequence = (state.sequence + packet.payload.length) >>> 0
    if (!state.idFixed) state.id++
    return packet
  })
}

function checkAgainstOracle(packets: Packet[], udp: boolean): number {
  const bytes = packets.map(oracle.encode)
  const partial = packets.map((packet) => packet.checksum === 'partial')
  const frames = coalesceNatively(bytes, partial, udp)
  if (udp) expect(frames.map((frame) => frame.members)).toEqual(oracle.coalesce(packets, GROUPS))
  for (const { vnet, packet, members } of frames) {
    const first = packets[members[0]!]!
    if (members.length === 1) {
      // Alone it leaves as it came.
      expect(text([packet])).toEqual(text([bytes[members[0]!]!]))
      expect([vnet.flags, vnet.gso]).toEqual([partial[members[0]!] ? 1 : 0, Gso.none])
      continue
    }
    expect(udp || first.protocol === TCP).toBe(true)
    for (let i = 1; i < members.length; i++) {
      const before = members.slice(0, i).map((member) => packets[member]!)
      expect(oracle.joins(before, packets[members[i]!]!)).toBe(true)
    }
    const { transport, payload } = oracle.offsets(packet)
    expect(vnet.gso).toBe(first.protocol === UDP ? Gso.udp : first.version === 4 ? Gso.tcp4 : Gso.tcp6)
    expect(vnet).toMatchObject({ flags: 1, headerBytes: payload, start: transport })
    // Cutting it again gives the packets that went in; only a fixed IPv4 id has begun to count.
    const expected = members.map((member, i) => {
      const source = packets[member]!
      return oracle.finished(oracle.encode({ ...source, id: (first.id + i) & 0xffff }), partial[member]!)
    })
    const fields = [vnet.flags, vnet.gso, vnet.headerBytes, vnet.segmentBytes, vnet.start, vnet.offset]
    const again = cutNatively(fields, packet)?.map((segment) => oracle.finished(segment, true))
    expect(text(again)).toEqual(text(expected))
  }
  const left = frames.flatMap((frame) => frame.members)
  expect([...left].sort((a, b) => a - b)).toEqual(packets.map((_, i) => i))
  for (const flow of new Set(packets.map((packet) => packet.host))) {
    const ofFlow = left.filter((member) => packets[member]!.host === flow)
    expect(ofFlow).toEqual([...ofFlow].sort((a, b) => a - b))
  }
  return frames.length
}

describe('coalescing', () => {
  it('merges what the oracle merges, and nothing else', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        checkAgainstOracle(stream(steps), true)
      }),
      RUNS,
    )
  })

  it('leaves UDP alone where the kernel cannot take it', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        checkAgainstOracle(stream(steps), false)
      }),
      { numRuns: 50 },
    )
  })

  it('joins the full segments of one flow up to 64 KiB', () => {
    const steps = Array.from({ length: 100 }, () => ({ flow: 0, bytes: 1388, oddity: 'none' }))
    expect(checkAgainstOracle(stream(steps), true)).toBe(3)
    expect(checkAgainstOracle(stream(steps.map((s) => ({ ...s, flow: 1 }))), true)).toBe(3)
  })

  it('keeps eight interleaved flows apart and whole', () => {
    const steps = Array.from({ length: 160 }, (_, i) => ({ flow: i % 8, bytes: 1000, oddity: 'none' }))
    expect(checkAgainstOracle(stream(steps), true)).toBe(8)
  })

  it.each([
    'syn',
    'rst',
    'urg',
    'cwr',
    'ece',
    'ack',
    'window',
    'gap',
    'options',
    'wrong',
    'empty',
    'df',
    'ttl',
    'tos',
    'idJump',
  ])('never merges across %s', (oddity) => {
    const steps = [
      { flow: 4, bytes: 100, oddity: 'none' },
      { flow: 4, bytes: 100, oddity },
    ]
    expect(checkAgainstOracle(stream(steps), true)).toBe(2)
  })

  it.each<[string, boolean, number[], number]>([
    ['count up', true, [65534, 65535, 0, 1], 1],
    ['count up without DF', false, [7, 8, 9], 1],
    ['are fixed', true, [7, 7, 7], 1],
    ['are fixed without DF', false, [7, 7, 7], 3],
    ['are fixed, then count', true, [7, 7, 9], 2],
    ['count, then are fixed', true, [7, 8, 8], 2],
  ])('with IPv4 ids that %s (DF %s)', (_, dontFragment, ids, frames) => {
    const packets = ids.map((id, i) => {
      const payload = bytesFrom(i, 100)
      return { ...BASE, id, dontFragment, sequence: BASE.sequence + i * 100, payload }
    })
    expect(checkAgainstOracle(packets, true)).toBe(frames)
  })

  it("never merges a partial checksum that is not the pseudo-header's sum", () => {
    for (const wrong of [0, 1]) {
      const packets = [0, 1].map((i) => {
        const payload = bytesFrom(i, 100)
        return oracle.encode({ ...BASE, id: i, sequence: i * 100, payload })
      })
      expect(coalesceNatively(packets, [true, true])).toHaveLength(1)
      packets[wrong]![20 + 17]! ^= 1
      expect(coalesceNatively(packets, [true, true])).toHaveLength(2)
    }
  })

  it('ends a frame with PSH, FIN or a shorter segment', () => {
    for (const [oddity, bytes] of [
      ['psh', 100],
      ['fin', 100],
      ['none', 60],
    ] as const) {
      const steps = [100, 100, bytes, 100, 100].map((n, i) => ({
        flow: 4,
        bytes: n,
        oddity: i === 2 ? oddity : 'none',
      }))
      expect(checkAgainstOracle(stream(steps), true), oddity).toBe(2)
    }
  })

  it('survives any bytes', () => {
    const packet = fc
      .tuple(fc.uint8Array({ maxLength: 120 }), fc.constantFrom(0x45, 0x46, 0x60, 0x00))
      .map(([bytes, first]) => {
        if (bytes.length > 0) bytes[0] = first
        if (bytes.length > 9) bytes[9] = TCP
        if (bytes.length > 6 && first === 0x60) bytes[6] = [TCP, UDP, 0, 43, 60][bytes[6]! % 5]!
        return bytes
      })
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 20 }), fc.boolean(), (packets, partial) => {
        const left = coalesceNatively(
          packets,
          packets.map(() => partial),
        ).flatMap((frame) => frame.members)
        expect(left.sort((a, b) => a - b)).toEqual(packets.map((_, i) => i))
      }),
      { numRuns: 2000 },
    )
  })
})
