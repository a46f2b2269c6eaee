/** The data plane's own thread: status, logging and configuration happen in another, and never stall packets. */
import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../base/assert.js'
import { loadPrimitives } from '../io/primitives.js'
import { Loop } from './loop.js'
import type { PlaneConfig, PlaneMessage, PlaneRequest } from './plane-messages.js'

const port = parentPort
assert(port, 'the data plane runs in a worker thread')
const say = (message: PlaneMessage): void => port.postMessage(message)

const config = workerData as PlaneConfig
const primitives = await loadPrimitives()
try {
  const loop = new Loop(config, primitives, (events) => say({ kind: 'events', events }))
  port.on('message', (request: PlaneRequest) => {
    if (request.kind === 'status') {
      say({ kind: 'status', id: request.id, figures: loop.figures() })
    } else {
      loop.close()
      say({ kind: 'stopped' })
      port.close()
    }
  })
  say({ kind: 'ready', tunName: loop.tunName, ports: loop.ports })
} catch (error) {
  const { code, syscall, message } = error as NodeJS.ErrnoException
  if (code === undefined) throw error
  say({ kind: 'refused', text: `${syscall ?? 'the system'} failed: ${message}`, remedy: remedyFor(code) })
  port.close()
}

function remedyFor(code: string): string {
  if (code === 'EPERM' || code === 'EACCES') return 'run it as root, or give it CAP_NET_ADMIN and CAP_NET_RAW'
  if (code === 'EBUSY') return 'another program holds a device of that name: stop it, or choose another interface.name'
  if (code === 'EADDRINUSE') return 'another program listens there: stop it, or choose another interface.listen'
  if (code === 'ENODEV') return 'the device of a link is not there: see `ip link`'
  if (code === 'EADDRNOTAVAIL') return 'no device has that address: see `ip address`'
  if (code === 'ENOENT') return '/dev/net/tun is missing: `modprobe tun`, or let the container have it'
  return 'see `plait check` for what is missing'
}
