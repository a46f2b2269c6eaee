/** What the paths carry whole, together: the MTU that the TUN may have. See path-mtu.ts for how it is found out. */
import type { Instant } from '../base/time.js'
import { FrameKind } from '../wire/message.js'
import type { Device } from './device.js'
import type { Path } from './path.js'
import { INNER_MTU_MIN } from './path-mtu.js'
import type { Channel } from './session.js'

/** Large packets beside a challenge that was just sent, if it is time for some. */
export function sendProbes(channel: Channel, now: Instant): void {
  const { path } = channel
  const { device } = path.peer
  const { mtu } = path
  if (path.state === 'down' || !mtu.startWave(path.health.rtt.smoothedUs || 0, device.random, now)) return
  mtu.sizes.forEach((bytes, i) => {
    device.control.begin().frame(FrameKind.PathChallenge, mtu.probe(i)).padTo(bytes).sendProbe(channel, now)
  })
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
