import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { OperatorErrors } from '../base/errors.js'
import { formatCidr, formatHostPort, formatIpAddress } from '../base/ip-address.js'
import { encodeKey, publicKeyOf } from './keys.js'
import { CONFIG_BYTES_MAX, type Loaded, loadConfig, parseConfig } from './load.js'

const PRIVATE = encodeKey(new Uint8Array(32).fill(8))
const PUBLIC = encodeKey(publicKeyOf(new Uint8Array(32).fill(16)))
const OTHER = encodeKey(publicKeyOf(new Uint8Array(32).fill(24)))

const FULL = `
interface:
  name: home
  addresses: [10.7.0.2/24, "fd07::2/64"]
  private-key-file: private.key
  listen: ["0.0.0.0:51820", "[::]:51820"]
  mtu: 1400
scheduler: redundant
peers:
  - public-key: ${PUBLIC}
    preshared-key-file: psk
    endpoint: [vpn.example.net:51820, "[2001:db8::1]:443"]
    allowed-ips: [0.0.0.0/0, ::/0]
    default-route: true
    keepalive: 2.5s
  - name: nested
    public-key: ${OTHER}
    allowed-ips: 10.0.0.0/8
links:
  - {device: eth0.7, weight: 0.5}
  - {name: lte, device: wwan0, source: 10.0.0.9}
up: [one, two]
down: three
control: /run/x.sock
offload: off
log-level: debug
testing: {rekey-after: 2s}
`
const MINIMAL = `interface: {private-key: ${PRIVATE}}
peers: [{public-key: ${PUBLIC}, endpoint: "192.0.2.1:51820", allowed-ips: 10.7.0.0/24}]
links: [{device: eth0}]
`

function parse(text: string | Uint8Array, mode = 0o600): Loaded {
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text
  return parseConfig({ bytes, mode }, '/etc/plait/a.yaml', (path) => {
    expect(['/etc/plait/private.key', '/etc/plait/psk']).toContain(path)
    return { bytes: new TextEncoder().encode(`${PRIVATE}\n`), mode: 0o400 }
  })
}

/** The messages of all faults; any other exception goes through. */
function messagesOf(run: () => unknown): string {
  try {
    run()
    return ''
  } catch (error) {
    if (!(error instanceof OperatorErrors)) throw error
    expect(error.faults.length).toBeGreaterThan(0)
    return error.message
  }
}

