/** Why a packet went no further. Each is a counter, shown by `plait status` and docs/protocol.md. */
export const DROP_REASONS = {
  // from the TUN
  tunMalformed: 'not an IPv4 or IPv6 packet, or shorter than its header says',
  tunTooBig: 'longer than the 2032 bytes that a packet may have',
  tunNoPeer: "the destination is in no peer's allowed IPs",
  egressFull: 'the egress queue was at its limit in bytes or packets',
  egressOld: 'waited in the egress queue longer than its limit in time',
  egressCodel: 'dropped by CoDel to keep the queue short',
  // from the network, before authentication
  unknownType: 'the first byte is no message type',
  badLength: 'the length does not fit the message type',
  badMac: 'a handshake message without a valid mac: the sender does not know our public key',
  cookieRequired: 'under load: a handshake message without a valid cookie was answered with one',
  handshakeLimited: 'more handshake messages than the limit',
  handshakeFailed: 'a handshake message that does not decrypt: wrong key, forged or damaged',
  handshakeUnknownPeer: 'a handshake from a public key that is not configured',
  handshakePsk: 'a handshake from a configured peer whose pre-shared key is not ours',
  handshakeReplayed: 'a handshake message seen before',
  handshakeUnexpected: 'a response or cookie to nothing we asked',
  handshakeVersion: 'the other end speaks another version or no common cipher',
  unknownIndex: 'no session of that index: it ended, or the packet is not for us',
  authFailed: 'the tag is wrong: damaged, forged, or of another key',
  // from the network, after authentication
  replayed: 'a counter seen before, or too old to tell',
  sessionExpired: 'sealed with a key past its end',
  unknownPath: 'a path id that may not be opened by the other end',
  malformedInner: 'the sealed packet is not IPv4 or IPv6, or shorter than its header says',
  unknownContext: 'compressed headers of a context that was not told, or that do not fit it',
  sourceNotAllowed: "the inner source address is not in the peer's allowed IPs",
  malformedControl: 'a control packet that cannot be read',
  duplicate: 'another copy of the packet came first',
  late: 'came after its place in the order was given up',
  // limits of ours
  poolEmpty: 'no free slot in packet memory',
  resequencerFull: 'the resequencer gave up its oldest hole for lack of room',
  tunWriteFailed: 'the kernel refused the packet on the TUN',
  sendFailed: 'the kernel refused the datagram',
  controlFull: 'a control packet gave way to newer ones while its socket took none',
  receiveOverflow: 'the socket had no room for the datagram: we did not read fast enough',
} as const

export type DropReason = keyof typeof DROP_REASONS
export const dropReasonNames = Object.keys(DROP_REASONS) as DropReason[]

/** Indices into {@link DropCounters.counts}: the hot path counts by number. */
export const Drop = Object.fromEntries(dropReasonNames.map((name, index) => [name, index])) as Record<
  DropReason,
  number
>

export class DropCounters {
  readonly counts = new Float64Array(dropReasonNames.length)
  count(reason: number, packets = 1): void {
    this.counts[reason]! += packets
  }
  /** Only the reasons that occurred; `elsewhere`: what the kernel counted, which never came to the core. */
  snapshot(elsewhere: Partial<Record<DropReason, number>> = {}): Partial<Record<DropReason, number>> {
    const result: Partial<Record<DropReason, number>> = {}
    dropReasonNames.forEach((name, index) => {
      const count = this.counts[index]! + (elsewhere[name] ?? 0)
      if (count > 0) result[name] = count
    })
    return result
  }
}
