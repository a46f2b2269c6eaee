import { carriesData } from '../core/events.js'
import type { EventSnapshot, PathSnapshot, PeerSnapshot, RateLimiter, Snapshot } from '../core/snapshot.js'
import { milliseconds, rate, size, span, table } from './figures.js'

/** What keeps the estimate of a path from being higher, for people. */
const LIMITS: Readonly<Record<RateLimiter, string>> = {
  starting: 'nothing yet: it is still rising',
  link: 'the link',
  'in flight': 'bytes under way, until they are reported',
  application: 'the traffic: no more is asked for',
  distance: 'its delay: it takes what it brings sooner',
  loss: 'loss: a short buffer in the link',
  'left out': 'its delay: the others carry more without it',
  draining: 'a pause that empties the queue',
}

/** Why the paths of `peer` carry what they carry: the estimate, what limits it, the largest packet, and the last change. */
export function renderWhy(snapshot: Snapshot, peer: PeerSnapshot): string[] {
  const { scheduler } = snapshot.device
  const head = [
    'path',
    'link',
    'estimate',
    'limited by',
    'queue',
    'target',
    'in flight',
    'at most',
    'MTU',
    'last change',
  ]
  const rows = peer.paths.map((path) => {
    const figures =
      scheduler === 'adaptive' ? estimate(path) : ['-', `scheduler ${scheduler}`, '-', '-', '-', '-']
    const mtu = path.mtu === undefined ? '-' : String(path.mtu)
    return [String(path.id), path.link, ...figures, mtu, lastChange(snapshot, peer, path)]
  })
  const { evened, lumped } = peer.queue
  return [
    ...table([head, ...rows], [0, 2, 4, 5, 6, 7, 8]),
    ...(evened === 0 ? [] : [evenedText(evened)]),
    ...(lumped === 0 ? [] : [lumpedText(lumped)]),
  ]
}

function estimate(path: PathSnapshot): string[] {
  const { bytesPerSec, limiter, queueMs, targetMs, inFlightBytes, inFlightBytesMax } = path.rate
  return [
    rate(bytesPerSec),
    carriesData(path.state) ? LIMITS[limiter] : `not used while ${path.state}`,
    milliseconds(queueMs),
    milliseconds(targetMs),
    size(inFlightBytes),
    size(inFlightBytesMax),
  ]
}

function evenedText(count: number): string {
  const transfers = count === 1 ? '1 long transfer has' : `${count} long transfers have`
  return `  ${transfers} the delay of the slowest path, so as to fill all of them`
}

function lumpedText(count: number): string {
  const transfers = count === 1 ? '1 transfer has' : `${count} transfers have`
  return `  ${transfers} acknowledgements held back now and then, so as to fill the far paths, too`
}

function lastChange(snapshot: Snapshot, peer: PeerSnapshot, path: PathSnapshot): string {
  const names = [path.link, `${path.link} ${path.remote}`]
  const isOfPath = (event: EventSnapshot): boolean =>
    event.peer === peer.name && event.path !== undefined && names.includes(event.path)
  const event = snapshot.events.findLast(isOfPath)
  return event === undefined
    ? `${span(path.sinceS)} ago: ${path.state}: ${path.reason}`
    : `${span(snapshot.device.uptimeS - event.atS)} ago: ${event.text}`
}
