/** UDP payload of a full packet: fits every MTU of the tunnel, as after QUIC's path MTU discovery. */
export const QUIC_DATAGRAM_BYTES = 1380
/** What QUIC takes of it: header with connection id and number, the frame's own header, and the seal. */
const QUIC_OVERHEAD_BYTES = 32
export const QUIC_PAYLOAD_BYTES = QUIC_DATAGRAM_BYTES - QUIC_OVERHEAD_BYTES
