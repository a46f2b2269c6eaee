/** Why a handshake message went no further: names of the core's drop reasons, which count them. */
export type HandshakeFailure =
  | 'badLength'
  | 'badMac'
  | 'cookieRequired'
  | 'handshakeLimited'
  | 'handshakeFailed'
  | 'handshakeUnknownPeer'
  | 'handshakePsk'
  | 'handshakeReplayed'
  | 'handshakeUnexpected'
  | 'handshakeVersion'

/** Functions here return what was asked for, or the name of the failure. */
export function isFailure<T extends object>(result: T | HandshakeFailure): result is HandshakeFailure {
  return typeof result === 'string'
}
