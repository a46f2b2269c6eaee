import { OperatorError } from '../base/errors.js'

/** Faults of one kind beyond these are not listed. */
const FAULTS_MAX = 20

/** The text of a file, or undefined after faults: what is no clean UTF-8 text is not looked into any further. */
export function decodeText(bytes: Uint8Array, file: string, faults: OperatorError[]): string | undefined {
  const first = { file, line: 1, column: 1 }
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    faults.push(new OperatorError('configEncoding', 'the file is UTF-16, expected UTF-8', { place: first }))
    return undefined
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    const at = firstInvalidByte(bytes)
    const before = new TextDecoder().decode(bytes.subarray(0, at))
    const place = { file, ...positionOf(before, before.length) }
    const words = `the byte 0x${bytes[at]!.toString(16).padStart(2, '0')} is not UTF-8, expected UTF-8 text`
    faults.push(new OperatorError('configEncoding', words, { place }))
    return undefined
  }
  if (text.startsWith('\ufeff')) {
    const words = 'the file begins with a byte order mark, expected UTF-8 without it'
    faults.push(new OperatorError('configEncoding', words, { place: first }))
    return undefined
  }
  const before = faults.length
  findControlCharacters(text, file, faults)
  findTabs(text, file, faults)
  return faults.length === before ? text : undefined
}

function findControlCharacters(text: string, file: string, faults: OperatorError[]): void {
  // A carriage return belongs before a line feed and nowhere else.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const pattern = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u0080-\u009f]|\r(?!\n)/g
  let count = 0
  for (const match of text.matchAll(pattern)) {
    if (++count > FAULTS_MAX) return
    const code = match[0].charCodeAt(0)
    const name = code === 0 ? 'a NUL byte' : `the control character 0x${code.toString(16).padStart(2, '0')}`
    const place = { file, ...positionOf(text, match.index) }
    faults.push(new OperatorError('configControlCharacter', `${name}, expected text`, { place }))
  }
}

function findTabs(text: string, file: string, faults: OperatorError[]): void {
  let count = 0
  for (const match of text.matchAll(/^( *)\t/gm)) {
    if (++count > FAULTS_MAX) return
    const place = { file, ...positionOf(text, match.index + match[1]!.length) }
    faults.push(new OperatorError('configTab', 'a tab in the indentation, expected spaces', { place }))
  }
}

/** Line and column from 1 of an offset. */
function positionOf(text: string, offset: number): { line: number; column: number } {
  let line = 1
  let start = 0
  for (let i = text.indexOf('\n'); i >= 0 && i < offset; i = text.indexOf('\n', i + 1)) {
    line++
    start = i + 1
  }
  return { line, column: offset - start + 1 }
}

/** Offset of the first byte that is no UTF-8; the caller knows that there is one. */
function firstInvalidByte(bytes: Uint8Array): number {
  // Decoding a prefix as a stream fails exactly if the prefix holds a wrong byte; an unfinished character is no fault.
  const isGood = (end: number): boolean => {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, end), { stream: true })
      return true
    } catch {
      return false
    }
  }
  let good = 0
  let bad = bytes.length + 1
  while (bad - good > 1) {
    const middle = (good + bad) >> 1
    if (isGood(middle)) good = middle
    else bad = middle
  }
  // Where a character was left unfinished, it is its first byte that is wrong.
  let at = Math.min(good, bytes.length - 1)
  if (good > at || !isComplete(bytes.subarray(0, at))) while (at > 0 && bytes[at]! < 0xc0) at--
  return at
}

function isComplete(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return true
  } catch {
    return false
  }
}
