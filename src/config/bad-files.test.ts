import { describe, expect, it } from 'vitest'
import { OperatorErrors } from '../base/errors.js'
import { encodeKey, publicKeyOf } from './keys.js'
import { parseConfig } from './load.js'

const PRIVATE = encodeKey(new Uint8Array(32).fill(8))
const OWN = encodeKey(publicKeyOf(new Uint8Array(32).fill(8)))
const PUBLIC = encodeKey(publicKeyOf(new Uint8Array(32).fill(16)))
const OTHER = encodeKey(publicKeyOf(new Uint8Array(32).fill(24)))

/** A good file; every case changes one thing of it. */
const GOOD = `interface:
  name: plait0
  addresses: [10.7.0.2/24, fd07::2/64]
  private-key: ${PRIVATE}
peers:
  - name: server
    public-key: ${PUBLIC}
    endpoint: vpn.example.net:51820
    allowed-ips: [10.7.0.0/24, 192.168.0.0/16]
links:
  - name: dsl
    device: eth0
  - name: lte
    device: wwan0
    weight: 2
`
const KEY_FILES: Record<string, { text: string; mode: number }> = {
  '/etc/plait/good.key': { text: `${PRIVATE}\n`, mode: 0o600 },
  '/etc/plait/open.key': { text: `${PRIVATE}\n`, mode: 0o644 },
  '/etc/plait/group.key': { text: `${PRIVATE}\n`, mode: 0o640 },
  '/etc/plait/short.key': { text: 'AAAA\n', mode: 0o600 },
}

