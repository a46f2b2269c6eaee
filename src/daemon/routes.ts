import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { OperatorError } from '../base/errors.js'
import type { Config } from '../config/schema.js'
import { parseIpJson, type RunIp, runIp } from './ip-command.js'
import {
  type KernelRoute,
  needsPins,
  planRoutes,
  type RouteInput,
  readKernelRoutes,
  readPins,
  type Step,
  tunMtu,
} from './route-plan.js'

/**
 * Where it is written down which routes on other devices are ours, for a start after a kill: beside the control socket,
 * `/run/plait/NAME.routes` by default. One tunnel has one socket, also where namespaces share /run and names.
 */
export function routeStateFile(config: Pick<Config, 'control'>): string {
  return `${config.control.replace(/\.sock$/, '')}.routes`
}

/** Addresses and routes of a running tunnel. */
export interface Routes {
  /** What the operator may wonder about, one sentence each. */
  readonly notes: readonly string[]
  /** The TUN's MTU. */
  readonly mtu: number
  /** What it would be if every path carried such packets whole. */
  readonly mtuWanted: number
  /**
   * Pins the endpoints anew and sets the MTU that fits them, and `carried`, which all paths carry whole: to be called when
   * the kernel says that routes, addresses or devices changed, when an endpoint's name resolves to something else, or more
   * is known of the paths. Does nothing when nothing changed. Never throws; returns what could not be set.
   */
  refresh(endpoints: RouteInput['endpoints'], carried: number): Promise<string | undefined>
  /** Takes everything back, in reverse order. May be called again. Never throws. */
  close(): Promise<void>
}

/**
 * Sets addresses, MTU, state and routes of the TUN device, which must be there. If anything is refused, what was done
 * is taken back.
 *
 * @throws OperatorError `routesFailed` or `toolMissing`
 */
export async function applyRoutes(
  given: Omit<RouteInput, 'kernelRoutes' | 'linkMtus'>,
  options: { stateFile?: string; run?: RunIp } = {},
): Promise<Routes> {
  const run = options.run ?? runIp
  const stateFile = options.stateFile ?? routeStateFile(given.config)
  const present = needsPins(given) ? (await kernelRoutes(run)).routes : []
  const links = new LinkMtus(given.config, run)
  const linkMtus = await links.read()
  const plan = planRoutes({ ...given, kernelRoutes: present, linkMtus })
  let pins = plan.pins
  let mtuWanted = tunMtu({ ...given, linkMtus })
  let mtu = mtuWanted
  let closed = false
  // Refreshing and closing follow one another, whatever the caller does.
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(work, work)
    last = mine.catch(() => {})
    return mine
  }

  // Written down first: a kill in between leaves a list that names too much, never too little.
  writeState(stateFile, pins)
  try {
    await execute(run, [...pins, ...plan.tun])
  } catch (error) {
    await takeBack(run, [...pins, ...plan.tun])
    rmSync(stateFile, { force: true })
    throw error
  }

  return {
    notes: plan.notes,
    get mtu() {
      return mtu
    },
    get mtuWanted() {
      return mtuWanted
    },
    refresh: (endpoints, carried) =>
      inTurn(async () => {
        if (closed) return undefined
        try {
          const linkMtus = await links.read()
          mtuWanted = tunMtu({ ...given, endpoints, linkMtus })
          const fitting = Math.min(mtuWanted, carried)
          if (fitting !== mtu) {
            const command = `link set dev ${given.device} mtu ${fitting}`
            await execute(run, [{ command, undo: '' }])
            mtu = fitting
          }
          if (pins.length === 0 && !needsPins({ ...given, endpoints })) return undefined
          const { routes, pins: present } = await kernelRoutes(run)
          const wanted = planRoutes({ ...given, endpoints, kernelRoutes: routes, linkMtus }).pins
          const kept = new Set(wanted.map((step) => step.command))
          const gone = pins.filter((step) => !kept.has(step.command))
          // The kernel removes pins by itself when a device goes down: planned once is not there for ever.
          const missing = wanted.filter((step) => !present.has(step.command))
          if (gone.length === 0 && missing.length === 0) return undefined
          // Until all of it is done: whatever is there by then is ours to take back.
          pins = [...gone, ...wanted]
          writeState(stateFile, pins)
          await takeBack(run, gone)
          await execute(
            run,
            missing.map((step) => ({ ...step, command: step.command.replace('route add', 'route replace') })),
          )
          pins = wanted
          writeState(stateFile, pins)
          return undefined
        } catch (error) {
          return error instanceof Error ? error.message : String(error)
        }
      }),
    close: () =>
      inTurn(async () => {
        if (closed) return
        closed = true
        await takeBack(run, [...pins, ...plan.tun])
        rmSync(stateFile, { force: true })
      }),
  }
}

