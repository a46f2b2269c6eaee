import { z } from 'zod'
import { DURATION } from './units.js'
import {
  boolean,
  cidr,
  hostPort,
  ipAddress,
  key,
  list,
  number,
  oneOf,
  quantity,
  text,
  type ValueFault,
  type ValueType,
} from './value-types.js'

/** One key of the configuration. */
export interface Key<T> {
  readonly kind: 'key'
  readonly type: ValueType<NonNullable<T>>
  readonly required: boolean
  /** As it would be written in the file; undefined: none. */
  readonly default: unknown
  /** What the manual says in place of a plain default. */
  readonly defaultDoc?: string
  readonly doc: string
}
/** A group of keys; a list of such groups has `entry`, the word for one of them, and a limit. */
export interface Section<F extends Fields> {
  readonly kind: 'section'
  readonly doc: string
  readonly fields: F
}
export interface SectionList<F extends Fields> {
  readonly kind: 'sections'
  readonly doc: string
  readonly entry: string
  readonly max: number
  readonly required: boolean
  readonly fields: F
}
export type Field = Key<unknown> | Section<Fields> | SectionList<Fields>
export interface Fields {
  readonly [name: string]: Field
}

const interfaceName = text({
  name: 'device name',
  expected: 'a device name of 1 to 15 letters, digits, ".", "_" or "-"',
  range: '1 to 15 characters',
  // "." and ".." would be folders of /sys, "all" and "default" are taken by sysctl.
  pattern: /^(?!\.{1,2}$|all$|default$|lo$)[A-Za-z0-9_.-]{1,15}$/,
  hint: (value) => (value.length > 15 ? 'Linux allows 15 characters' : undefined),
})
const linkDevice = text({
  name: 'device name',
  expected: 'a network device like eth0',
  range: '1 to 15 characters',
  pattern: /^(?!\.{1,2}$)[^\s/:\p{C}]{1,15}$/u,
  hint: (value) => (value.length > 15 ? 'Linux allows 15 characters; see ip link for the names' : undefined),
})
const label = text({
  name: 'word',
  expected: 'a word of 1 to 32 letters, digits, ".", "_" or "-"',
  range: '1 to 32 characters',
  pattern: /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$/,
})
const filePath = text({
  name: 'file',
  expected: 'the path of a file',
  range: '1 to 4095 characters',
  pattern: /^[^\p{Cc}]{1,4095}$/u,
})
const socketPath = text({
  name: 'file',
  expected: 'an absolute path of at most 107 characters',
  range: 'at most 107 characters',
  pattern: /^\/[^\p{C}]{1,106}$/u,
  hint: (value) => (value.startsWith('/') ? undefined : 'begin it with /'),
})
const command = text({
  name: 'command',
  expected: 'a command for the shell',
  range: '1 to 4096 characters',
  pattern: /^(?=[\s\S]*\S)[\s\S]{1,4096}$/,
})

