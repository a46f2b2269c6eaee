import { DROP_REASONS } from '../core/drop-reasons.js'
import type { PathSnapshot, PeerSnapshot, Snapshot } from '../core/snapshot.js'
import { milliseconds, percent, rate, size, span, table } from './figures.js'
import { renderWhy } from './status-why.js'

/**
 * A snapshot for people.
 *
 * @param options.before an earlier one: columns of bytes become rates
 * @param options.events whether the event log follows
 * @param options.why whether each peer's paths are followed by what they are held to carry, and why
 */
export function renderStatus(
  snapshot: Snapshot,
  options: { before?: Snapshot | undefined; events?: boolean; why?: boolean } = {},
): string {
  const { device } = snapshot
  const lines = [
    `${device.name}: up ${span(device.uptimeS)}, scheduler ${device.scheduler}, MTU ${device.mtu}`,
  ]
  for (const note of device.offload) lines.push(`offload: ${note}`)
  const seconds = options.before === undefined ? 0 : device.uptimeS - options.before.device.uptimeS
  for (const peer of snapshot.peers) {
    // A restarted daemon counts from 0 again: no rate then.
    const before = seconds > 0 ? options.before?.peers.find((p) => p.publicKey === peer.publicKey) : undefined
    lines.push('', ...renderPeer(peer, before, seconds))
    if (options.why === true && peer.paths.length > 0) lines.push('', ...renderWhy(snapshot, peer))
  }
  const drops = Object.entries(device.drops).sort((a, b) => b[1] - a[1])
  if (drops.length > 0) {
    const rows = drops.map(([name, count]) => [
      String(count),
      name,
      (DROP_REASONS as Readonly<Record<string, string>>)[name] ?? '',
    ])
    lines.push('', 'dropped packets', ...table([['packets', 'reason', ''], ...rows], [0]))
  }
  if (options.events === true) {
    const rows = snapshot.events.map((event) => [
      span(event.atS),
      event.peer ?? '',
      event.path ?? '',
      event.kind,
      event.text,
    ])
    lines.push('', 'events', ...table([['after', 'peer', 'path', 'what', ''], ...rows], [0]))
  }
  return `${lines.join('\n')}\n`
}

function renderPeer(peer: PeerSnapshot, before: PeerSnapshot | undefined, seconds: number): string[] {
  const session =
    peer.session === undefined
      ? 'no session'
      : `${peer.session.cipher}, keys ${span(peer.session.ageS)} old, ${peer.session.rekeys} rekeys`
  const flow = (now: number, then: number | undefined): string =>
    then === undefined ? size(now) : `${rate((now - then) / seconds)} (${size(now)})`
  const { resequencer: order, queue } = peer
  return [
    `peer ${peer.name}: ${peer.state}, ${session}`,
    `  public key   ${peer.publicKey}`,
    `  allowed IPs  ${shortList(peer.allowedIps)}`,
    `  traffic      out ${flow(peer.bytesOut, before?.bytesOut)}, ${peer.packetsOut} packets; ` +
      `in ${flow(peer.bytesIn, before?.bytesIn)}, ${peer.packetsIn} packets`,
    `  queue        ${size(queue.bytes)} in ${queue.packets} packets, ${queue.acksThinned} ACKs thinned, ` +
      `${size(queue.headerBytesSaved)} of headers left out`,
    `  order        ${order.held} held, ${order.holesReleased} holes given up, ${order.late} late, ` +
      `${order.duplicates} duplicates, ${order.acksThinned} ACKs thinned`,
    ...(peer.paths.length === 0 ? ['  no path yet'] : renderPaths(peer.paths, before?.paths, seconds)),
  ]
}

function renderPaths(
  paths: readonly PathSnapshot[],
  before: readonly PathSnapshot[] | undefined,
  seconds: number,
): string[] {
  const head = [
    'path',
    'link',
    'remote',
    'state',
    'since',
    'RTT',
    '+OWD',
    'loss out',
    'in',
    'out',
    'in',
    'weight',
  ]
  const rows = paths.map((path) => {
    const then = before?.find((p) => p.id === path.id && p.link === path.link)
    const flow = (now: number, earlier: number | undefined): string =>
      earlier === undefined ? size(now) : rate((now - earlier) / seconds)
    return [
      String(path.id),
      path.link,
      path.remote,
      path.state,
      span(path.sinceS),
      milliseconds(path.rttMs),
      milliseconds(path.owdDifferenceMs),
      percent(path.lossOut),
      percent(path.lossIn),
      flow(path.bytesOut, then?.bytesOut),
      flow(path.bytesIn, then?.bytesIn),
      String(path.weight),
      percent(path.share),
      path.reason,
    ]
  })
  return table([[...head, 'share', 'reason'], ...rows], [0, 4, 5, 6, 7, 8, 9, 10, 11, 12])
}

function shortList(items: readonly string[]): string {
  const shown = items.slice(0, 8).join(', ')
  return items.length > 8 ? `${shown} and ${items.length - 8} more` : shown
}
