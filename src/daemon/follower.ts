import type { Log } from '../control/log.js'
import type { Endpoints } from './endpoints.js'
import { watchNetwork } from './network-watch.js'
import type { Plane } from './plane.js'
import type { Routes } from './routes.js'

/** A line with a new address every night has its name follow within a minute or so. */
const RESOLVE_MS = 30_000
/** What could not be set is tried again: nothing else may happen that calls for it. */
const RETRY_MS = 10_000

/**
 * Keeps a running tunnel in step with what changes around it: devices that come back, gateways, the addresses of
 * endpoints that are given by name, and the MTU that fits them and all paths.
 */
export function follow(
  { plane, routes, endpoints }: { plane: Plane; routes: Routes; endpoints: Endpoints },
  log: Log,
): { close(): Promise<void> } {
  let told: string | undefined
  let retry: NodeJS.Timeout | undefined
  const setRoutes = async (): Promise<void> => {
    const problem = await routes.refresh(endpoints.addresses, plane.mtuCarried)
    plane.setMtu(routes.mtuWanted, routes.mtu)
    clearTimeout(retry)
    if (problem !== undefined) retry = setTimeout(() => void setRoutes(), RETRY_MS).unref()
    if (problem !== undefined && problem !== told) {
      log.warn(`the routes to the endpoints do not follow: ${problem}`)
    }
    told = problem
  }
  const watch = watchNetwork(async () => {
    plane.rebind()
    await setRoutes()
  })

  let resolving = false
  const resolve = async (): Promise<void> => {
    if (resolving) return
    resolving = true
    // The routes first: without them a packet for a new address may enter the tunnel itself.
    if (await endpoints.resolve()) await setRoutes()
    // Also unchanged: a path that still carried moves only now.
    plane.setEndpoints(endpoints.records)
    resolving = false
  }
  const timer = endpoints.haveNames ? setInterval(() => void resolve(), RESOLVE_MS) : undefined

  plane.setMtu(routes.mtuWanted, routes.mtu)
  plane.onMtuCarried = () => void setRoutes()
  if (plane.mtuCarried < routes.mtu) void setRoutes()

  return {
    close: async () => {
      plane.onMtuCarried = () => {}
      clearTimeout(retry)
      clearInterval(timer)
      await watch.close()
    },
  }
}
