import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LabError } from './lab-error.js'
import { trySync } from './processes.js'

/** Each run has a folder here with its owner and, below it, everything the run needs to keep. */
const STATE_ROOT = '/run/plait-lab'
/** Namespaces of a run all begin with this, the run's suffix and a dash. */
const NAMESPACE_PREFIX = 'plait-'

/** Field 22 of /proc/PID/stat: when the process started, in ticks since boot. With the pid it names one process. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

function ownerAlive(folder: string): boolean {
  try {
    const [pid, started] = readFileSync(join(folder, 'owner'), 'utf8').trim().split(' ')
    return startTime(Number(pid)) === started
  } catch {
    // No owner file yet: the folder is being made, or its maker died in between.
    return false
  }
}

/**
 * What one run leaves in the system, by name: its folder under /run and its namespaces, which all carry its suffix.
 * The suffix is recorded before the first namespace is made, so that a run ended by SIGKILL at any moment can be
 * swept by the next one. Devices and emulators go with their namespace.
 */
export class LabState {
  private constructor(
    readonly suffix: string,
    readonly folder: string,
  ) {}

  static create(): LabState {
    const suffix = randomBytes(3).toString('hex')
    const folder = join(STATE_ROOT, suffix)
    try {
      mkdirSync(STATE_ROOT, { recursive: true, mode: 0o700 })
      mkdirSync(folder, { mode: 0o700 })
      writeFileSync(join(folder, 'owner'), `${process.pid} ${startTime(process.pid)}\n`)
    } catch (error) {
      throw new LabError(`${folder}: cannot keep the lab's state there: ${(error as Error).message}`)
    }
    const state = new LabState(suffix, folder)
    process.once('exit', state.atExit)
    return state
  }

  /** Whatever way this process ends that lets it still say so, nothing stays behind. */
  private readonly atExit = (): void => removeRun(this.suffix)

  namespace(name: string): string {
    return `${NAMESPACE_PREFIX}${this.suffix}-${name}`
  }

  path(name: string): string {
    return join(this.folder, name)
  }

  /** Ends every process in the run's namespaces, removes them and the folder. May be called again. */
  remove(): void {
    removeRun(this.suffix)
    process.removeListener('exit', this.atExit)
  }
}

function namespacesOf(suffix: string): string[] {
  try {
    return readdirSync('/run/netns').filter((name) => name.startsWith(`${NAMESPACE_PREFIX}${suffix}-`))
  } catch {
    return []
  }
}

function removeRun(suffix: string): void {
  const namespaces = namespacesOf(suffix)
  for (const namespace of namespaces) {
    const pids = trySync('ip', ['netns', 'pids', namespace]).split('\n').filter(Boolean).map(Number)
    for (const pid of pids) {
      try {
        if (pid !== process.pid) process.kill(pid, 'SIGKILL')
      } catch {
        // It has ended by itself meanwhile.
      }
    }
  }
  for (const namespace of namespaces) trySync('ip', ['netns', 'delete', namespace])
  if (namespacesOf(suffix).length === 0) rmSync(join(STATE_ROOT, suffix), { recursive: true, force: true })
}

/** Removes what runs left whose process is no longer there. Returns how many there were. */
export function sweepDeadRuns(): number {
  if (!existsSync(STATE_ROOT)) return 0
  let swept = 0
  for (const suffix of readdirSync(STATE_ROOT)) {
    if (!/^[0-9a-f]{6}$/.test(suffix) || ownerAlive(join(STATE_ROOT, suffix))) continue
    if (!existsSync(join(STATE_ROOT, suffix, 'owner')) && isFresh(suffix)) continue
    removeRun(suffix)
    swept++
  }
  return swept
}

/** A folder without an owner yet may belong to a run that is starting this very moment. */
function isFresh(suffix: string): boolean {
  const made = Number(trySync('stat', ['-c', '%Y', join(STATE_ROOT, suffix)]))
  return Date.now() / 1000 - made < 5
}
