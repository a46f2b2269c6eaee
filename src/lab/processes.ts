import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { LabError } from './lab-error.js'

/** Runs a program to its end. Throws a LabError with what it said when it fails. */
export function runSync(program: string, args: readonly string[], input?: string): string {
  const result = spawnSync(program, args, { encoding: 'utf8', ...(input === undefined ? {} : { input }) })
  if (result.error) throw new LabError(`cannot run ${program}: ${result.error.message}`)
  if (result.status !== 0) {
    const said = `${result.stderr}${result.stdout}`.trim().split('\n').slice(-3).join('; ')
    throw new LabError(`${program} ${args.join(' ')} failed: ${said}`)
  }
  return result.stdout
}

/** The same without a fault: for taking down what may already be gone. */
export function trySync(program: string, args: readonly string[]): string {
  return spawnSync(program, args, { encoding: 'utf8', timeout: 10_000 }).stdout ?? ''
}

/** A program that runs beside us: what it wrote, and how it ended. */
export class Task {
  readonly child: ChildProcess
  stdout = ''
  stderr = ''
  /** Set once it has ended. */
  exit: { code: number | null; signal: NodeJS.Signals | null } | undefined
  /** Resolves when it has ended and all it wrote is here. Never rejects. */
  readonly ended: Promise<void>
  private readonly lineListeners: ((line: string) => void)[] = []
  private partial = ''

  constructor(
    readonly program: string,
    readonly args: readonly string[],
    readonly limit = 64 << 20,
  ) {
    this.child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stdin!.on('error', () => {})
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => this.take(text))
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-65_536)
    })
    this.ended = new Promise((resolve) => {
      this.child.on('error', (error) => {
        this.stderr += error.message
        this.exit = { code: 127, signal: null }
        resolve()
      })
      this.child.on('close', (code, signal) => {
        this.exit = { code, signal }
        resolve()
      })
    })
  }

  private take(text: string): void {
    if (this.stdout.length < this.limit) this.stdout += text
    if (this.lineListeners.length === 0) return
    const lines = (this.partial + text).split('\n')
    this.partial = lines.pop()!
    for (const line of lines) for (const listener of this.lineListeners) listener(line)
  }

  onLine(listener: (line: string) => void): void {
    this.lineListeners.push(listener)
  }

  kill(signal: NodeJS.Signals): void {
    if (!this.exit) this.child.kill(signal)
  }

  /** Asks it to end, and makes it end after `patienceMs`. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', patienceMs = 2000): Promise<void> {
    this.kill(signal)
    const timer = setTimeout(() => this.kill('SIGKILL'), patienceMs)
    await this.ended
    clearTimeout(timer)
  }

  /** What it said last, for messages. */
  get lastWords(): string {
    const text = this.stderr.trim() || this.stdout.trim()
    return text.split('\n').slice(-3).join('; ').slice(-600)
  }
}

/** A program inside a network namespace. `ip netns exec` becomes the program, so the task's pid is the program's. */
export function taskIn(namespace: string, program: string, args: readonly string[]): Task {
  return new Task('ip', ['netns', 'exec', namespace, program, ...args])
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Waits until `condition` holds; false when it did not within `timeoutMs`. */
export async function waitUntil(condition: () => boolean, timeoutMs: number, stepMs = 20): Promise<boolean> {
  const end = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > end) return false
    await delay(stepMs)
  }
  return true
}

/** The clock all the lab's records share: CLOCK_MONOTONIC, ns. */
export function monotonicNs(): number {
  return Number(process.hrtime.bigint())
}
