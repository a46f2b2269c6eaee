import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ERRORS } from '../base/errors.js'
import { decodeKey, encodeKey, publicKeyOf } from '../config/keys.js'
import { serveControl } from '../control/unix-socket.js'
import type { RateSnapshot, Snapshot } from '../core/snapshot.js'
import { mainProgram, plaitProgram } from '../lab/programs.js'
import { rate, size, span } from './figures.js'
import { runCli } from './program.js'
import { renderStatus } from './status-table.js'

/** Alice's keys of RFC 7748 section 6.1. */
const ALICE_PRIVATE = '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'
const ALICE_PUBLIC = '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a'

async function plait(args: string[], stdin = ''): Promise<{ status: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const terminal = {
    out: (text: string) => {
      out += text
    },
    err: (text: string) => {
      err += text
    },
    stdin: () => stdin,
    isInteractive: false,
  }
  return { status: await runCli(args, terminal), out, err }
}

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), `plait-${randomBytes(4).toString('hex')}-`))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const idleRate: RateSnapshot = {
  bytesPerSec: 187_500,
  gain: 2,
  queueMs: 0,
  targetMs: 5,
  inFlightBytes: 0,
  inFlightBytesMax: 30_000,
  limiter: 'starting',
  rebases: 0,
}

describe('plait', () => {
  it('helps a newcomer', async () => {
    const { status, out } = await plait(['--help'])
    expect(status).toBe(0)
    for (const word of [
      'key',
      'check',
      'up',
      'status',
      'Examples:',
      'plait up /etc/plait/client.yaml',
      'Exit status:',
    ]) {
      expect(out).toContain(word)
    }
    expect((await plait(['--version'])).out).toMatch(/^\d+\.\d+\.\d+\n$/)
    expect((await plait(['up', '--help'])).out).toContain('plait up')
  })

  it.each([
    [['frob'], "unknown command 'frob'"],
    [['chek', 'x'], 'Did you mean check?'],
    [['up'], "missing required argument 'file'"],
    [['status', '--jsn'], 'Did you mean --json?'],
    [['key', 'frob'], "unknown command 'frob'"],
    [['check', 'a', 'b'], 'too many arguments'],
    [[], 'Usage: plait'],
    [['key'], 'Usage: plait key'],
  ])('refuses %j with status 2', async (args, words) => {
    const { status, err } = await plait(args)
    expect(err).toContain(words)
    expect(status).toBe(2)
  })
})

describe('plait key', () => {
  it('new and public fit together, as the curve says', async () => {
    const { out: key } = await plait(['key', 'new'])
    const { out, status } = await plait(['key', 'public'], key)
    expect(status).toBe(0)
    expect(out).toBe(`${encodeKey(publicKeyOf(decodeKey(key.trim())!))}\n`)
    const bytes = decodeKey(key.trim())!
    expect([bytes[0]! & 7, bytes[31]! & 0xc0]).toEqual([0, 0x40])
    expect((await plait(['key', 'new'])).out).not.toBe(key)
    const alice = await plait(['key', 'public'], ` ${Buffer.from(ALICE_PRIVATE, 'hex').toString('base64')}\n`)
    expect(Buffer.from(alice.out, 'base64').toString('hex')).toBe(ALICE_PUBLIC)
    const psk = await plait(['key', 'psk'])
    expect(decodeKey(psk.out.trim())).toHaveLength(32)
  })

  it('new FILE writes a private file once', async () => {
    const file = join(folder, 'a.key')
    const { out, status } = await plait(['key', 'new', file])
    expect(status).toBe(0)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const text = readFileSync(file, 'utf8')
    expect(out).toBe(`${encodeKey(publicKeyOf(decodeKey(text.trim())!))}\n`)
    expect((await plait(['key', 'public', file])).out).toBe(out)
    const again = await plait(['key', 'new', file])
    expect(again).toMatchObject({ status: 2, out: '' })
    expect(again.err).toContain('is there already and is not overwritten')
    expect(readFileSync(file, 'utf8')).toBe(text)
    expect((await plait(['key', 'psk', join(folder, 'psk')])).out).toBe('')
    expect((await plait(['key', 'new', join(folder, 'no', 'a.key')])).err).toContain('(ENOENT)')
  })

  it('public does not repeat a key that is given for the name of its file', async () => {
    const key = encodeKey(Buffer.from(ALICE_PRIVATE, 'hex'))
    const { status, err } = await plait(['key', 'public', key])
    expect(status).toBe(2)
    expect(err).toContain('a key is given where the file that holds it is expected')
    expect(err).not.toContain(key)
  })

  it('public refuses what is no key, without showing it', async () => {
    const { status, err } = await plait(['key', 'public'], 'hunter2')
    expect(status).toBe(2)
    expect(err).toContain('standard input holds no key')
    expect(err).not.toContain('hunter2')
    expect((await plait(['key', 'public', join(folder, 'none')])).status).toBe(2)
  })
})

