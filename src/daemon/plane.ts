import { Worker } from 'node:worker_threads'
import { OperatorError } from '../base/errors.js'
import type { Event } from '../core/events.js'
import type { PlaneConfig, PlaneFigures, PlaneMessage, PlaneRequest } from './plane-messages.js'

/** A status request that is not answered in this time means a data plane that hangs. */
const STATUS_MS_MAX = 2_000
/** Time to say goodbye to the peers before the thread is ended. */
const STOP_MS_MAX = 1_000

/** The data plane's thread as the main thread sees it. */
export class Plane {
  private readonly waiting = new Map<number, (figures: PlaneFigures) => void>()
  private nextId = 1
  /** What all paths carry whole, as far as that is known, and who wants to know when it changes. */
  mtuCarried = Number.POSITIVE_INFINITY
  onMtuCarried: () => void = () => {}

  private constructor(
    private readonly worker: Worker,
    readonly tunName: string,
    readonly ports: readonly number[],
    /** Settles when the thread is gone: undefined after {@link stop}, else why. */
    readonly ended: Promise<string | undefined>,
  ) {}

  /**
   * Starts the thread and waits until its device and sockets are open.
   *
   * @throws OperatorError `systemRefused`
   */
  static start(config: PlaneConfig, onEvents: (events: Event[], startedAt: number) => void): Promise<Plane> {
    const worker = new Worker(new URL('./data-plane.js', import.meta.url), { workerData: config })
    return new Promise((resolve, reject) => {
      let plane: Plane | undefined
      let stopped = false
      let failure: string | undefined
      const ended = new Promise<string | undefined>((settle) => {
        worker.on('exit', (code) => {
          settle(stopped ? undefined : (failure ?? `the data plane's thread ended with status ${code}`))
          reject(
            new OperatorError('systemRefused', failure ?? `the data plane did not start (status ${code})`),
          )
        })
      })
      worker.on('error', (error) => {
        failure = `the data plane failed: ${error.stack ?? error.message}`
      })
      worker.on('message', (message: PlaneMessage) => {
        switch (message.kind) {
          case 'ready':
            plane = new Plane(worker, message.tunName, message.ports, ended)
            resolve(plane)
            break
          case 'refused':
            reject(new OperatorError('systemRefused', message.text))
            break
          case 'status':
            plane?.waiting.get(message.id)?.(message.figures)
            plane?.waiting.delete(message.id)
            break
          case 'events':
            onEvents(message.events, message.startedAt)
            plane?.noteMtu(message.events)
            break
          case 'stopped':
            stopped = true
            break
        }
      })
    })
  }

  private noteMtu(events: readonly Event[]): void {
    for (const event of events) {
      if (event.kind !== 'mtu') continue
      this.mtuCarried = event.bytes
      this.onMtuCarried()
    }
  }

  figures(): Promise<PlaneFigures> {
    const id = this.nextId++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id)
        reject(new Error('the data plane does not answer'))
      }, STATUS_MS_MAX)
      this.waiting.set(id, (figures) => {
        clearTimeout(timer)
        resolve(figures)
      })
      this.request({ kind: 'status', id })
    })
  }

  /** Binds the sockets to the devices that have their names now. */
  rebind(): void {
    this.request({ kind: 'rebind' })
  }

  /** The peers' endpoints, as their names resolve now: address records by peer. */
  setEndpoints(records: Uint32Array[][]): void {
    this.request({ kind: 'endpoints', records })
  }

  /** The TUN's MTU, and what it would be by the configuration and the devices alone: paths are asked for that. */
  setMtu(wanted: number, present: number): void {
    this.request({ kind: 'mtu', wanted, present })
  }

  async stop(): Promise<void> {
    this.request({ kind: 'stop' })
    const timer = setTimeout(() => void this.worker.terminate(), STOP_MS_MAX)
    await this.ended
    clearTimeout(timer)
  }

  private request(request: PlaneRequest): void {
    this.worker.postMessage(request)
  }
}
