import { formatCidr } from '../base/ip-address.js'
import type { Config } from '../config/schema.js'
import type { Snapshot } from '../core/snapshot.js'
import type { EventLog } from './event-log.js'
import type { Plane } from './plane.js'
import type { Routes } from './routes.js'

/** Whoever asks sooner gets the same again: any number of dashboards costs the packets no more than one does. */
export const SNAPSHOT_MS = 50

/** What `plait status` shows: figures from the data plane, names from the configuration. */
export function snapshotter(
  config: Config,
  plane: Pick<Plane, 'tunName' | 'figures'>,
  events: Pick<EventLog, 'since'>,
  routes: Pick<Routes, 'mtu'>,
  /** Monotonic, ms. */
  clock: () => number = performance.now.bind(performance),
): () => Promise<Snapshot> {
  const make = async (): Promise<Snapshot> => {
    const { peers, drops, offload, uptimeS } = await plane.figures()
    return {
      device: { name: plane.tunName, uptimeS, scheduler: config.scheduler, mtu: routes.mtu, drops, offload },
      peers: peers.map((peer, i) => ({
        ...peer,
        publicKey: Buffer.from(config.peers[i]!.publicKey).toString('base64'),
        allowedIps: config.peers[i]!.allowedIps.map(formatCidr),
      })),
      events: events.since(0),
    }
  }
  let latest: { readonly at: number; readonly snapshot: Promise<Snapshot> } | undefined
  return () => {
    const now = clock()
    if (latest === undefined || now - latest.at >= SNAPSHOT_MS) latest = { at: now, snapshot: make() }
    return latest.snapshot
  }
}