/**
 * Removes the routes that a killed plait of this configuration left behind. To be called before the TUN device is opened.
 * Returns how many there may have been. Never throws.
 */
export async function removeLeftRoutes(
  config: Pick<Config, 'control'>,
  options: { stateFile?: string; run?: RunIp } = {},
): Promise<number> {
  const stateFile = options.stateFile ?? routeStateFile(config)
  let lines: string[]
  try {
    lines = readFileSync(stateFile, 'utf8').split('\n')
  } catch {
    return 0
  }
  // Only what we could have written ourselves.
  const undos = lines.filter((line) =>
    /^route del (unreachable )?[0-9a-f.:]+\/\d+ [A-Za-z0-9_.:@ -]*$/.test(line),
  )
  await (options.run ?? runIp)(['-force', '-batch', '-'], batch(undos.reverse())).catch(() => {})
  rmSync(stateFile, { force: true })
  return undos.length
}

async function execute(run: RunIp, steps: readonly Step[]): Promise<void> {
  if (steps.length === 0) return
  const result = await run(['-batch', '-'], batch(steps.map((step) => step.command)))
  if (result.ok) return
  // "Command failed -:3" names the line; what the kernel said stands before it.
  const line = /Command failed -:(\d+)/.exec(result.stderr)?.[1]
  const command = line === undefined ? 'ip -batch' : `ip ${steps[Number(line) - 1]?.command ?? ''}`
  const remedy = /File exists/.test(result.problem)
    ? 'that route or address is there already: see ip route show'
    : /IPv6|Permission denied/.test(result.problem)
      ? 'is IPv6 disabled here? then take IPv6 out of addresses and allowed-ips'
      : 'run that command by hand to see more'
  throw new OperatorError('routesFailed', `"${command}" was refused: ${result.problem}`, { remedy })
}

/** In reverse order, going on after refusals: what is gone already is no fault. */
async function takeBack(run: RunIp, steps: readonly Step[]): Promise<void> {
  if (steps.length === 0) return
  const undos = steps.map((step) => step.undo).reverse()
  await run(['-force', '-batch', '-'], batch(undos)).catch(() => {})
}

/** MTUs of the links' devices: a ppp0 has 1492, and will have it again after it was away. */
class LinkMtus {
  private readonly known = new Map<string, number>()

  constructor(
    private readonly config: Config,
    private readonly run: RunIp,
  ) {}

  /** Of those that were ever there. */
  async read(): Promise<number[]> {
    const { links } = this.config
    if (links.length === 0) return []
    for (const { ifname, mtu } of parseIpJson(await this.run(['-j', 'link', 'show']))) {
      const link = links.find(({ device }) => device === ifname)
      if (link && typeof mtu === 'number') this.known.set(link.device, mtu)
    }
    return [...this.known.values()]
  }
}

/**
 * The main table: what is not ours, and the commands of what is.
 *
 * @throws OperatorError `routesFailed` when ip does not come to an end
 */
async function kernelRoutes(run: RunIp): Promise<{ routes: KernelRoute[]; pins: Set<string> }> {
  const show = async (family: 4 | 6) => {
    const result = await run(['-j', `-${family}`, 'route', 'show', 'table', 'main'])
    // A kernel without IPv6 refuses, and has no such routes. A table that is not known is not an empty one.
    if (!result.ok && result.stderr.trim() === '') {
      throw new OperatorError('routesFailed', `"ip -${family} route show" was cut off: ${result.problem}`, {
        remedy: 'is the machine overloaded, or the table larger than 64 MiB as text?',
      })
    }
    return parseIpJson(result)
  }
  const [rows4, rows6] = [await show(4), await show(6)]
  return {
    routes: [...readKernelRoutes(rows4, 4), ...readKernelRoutes(rows6, 6)],
    pins: new Set([...readPins(rows4, 4), ...readPins(rows6, 6)]),
  }
}

/** @throws OperatorError `routesFailed` */
function writeState(file: string, steps: readonly Step[]): void {
  try {
    if (steps.length === 0) {
      rmSync(file, { force: true })
      return
    }
    mkdirSync(dirname(file), { recursive: true, mode: 0o755 })
    const text = `${[...new Set(steps.map((step) => step.undo))].join('\n')}\n`
    // Renamed into place, so that a kill leaves the old list or the new one.
    writeFileSync(`${file}.new`, text, { mode: 0o600 })
    renameSync(`${file}.new`, file)
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new OperatorError('routesFailed', `${file} cannot be written (${reason})`, {
      remedy: 'is the disk full, or /run read-only?',
    })
  }
}

function batch(commands: readonly string[]): string {
  return commands.length === 0 ? '' : `${commands.join('\n')}\n`
}