describe('a good file', () => {
  it('with everything', () => {
    const { config, places } = parse(FULL)
    expect(config.interface.addresses.map(formatCidr)).toEqual(['10.7.0.2/24', 'fd07::2/64'])
    expect(encodeKey(config.interface.privateKey)).toBe(PRIVATE)
    expect('privateKeyFile' in config.interface).toBe(false)
    expect(config.interface.listen.map(formatHostPort)).toEqual(['0.0.0.0:51820', '[::]:51820'])
    expect(config.interface).toMatchObject({ name: 'home', mtu: 1400 })
    expect(config).toMatchObject({
      scheduler: 'redundant',
      up: ['one', 'two'],
      down: ['three'],
      offload: 'off',
    })
    expect(config).toMatchObject({
      control: '/run/x.sock',
      logLevel: 'debug',
      testing: { rekeyAfter: 2_000_000 },
    })
    expect(config.peers[0]).toMatchObject({ name: 'peer1', defaultRoute: true, keepalive: 2_500_000 })
    expect(encodeKey(config.peers[0]!.presharedKey!)).toBe(PRIVATE)
    expect(config.peers[0]!.endpoint.map(formatHostPort)).toEqual([
      'vpn.example.net:51820',
      '[2001:db8::1]:443',
    ])
    expect(config.peers[0]!.allowedIps.map(formatCidr)).toEqual(['0.0.0.0/0', '::/0'])
    expect(config.peers[1]).toMatchObject({ name: 'nested', endpoint: [], defaultRoute: false })
    expect(config.peers[1]!.presharedKey).toBeUndefined()
    expect(config.links[0]).toMatchObject({ name: 'eth0.7', device: 'eth0.7', weight: 0.5 })
    expect(formatIpAddress(config.links[1]!.source!)).toBe('10.0.0.9')
    expect(places.value('links', 1, 'device')).toEqual({ file: '/etc/plait/a.yaml', line: 21, column: 25 })
    expect(places.key('peers', 0, 'endpoint')).toMatchObject({ line: 12, column: 5 })
    // What is not in the file has the place of what is around it.
    expect(places.value('links', 0, 'source')).toMatchObject({ line: 20, column: 5 })
  })

  it('with what a client cannot learn, and nothing else', () => {
    const { config } = parse(MINIMAL)
    expect(config.interface).toMatchObject({ name: 'plait0', addresses: [], listen: [] })
    expect(config.interface.mtu).toBeUndefined()
    expect(config).toMatchObject({
      scheduler: 'adaptive',
      up: [],
      down: [],
      offload: 'auto',
      logLevel: 'info',
    })
    expect(config.control).toBe('/run/plait/plait0.sock')
    expect(config.testing.rekeyAfter).toBeUndefined()
    expect(config.peers[0]).toMatchObject({ keepalive: 1_000_000, defaultRoute: false })
    expect(config.links[0]).toMatchObject({ name: 'eth0', weight: 1 })
  })

  it('with line ends of Windows', () => {
    expect(parse(FULL.replaceAll('\n', '\r\n')).config).toEqual(parse(FULL).config)
  })

  it('with multi-line commands, tabs within a line, and comments', () => {
    const text = `${MINIMAL}up: |\n  ip rule add x\n  echo "a\tb"\noffload: off\t# why\n`
    expect(parse(text).config.up).toEqual(['ip rule add x\necho "a\tb"\n'])
  })
})

describe('hostile files', () => {
  it.each([
    ['open brackets', '['.repeat(20_000)],
    ['closed brackets', '['.repeat(20_000) + ']'.repeat(20_000)],
    ['maps', '{a: '.repeat(20_000) + '}'.repeat(20_000)],
    ['lists', '- '.repeat(20_000)],
    ['explicit keys', '? '.repeat(20_000)],
    ['a full file of brackets', '['.repeat(CONFIG_BYTES_MAX)],
    ['indentation', Array.from({ length: 1_000 }, (_, i) => `${' '.repeat(i)}a:\n`).join('')],
  ])('nested deeply: %s', (_, text) => {
    const start = performance.now()
    expect(messagesOf(() => parse(text))).toMatch(
      /^\/etc\/plait\/a.yaml:\d+:\d+: nested deeper than 32 levels/,
    )
    expect(performance.now() - start).toBeLessThan(2_000)
  })

  it('a bomb of aliases', () => {
    const levels = Array.from(
      { length: 9 },
      (_, i) => `l${i + 1}: &l${i + 1} [${`*l${i}, `.repeat(9)}]\n`,
    ).join('')
    const text = `l0: &l0 [${'lol, '.repeat(9)}]\n${levels}`
    expect(messagesOf(() => parse(text))).toContain('a.yaml:1:9: &l0 is an anchor')
  })

  it('many faults are counted, not all told', () => {
    const lines = messagesOf(() => parse('a: [\n'.repeat(100_000))).split('\n')
    expect(lines.length).toBeLessThan(30)
    const zeros = messagesOf(() => parse('\u0000'.repeat(100_000))).split('\n')
    expect(zeros.length).toBeLessThan(30)
  })

  it('any bytes give a configuration or faults', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(messagesOf(() => parse(bytes))).not.toBe('')
      }),
      { numRuns: 500 },
    )
  })

  it('any mutation of a good file gives a configuration or faults', () => {
    const piece = fc.constantFrom(
      ...[
        '[',
        ']',
        '{',
        '}',
        ':',
        ': ',
        '- ',
        '\n',
        '  ',
        '"',
        "'",
        '|',
        '>',
        '&a',
        '*a',
        '!!x',
        '#',
        '\t',
        '0',
        '-1',
      ],
      ...[
        '~',
        '%',
        '@',
        '`',
        '?',
        ',',
        '<<',
        '__proto__: 1\n',
        '---\n',
        '...\n',
        '1e400',
        '.nan',
        '\u2028',
        '\ud800',
      ],
    )
    const edit = fc.tuple(fc.nat(FULL.length), fc.nat(8), fc.oneof(piece, fc.string({ maxLength: 6 })))
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 5 }), (edits) => {
        let text = FULL
        for (const [at, cut, insert] of edits) text = text.slice(0, at) + insert + text.slice(at + cut)
        let faults = ''
        try {
          parse(text)
        } catch (error) {
          if (!(error instanceof OperatorErrors)) {
            // A key file under another name is asked for: that is the test's own refusal.
            if (!String(error).includes('to include')) throw error
          } else faults = error.message
        }
        if (faults !== '')
          for (const line of faults.split('\n')) expect(line).toMatch(/^\/etc\/plait\/a\.yaml:\d+:\d+: /)
      }),
      { numRuns: 1_500 },
    )
  })

  it('any value at any key gives a configuration or faults', () => {
    const value = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.constantFrom('::', '1.2.3.4/0', '9'.repeat(400), '-', '/'),
    )
    const keys = [
      'name',
      'addresses',
      'private-key',
      'listen',
      'mtu',
      'public-key',
      'endpoint',
      'allowed-ips',
      'device',
    ]
    const more = [
      'source',
      'weight',
      'keepalive',
      'default-route',
      'constructor',
      '__proto__',
      'toString',
      '',
    ]
    const entry = fc.dictionary(fc.constantFrom(...keys, ...more), value)
    const file = fc.record({
      interface: entry,
      peers: fc.array(entry),
      links: fc.array(entry),
      up: value,
      control: value,
    })
    fc.assert(
      fc.property(file, (data) => {
        messagesOf(() => parse(JSON.stringify(data)))
      }),
      { numRuns: 500 },
    )
    expect(({} as Record<string, unknown>)['name']).toBeUndefined()
  })
})