describe('plait check', () => {
  it('tells good from bad', async () => {
    const file = join(folder, 'a.yaml')
    const key = (await plait(['key', 'new'])).out.trim()
    const peer = encodeKey(publicKeyOf(randomBytes(32)))
    const text = `interface: {private-key: ${key}, listen: "0.0.0.0:1"}\npeers: [{public-key: ${peer}, allowed-ips: 10.0.0.0/8}]\n`
    writeFileSync(file, text, { mode: 0o600 })
    const good = await plait(['check', '--file-only', file])
    expect(good).toEqual({
      status: 0,
      err: '',
      out: `${file}: good: device plait0; peer peer1; no links: packets leave as the routing table says\n`,
    })
    writeFileSync(file, `${text}links: [{device: nonesuch7}]\nfoo: 1\n`)
    const bad = await plait(['check', file])
    expect(bad).toMatchObject({ status: 2, out: '' })
    expect(bad.err).toMatch(/^\S+a\.yaml:4:1: "foo" is not known at the top/)
    expect((await plait(['up', file])).err).toBe(bad.err)
    writeFileSync(file, `${text}links: [{device: nonesuch7}]\n`)
    const system = await plait(['check', file])
    expect(system.status).toBe(2)
    expect(system.err).toContain('a.yaml:3:18: the device nonesuch7 of link nonesuch7 does not exist')
    expect((await plait(['check', join(folder, 'none')])).status).toBe(2)
  })
})

const SNAPSHOT: Snapshot = {
  device: {
    name: 'plait0',
    uptimeS: 3_725,
    scheduler: 'weighted',
    mtu: 1440,
    drops: { replayed: 2, unknownIndex: 12 },
    offload: ['UDP_SEGMENT is refused by dsl'],
  },
  peers: [
    {
      name: 'server',
      publicKey: 'PUBLIC',
      state: 'up',
      session: { ageS: 61, cipher: 'AES-256-GCM', rekeys: 3 },
      allowedIps: ['10.7.0.0/24'],
      bytesOut: 1_500_000,
      bytesIn: 12_345_678_901,
      packetsOut: 10,
      packetsIn: 20,
      resequencer: { held: 1, holesReleased: 2, late: 3, duplicates: 4, acksThinned: 5 },
      queue: { bytes: 1_440, packets: 1, acksThinned: 12, headerBytesSaved: 27_000, evened: 0, lumped: 0 },
      paths: [
        {
          id: 0,
          link: 'dsl',
          remote: '203.0.113.7:51820',
          state: 'up',
          reason: 'answers',
          sinceS: 5,
          rttMs: 21.44,
          owdDifferenceMs: 0,
          lossOut: 0,
          lossIn: 0.0123,
          mtu: 1432,
          bytesOut: 1_000_000,
          bytesIn: 2_000_000,
          packetsOut: 5,
          packetsIn: 6,
          weight: 50,
          share: 0.75,
          rate: idleRate,
        },
        {
          id: 2,
          link: 'lte',
          remote: '[2001:db8::1]:51820',
          state: 'down',
          reason: 'nothing heard for 500 ms',
          sinceS: 90,
          bytesOut: 0,
          bytesIn: 0,
          packetsOut: 0,
          packetsIn: 0,
          weight: 20,
          share: 0,
          rate: idleRate,
        },
      ],
    },
    {
      name: 'other',
      publicKey: 'OTHER',
      state: 'idle',
      allowedIps: Array.from({ length: 10 }, (_, i) => `10.${i}.0.0/16`),
      bytesOut: 0,
      bytesIn: 0,
      packetsOut: 0,
      packetsIn: 0,
      resequencer: { held: 0, holesReleased: 0, late: 0, duplicates: 0, acksThinned: 0 },
      queue: { bytes: 0, packets: 0, acksThinned: 0, headerBytesSaved: 0, evened: 0, lumped: 0 },
      paths: [],
    },
  ],
  events: [{ atS: 3, peer: 'server', path: 'lte', kind: 'path', text: 'up → down' }],
}

