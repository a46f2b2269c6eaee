import type { ErrorCode } from '../base/errors.js'
import {
  type Cidr,
  formatCidr,
  type HostPort,
  hasHostBits,
  type IpAddress,
  networkOf,
  parseCidr,
  parseHostPort,
  parseIpAddress,
} from '../base/ip-address.js'
import { decodeKey } from './keys.js'
import { formatQuantity, parseQuantity, type Unit } from './units.js'

/** What is wrong with one value. The text is said after the key's name: "interface.mtu" + " is 99". */
export interface ValueFault {
  readonly code: ErrorCode
  readonly text: string
  readonly expected: string
  readonly hint?: string | undefined
  /** Index within a list. */
  readonly index?: number | undefined
}

/** A kind of value: how it is read, and what the manual says of it. */
export interface ValueType<T> {
  /** Its name in docs/config.md. */
  readonly name: string
  /** Its unit in docs/config.md, if it has one. */
  readonly unit?: string
  /** Its range in docs/config.md. */
  readonly range?: string
  /** The value, or undefined after at least one fault. `value` is never undefined and never null. */
  parse(value: unknown, fault: (fault: ValueFault) => void): T | undefined
}

export function text(options: {
  name: string
  expected: string
  pattern: RegExp
  range?: string
  hint?: (value: string) => string | undefined
}): ValueType<string> {
  return {
    name: options.name,
    ...(options.range === undefined ? {} : { range: options.range }),
    parse(value, fault) {
      if (!isText(value, options.expected, fault)) return undefined
      if (options.pattern.test(value)) return value
      fault({
        code: 'configBadValue',
        text: `is ${show(value)}`,
        expected: options.expected,
        hint: options.hint?.(value),
      })
      return undefined
    },
  }
}

export function oneOf<const T extends string>(values: readonly T[]): ValueType<T> {
  const expected = `one of ${values.join(', ')}`
  return {
    name: values.join(' \\| '),
    parse(value, fault) {
      if (typeof value === 'string' && (values as readonly string[]).includes(value)) return value as T
      // YAML 1.1 habits: an unquoted off may have been "corrected" to false by an editor.
      const hint = value === false && (values as readonly string[]).includes('off') ? 'write off' : undefined
      fault({ code: 'configBadValue', text: `is ${show(value)}`, expected, hint })
      return undefined
    },
  }
}

export const boolean: ValueType<boolean> = {
  name: 'true \\| false',
  parse(value, fault) {
    if (typeof value === 'boolean') return value
    const word = typeof value === 'string' ? value.toLowerCase() : ''
    const hint = ['yes', 'on'].includes(word)
      ? 'write true'
      : ['no', 'off'].includes(word)
        ? 'write false'
        : undefined
    fault({ code: 'configWrongType', text: `is ${show(value)}`, expected: 'true or false', hint })
    return undefined
  },
}

export function number(options: { from: number; to: number; whole: boolean }): ValueType<number> {
  const range = `${options.from} to ${options.to}`
  const expected = `a ${options.whole ? 'whole ' : ''}number from ${range}`
  return {
    name: options.whole ? 'whole number' : 'number',
    range,
    parse(value, fault) {
      if (typeof value !== 'number') {
        const hint =
          typeof value === 'string' && /^\d+(\.\d+)?$/.test(value) ? 'remove the quotes' : undefined
        fault({ code: 'configWrongType', text: `is ${show(value)}`, expected, hint })
        return undefined
      }
      const fits = value >= options.from && value <= options.to && (!options.whole || Number.isInteger(value))
      if (fits) return value
      fault({ code: 'configBadValue', text: `is ${value}`, expected })
      return undefined
    },
  }
}

