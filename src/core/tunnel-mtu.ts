/** What the paths carry whole, together: the MTU that the TUN may have. See path-mtu.ts for how it is found out. */
import type { Instant } from '../base/time.js'
import { FrameKind } from '../wire/message.js'
import type { Device } from './device.js'
import type { Path } from './path.js'
import { INNER_MTU_MIN } from './path-mtu.js'
import type { Channel } from './session.js'

/** Sends a large packet on `channel`, if it is time for one; returns whether it did. */
export function sendProbe(channel: Channel, now: Instant): boolean {
  const { path } = channel
  const { device } = path.peer
  const { mtu } = path
  // To an address that nobody has proved nothing large goes: its owner may know nothing of us.
  const isProved = path.configured || path.channel !== undefined
  if (!isProved || path.state === 'down' || !mtu.start(device.random, now)) return false
  device.control.begin().frame(FrameKind.PathChallenge, mtu.body).padTo(mtu.size).sendProbe(channel, now)
  return true
}

/** Whether `path` carries whatever comes from the TUN. */
export function carriesAll(path: Path): boolean {
  return path.mtu.carries >= Math.max(INNER_MTU_MIN, path.peer.device.mtuPresent)
}

/** Tells what all paths carry, if that has changed. Those of which nothing is known do not count: they are not used. */
export function tellMtu(device: Device, now: Instant): void {
  let bytes = device.mtuWanted
  let least: Path | undefined
  for (const peer of device.peers) {
    for (const path of peer.paths) {
      least ??= path
      const { carries } = path.mtu
      if (carries === 0 || carries >= bytes) continue
      bytes = carries
      least = path
    }
  }
  if (bytes === device.mtuCarried || least === undefined) return
  device.mtuCarried = bytes
  device.emit({ kind: 'mtu', at: now, peer: least.peer.name, path: least.name, bytes })
}
