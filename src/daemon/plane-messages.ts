import type { DeviceConfig } from '../core/device.js'
import type { Event } from '../core/events.js'
import type { PeerFigures } from '../core/inspect.js'

/** What the data plane's thread needs to know; plain data, copied into it. */
export interface PlaneConfig {
  tunName: string
  offload: boolean
  device: DeviceConfig
  /** One socket per link, in the order of device.links. */
  sockets: { device: string; address: string; port: number }[]
  slabBytes: number
  /** ChaCha20-Poly1305 even where the processor has AES instructions. */
  withoutAes: boolean
}

/** Main thread → data plane. */
export type PlaneRequest =
  | { kind: 'status'; id: number }
  | { kind: 'rebind' }
  /** Address records (base/datagram-batch.ts) by peer. */
  | { kind: 'endpoints'; records: Uint32Array[][] }
  /** The TUN has an MTU of `present`; it would have `wanted` if every path carried such packets whole. */
  | { kind: 'mtu'; wanted: number; present: number }
  | { kind: 'stop' }

/** What the data plane shows of itself. */
export interface PlaneFigures {
  peers: PeerFigures[]
  drops: Record<string, number>
  offload: string[]
  uptimeS: number
}

/** Data plane → main thread. */
export type PlaneMessage =
  | { kind: 'ready'; tunName: string; ports: number[] }
  | { kind: 'status'; id: number; figures: PlaneFigures }
  /** `startedAt` is on the clock of the events; uptimeS counts from there, too. */
  | { kind: 'events'; events: Event[]; startedAt: number }
  /** The system refused something: a sentence with cause and remedy. The thread ends. */
  | { kind: 'refused'; text: string }
  | { kind: 'stopped' }
