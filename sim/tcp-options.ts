import type { DurationUs, Instant } from '../src/base/time.js'

/** What one transfer of the model's TCP is to be like. */
export interface TcpOptions {
  name: string
  family?: 4 | 6
  control: 'cubic' | 'bbr'
  /** Of the TUN device: full segments fill it. */
  mtuBytes?: number
  from?: Instant
  until?: Instant
  /** Segments that may be unacknowledged: the receiver's window. */
  windowMax?: number
  /** Both hosts know ECN. */
  ecn?: boolean
  /** Distance of the sending host from its end of the tunnel, one way. */
  hostDelayUs?: DurationUs
}