/** THE table of the configuration: every key with type, unit, default, range and what it is for. */
export const CONFIG_TABLE = {
  interface: section('This end of the tunnel: its device, its key, its addresses.', {
    name: defaulted(
      interfaceName,
      'plait0',
      'Name of the TUN device, and of this tunnel in `plait status NAME`.',
    ),
    addresses: defaulted(
      list(cidr({ host: true }), { max: 64 }),
      [],
      'Addresses of the TUN device, IPv4 and IPv6. The prefix gives a route to the network it names.',
    ),
    'private-key': optional(
      key,
      'Private key of this end, from `plait key new`. The file must not be readable by others then. One of `private-key` and `private-key-file` is needed.',
    ),
    'private-key-file': optional(
      filePath,
      'File with the private key, not readable by others; a relative path starts at the folder of this file.',
    ),
    listen: defaulted(
      list(hostPort({ addressOnly: true }), { max: 8 }),
      [],
      'Where other ends reach this one. Without it a free port is taken and only this end can begin. With `links` it is one port, at every address, on which every link receives.',
    ),
    mtu: optional(
      number({ from: 1280, to: 1900, whole: true }),
      'The most that the MTU of the TUN device may be; it is less where a path carries less.',
      "1440, or 1420 when any endpoint or `listen` is IPv6; less by as much as a link's device has less than 1500",
    ),
  }),
  scheduler: defaulted(
    oneOf(['adaptive', 'weighted', 'redundant']),
    'adaptive',
    'How packets are spread over the paths. `adaptive`: by what each link is measured to carry; lost packets are sent again. `weighted`: by the weights of the links. `redundant`: every packet on every path, the first copy wins.',
  ),
  policy: defaulted(
    oneOf(['auto', 'bond']),
    'auto',
    "What transfers are tuned for. `auto`: a short delay, that of the fastest link for whatever it can carry; only a transfer that goes on for more than 8 s over links of different delay gets the slowest one's. `bond`: the sum from the first packet on also for senders that take a varying delay amiss (BBR beside a satellite); every transfer then sees the delay of the slowest link. Holds in both directions if either end asks for it.",
  ),
  peers: sections('peer', { max: 4096, required: true }, 'The other ends.', {
    name: optional(label, 'Name in status and log.', '`peer1`, `peer2`, ... by position'),
    'public-key': required(key, 'Public key of the peer: `plait key public` prints it at the other end.'),
    'preshared-key': optional(
      key,
      'A secret shared with this peer, from `plait key psk`, mixed into the handshake. The file must not be readable by others then.',
    ),
    'preshared-key-file': optional(filePath, 'File with the preshared key, not readable by others.'),
    endpoint: defaulted(
      list(hostPort({ addressOnly: false }), { max: 16 }),
      [],
      'Where the peer is reached, tried from every link. Left out: the peer begins, and its addresses are learnt.',
    ),
    'allowed-ips': required(
      list(cidr({ host: false }), { max: 65_536, min: 1 }),
      'Networks behind the peer: what is routed to it, and which sources are taken from it. Of nested networks on several peers the most specific wins.',
    ),
    'default-route': defaulted(
      boolean,
      false,
      'Whether `0.0.0.0/0` and `::/0` in `allowed-ips` become routes. Packets of the tunnel itself keep their way through the links.',
    ),
    keepalive: defaulted(
      quantity(DURATION, 'duration', { from: 100_000, to: 60_000_000 }),
      '1s',
      'How often an idle path is checked by a heartbeat. Longer saves volume on metered links and notices a dead idle link later.',
    ),
  }),
  links: sections(
    'link',
    { max: 8, required: false },
    'The ways out, one device each. Without any, packets leave as the routing table says: enough for a server with one uplink.',
    {
      name: optional(label, 'Name in status and log.', 'the name of the device'),
      device: required(linkDevice, 'Network device that the link is bound to.'),
      source: optional(ipAddress, 'Source address to use on the device.', 'chosen by the kernel'),
      weight: defaulted(
        number({ from: 0.01, to: 1000, whole: false }),
        1,
        'Share of this link under the `weighted` scheduler, relative to the others.',
      ),
    },
  ),
  up: defaulted(
    list(command, { max: 32 }),
    [],
    'Commands run by `/bin/sh -c` when device and routes are there (environment: docs/operating.md). A failure stops the start.',
  ),
  down: defaulted(
    list(command, { max: 32 }),
    [],
    'Commands run before device and routes go. A failure is logged.',
  ),
  control: optional(socketPath, 'Unix socket that `plait status` asks.', '`/run/plait/NAME.sock`'),
  offload: defaulted(
    oneOf(['auto', 'off']),
    'auto',
    'Segmentation and checksum offload of the kernel. `off` is for finding faults.',
  ),
  'log-level': defaulted(
    oneOf(['trace', 'debug', 'info', 'warn', 'error']),
    'info',
    'From which level on messages are written to standard error.',
  ),
  testing: section('Hooks for tests; nothing here belongs into a real configuration.', {
    'rekey-after': optional(
      quantity(DURATION, 'duration', { from: 100_000, to: 120_000_000 }),
      'Age of a session at which new keys are made.',
      '2m',
    ),
    cipher: optional(
      oneOf(['chacha20-poly1305']),
      'The only cipher offered for packets. One end is enough.',
      'AES-256-GCM where both processors have instructions for it, else ChaCha20-Poly1305',
    ),
  }),
} as const satisfies Fields

