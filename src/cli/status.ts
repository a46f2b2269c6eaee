import { setTimeout as sleep } from 'node:timers/promises'
import { ask, findSocket } from '../control/client.js'
import type { Snapshot } from '../core/snapshot.js'
import { renderStatus } from './status-table.js'
import type { Terminal } from './terminal.js'

const WATCH_MS = 1_000
/** Cursor home, then clear to the end: no flicker. */
const CLEAR = '\u001b[H\u001b[J'

export interface StatusOptions {
  json?: boolean
  watch?: boolean
  events?: boolean
  why?: boolean
}

/** `plait status [NAME]` */
export async function status(
  name: string | undefined,
  options: StatusOptions,
  terminal: Terminal,
): Promise<void> {
  const path = findSocket(name)
  let before: Snapshot | undefined
  for (;;) {
    const snapshot = await ask(path, 'status', {})
    if (options.json === true) terminal.out(`${JSON.stringify(snapshot)}\n`)
    else {
      const clear = options.watch === true && terminal.isInteractive ? CLEAR : ''
      terminal.out(
        clear +
          renderStatus(snapshot, { before, events: options.events === true, why: options.why === true }),
      )
    }
    if (options.watch !== true) return
    before = snapshot
    await sleep(WATCH_MS)
  }
}
