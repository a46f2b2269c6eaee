import type { End } from './network.js'

/** Something that carries packets between the two ends: plait, OpenVPN, or the bare link. */
export interface Tunnel {
  readonly name: string
  readonly addresses: Record<End, string>
  /** Processes whose time and memory count; none for the bare link. */
  readonly pids: Partial<Record<End, number>>
  readonly device: string
  stop(): Promise<void>
}

export function bareLink(device: string, addresses: Record<End, string>): Tunnel {
  return { name: 'veth', addresses, pids: {}, device, stop: async () => {} }
}