// ---- from the table: the types --------------------------------------------------------------------------------

type Camel<S extends string> = S extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : S
type ValueOf<F> =
  F extends Key<infer T>
    ? T
    : F extends Section<infer G>
      ? ShapeOf<G>
      : F extends SectionList<infer G>
        ? ShapeOf<G>[]
        : never
type ShapeOf<F extends Fields> = { [N in keyof F & string as Camel<N>]: ValueOf<F[N]> }

/** What the file says, after units and addresses are read and defaults filled in. */
export type RawConfig = ShapeOf<typeof CONFIG_TABLE>

/** What the program runs by: key files read, names filled in. */
export interface Config extends Omit<RawConfig, 'interface' | 'peers' | 'links' | 'control'> {
  interface: Omit<RawConfig['interface'], 'privateKey' | 'privateKeyFile'> & { privateKey: Uint8Array }
  peers: PeerConfig[]
  links: LinkConfig[]
  control: string
}
export type PeerConfig = Omit<RawConfig['peers'][number], 'name' | 'presharedKeyFile'> & { name: string }
export type LinkConfig = Omit<RawConfig['links'][number], 'name'> & { name: string }

// ---- from the table: the zod schema ---------------------------------------------------------------------------

/** The schema over kebab-case input; its output has the same keys (load.ts makes them camelCase). */
export const configSchema = sectionSchema(CONFIG_TABLE)

function sectionSchema(fields: Fields): z.ZodType {
  return z.strictObject(
    Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, fieldSchema(field)])),
  )
}

function fieldSchema(field: Field): z.ZodType {
  if (field.kind === 'section') return sectionSchema(field.fields).prefault({})
  if (field.kind === 'sections') {
    const entries = z.array(sectionSchema(field.fields)).max(field.max)
    return field.required ? entries.min(1) : entries.prefault([])
  }
  return keySchema(field)
}

function keySchema(field: Key<unknown>): z.ZodType {
  const schema = z.unknown().transform((value, context) => {
    let faults = 0
    const fault = (params: ValueFault): void => {
      faults++
      const path = params.index === undefined ? [] : [params.index]
      context.addIssue({ code: 'custom', message: params.text, path, params: { ...params } })
    }
    if (value === undefined) {
      if (field.required) fault({ code: 'configMissingKey', text: 'is missing', expected: field.type.name })
      return faults > 0 ? z.NEVER : undefined
    }
    if (value === null) {
      const hint = field.required ? undefined : 'give it a value, or remove the line'
      fault({ code: 'configWrongType', text: 'is empty', expected: field.type.name, hint })
      return z.NEVER
    }
    const parsed = field.type.parse(value, fault)
    return faults > 0 ? z.NEVER : parsed
  })
  if (field.required) return schema
  return field.default === undefined ? schema.optional() : schema.prefault(field.default)
}

// ---- words of the table ---------------------------------------------------------------------------------------

function required<T extends NonNullable<unknown>>(type: ValueType<T>, doc: string): Key<T> {
  return { kind: 'key', type: type as Key<T>['type'], required: true, default: undefined, doc }
}
function optional<T extends NonNullable<unknown>>(
  type: ValueType<T>,
  doc: string,
  defaultDoc?: string,
): Key<T | undefined> {
  const words = defaultDoc === undefined ? {} : { defaultDoc }
  return { kind: 'key', type: type as Key<T>['type'], required: false, default: undefined, doc, ...words }
}
function defaulted<T extends NonNullable<unknown>>(type: ValueType<T>, value: unknown, doc: string): Key<T> {
  return { kind: 'key', type: type as Key<T>['type'], required: false, default: value, doc }
}
function section<F extends Fields>(doc: string, fields: F): Section<F> {
  return { kind: 'section', doc, fields }
}
function sections<F extends Fields>(
  entry: string,
  options: { max: number; required: boolean },
  doc: string,
  fields: F,
): SectionList<F> {
  return { kind: 'sections', doc, entry, fields, ...options }
}
