import { CONFIG_TABLE, type Field, type Fields, type Key } from './schema.js'

/** docs/config.md, from the table of keys. */
export function configManual(): string {
  const sections = Object.entries(CONFIG_TABLE as Fields)
  const single = sections.filter((entry): entry is [string, Key<unknown>] => entry[1].kind === 'key')
  const groups = sections.filter(([, field]) => field.kind !== 'key')
  return `${[INTRODUCTION, ...groups.map(([name, field]) => group(name, field)), general(single)].join('\n\n')}\n`
}

const INTRODUCTION = `# Configuration

<!-- Written from the table in src/config/schema.ts by \`node dist/src/config/write-manual.js\`; a test compares them. -->

A tunnel is one YAML file: \`plait check FILE\` tells whether it is good, \`plait up FILE\` starts it. Begin with an
example: [client](../config/client.yaml), [server](../config/server.yaml),
[two sites](../config/site-to-site-a.yaml) ([the other](../config/site-to-site-b.yaml)).

- At most 1 MiB, UTF-8 without byte order mark, indented by spaces. Anchors, aliases and tags of YAML are not taken.
- Faults are reported all at once as \`file:line:column: what, expected, hint\`, and the exit status is 2.
- A value with a unit needs its unit: \`keepalive: 25\` is a fault, \`keepalive: 25s\` is not. Where a list is taken, a
  single value may be written without brackets.
- An IPv6 address with a port stands in brackets and, for YAML, in quotes: \`"[2001:db8::1]:51820"\`.
- A key is 32 bytes in base64, as WireGuard writes it. A file that holds a secret must be readable by its owner only
  (mode 0600), be it a key file or this file.`

function group(name: string, field: Field): string {
  if (field.kind === 'key') return ''
  const title =
    field.kind === 'section'
      ? `## \`${name}\`\n\n${field.doc}`
      : `## \`${name}\`\n\nA list, ${field.required ? '1 to' : 'at most'} ${field.max} entries. ${field.doc}`
  return `${title}\n\n${table(Object.entries(field.fields).filter(isKey))}`
}

function general(keys: readonly [string, Key<unknown>][]): string {
  return `## At the top of the file\n\n${table(keys)}`
}

function isKey(entry: [string, Field]): entry is [string, Key<unknown>] {
  return entry[1].kind === 'key'
}

function table(keys: readonly [string, Key<unknown>][]): string {
  const rows = keys.map(([name, key]) => {
    const type = [key.type.name, key.type.unit === undefined ? '' : `(${key.type.unit})`]
      .filter(Boolean)
      .join(' ')
    return `| \`${name}\` | ${type} | ${defaultOf(key)} | ${key.type.range ?? ''} | ${key.doc} |`
  })
  return ['| key | type (units) | default | range | |', '| --- | --- | --- | --- | --- |', ...rows].join('\n')
}

function defaultOf(key: Key<unknown>): string {
  if (key.required) return '**needed**'
  if (key.defaultDoc !== undefined) return key.defaultDoc
  if (key.default === undefined || (Array.isArray(key.default) && key.default.length === 0)) return 'none'
  return `\`${String(key.default)}\``
}
