/** IP addresses and networks as text: RFC 4291 section 2.2 for IPv6, RFC 5952 for writing it. */

export interface IpAddress {
  readonly family: 4 | 6
  /** 4 or 16 bytes in network order. */
  readonly bytes: Uint8Array
}

/** A network, or an address with the length of its prefix: host bits may be set. */
export interface Cidr extends IpAddress {
  /** Length of the prefix, 0..32 or 0..128. */
  readonly bits: number
}

/** One UDP end as the operator writes it. */
export interface HostPort {
  /** A name, or the text of the address without brackets. */
  readonly host: string
  readonly port: number
  /** Set when `host` is an address and nothing is to be resolved. */
  readonly address: IpAddress | undefined
}

/**
 * Reads an address; undefined if it is none. IPv4 needs four decimal parts without leading zeros (else 010 would be
 * octal for some and decimal for others). An IPv4-mapped IPv6 address (::ffff:1.2.3.4) is the IPv4 address it means.
 * Zones (fe80::1%eth0) are not taken.
 */
export function parseIpAddress(text: string): IpAddress | undefined {
  if (!text.includes(':')) {
    const bytes = parseIpv4(text)
    return bytes === undefined ? undefined : { family: 4, bytes }
  }
  const bytes = parseIpv6(text)
  if (bytes === undefined) return undefined
  return isIpv4Mapped(bytes) ? { family: 4, bytes: bytes.slice(12) } : { family: 6, bytes }
}

/** Reads `address/bits`; undefined if it is none. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/')
  if (slash < 0) return undefined
  const bitsText = text.slice(slash + 1)
  if (!/^(0|[1-9]\d{0,2})$/.test(bitsText)) return undefined
  const bits = Number(bitsText)
  const addressText = text.slice(0, slash)
  const address = parseIpAddress(addressText)
  if (address === undefined) return undefined
  if (address.family === 4 && addressText.includes(':')) {
    // An IPv4-mapped network counts its prefix from the start of the IPv6 form.
    return bits < 96 || bits > 128 ? undefined : { ...address, bits: bits - 96 }
  }
  return bits > address.bytes.length * 8 ? undefined : { ...address, bits }
}

/** Reads `host:port` or `[v6]:port`, port 1..65535; undefined if it is none. */
export function parseHostPort(text: string): HostPort | undefined {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  if (match === null) return undefined
  const port = Number(match[3])
  if (port < 1 || port > 65_535) return undefined
  if (match[1] !== undefined) {
    const bytes = parseIpv6(match[1])
    return bytes === undefined ? undefined : { host: match[1], port, address: parseIpAddress(match[1]) }
  }
  const host = match[2]!
  const address = parseIpAddress(host)
  // A name whose last label is a number would be taken for an address by some resolvers: it must be one (RFC 3696).
  if (address === undefined && (!isHostName(host) || /(^|\.)\d+\.?$/.test(host))) return undefined
  return { host, port, address }
}

export function formatIpAddress(address: IpAddress): string {
  if (address.family === 4) return address.bytes.join('.')
  const words: number[] = []
  for (let i = 0; i < 16; i += 2) words.push((address.bytes[i]! << 8) | address.bytes[i + 1]!)
  // The longest run of at least two zero words becomes "::", the first one of equal runs.
  let runStart = -1
  let runLength = 1
  for (let i = 0; i < 8; i++) {
    let length = 0
    while (i + length < 8 && words[i + length] === 0) length++
    if (length > runLength) {
      runStart = i
      runLength = length
    }
  }
  const hex = words.map((word) => word.toString(16))
  if (runStart < 0) return hex.join(':')
  return `${hex.slice(0, runStart).join(':')}::${hex.slice(runStart + runLength).join(':')}`
}

export function formatCidr(cidr: Cidr): string {
  return `${formatIpAddress(cidr)}/${cidr.bits}`
}

export function formatHostPort(end: HostPort): string {
  return end.host.includes(':') ? `[${end.host}]:${end.port}` : `${end.host}:${end.port}`
}

/** The network that `cidr` lies in: its host bits set to 0. */
export function networkOf(cidr: Cidr): Cidr {
  const bytes = cidr.bytes.slice()
  for (let bit = cidr.bits; bit < bytes.length * 8; bit++) bytes[bit >> 3]! &= ~(0x80 >> (bit & 7))
  return { family: cidr.family, bytes, bits: cidr.bits }
}

export function hasHostBits(cidr: Cidr): boolean {
  const network = networkOf(cidr)
  return cidr.bytes.some((byte, i) => byte !== network.bytes[i])
}

export function cidrContains(cidr: Cidr, address: IpAddress): boolean {
  if (cidr.family !== address.family) return false
  for (let bit = 0; bit < cidr.bits; bit++) {
    const mask = 0x80 >> (bit & 7)
    if ((cidr.bytes[bit >> 3]! & mask) !== (address.bytes[bit >> 3]! & mask)) return false
  }
  return true
}

/** 0.0.0.0 or ::. */
export function isUnspecified(address: IpAddress): boolean {
  return address.bytes.every((byte) => byte === 0)
}

/** Letters, digits, hyphen, underscore and dots, labels of 1..63, 253 in all. */
function isHostName(text: string): boolean {
  if (text.length > 253) return false
  const name = text.endsWith('.') ? text.slice(0, -1) : text
  return name.split('.').every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label))
}

function parseIpv4(text: string): Uint8Array | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)
  if (match === null) return undefined
  const bytes = new Uint8Array(4)
  for (let i = 0; i < 4; i++) {
    const part = match[i + 1]!
    if (Number(part) > 255 || (part.length > 1 && part.startsWith('0'))) return undefined
    bytes[i] = Number(part)
  }
  return bytes
}

function parseIpv6(text: string): Uint8Array | undefined {
  let rest = text
  const tail: number[] = []
  const lastColon = text.lastIndexOf(':')
  if (text.includes('.')) {
    const v4 = parseIpv4(text.slice(lastColon + 1))
    if (v4 === undefined) return undefined
    tail.push((v4[0]! << 8) | v4[1]!, (v4[2]! << 8) | v4[3]!)
    rest = text.slice(0, lastColon)
    // "::1.2.3.4" leaves ":", which stands for "::".
    if (rest.endsWith(':')) rest += ':'
    else if (rest === '') return undefined
  }
  const halves = rest.split('::')
  if (halves.length > 2) return undefined
  const head = parseWords(halves[0]!)
  const after = halves.length === 2 ? parseWords(halves[1]!) : []
  if (head === undefined || after === undefined) return undefined
  const given = head.length + after.length + tail.length
  // "::" stands for at least one word of zeros.
  if (halves.length === 2 ? given > 7 : given !== 8) return undefined
  const words = [...head, ...new Array<number>(8 - given).fill(0), ...after, ...tail]
  const bytes = new Uint8Array(16)
  words.forEach((word, i) => {
    bytes[2 * i] = word >> 8
    bytes[2 * i + 1] = word & 0xff
  })
  return bytes
}

function parseWords(text: string): number[] | undefined {
  if (text === '') return []
  const words: number[] = []
  for (const part of text.split(':')) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined
    words.push(Number.parseInt(part, 16))
  }
  return words
}

function isIpv4Mapped(bytes: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false
  return bytes[10] === 0xff && bytes[11] === 0xff
}