describe('files on disk', () => {
  let folder = ''
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), `plait-${randomBytes(4).toString('hex')}-`))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  it('reads the file and its key file beside it', () => {
    const file = join(folder, 'a.yaml')
    writeFileSync(file, MINIMAL.replace(`private-key: ${PRIVATE}`, 'private-key-file: k'), { mode: 0o644 })
    writeFileSync(join(folder, 'k'), PRIVATE, { mode: 0o600 })
    expect(encodeKey(loadConfig(file).config.interface.privateKey)).toBe(PRIVATE)
    chmodSync(join(folder, 'k'), 0o604)
    expect(messagesOf(() => loadConfig(file))).toContain(
      `${file}:1:31: the key file ${folder}/k may be read by others`,
    )
    writeFileSync(join(folder, 'big'), 'x'.repeat(100_000), { mode: 0o600 })
    rmSync(join(folder, 'k'))
    symlinkSync(join(folder, 'big'), join(folder, 'k'))
    expect(messagesOf(() => loadConfig(file))).toContain('holds no key')
  })

  it('refuses a file of 20 MB at once, and what is no file', () => {
    const file = join(folder, 'a.yaml')
    writeFileSync(file, MINIMAL)
    truncateSync(file, 20_000_000)
    const start = performance.now()
    expect(messagesOf(() => loadConfig(file))).toContain(`${file}: the file is larger than 1 MiB`)
    expect(performance.now() - start).toBeLessThan(1_000)
    expect(messagesOf(() => loadConfig(folder))).toMatch(/cannot be read \((EISDIR|not a regular file)\)/)
    expect(messagesOf(() => loadConfig('/dev/zero'))).toContain('cannot be read (not a regular file)')
    expect(messagesOf(() => loadConfig(join(folder, 'none')))).toContain('cannot be read (ENOENT)')
  })
})