function faultsOf(bytes: Uint8Array | string, mode = 0o600): string[] {
  const content = { bytes: typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes, mode }
  try {
    parseConfig(content, '/etc/plait/a.yaml', (path) => {
      const file = KEY_FILES[path]
      if (file === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
      return { bytes: new TextEncoder().encode(file.text), mode: file.mode }
    })
    return []
  } catch (error) {
    if (!(error instanceof OperatorErrors)) throw error
    expect(error.exitStatus).toBe(2)
    return error.faults.map((fault) => fault.message.replace('/etc/plait/a.yaml:', ''))
  }
}

/** Replaces text of the good file, which must be there. */
function change(...pairs: [string, string][]): string {
  return pairs.reduce((text, [from, to]) => {
    expect(text).toContain(from)
    return text.replace(from, to)
  }, GOOD)
}

/** Name, changes of the good file, and the faults: each begins with line:column and has all parts separated by "…". */
type Case = [name: string, changes: [string, string][], ...faults: string[]]

const CASES: Case[] = [
  // keys
  [
    'unknown key at the top',
    [['peers:', 'color: red\npeers:']],
    '5:1: "color" is not known at the top, expected interface, scheduler…hint: remove it',
  ],
  [
    'unknown key, near to a known one',
    [['addresses:', 'adresses:']],
    '3:3: "adresses" is not known in interface…hint: did you mean addresses?',
  ],
  [
    'snake case',
    [['private-key:', 'private_key:']],
    '1:1: interface has no private key',
    '4:3: "private_key" is not known…did you mean private-key?',
  ],
  [
    'camel case',
    [['allowed-ips:', 'allowedIps:']],
    '6:5: peers[1].allowed-ips is missing',
    '9:5: "allowedIps"…did you mean allowed-ips?',
  ],
  [
    'key in the wrong section',
    [['links:', 'mtu: 1400\nlinks:']],
    '10:1: "mtu" is not known at the top…hint: mtu belongs under interface',
  ],
  [
    'key in the wrong list',
    [['    weight: 2', '    endpoint: a:1']],
    '15:5: "endpoint" is not known in links[2]…endpoint belongs into a peer of peers',
  ],
  ['__proto__', [['links:', '__proto__: {name: x}\nlinks:']], '10:1: "__proto__" is not known at the top'],
  ['constructor', [['  name: plait0', '  constructor: 1']], '2:3: "constructor" is not known in interface'],
  [
    'duplicate section',
    [['links:', 'interface: {}\nlinks:']],
    '10:1: "interface" is given twice in the same section, expected once, hint: keep one',
  ],
  ['duplicate key', [['    weight: 2', '    weight: 2\n    weight: 3']], '16:5: "weight" is given twice'],
  ['merge key', [['    weight: 2', '    <<: {weight: 2}']], '15:5: "<<" is not known in links[2]'],
  ['key that is a list', [['    weight: 2', '    ? [a]\n    : 1']], '15:7: a key that is no word'],
  [
    'no private key',
    [[`  private-key: ${PRIVATE}\n`, '']],
    '1:1: interface has no private key, expected private-key or private-key-file, hint: make one with: plait key new FILE',
  ],
  [
    'no public key',
    [[`    public-key: ${PUBLIC}\n`, '']],
    '6:5: peers[1].public-key is missing…hint: add public-key: to peers[1]',
  ],
  ['no device', [['    device: eth0\n', '']], '11:5: links[1].device is missing'],
  [
    'no peers',
    [[GOOD.slice(GOOD.indexOf('peers:'), GOOD.indexOf('links:')), '']],
    '1:1: peers is missing, expected a list of peers',
  ],
  [
    'empty peers',
    [[GOOD.slice(GOOD.indexOf('peers:'), GOOD.indexOf('links:')), 'peers: []\n']],
    '5:8: peers has no entry, expected a list of peers',
  ],
  // types
  [
    'interface is a text',
    [[GOOD.slice(0, GOOD.indexOf('peers:')), 'interface: eth0\n']],
    '1:12: interface is "eth0", expected the keys name, addresses',
  ],
  [
    'peers is a section',
    [['  - name: server', '    name: server']],
    '6:5: peers is a section of keys, expected a list of peers, hint: begin each entry with "- "',
  ],
  [
    'link is a word',
    [['  - name: dsl\n    device: eth0\n', '  - eth0\n']],
    '11:5: links[1] is "eth0", expected the keys name, device',
  ],
  [
    'nothing after a key',
    [['    weight: 2', '    weight:']],
    '15:5: links[2].weight is empty, expected number, hint: give it a value, or remove the line',
  ],
  ['number as name', [['name: plait0', 'name: 7']], '2:9: interface.name is 7…hint: put it in quotes: "7"'],
  [
    'weight in quotes',
    [['weight: 2', 'weight: "2"']],
    '15:13: links[2].weight is "2", expected a number from 0.01 to 1000, hint: remove the quotes',
  ],
  [
    'yes',
    [['    endpoint:', '    default-route: yes\n    endpoint:']],
    '8:20: peers[1].default-route is "yes", expected true or false, hint: write true',
  ],
  [
    'mtu in words',
    [['name: plait0', 'mtu: big']],
    '2:8: interface.mtu is "big", expected a whole number from 1280 to 1900',
  ],
  [
    'list where one is wanted',
    [['device: eth0', 'device: [eth0, eth1]']],
    '12:13: links[1].device is a list, expected a network device',
  ],
  ['the file is a list', [[GOOD, '- a\n']], '1:1: the file is a list, expected the sections'],
  ['the file is a word', [[GOOD, 'hello\n']], '1:1: the file is "hello", expected the sections'],
  // ranges
  [
    'mtu too small',
    [['name: plait0', 'mtu: 1279']],
    '2:8: interface.mtu is 1279, expected a whole number from 1280 to 1900',
  ],
  ['mtu with a fraction', [['name: plait0', 'mtu: 1400.5']], '2:8: interface.mtu is 1400.5'],
  [
    'weight nil',
    [['weight: 2', 'weight: 0']],
    '15:13: links[2].weight is 0, expected a number from 0.01 to 1000',
  ],
  ['weight not a number', [['weight: 2', 'weight: .nan']], '15:13: links[2].weight is NaN'],
  [
    'name too long',
    [['name: plait0', 'name: plait0123456789a']],
    '2:9: interface.name is "plait0123456789a"…hint: Linux allows 15 characters',
  ],
  [
    'name with a slash',
    [['name: plait0', 'name: a/b']],
    '2:9: interface.name is "a/b", expected a device name',
  ],
  ['name taken by sysctl', [['name: plait0', 'name: all']], '2:9: interface.name is "all"'],
  [
    'nine links',
    [
      [
        GOOD.slice(GOOD.indexOf('links:')),
        `links:\n${Array.from({ length: 9 }, (_, i) => `  - device: e${i}\n`).join('')}`,
      ],
    ],
    '11:3: links has 9 entries, expected at most 8',
  ],
  [
    'unknown scheduler',
    [['peers:', 'scheduler: fastest\npeers:']],
    '5:12: scheduler is "fastest", expected one of adaptive, weighted, redundant',
  ],
  [
    'offload false',
    [['peers:', 'offload: false\npeers:']],
    '5:10: offload is false, expected one of auto, off, hint: write off',
  ],
  [
    'relative control socket',
    [['peers:', 'control: plait.sock\npeers:']],
    '5:10: control is "plait.sock"…hint: begin it with /',
  ],
  ['empty command', [['peers:', 'up: " "\npeers:']], '5:5: up is " ", expected a command'],
  ['empty entry', [['peers:', 'up:\n  - a\n  -\npeers:']], '6:3: up[2] is empty, expected command'],
  // units
  [
    'bare duration',
    [['    endpoint:', '    keepalive: 25\n    endpoint:']],
    '8:16: peers[1].keepalive is 25, a bare number, expected a duration like 500ms, 2s or 5m, hint: the unit is missing: write 25s',
  ],
  [
    'bare duration in quotes',
    [['    endpoint:', '    keepalive: "25"\n    endpoint:']],
    '8:16: peers[1].keepalive is 25, a bare number',
  ],
  [
    'unknown unit',
    [['    endpoint:', '    keepalive: 2sec\n    endpoint:']],
    '8:16: peers[1].keepalive is "2sec"…hint: the units are us, ms, s, m, h',
  ],
  [
    'duration out of range',
    [['    endpoint:', '    keepalive: 1ms\n    endpoint:']],
    '8:16: peers[1].keepalive is 1ms, expected a duration from 100ms to 1m',
  ],
  [
    'negative duration',
    [['    endpoint:', '    keepalive: -1s\n    endpoint:']],
    '8:16: peers[1].keepalive is "-1s"',
  ],
  [
    'bare rekey time',
    [['peers:', 'testing: {rekey-after: 2}\npeers:']],
    '5:24: testing.rekey-after is 2, a bare number',
  ],
  [
    'bare port',
    [['name: plait0', 'listen: 51820']],
    '2:11: interface.listen is 51820, a bare number, expected an address and port…hint: write "0.0.0.0:51820" or "[::]:51820"',
  ],
  [
    'port alone',
    [['name: plait0', 'listen: ":51820"']],
    '2:11: interface.listen is ":51820"…hint: write "0.0.0.0:51820" or "[::]:51820"',
  ],
  // addresses
  [
    'no prefix length',
    [['10.7.0.2/24', '10.7.0.2']],
    '3:15: interface.addresses[1] is "10.7.0.2"…hint: write 10.7.0.2/32 for the one address',
  ],
  [
    'prefix too long',
    [['10.7.0.2/24', '10.7.0.2/33']],
    '3:15: interface.addresses[1] is "10.7.0.2/33"…hint: the prefix length is 0 to 32',
  ],
  [
    'netmask',
    [['192.168.0.0/16', '192.168.0.0/255.255.0.0']],
    '9:32: peers[1].allowed-ips[2]…the prefix length is a number, not a mask',
  ],
  ['byte above 255', [['10.7.0.2/24', '10.7.0.256/24']], '3:15: interface.addresses[1] is "10.7.0.256/24"'],
  ['bad IPv6', [['fd07::2/64', 'fd07:::2/64']], '3:28: interface.addresses[2] is "fd07:::2/64"'],
  [
    'host bits in IPv4',
    [['192.168.0.0/16', '192.168.1.0/16']],
    '9:32: peers[1].allowed-ips[2] is 192.168.1.0/16, which has bits set beyond its prefix…hint: write 192.168.0.0/16, or 192.168.1.0/32 for the one address',
  ],
  [
    'host bits in IPv6',
    [['192.168.0.0/16', 'fd00::1/64']],
    '9:32: peers[1].allowed-ips[2] is fd00::1/64, which has bits set…hint: write fd00::/64, or fd00::1/128',
  ],
  ['address twice', [['fd07::2/64', '10.7.0.2/24']], '3:28: 10.7.0.2/24 is an address already'],
  [
    'endpoint without port',
    [['vpn.example.net:51820', 'vpn.example.net']],
    '8:15: peers[1].endpoint is "vpn.example.net"…hint: the port is missing: "vpn.example.net:51820"',
  ],
  [
    'endpoint with port 0',
    [['net:51820', 'net:0']],
    '8:15: peers[1].endpoint is "vpn.example.net:0"…hint: the port is 1 to 65535',
  ],
  [
    'IPv6 endpoint without brackets',
    [['vpn.example.net:51820', '2001:db8::1:51820']],
    '8:15: peers[1].endpoint…hint: IPv6 in brackets',
  ],
  [
    'second endpoint',
    [['vpn.example.net:51820', '[192.0.2.1:1, "192.0.2.1.5:2"]']],
    '8:29: peers[1].endpoint[2] is "192.0.2.1.5:2", expected host:port',
  ],
  [
    'IPv6 not in quotes',
    [['name: plait0', 'listen: [::]:51820']],
    '2:15: Unexpected scalar…hint: put an IPv6 address in quotes: "[::]:51820"',
  ],
  [
    'name to listen on',
    [['name: plait0', 'listen: localhost:1']],
    '2:11: interface.listen is "localhost:1"…hint: a name cannot be listened on',
  ],
  [
    'source with prefix',
    [['    weight: 2', '    source: 10.0.0.1/24']],
    '15:13: links[2].source is "10.0.0.1/24"…hint: without the prefix length',
  ],
  [
    'source with zone',
    [['    weight: 2', '    source: fe80::1%eth0']],
    '15:13: links[2].source…hint: without the zone',
  ],
  // secrets and key files
  [
    'key too short',
    [[PUBLIC, 'abcd']],
    '7:17: peers[1].public-key has 4 characters and is no key, expected 32 bytes in base64 (44 characters)',
  ],
  ['key in hex', [[PRIVATE, 'ab'.repeat(32)]], '4:16: interface.private-key has 64 characters and is no key'],
  [
    'key with spare bits',
    [[PUBLIC, `${'A'.repeat(42)}B=`]],
    '7:17: peers[1].public-key has 44 characters and is no key',
  ],
  [
    'key file missing',
    [[`private-key: ${PRIVATE}`, 'private-key-file: none.key']],
    '4:21: the key file /etc/plait/none.key cannot be read (ENOENT)',
  ],
  [
    'key file readable by all',
    [[`private-key: ${PRIVATE}`, 'private-key-file: open.key']],
    '4:21: the key file /etc/plait/open.key may be read by others (mode 0644), expected mode 0600, hint: chmod 600 /etc/plait/open.key',
  ],
  [
    'key file readable by the group',
    [[`private-key: ${PRIVATE}`, 'private-key-file: /etc/plait/group.key']],
    '4:21: the key file /etc/plait/group.key may be read by others (mode 0640)',
  ],
  [
    'key file without a key',
    [[`private-key: ${PRIVATE}`, 'private-key-file: short.key']],
    '4:21: the key file /etc/plait/short.key holds no key',
  ],
  [
    'key for the name of its file',
    [[`private-key: ${PRIVATE}`, `private-key-file: ${OTHER}`]],
    '4:21: private-key-file is a key itself, expected the name of the file that holds it, hint: write private-key for a key in this file',
  ],
  [
    'key twice',
    [['peers:', '  private-key-file: good.key\npeers:']],
    '5:3: private-key and private-key-file are both given, expected one of them',
  ],
  [
    'psk twice',
    [['    endpoint:', `    preshared-key: ${OTHER}\n    preshared-key-file: good.key\n    endpoint:`]],
    '9:5: preshared-key and preshared-key-file are both given',
  ],
  [
    'psk file missing',
    [['    endpoint:', '    preshared-key-file: none.key\n    endpoint:']],
    '8:25: the key file /etc/plait/none.key cannot be read',
  ],
  // conflicts
  ['own public key', [[PUBLIC, OWN]], "7:17: peers[1].public-key is this end's own public key"],
  ['own private key as public', [[PUBLIC, PRIVATE]], "7:17: peers[1].public-key is this end's private key"],
  ['key all zero', [[PUBLIC, `${'A'.repeat(43)}=`]], '7:17: peers[1].public-key is all zero'],
  [
    'peer twice',
    [['links:', `  - public-key: ${PUBLIC}\n    endpoint: b:1\n    allowed-ips: 10.9.0.0/24\nlinks:`]],
    '10:17: peers[2].public-key is that of the peer in line 7 too',
  ],
  [
    'allowed IP of two peers',
    [
      [
        'links:',
        `  - public-key: ${OTHER}\n    endpoint: b:1\n    allowed-ips: [10.7.0.0/25, 192.168.0.0/16]\nlinks:`,
      ],
    ],
    '12:32: 192.168.0.0/16 is an allowed IP of another peer already (line 9)…hint: nested networks are fine',
  ],
  [
    'allowed IP twice',
    [['192.168.0.0/16', '10.7.0.0/24']],
    '9:32: 10.7.0.0/24 is an allowed IP of this peer already',
  ],
  [
    'allowed IP of two peers, written differently',
    [
      [
        'links:',
        `  - public-key: ${OTHER}\n    endpoint: b:1\n    allowed-ips: "::ffff:10.7.0.0/120"\nlinks:`,
      ],
    ],
    '12:18: 10.7.0.0/24 is an allowed IP of another peer already',
  ],
  [
    'peer name twice',
    [
      [
        'links:',
        `  - public-key: ${OTHER}\n    name: server\n    endpoint: b:1\n    allowed-ips: 10.9.0.0/24\nlinks:`,
      ],
    ],
    '11:11: peers[2].name is "server" as in line 6',
  ],
  [
    'link name twice',
    [['name: lte', 'name: dsl']],
    '13:11: links[2].name is "dsl" as in line 11, expected another name',
  ],
  [
    'device twice',
    [['device: wwan0', 'device: eth0']],
    '14:13: links[2].device is "eth0" as in line 12…hint: one device is one link',
  ],
  [
    'tunnel through itself',
    [['device: wwan0', 'device: plait0']],
    "14:13: links[2].device is the tunnel's own device",
  ],
  [
    'default route without network',
    [['    endpoint:', '    default-route: true\n    endpoint:']],
    '8:20: peers[1].default-route is true, expected 0.0.0.0/0 or ::/0',
  ],
  [
    'nobody can begin',
    [['    endpoint: vpn.example.net:51820\n', '']],
    '6:5: peers[1] has no endpoint and this end does not listen…hint: add endpoint: HOST:PORT, or interface.listen',
  ],
  [
    'more paths than there are ids',
    [['    endpoint: vpn.example.net:51820', `    endpoint: [${'a.net:1, '.repeat(8)}b.net:1]`]],
    '8:5: 9 endpoints over 2 links are 18 paths, expected at most 16, hint: name fewer endpoints',
  ],
  [
    'listening at one address beside links',
    [['  name: plait0', '  listen: "192.0.2.1:51820"\n  name: plait0']],
    '2:11: interface.listen is at 192.0.2.1 beside links, expected every address, hint: write 0.0.0.0:51820 or "[::]:51820", and source: for a link\'s own address',
  ],
  [
    'listening at two ports beside links',
    [['  name: plait0', '  listen: ["0.0.0.0:1", "[::]:1", "0.0.0.0:2"]\n  name: plait0']],
    '2:35: interface.listen is at port 2 beside links and at 1 before, expected one port',
  ],
  [
    'neither links nor listen',
    [[GOOD.slice(GOOD.indexOf('links:')), '']],
    '1:1: there are neither links nor interface.listen',
  ],
  // the text itself
  ['empty', [[GOOD, '']], '1:1: the file says nothing'],
  ['comments only', [[GOOD, '# nothing\n\n']], '1:1: the file says nothing'],
  ['null', [[GOOD, '~\n']], '1:1: the file says nothing'],
  ['NUL', [['plait0', 'pla\u0000it0']], '2:12: a NUL byte, expected text'],
  ['escape character', [['plait0', '\u001b[31m']], '2:9: the control character 0x1b'],
  ['carriage return alone', [['plait0\n', 'plait0\r']], '2:15: the control character 0x0d'],
  ['byte order mark', [['interface:', '\ufeffinterface:']], '1:1: the file begins with a byte order mark'],
  ['tab', [['  name: plait0', '\tname: plait0']], '2:1: a tab in the indentation, expected spaces'],
  [
    'tabs after spaces',
    [
      ['    device: eth0', '  \tdevice: eth0'],
      ['    device: wwan0', '\t\tdevice: wwan0'],
    ],
    '12:3: a tab in the indentation',
    '14:1: a tab in the indentation',
  ],
  ['bracket not closed', [['fd07::2/64]', 'fd07::2/64']], '4:3: Flow sequence in block collection must'],
  [
    'wrong indentation',
    [['  addresses:', ' addresses:']],
    '3:1: All mapping items must start at the same column',
    '4:1: All mapping items',
  ],
  ['quote not closed', [['name: plait0', 'name: "plait0']], '16:1: Missing closing "quote'],
  ['two documents', [['peers:', '---\npeers:']], '5:1: a second document begins'],
  ['anchor', [['device: eth0', 'device: &a eth0']], '12:16: &a is an anchor…hint: write the value out'],
  [
    'alias',
    [
      ['device: eth0', 'device: &a eth0'],
      ['device: wwan0', 'device: *a'],
    ],
    '12:16: &a is an anchor',
    '14:13: *a is an alias',
  ],
  ['tag', [['device: eth0', 'device: !!str eth0']], '12:19: tag:yaml.org,2002:str is a tag'],
  ['unknown tag', [['device: eth0', 'device: !dev eth0']], '12:13: Unresolved tag: !dev'],
]

describe('a bad file is refused with its places', () => {
  it('starts from a good one', () => expect(faultsOf(GOOD)).toEqual([]))
  it('has enough cases', () => expect(CASES.length).toBeGreaterThanOrEqual(60))

  it.each(CASES)('%s', (_, changes, ...expected) => {
    const found = faultsOf(change(...changes))
    expect(found, found.join('\n')).toHaveLength(expected.length)
    expected.forEach((parts, i) => {
      const [first, ...others] = parts.split('…')
      const message = found[i]!
      expect(message).toMatch(/^\d+:\d+: .*, expected .*, hint: ./s)
      expect(message.slice(0, first!.length)).toBe(first)
      for (const part of others) expect(message).toContain(part)
    })
  })

  it('reports faults of every kind at once, in the order of the file', () => {
    const text = change(
      ['plait0', 'a/b'],
      ['10.7.0.2/24', '10.7.0.2'],
      [PUBLIC, OWN],
      ['wwan0', 'eth0'],
      ['weight: 2', 'wait: 2'],
    )
    expect(faultsOf(text, 0o644).map((fault) => fault.split(' ')[0])).toEqual([
      '2:9:',
      '3:15:',
      '4:3:',
      '7:17:',
      '14:13:',
      '15:5:',
    ])
  })

  it('refuses an inline secret that others may read', () => {
    expect(faultsOf(GOOD, 0o644)).toEqual([
      expect.stringContaining('4:3: private-key stands in a file that others may read (mode 0644)'),
    ])
    const text = change(
      [`private-key: ${PRIVATE}`, 'private-key-file: good.key'],
      ['    endpoint:', `    preshared-key: ${OTHER}\n    endpoint:`],
    )
    expect(faultsOf(text, 0o640)).toEqual([expect.stringContaining('8:5: preshared-key stands in a file')])
    expect(faultsOf(change([`private-key: ${PRIVATE}`, 'private-key-file: good.key']), 0o644)).toEqual([])
  })

  it('never shows a secret', () => {
    const text = change(
      [PRIVATE, `${PRIVATE.slice(0, -2)}x`],
      ['    endpoint:', `    preshared-key: ${OTHER.slice(1)}\n    endpoint:`],
    )
    const all = faultsOf(text).join('\n')
    expect(all).not.toContain(PRIVATE.slice(0, 20))
    expect(all).not.toContain(OTHER.slice(1, 20))
  })

  it('finds the byte that is not UTF-8', () => {
    const bytes = new TextEncoder().encode(change(['plait0', 'öplait0']))
    bytes[bytes.indexOf(0xb6)] = 0x20
    expect(faultsOf(bytes)).toEqual([
      expect.stringMatching(/^2:9: the byte 0xc3 is not UTF-8, expected UTF-8 text/),
    ])
    expect(faultsOf(new Uint8Array([0x61, 0x0a, 0xe2, 0x82]))).toEqual([
      expect.stringContaining('is not UTF-8'),
    ])
    expect(faultsOf(new Uint8Array([0xff, 0xfe, 0x61, 0]))).toEqual([
      expect.stringContaining('1:1: the file is UTF-16'),
    ])
  })
})