export function quantity(unit: Unit, name: string, options: { from: number; to: number }): ValueType<number> {
  const range = `${formatQuantity(options.from, unit)} to ${formatQuantity(options.to, unit)}`
  const expected = `${unit.what} like ${unit.example}`
  return {
    name,
    unit: Object.keys(unit.suffixes).join(', '),
    range,
    parse(value, fault) {
      const parsed = typeof value === 'string' ? parseQuantity(value, unit) : undefined
      if (typeof value === 'number' || parsed === 'bare') {
        const written = Object.keys(unit.suffixes).includes('s')
          ? `${value}s`
          : `${value}${Object.keys(unit.suffixes)[0]}`
        const hint = `the unit is missing: write ${written} if that is what you mean`
        fault({ code: 'configBareNumber', text: `is ${value}, a bare number`, expected, hint })
      } else if (typeof value !== 'string') {
        fault({ code: 'configWrongType', text: `is ${show(value)}`, expected })
      } else if (parsed === undefined) {
        const hint = `the units are ${Object.keys(unit.suffixes).join(', ')}`
        fault({ code: 'configBadValue', text: `is ${show(value)}`, expected, hint })
      } else if ((parsed as number) < options.from || (parsed as number) > options.to) {
        fault({ code: 'configBadValue', text: `is ${value}`, expected: `${unit.what} from ${range}` })
      } else return parsed as number
      return undefined
    },
  }
}

/** A key of 32 bytes in base64. Its text never goes into a message. */
export const key: ValueType<Uint8Array> = {
  name: 'key',
  parse(value, fault) {
    const expected = '32 bytes in base64 (44 characters)'
    if (typeof value !== 'string') {
      fault({
        code: 'configWrongType',
        text: `is ${kindOf(value)}`,
        expected,
        hint: 'make one with: plait key new',
      })
      return undefined
    }
    const bytes = decodeKey(value)
    if (bytes !== undefined) return bytes
    fault({
      code: 'configBadValue',
      text: `has ${value.length} characters and is no key`,
      expected,
      hint: 'see plait key --help',
    })
    return undefined
  },
}

export const ipAddress: ValueType<IpAddress> = {
  name: 'IP address',
  parse(value, fault) {
    const expected = 'an IP address like 192.0.2.7 or 2001:db8::7'
    if (!isText(value, expected, fault)) return undefined
    const parsed = parseIpAddress(value)
    if (parsed !== undefined) return parsed
    const hint = value.includes('/')
      ? 'without the prefix length'
      : value.includes('%')
        ? 'without the zone'
        : undefined
    fault({ code: 'configBadValue', text: `is ${show(value)}`, expected, hint })
    return undefined
  },
}

/** A network (`host: false`, host bits must be 0) or an address with its prefix length (`host: true`). */
export function cidr(options: { host: boolean }): ValueType<Cidr> {
  const example = options.host ? '10.7.0.2/24 or fd07::2/64' : '10.7.0.0/24 or fd07::/64'
  const expected = `${options.host ? 'an address with prefix length' : 'a network'} like ${example}`
  return {
    name: options.host ? 'address/bits' : 'network/bits',
    parse(value, fault) {
      if (!isText(value, expected, fault)) return undefined
      const parsed = parseCidr(value)
      if (parsed === undefined) {
        fault({ code: 'configBadValue', text: `is ${show(value)}`, expected, hint: cidrHint(value) })
        return undefined
      }
      if (!options.host && hasHostBits(parsed)) {
        const hint = `write ${formatCidr(networkOf(parsed))}, or ${formatCidr({ ...parsed, bits: parsed.bytes.length * 8 })} for the one address`
        fault({
          code: 'configBadValue',
          text: `is ${value}, which has bits set beyond its prefix`,
          expected,
          hint,
        })
        return undefined
      }
      return parsed
    },
  }
}

function cidrHint(value: string): string | undefined {
  const address = parseIpAddress(value)
  if (address !== undefined) return `write ${value}/${address.bytes.length * 8} for the one address`
  const bits = /\/(\d+)$/.exec(value)
  const base = parseIpAddress(value.replace(/\/.*$/, ''))
  if (bits !== null && base !== undefined) return `the prefix length is 0 to ${base.bytes.length * 8}`
  if (base !== undefined) return 'the prefix length is a number, not a mask'
  return undefined
}

