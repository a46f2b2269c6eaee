import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { OperatorError, OperatorErrors } from '../base/errors.js'
import { findConflicts } from './conflicts.js'
import { decodeText } from './decode-text.js'
import { schemaFault } from './faults.js'
import { decodeKey } from './keys.js'
import { type Path, type Places, readYaml } from './located.js'
import { type Config, configSchema, type RawConfig } from './schema.js'

export const CONFIG_BYTES_MAX = 1 << 20
/** A key file is one line; more than this is another file. */
const KEY_FILE_BYTES_MAX = 4096

export interface Loaded {
  readonly config: Config
  readonly places: Places
}

/** Bytes and mode bits of a file. */
export interface FileContent {
  readonly bytes: Uint8Array
  readonly mode: number
}

/** Reads at most `bytesMax` + 1 bytes of a file, so that the size of a wrong file does not matter. Throws as node:fs. */
export type ReadFile = (path: string, bytesMax: number) => FileContent

/**
 * Reads a configuration file and the key files it names.
 *
 * @throws OperatorErrors with all faults at once
 */
export function loadConfig(file: string): Loaded {
  let content: FileContent
  try {
    content = readBounded(file, CONFIG_BYTES_MAX)
  } catch (error) {
    const text = `the configuration file cannot be read (${reasonOf(error)}), expected a readable file`
    throw new OperatorErrors([new OperatorError('configUnreadable', text, { place: { file } })])
  }
  return parseConfig(content, file, readBounded)
}

/**
 * The configuration from the bytes of its file. Never throws anything but OperatorErrors, whatever the bytes.
 *
 * @param file its path, for messages and for relative key files
 * @param readFile reads key files
 * @throws OperatorErrors with all faults at once
 */
export function parseConfig(content: FileContent, file: string, readFile: ReadFile): Loaded {
  const faults: OperatorError[] = []
  if (content.bytes.length > CONFIG_BYTES_MAX) {
    const text = 'the file is larger than 1 MiB, expected a configuration file'
    throw new OperatorErrors([new OperatorError('configTooLarge', text, { place: { file } })])
  }
  const text = decodeText(content.bytes, file, faults)
  if (text === undefined) throw new OperatorErrors(faults)
  const { value, places } = readYaml(text, file, faults)
  if (value === undefined) throw new OperatorErrors(faults)

  const result = configSchema.safeParse(value)
  if (!result.success) for (const issue of result.error.issues) faults.push(...schemaFault(issue, places))
  const keys = resolveKeys(content.mode, file, places, readFile, faults)
  faults.push(...findConflicts(places, keys))
  if (faults.length > 0 || !result.success) throw new OperatorErrors(inOrder(faults))
  return { config: complete(camelCased(result.data) as RawConfig, keys), places }
}

/** The secrets of the configuration, wherever they stand; undefined where there is none or it has a fault. */
export interface Keys {
  readonly privateKey: Uint8Array | undefined
  readonly presharedKeys: readonly (Uint8Array | undefined)[]
}

function resolveKeys(
  mode: number,
  file: string,
  places: Places,
  readFile: ReadFile,
  faults: OperatorError[],
): Keys {
  const resolveKey = (name: string, ...section: Path): Uint8Array | undefined => {
    const inline = places.raw(...section, name)
    const fileName = places.raw(...section, `${name}-file`)
    if (typeof inline === 'string') {
      if ((mode & 0o077) !== 0) {
        const text = `${name} stands in a file that others may read (mode ${octal(mode)}), expected mode 0600`
        const options = {
          place: places.key(...section, name),
          remedy: `chmod 600 ${file}, or use ${name}-file`,
        }
        faults.push(new OperatorError('keyExposed', text, options))
      }
      return decodeKey(inline)
    }
    if (typeof fileName !== 'string' || fileName === '') return undefined
    const place = places.value(...section, `${name}-file`)
    if (decodeKey(fileName) !== undefined) {
      // Said without it: messages are copied and sent around.
      const text = `${name}-file is a key itself, expected the name of the file that holds it`
      faults.push(
        new OperatorError('keyFile', text, { place, remedy: `write ${name} for a key in this file` }),
      )
      return undefined
    }
    return readKeyFile(resolve(dirname(file), fileName), place, readFile, faults)
  }
  const peers = places.raw('peers')
  return {
    privateKey: resolveKey('private-key', 'interface'),
    presharedKeys: Array.isArray(peers) ? peers.map((_, i) => resolveKey('preshared-key', 'peers', i)) : [],
  }
}

function readKeyFile(
  path: string,
  place: OperatorError['place'],
  readFile: ReadFile,
  faults: OperatorError[],
): Uint8Array | undefined {
  const fault = (code: 'keyFile' | 'keyExposed', text: string, remedy?: string): undefined => {
    faults.push(new OperatorError(code, text, { place, ...(remedy === undefined ? {} : { remedy }) }))
  }
  let content: FileContent
  try {
    content = readFile(path, KEY_FILE_BYTES_MAX)
  } catch (error) {
    return fault(
      'keyFile',
      `the key file ${path} cannot be read (${reasonOf(error)}), expected a file with one key`,
    )
  }
  if ((content.mode & 0o077) !== 0) {
    const text = `the key file ${path} may be read by others (mode ${octal(content.mode)}), expected mode 0600`
    fault('keyExposed', text, `chmod 600 ${path}`)
  }
  const key = decodeKey(Buffer.from(content.bytes).toString('latin1').trim())
  if (key === undefined) {
    return fault('keyFile', `the key file ${path} holds no key, expected 32 bytes in base64 (44 characters)`)
  }
  return key
}

/** Names filled in, secrets in their places. */
function complete(raw: RawConfig, keys: Keys): Config {
  const { privateKeyFile: _, ...face } = raw.interface
  return {
    ...raw,
    interface: { ...face, privateKey: keys.privateKey! },
    peers: raw.peers.map(({ presharedKeyFile: _, ...peer }, i) => ({
      ...peer,
      name: peer.name ?? `peer${i + 1}`,
      presharedKey: keys.presharedKeys[i],
    })),
    links: raw.links.map((link) => ({ ...link, name: link.name ?? link.device })),
    control: raw.control ?? `/run/plait/${raw.interface.name}.sock`,
  }
}

/** kebab-case keys as camelCase, in plain objects and lists only. */
function camelCased(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camelCased)
  if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return value
  const camel = (name: string): string => name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [camel(name), camelCased(inner)]))
}

function inOrder(faults: readonly OperatorError[]): OperatorError[] {
  const lineOf = (fault: OperatorError): number => fault.place?.line ?? 0
  const columnOf = (fault: OperatorError): number => fault.place?.column ?? 0
  return [...faults].sort((a, b) => lineOf(a) - lineOf(b) || columnOf(a) - columnOf(b))
}

function readBounded(path: string, bytesMax: number): FileContent {
  const fd = openSync(path, 'r')
  try {
    const stat = fstatSync(fd)
    // A device or a pipe would never end, or block.
    if (!stat.isFile()) throw Object.assign(new Error('not a regular file'), { code: 'not a regular file' })
    const buffer = Buffer.alloc(Math.min(stat.size, bytesMax) + 1)
    let length = 0
    while (length < buffer.length) {
      const count = readSync(fd, buffer, length, buffer.length - length, null)
      if (count === 0) break
      length += count
    }
    return { bytes: new Uint8Array(buffer.subarray(0, length)), mode: stat.mode & 0o777 }
  } finally {
    closeSync(fd)
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : String(error)
}

function octal(mode: number): string {
  return (mode & 0o777).toString(8).padStart(4, '0')
}
