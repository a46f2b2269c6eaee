import { chmodSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { ExitStatus, OperatorError } from '../base/errors.js'
import { formatHostPort, formatIpAddress, type IpAddress, isUnspecified } from '../base/ip-address.js'
import type { Config } from '../config/schema.js'
import { CONTROL_FOLDER } from '../control/client.js'
import { type Log, makeLog } from '../control/log.js'
import { serveControl } from '../control/unix-socket.js'
import { Endpoints } from './endpoints.js'
import { EventLog } from './event-log.js'
import { follow } from './follower.js'
import { hookEnvironment, runHooks } from './hooks.js'
import { Plane } from './plane.js'
import type { PlaneConfig } from './plane-messages.js'
import { raisePriority } from './priority.js'
import { tunMtu } from './route-plan.js'
import { applyRoutes, removeLeftRoutes } from './routes.js'
import { snapshotter } from './snapshotter.js'

/** Packet memory: a quarter of a second at 2 Gbit/s. */
const SLAB_BYTES = 64 << 20

/**
 * Runs a tunnel until SIGINT, SIGTERM or SIGHUP; returns the exit status. What was set up is taken back in reverse order,
 * however it ends; what a killed program left is taken back at the next start.
 *
 * @throws OperatorError when something cannot be set up; nothing is left then
 */
export async function runDaemon(config: Config, options: { file: string }): Promise<number> {
  const log = makeLog(config.logLevel)
  const undo: { what: string; run: () => Promise<void> }[] = []
  const stopped = untilSignal((name) => log.warn(`${name}: what was set up is still being taken back`))
  raisePriority()
  try {
    if (dirname(config.control) === CONTROL_FOLDER) makeControlFolder()
    const left = await removeLeftRoutes(config)
    if (left > 0) log.warn(`took back ${left} routes that an earlier run left`)

    const endpoints = new Endpoints(config)
    await endpoints.resolve()
    const { records, addresses } = endpoints
    const events = new EventLog(log)
    const plane = await Plane.start(planeConfig(config, records, addresses), (list, startedAt) =>
      events.add(list, startedAt),
    )
    undo.push({ what: 'data plane', run: () => plane.stop() })

    const routes = await applyRoutes({ config, device: plane.tunName, endpoints: addresses })
    undo.push({ what: 'routes', run: () => routes.close() })
    for (const note of routes.notes) log.info(note)
    const follower = follow({ plane, routes, endpoints }, log)
    undo.push({ what: 'follower', run: () => follower.close() })

    const status = snapshotter(config, plane, events, routes)
    const control = await serveControl(config.control, {
      status,
      events: ({ since }) => events.since(since ?? 0),
    })
    undo.push({ what: 'control socket', run: () => control.close() })

    const hooks = (event: 'up' | 'down'): Promise<void> => {
      const running = { file: options.file, device: plane.tunName, mtu: routes.mtu }
      return runHooks(event, config[event], hookEnvironment(config, event, running))
    }
    // Before: of several `up` commands some may have done their part when one fails.
    undo.push({ what: 'down commands', run: () => hooks('down') })
    await hooks('up')

    log.info({ device: plane.tunName, mtu: routes.mtu, ports: plane.ports }, 'up')
    const failure = await Promise.race([stopped.signal, plane.ended])
    if (failure !== undefined) log.error(failure)
    return failure === undefined ? ExitStatus.Good : ExitStatus.Failed
  } finally {
    await takeBack(undo, log)
    stopped.release()
    log.info('down')
  }
}

/** @throws OperatorError `controlSocket` */
function makeControlFolder(): void {
  try {
    mkdirSync(CONTROL_FOLDER, { recursive: true })
    chmodSync(CONTROL_FOLDER, 0o755)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new OperatorError('controlSocket', `the folder ${CONTROL_FOLDER} cannot be made (${code})`, {
      remedy: 'make it, owned by whoever runs plait, or give control: another folder',
    })
  }
}

async function takeBack(undo: { what: string; run: () => Promise<void> }[], log: Log): Promise<void> {
  for (const { what, run } of undo.reverse()) {
    try {
      await run()
    } catch (error) {
      log.error(`${what}: ${error instanceof OperatorError ? error.message : String(error)}`)
    }
  }
}

/**
 * Settles at the first signal. Until released, further ones are only told to `onFurther`: a shell that ends sends SIGHUP
 * more than once, and what is taken back by then must not stay half done. No step of it takes longer than its time limit.
 */
function untilSignal(onFurther: (name: string) => void): {
  signal: Promise<undefined>
  release: () => void
} {
  let resolve: (value: undefined) => void = () => {}
  const signal = new Promise<undefined>((settle) => {
    resolve = settle
  })
  let seen = false
  const handler = (name: NodeJS.Signals): void => {
    if (seen) onFurther(name)
    seen = true
    resolve(undefined)
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const name of signals) process.on(name, handler)
  return {
    signal,
    release: () => {
      for (const name of signals) process.off(name, handler)
    },
  }
}

function planeConfig(config: Config, records: Uint32Array[][], endpoints: IpAddress[]): PlaneConfig {
  const sockets = socketsFor(config)
  return {
    tunName: config.interface.name,
    offload: config.offload === 'auto',
    slabBytes: SLAB_BYTES,
    withoutAes: config.testing.cipher === 'chacha20-poly1305',
    sockets: sockets.map(({ device, address, port }) => ({ device, address, port })),
    device: {
      privateKey: config.interface.privateKey,
      scheduler: config.scheduler,
      policy: config.policy,
      mtu: tunMtu({ config, endpoints, linkMtus: [] }),
      links: sockets.map(({ name, weight }) => ({ name, weight })),
      peers: config.peers.map((peer, i) => ({
        name: peer.name,
        publicKey: peer.publicKey,
        presharedKey: peer.presharedKey ?? new Uint8Array(32),
        endpoints: records[i]!,
        allowedIps: peer.allowedIps.map(({ family, bytes, bits }) => ({ family, bytes, bits })),
        keepaliveUs: peer.keepalive,
      })),
      ...(config.testing.rekeyAfter === undefined ? {} : { rekeyAfterUs: config.testing.rekeyAfter }),
    },
  }
}

/** One socket per link; without links one per listening address, and one at a free port if there is none. */
function socketsFor(
  config: Config,
): { name: string; weight: number; device: string; address: string; port: number }[] {
  const { listen } = config.interface
  if (config.links.length > 0) {
    const port = listen[0]?.port ?? 0
    return config.links.map(({ name, weight, device, source }) => {
      const address = source === undefined ? '' : formatIpAddress(source)
      return { name, weight, device, address, port }
    })
  }
  if (listen.length === 0) return [{ name: 'any', weight: 1, device: '', address: '', port: 0 }]
  // 0.0.0.0 and [::] at one port are one socket for both families: two would be in each other's way.
  const both = (port: number): boolean =>
    [4, 6].every((family) =>
      listen.some(
        (each) => each.port === port && each.address?.family === family && isUnspecified(each.address),
      ),
    )
  const sockets = listen.map((end) => {
    const { host, port, address } = end
    const any = address !== undefined && isUnspecified(address) && both(port)
    return { name: any ? 'any' : formatHostPort(end), weight: 1, device: '', address: any ? '' : host, port }
  })
  return sockets.filter(
    (socket, i) => sockets.findIndex((each) => each.name === socket.name && each.port === socket.port) === i,
  )
}