describe('plait status', () => {
  it('shows peers, paths and drops', () => {
    expect(renderStatus(SNAPSHOT)).toMatchInlineSnapshot(`
      "plait0: up 1 h 02 m, scheduler weighted, MTU 1440
      offload: UDP_SEGMENT is refused by dsl

      peer server: up, AES-256-GCM, keys 1 m 01 s old, 3 rekeys
        public key   PUBLIC
        allowed IPs  10.7.0.0/24
        traffic      out 1.50 MB, 10 packets; in 12.3 GB, 20 packets
        queue        1.44 kB in 1 packets, 12 ACKs thinned, 27.0 kB of headers left out
        order        1 held, 2 holes given up, 3 late, 4 duplicates, 5 ACKs thinned
        path  link  remote               state     since      RTT     +OWD  loss out      in      out       in  weight  share  reason
           0  dsl   203.0.113.7:51820    up          5 s  21.4 ms  0.00 ms       0 %  1.23 %  1.00 MB  2.00 MB      50   75 %  answers
           2  lte   [2001:db8::1]:51820  down   1 m 30 s        -        -         -       -      0 B      0 B      20    0 %  nothing heard for 500 ms

      peer other: idle, no session
        public key   OTHER
        allowed IPs  10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16, 10.5.0.0/16, 10.6.0.0/16, 10.7.0.0/16 and 2 more
        traffic      out 0 B, 0 packets; in 0 B, 0 packets
        queue        0 B in 0 packets, 0 ACKs thinned, 0 B of headers left out
        order        0 held, 0 holes given up, 0 late, 0 duplicates, 0 ACKs thinned
        no path yet

      dropped packets
        packets  reason
             12  unknownIndex  no session of that index: it ended, or the packet is not for us
              2  replayed      a counter seen before, or too old to tell
      "
    `)
  })

  it('shows rates between two snapshots, and events', () => {
    const peer = SNAPSHOT.peers[0]!
    const path = { ...peer.paths[0]!, bytesOut: 3_500_000 }
    const later: Snapshot = {
      ...SNAPSHOT,
      device: { ...SNAPSHOT.device, uptimeS: 3_727 },
      peers: [{ ...peer, bytesOut: 4_000_000, paths: [path] }],
    }
    const text = renderStatus(later, { before: SNAPSHOT, events: true })
    expect(text).toContain('out 10.0 Mbit/s (4.00 MB)')
    expect(text).toMatch(/dsl .* 10\.0 Mbit\/s +0 bit\/s/)
    expect(text).toMatch(/3 s {2}server {2}lte {3}path {2}up → down/)
    // A restarted daemon begins at 0: no negative rates.
    expect(renderStatus(SNAPSHOT, { before: later })).not.toContain('bit/s')
  })

  it('says why each path carries what it carries', () => {
    const peer = SNAPSHOT.peers[0]!
    const busy = {
      ...idleRate,
      bytesPerSec: 5_900_000,
      limiter: 'link',
      queueMs: 5.2,
      inFlightBytes: 123_456,
    } as const
    const snapshot: Snapshot = {
      ...SNAPSHOT,
      device: { ...SNAPSHOT.device, scheduler: 'adaptive' },
      peers: [
        {
          ...peer,
          queue: { ...peer.queue, evened: 2, lumped: 1 },
          paths: [{ ...peer.paths[0]!, rate: busy }, peer.paths[1]!],
        },
      ],
      events: [
        { atS: 3_600, peer: 'server', path: 'lte', kind: 'path-state', text: 'probing → up: answered' },
        {
          atS: 3_700,
          peer: 'server',
          path: 'lte',
          kind: 'path-state',
          text: 'up → down: no answer for 1000 ms',
        },
        { atS: 3_710, peer: 'other', path: 'lte', kind: 'path-state', text: 'another one' },
      ],
    }
    const why = renderStatus(snapshot, { why: true }).split('\n\n')[2]
    expect(why).toMatchInlineSnapshot(`
      "  path  link     estimate  limited by             queue   target  in flight  at most   MTU  last change
           0  dsl   47.2 Mbit/s  the link             5.20 ms  5.00 ms     123 kB  30.0 kB  1432  5 s ago: up: answers
           2  lte   1.50 Mbit/s  not used while down  0.00 ms  5.00 ms        0 B  30.0 kB     -  25 s ago: up → down: no answer for 1000 ms
        2 long transfers have the delay of the slowest path, so as to fill all of them
        1 transfer has acknowledgements held back now and then, so as to fill the far paths, too"
    `)
    const far = { ...peer.paths[0]!, rate: { ...busy, limiter: 'distance' } } as const
    const farther = { ...snapshot, peers: [{ ...peer, paths: [far] }] }
    expect(renderStatus(farther, { why: true })).toContain('its delay: it takes what it brings sooner')
    expect(renderStatus(snapshot)).not.toContain('limited by')
    const weighted = renderStatus(SNAPSHOT, { why: true })
    expect(weighted).toMatch(/0 {2}dsl +- {2}scheduler weighted/)
  })

  it('asks the socket', async () => {
    const path = join(folder, 'plait0.sock')
    const control = await serveControl(path, { status: () => SNAPSHOT, events: () => [] })
    try {
      const json = await plait(['status', path, '--json'])
      expect(json.status).toBe(0)
      expect(JSON.parse(json.out)).toEqual(SNAPSHOT)
      expect((await plait(['status', path])).out).toBe(renderStatus(SNAPSHOT))
      expect((await plait(['status', path, '--why'])).out).toBe(renderStatus(SNAPSHOT, { why: true }))
    } finally {
      await control.close()
    }
    const gone = await plait(['status', path])
    expect(gone.status).toBe(1)
    expect(gone.err).toMatch(/^plait: no plait answers on .*, hint: start it with: plait up FILE\n$/)
  })

  it('writes numbers for people', () => {
    expect([0, 59.9, 60, 3_599, 3_600, 86_400].map(span)).toEqual([
      '0 s',
      '59 s',
      '1 m 00 s',
      '59 m 59 s',
      '1 h 00 m',
      '1 d 00 h',
    ])
    expect([0, 999, 1_000, 99_950, 999_499, 999_500, 1e18].map(size)).toEqual([
      '0 B',
      '999 B',
      '1.00 kB',
      '100 kB',
      '999 kB',
      '1.00 MB',
      '1000 PB',
    ])
    expect([0, 125, 2_500_000, -5].map(rate)).toEqual(['0 bit/s', '1.00 kbit/s', '20.0 Mbit/s', '0 bit/s'])
  })
})

