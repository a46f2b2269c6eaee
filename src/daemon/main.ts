import { chmodSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { ExitStatus, OperatorError } from '../base/errors.js'
import { formatHostPort, formatIpAddress, isUnspecified } from '../base/ip-address.js'
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
 * Runs a tunnel until SIGINT or SIGTERM; returns the exit status. What was set up is taken back in reverse order,
 * however it ends; what a killed program left is taken back at the next start.
 *
 * @throws OperatorError when something cannot be set up; nothing is left then
 */
export async function runDaemon(config: Config, options: { file: string }): Promise<number> {
  const log = makeLog(config.logLevel)
  const undo: { what: string; run: () => Promise<void> }[] = []
  const stopped = untilSignal()
  raisePriority()
  try {
    if (dirname(config.control) === CONTROL_FOLDER) {
      mkdirSync(CONTROL_FOLDER, { recursive: true })
      chmodSync(CONTROL_FOLDER, 0o755)
    }
    const left = await removeLeftRoutes(config)
    if (left > 0) log.warn(`took back ${left} routes that an earlier run left`)

    const endpoints = new Endpoints(config)
    await endpoints.resolve()
    const { records, addresses } = endpoints
    const mtu = tunMtu(config, addresses)
    const events = new EventLog(log)
    const plane = await Plane.start(planeConfig(config, records), (list, startedAt) =>
      events.add(list, startedAt),
    )
    undo.push({ what: 'data plane', run: () => plane.stop() })

    const routes = await applyRoutes({ config, device: plane.tunName, mtu, endpoints: addresses })
    undo.push({ what: 'routes', run: () => routes.close() })
    for (const note of routes.notes) log.info(note)
    const follower = follow({ plane, routes, endpoints }, log)
    undo.push({ what: 'follower', run: () => follower.close() })

    const status = snapshotter(config, plane, events, mtu)
    const control = await serveControl(config.control, {
      status,
      events: ({ since }) => events.since(since ?? 0),
    })
    undo.push({ what: 'control socket', run: () => control.close() })

    const running = { file: options.file, device: plane.tunName, mtu }
    await runHooks('up', config.up, hookEnvironment(config, 'up', running))
    undo.push({
      what: 'down commands',
      run: () => runHooks('down', config.down, hookEnvironment(config, 'down', running)),
    })

    log.info({ device: plane.tunName, mtu, ports: plane.ports }, 'up')
    const failure = await Promise.race([stopped.signal, plane.ended])
    if (failure !== undefined) log.error(failure)
    return failure === undefined ? ExitStatus.Good : ExitStatus.Failed
  } finally {
    stopped.release()
    await takeBack(undo, log)
    log.info('down')
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

/** Settles at the first signal; a second one ends the program at once, in case something hangs. */
function untilSignal(): { signal: Promise<undefined>; release: () => void } {
  let resolve: (value: undefined) => void = () => {}
  const signal = new Promise<undefined>((settle) => {
    resolve = settle
  })
  let seen = false
  const handler = (): void => {
    if (seen) process.exit(ExitStatus.Failed)
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

function planeConfig(config: Config, records: Uint32Array[][]): PlaneConfig {
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
