import { readSync } from 'node:fs'

/** What a verb writes to and reads from; a test gives its own. */
export interface Terminal {
  out(text: string): void
  err(text: string): void
  /** Everything on standard input, up to 64 KiB. */
  stdin(): string
  readonly isInteractive: boolean
}

const STDIN_BYTES_MAX = 65_536

export const realTerminal: Terminal = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  stdin() {
    const buffer = Buffer.alloc(STDIN_BYTES_MAX)
    let length = 0
    while (length < buffer.length) {
      const count = readSync(0, buffer, length, buffer.length - length, null)
      if (count === 0) break
      length += count
    }
    return buffer.toString('utf8', 0, length)
  },
  isInteractive: process.stdout.isTTY === true,
}
