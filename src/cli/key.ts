import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { OperatorError } from '../base/errors.js'
import { clamp, decodeKey, encodeKey, KEY_BYTES, publicKeyOf } from '../config/keys.js'
import type { Terminal } from './terminal.js'

/** `plait key new [FILE]` */
export function keyNew(file: string | undefined, terminal: Terminal): void {
  const key = clamp(randomBytes(KEY_BYTES))
  if (file === undefined) {
    terminal.out(`${encodeKey(key)}\n`)
    return
  }
  writeKeyFile(file, key)
  terminal.out(`${encodeKey(publicKeyOf(key))}\n`)
}

/** `plait key public [FILE]` */
export function keyPublic(file: string | undefined, terminal: Terminal): void {
  if (file !== undefined && decodeKey(file) !== undefined) {
    throw new OperatorError('keyFile', 'a key is given where the file that holds it is expected', {
      remedy: 'the command line is seen by others and kept by shells: make a new one with plait key new FILE',
    })
  }
  const where = file ?? 'standard input'
  let text: string
  try {
    text = file === undefined ? terminal.stdin() : readFileSync(file, 'latin1')
  } catch (error) {
    throw new OperatorError('keyFile', `${where} cannot be read (${codeOf(error)})`)
  }
  const key = decodeKey(text.trim())
  if (key === undefined) {
    throw new OperatorError('keyFile', `${where} holds no key, expected 32 bytes in base64 (44 characters)`, {
      remedy: 'plait key new | plait key public',
    })
  }
  terminal.out(`${encodeKey(publicKeyOf(key))}\n`)
}

/** `plait key psk [FILE]` */
export function keyPsk(file: string | undefined, terminal: Terminal): void {
  const key = randomBytes(KEY_BYTES)
  if (file === undefined) terminal.out(`${encodeKey(key)}\n`)
  else writeKeyFile(file, key)
}

/** A key that is there is never overwritten: the tunnel that uses it would be lost. */
function writeKeyFile(file: string, key: Uint8Array): void {
  try {
    const fd = openSync(file, 'wx', 0o600)
    try {
      writeSync(fd, `${encodeKey(key)}\n`)
      fsyncSync(fd)
    } catch (error) {
      // An empty file would be in the way of the next try.
      rmSync(file, { force: true })
      throw error
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    const code = codeOf(error)
    if (code === 'EEXIST') {
      throw new OperatorError('keyFile', `${file} is there already and is not overwritten`, {
        remedy: 'give another name, or remove it first',
      })
    }
    throw new OperatorError('keyFile', `${file} cannot be written (${code})`, {
      remedy: 'check the folder and its mode',
    })
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error)
}
