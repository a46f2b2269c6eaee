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
  const loop = new Loop(config, primitives, (events, startedAt) => say({ kind: 'events', events, startedAt }))
  port.on('message', (request: PlaneRequest) => {
    switch (request.kind) {
      case 'status':
        say({ kind: 'status', id: request.id, figures: loop.figures() })
        break
      case 'rebind':
        loop.rebind()
        break
      case 'endpoints':
        loop.setEndpoints(request.records)
        break
      case 'mtu':
        loop.setMtu(request.wanted, request.present)
        break
      case 'stop':
        loop.close()
        say({ kind: 'stopped' })
        port.close()
        break
    }
  })
  say({ kind: 'ready', tunName: loop.tunName, ports: loop.ports })
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === undefined) throw error
  say({ kind: 'refused', text: message })
  port.close()
}
