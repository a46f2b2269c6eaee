import { LabError } from './lab-error.js'
import { type DirectionModel, emulatorSettings, type Way } from './link-model.js'
import { Task } from './processes.js'
import { wanProgram } from './programs.js'
import { emulatorTrace, type RateTrace } from './rate-trace.js'

/** Counters of one direction since the start. Times the emulator ran late are of its own wake-ups. */
export interface WanCounters {
  inFrames: number
  inBytes: number
  outFrames: number
  outBytes: number
  droppedQueue: number
  droppedLoss: number
  droppedBlackhole: number
  droppedSize: number
  droppedMemory: number
  droppedWrite: number
  duplicated: number
  reordered: number
  waitingBytes: number
  waitingBytesMax: number
  inFlight: number
  rateBitsPerSec: number
  blackhole: boolean
  lateUsMax: number
  lateUsMean: number
}

export interface WanStats {
  nowNs: number
  cpuUs: number
  /** From the first end to the second. */
  ab: WanCounters
  ba: WanCounters
}

const DIRECTION: Record<Way | 'both', string> = { up: 'ab', down: 'ba', both: 'both' }

/** One emulated link: a plait-wan process and its two TAP devices. It ends with us, whatever becomes of us. */
export class WanLink {
  private readonly answers: ((line: string) => void)[] = []
  private constructor(private readonly task: Task) {
    task.onLine((line) => this.answers.shift()?.(line))
    void task.ended.then(() => {
      for (const answer of this.answers.splice(0)) {
        answer(JSON.stringify({ error: `the emulator has ended: ${task.lastWords}` }))
      }
    })
  }

  /** Ends are "NAMESPACE/DEVICE". The devices exist and are up when this resolves. */
  static async start(endA: string, endB: string, seed: number, mtu: number): Promise<WanLink> {
    const link = new WanLink(new Task(wanProgram, [endA, endB, String(seed), String(mtu)], 4096))
    const greeting = JSON.parse(await link.nextAnswer()) as { error?: string }
    if (greeting.error) throw new LabError(greeting.error)
    return link
  }

  get pid(): number {
    return this.task.child.pid ?? -1
  }

  private nextAnswer(): Promise<string> {
    return new Promise((resolve) => this.answers.push(resolve))
  }

  private async command(line: string): Promise<unknown> {
    const answer = this.nextAnswer()
    if (this.task.exit) return Promise.reject(new LabError(`the emulator has ended: ${this.task.lastWords}`))
    this.task.child.stdin!.write(`${line}\n`)
    const result = JSON.parse(await answer) as { error?: string }
    if (result.error) throw new LabError(`emulator refused "${line.slice(0, 200)}": ${result.error}`)
    return result
  }

  async set(way: Way | 'both', model: Partial<DirectionModel>): Promise<void> {
    const words = emulatorSettings(model)
    if (words.length > 0) await this.command(`set ${DIRECTION[way]} ${words.join(' ')}`)
  }

  async trace(way: Way | 'both', trace: RateTrace): Promise<void> {
    await this.command(`trace ${DIRECTION[way]} ${emulatorTrace(trace)}`)
  }

  async blackhole(way: Way | 'both', on: boolean): Promise<void> {
    await this.command(`${on ? 'down' : 'up'} ${DIRECTION[way]}`)
  }

  async carrier(end: 'a' | 'b' | 'both', on: boolean): Promise<void> {
    await this.command(`carrier ${end} ${on ? 'on' : 'off'}`)
  }

  async stats(): Promise<WanStats> {
    return (await this.command('stats')) as WanStats
  }

  async resetCounters(): Promise<void> {
    await this.command('reset')
  }

  async stop(): Promise<void> {
    this.task.child.stdin!.end()
    await this.task.stop('SIGTERM', 500)
  }
}
