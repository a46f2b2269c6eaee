/** Which paths a peer has, and where they lead. Whether they carry anything is for path-keeper.ts. */
import type { Instant } from '../base/time.js'
import { PATH_IDS } from '../wire/message.js'
import { formatAddress, sameRemote } from './address.js'
import type { Link } from './link.js'
import { Path } from './path.js'
import type { Peer } from './peer.js'
import { tellMtu } from './tunnel-mtu.js'

/** Paths of one peer: as many as either end has ids for in a session. */
const PATHS_MAX = PATH_IDS / 2

export function findPath(peer: Peer, link: Link, record: Uint32Array, at: number): Path | undefined {
  return peer.paths.find((path) => path.link === link && sameRemote(path.remote, 0, record, at))
}

export function addPath(
  peer: Peer,
  link: Link,
  remote: Uint32Array,
  configured: boolean,
  now: Instant,
): Path {
  if (peer.paths.length === PATHS_MAX) forgetStalest(peer, now)
  let id = 0
  while (peer.paths.some((path) => path.id === id)) id++
  const path = new Path(peer, id, link, remote, configured, now)
  peer.paths.push(path)
  peer.resequencer.forgetPath(id)
  return path
}

/** The paths to the configured endpoints: each link has its first before any has its second, should there be too many. */
export function addConfiguredPaths(peer: Peer, now: Instant): void {
  for (const endpoint of peer.config.endpoints) {
    for (const link of peer.device.links) {
      if (peer.paths.length < PATHS_MAX) addPath(peer, link, endpoint, true, now)
    }
  }
}

/**
 * The endpoints of a peer are these by now, as their names say. A path to another address goes on as long as it
 * carries; one that does not is tried at an endpoint that no path leads to. To be called again now and then.
 */
export function followEndpoints(peer: Peer, endpoints: readonly Uint32Array[], now: Instant): void {
  for (const link of peer.device.links) {
    const configured = peer.paths.filter((path) => path.configured && path.link === link)
    const isStale = ({ usable, remote }: Path): boolean =>
      !usable && !endpoints.some((endpoint) => sameRemote(remote, 0, endpoint, 0))
    const stale = configured.filter(isStale)
    let count = configured.length
    for (const endpoint of endpoints) {
      if (findPath(peer, link, endpoint, 0)) continue
      const path = stale.shift()
      if (path) {
        moveAddress(path, link, endpoint, now)
        path.mtu.restart()
      } else if (count++ < endpoints.length && mayAdd(peer)) {
        addPath(peer, link, endpoint, true, now)
      }
    }
  }
}

/** `path` leads by `link` to `remote` from now on. */
export function moveAddress(path: Path, link: Link, remote: Uint32Array, now: Instant): void {
  const from = formatAddress(path.remote)
  path.link = link
  path.remote = remote
  path.candidate = undefined
  path.movedAt = now
  path.peer.device.emit({
    kind: 'path-moved',
    at: now,
    peer: path.peer.name,
    path: path.name,
    from,
    to: formatAddress(remote),
  })
}

/** Whether there is room for a configured path, or a learnt one to make room. */
function mayAdd({ paths }: Peer): boolean {
  return paths.length < PATHS_MAX || paths.some((path) => !path.configured)
}

/** Room for a new path: the learnt one that was silent for longest goes, else (all configured) the last. */
function forgetStalest(peer: Peer, now: Instant): void {
  let stalest = peer.paths.at(-1)!
  for (const path of peer.paths) {
    if (!path.configured && (stalest.configured || path.lastHeardAt < stalest.lastHeardAt)) stalest = path
  }
  forget(stalest, now)
}

export function forget(path: Path, now: Instant): void {
  const { peer } = path
  peer.paths.splice(peer.paths.indexOf(path), 1)
  for (const session of peer.sessions) {
    for (const channel of session.channels) if (channel?.path === path) session.closeChannel(channel)
  }
  peer.pathsChanged()
  tellMtu(peer.device, now)
}