describe('docs/operating.md', () => {
  const manual = readFileSync(join(import.meta.dirname, '../../docs/operating.md'), 'utf8')
  it('has every error code', () => {
    for (const [code, row] of Object.entries(ERRORS)) {
      expect(manual).toContain(`| \`${code}\` | ${row.exitStatus} | ${row.text} | ${row.remedy} |`)
    }
  })
})

// The built program, when there is one, by a link to it as npm installs it.
it.runIf(existsSync(mainProgram))(
  'the program starts where it is installed, and ends with its status',
  () => {
    const plait = join(folder, 'plait')
    symlinkSync(plaitProgram, plait)
    const key = execFileSync(plait, ['key', 'new'], { encoding: 'utf8' })
    expect(execFileSync(plait, ['key', 'public'], { input: key, encoding: 'utf8' })).toMatch(/^\S{44}\n$/)
    expect(spawnSync(plait, ['check', '/nonexistent']).status).toBe(2)
  },
)

it.runIf(existsSync(mainProgram))('a key that cannot be written leaves no empty file', () => {
  const file = join(folder, 'a.key')
  // No byte may be written, as on a disk that is full.
  const shell = `ulimit -f 0; exec ${plaitProgram} key new ${file}`
  const { status, stderr } = spawnSync('/bin/sh', ['-c', shell], { encoding: 'utf8' })
  expect(stderr).toContain(`${file} cannot be written (EFBIG)`)
  expect(status).toBe(2)
  expect(existsSync(file)).toBe(false)
})

it.runIf(existsSync(mainProgram))('says all of it to a pipe that is read late', async () => {
  const path = join(folder, 'plait0.sock')
  const text = 'x'.repeat(1_000)
  const events = Array.from({ length: 300 }, (_, atS) => ({ atS, peer: 'server', kind: 'path', text }))
  const control = await serveControl(path, { status: () => ({ ...SNAPSHOT, events }), events: () => [] })
  try {
    const shell = `${plaitProgram} status --json ${path} | { sleep 1; cat; }`
    const { stdout } = await promisify(execFile)('/bin/sh', ['-c', shell])
    expect(JSON.parse(stdout).events).toHaveLength(300)
  } finally {
    await control.close()
  }
})