/** `host:port`; with `addressOnly` the host must be an IP address. */
export function hostPort(options: { addressOnly: boolean }): ValueType<HostPort> {
  const expected = options.addressOnly
    ? 'an address and port like "0.0.0.0:51820" or "[::]:51820"'
    : 'host:port like vpn.example.net:51820, 192.0.2.1:51820 or "[2001:db8::1]:51820"'
  return {
    name: options.addressOnly ? 'address:port' : 'host:port',
    range: 'port 1 to 65535',
    parse(value, fault) {
      if (typeof value === 'number') {
        const hint = options.addressOnly
          ? `write "0.0.0.0:${value}" or "[::]:${value}"`
          : 'the host is missing'
        fault({ code: 'configBareNumber', text: `is ${value}, a bare number`, expected, hint })
        return undefined
      }
      if (!isText(value, expected, fault)) return undefined
      const parsed = parseHostPort(value)
      if (parsed === undefined) {
        fault({ code: 'configBadValue', text: `is ${show(value)}`, expected, hint: hostPortHint(value) })
      } else if (options.addressOnly && parsed.address === undefined) {
        fault({
          code: 'configBadValue',
          text: `is ${show(value)}`,
          expected,
          hint: 'a name cannot be listened on',
        })
      } else return parsed
      return undefined
    },
  }
}

function hostPortHint(value: string): string | undefined {
  if (/^:\d+$/.test(value)) return `write "0.0.0.0${value}" or "[::]${value}"`
  if (parseIpAddress(value)?.family === 6)
    return `IPv6 in brackets, and the port is missing: "[${value}]:51820"`
  const last = value.lastIndexOf(':')
  const head = value.slice(0, Math.max(0, last))
  if (parseIpAddress(head)?.family === 6) return `IPv6 in brackets: "[${head}]${value.slice(last)}"`
  if (last < 0) return `the port is missing: "${value}:51820"`
  if (/^\d+$/.test(value.slice(last + 1)) && head !== '') {
    const port = Number(value.slice(last + 1))
    if (port < 1 || port > 65_535) return 'the port is 1 to 65535'
  }
  return undefined
}

/** A list, or one value for a list of one. */
export function list<T>(item: ValueType<T>, options: { max: number; min?: number }): ValueType<T[]> {
  const min = options.min ?? 0
  const range = [item.range, `${min > 0 ? `${min} to ` : 'at most '}${options.max} entries`]
    .filter(Boolean)
    .join('; ')
  return {
    name: `${item.name}, or a list`,
    ...(item.unit === undefined ? {} : { unit: item.unit }),
    range,
    parse(value, fault) {
      const values = Array.isArray(value) ? value : [value]
      if (values.length > options.max || values.length < min) {
        const expected = min > 0 ? `${min} to ${options.max} entries` : `at most ${options.max} entries`
        fault({ code: 'configBadValue', text: `has ${values.length} entries`, expected })
        return undefined
      }
      const result: T[] = []
      values.forEach((entry, index) => {
        const report = (inner: ValueFault): void => fault({ ...inner, index })
        if (entry === null || entry === undefined) {
          report({ code: 'configWrongType', text: 'is empty', expected: item.name, hint: 'remove the entry' })
          return
        }
        const parsed = item.parse(entry, report)
        if (parsed !== undefined) result.push(parsed)
      })
      return result
    },
  }
}

function isText(value: unknown, expected: string, fault: (fault: ValueFault) => void): value is string {
  if (typeof value === 'string') return true
  const hint =
    typeof value === 'number' || typeof value === 'boolean' ? `put it in quotes: "${value}"` : undefined
  fault({ code: 'configWrongType', text: `is ${show(value)}`, expected, hint })
  return false
}

/** A value in a message: short, on one line. */
export function show(value: unknown): string {
  if (typeof value !== 'string')
    return value === null || typeof value === 'object' ? kindOf(value) : String(value)
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value)
}

/** What a value is, for people. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'empty'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a section of keys'
  if (typeof value === 'string') return 'a text'
  return `a ${typeof value}`
}
