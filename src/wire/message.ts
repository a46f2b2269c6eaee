/**
 * THE table of the wire format. All integers are little-endian; all offsets and sizes are bytes.
 *
 * Sealed packet (data and control), at most 32 bytes beyond IP and UDP:
 *
 *     0        1                 4                 8               12               16
 *     +--------+-----------------+-----------------+----------------+----------------+------- - - -+--------+
 *     | type   | receiver index  | counter, low 32 | stamp | flags  | bucket | seq   | payload     | tag 16 |
 *     +--------+-----------------+-----------------+----------------+----------------+------- - - -+--------+
 *      \________ associated data ________________/  \_________________ encrypted ________________/
 *
 * receiver index = session (19 bits) << 5 | path (5 bits); bucket 10 bits, sequence 22 bits.
 */

/** First byte of every datagram. Others are ignored and counted. */
export const MessageType = {
  Initiation: 1,
  Response: 2,
  CookieReply: 3,
  Data: 4,
  Control: 5,
} as const

export const VERSION = 2

// ---- sealed packets -------------------------------------------------------------------------------------------

/** Clear header: type, receiver index, counter. All of it is associated data. */
export const HEADER_BYTES = 8
/** Sealed header: stamp and flags, bucket and sequence. */
export const INNER_HEADER_BYTES = 8
export const TAG_BYTES = 16
export const DATA_OVERHEAD_BYTES = HEADER_BYTES + INNER_HEADER_BYTES + TAG_BYTES

export const INDEX_SESSION_BITS = 19
export const INDEX_PATH_BITS = 5
export const PATH_IDS = 1 << INDEX_PATH_BITS
export const SESSION_INDEX_LIMIT = 1 << INDEX_SESSION_BITS

export const STAMP_BITS = 28
export const STAMP_MASK = (1 << STAMP_BITS) - 1
export const SEQUENCE_BITS = 22
export const SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1
export const BUCKET_BITS = 10
export const BUCKETS = 1 << BUCKET_BITS
/** Packets of bucket 0 are delivered as they come; their sequence only tells copies apart. */
export const BUCKET_UNORDERED = 0

/** Four bits beside the stamp. */
export const PacketFlag = {
  /** The inner transport checksum is partial: whoever writes it to a wire finishes it. */
  ChecksumPartial: 1,
  /** Sent before on another path; the stamp is of this transmission, so it says nothing of the order of sending. */
  Repair: 2,
  /** Control frames follow the inner packet, whose own header says where it ends; or the last frame, if it is compressed. */
  Trailer: 4,
  /** Of a long transfer, all of whose packets are to have the delay of the slowest path. */
  Even: 8,
} as const

/** Word 0 of the clear header: type and receiver index. */
export function headerWord(type: number, receiverIndex: number): number {
  return (type | (receiverIndex << 8)) >>> 0
}
export function receiverIndexOf(session: number, path: number): number {
  return (session << INDEX_PATH_BITS) | path
}
/** The index in three bytes at `at`. */
export function readIndex(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)
}
export function writeIndex(bytes: Uint8Array, at: number, index: number): void {
  bytes[at] = index & 0xff
  bytes[at + 1] = (index >> 8) & 0xff
  bytes[at + 2] = index >> 16
}
/** Word 0 of the sealed header. `stampUs` may be any instant; its low 28 bits go out, as the shift leaves the rest behind. */
export function stampWord(stampUs: number, flags: number): number {
  return ((stampUs << 4) | flags) >>> 0
}
/** Word 1 of the sealed header. */
export function orderWord(bucket: number, sequence: number): number {
  return ((bucket << SEQUENCE_BITS) | sequence) >>> 0
}
/** a - b in sequence space, as a signed number. */
export function sequenceDifference(a: number, b: number): number {
  return ((a - b) << (32 - SEQUENCE_BITS)) >> (32 - SEQUENCE_BITS)
}
/** The instant nearest to `reference` whose low 28 bits are `stamp`: right within ±134 s. */
export function unwrapStamp(stamp: number, reference: number): number {
  const span = STAMP_MASK + 1
  const base = Math.floor(reference / span) * span + stamp
  if (base - reference > span / 2) return base - span
  if (reference - base > span / 2) return base + span
  return base
}

// ---- handshake messages ---------------------------------------------------------------------------------------

const PUBLIC_KEY_BYTES = 32
export const MAC_BYTES = 16

/** What both handshake messages have in their payload, encrypted by Noise. */
export const HandshakePayload = {
  /** Version of this protocol, u8. An end that does not speak it answers nothing and counts a reason. */
  version: 0,
  /** Initiation: ciphers offered, {@link Cipher} set, u8. Response: the one chosen. */
  ciphers: 1,
  /** {@link Feature} set, u16; unknown bits are ignored. */
  features: 2,
  /** Random number of this run of the program, u64: another one means that the other end restarted. */
  bootId: 4,
  bytes: 12,
} as const

/** Payload of message 1: {@link HandshakePayload} and a proof. That of message 2 has no need of one. */
export const InitiationPayload = {
  /** Shows that the initiator has the pre-shared key, see noise/psk-proof.ts: else nothing is answered. */
  pskProof: HandshakePayload.bytes,
  bytes: HandshakePayload.bytes + MAC_BYTES,
} as const

/** Ciphers of sealed packets, a bit each. */
export const Cipher = { ChaCha20Poly1305: 1, Aes256Gcm: 2 } as const
export type Cipher = (typeof Cipher)[keyof typeof Cipher]
/** As people write them. */
export const CIPHER_NAMES: Readonly<Record<Cipher, string>> = {
  [Cipher.ChaCha20Poly1305]: 'ChaCha20-Poly1305',
  [Cipher.Aes256Gcm]: 'AES-256-GCM',
}

/** What an end does that the other must know. */
export const Feature = {
  /** It sends lost packets again, so a hole is worth waiting for. */
  Repairs: 1,
  /** It wants TCP to see one delay, that of the slowest path, at both ends. */
  Equalise: 2,
  /** It reads control frames behind the packets of data packets. */
  Trailers: 4,
  /** It expands compressed headers, see wire/header-compression.ts. */
  HeaderCompression: 8,
} as const

/** Message 1: `type | sender index 3 | e 32 | s 48 | payload 44 | mac1 16 | mac2 16`. */
export const Initiation = {
  senderIndex: 1,
  noise: 4,
  noiseBytes: PUBLIC_KEY_BYTES + PUBLIC_KEY_BYTES + TAG_BYTES + InitiationPayload.bytes + TAG_BYTES,
  mac1: 4 + PUBLIC_KEY_BYTES * 2 + TAG_BYTES * 2 + InitiationPayload.bytes,
  mac2: 4 + PUBLIC_KEY_BYTES * 2 + TAG_BYTES * 2 + InitiationPayload.bytes + MAC_BYTES,
  bytes: 4 + PUBLIC_KEY_BYTES * 2 + TAG_BYTES * 2 + InitiationPayload.bytes + 2 * MAC_BYTES,
} as const

/** Message 2: `type | receiver index 3 | sender index 3 + 1 zero | e 32 | payload 28 | mac1 16 | mac2 16`. */
export const Response = {
  receiverIndex: 1,
  senderIndex: 4,
  noise: 8,
  noiseBytes: PUBLIC_KEY_BYTES + HandshakePayload.bytes + TAG_BYTES,
  mac1: 8 + PUBLIC_KEY_BYTES + HandshakePayload.bytes + TAG_BYTES,
  mac2: 8 + PUBLIC_KEY_BYTES + HandshakePayload.bytes + TAG_BYTES + MAC_BYTES,
  bytes: 8 + PUBLIC_KEY_BYTES + HandshakePayload.bytes + TAG_BYTES + 2 * MAC_BYTES,
} as const

/** Cookie reply: `type | receiver index 3 | nonce 24 | cookie 16 + tag 16` (XChaCha20-Poly1305). */
export const CookieReply = {
  receiverIndex: 1,
  nonce: 4,
  cookie: 28,
  bytes: 28 + MAC_BYTES + TAG_BYTES,
} as const

// ---- control frames -------------------------------------------------------------------------------------------

/**
 * A control packet's payload is frames, each `kind u8 | body bytes u8 | body`; unknown kinds are skipped. Frames may
 * also follow the inner packet of a data packet, see {@link PacketFlag.Trailer}.
 */
export const FrameKind = {
  /** Fills a packet up to a size. Body: anything. */
  Padding: 0,
  /** Asks the other end to report at once. Body: none. */
  Heartbeat: 1,
  /** Is anybody there? Body: 8 random bytes. Answered on the same path to the address it came from. */
  PathChallenge: 2,
  /** Body: the 8 bytes of the challenge. */
  PathResponse: 3,
  /** What was received on each path, see {@link Feedback}. */
  Feedback: 4,
  /** A handshake message inside the live session (rekey). Body: the message. */
  Handshake: 5,
  /** This end stops on purpose. Body: none. */
  Close: 6,
  /** One packet of a train, see {@link Train}: the spacing in which they arrive shows the rate of the path. */
  Train: 8,
  /** What a train was received as, see {@link TrainReport}. */
  TrainReport: 9,
  /** A context of header compression, see {@link HeaderContext}. */
  HeaderContext: 10,
  /** Body: index and number of the context, as they were told. */
  HeaderContextKnown: 11,
  /** A packet named a context that is not known. Body: its index. */
  HeaderContextUnknown: 12,
  /** The last frame behind a compressed packet, whose header does not say where it ends. Body: bytes of all frames, u16. */
  TrailerLength: 13,
} as const

export const FRAME_HEADER_BYTES = 2
export const CHALLENGE_BYTES = 8

/**
 * Feedback body: `number u16 | generated at u32 (µs, receiver's clock) | paths u8`, then for each path
 * {@link FeedbackPath}, then its missing ranges. Cumulative: any frame replaces all older ones.
 */
export const Feedback = { number: 0, generatedAt: 2, paths: 6, bytes: 7 } as const

/** One path of a feedback frame, 25 bytes, followed by `ranges` × {@link MISSING_RANGE_BYTES}. */
export const FeedbackPath = {
  /** Path id in the session that the frame travels in. */
  id: 0,
  /** Newest counter received, low 32 bits. */
  newest: 1,
  /** When it came, µs of the receiver's clock, u32. */
  newestAt: 5,
  /** Packets received on this path in this session, u32 modulo 2^32. */
  packets: 9,
  /** Bytes of datagrams received, u32 modulo 2^32. */
  receivedBytes: 13,
  /** Least (receive - send stamp) since the frame before last, i32 µs, relative; {@link OWD_UNKNOWN} if nothing came. */
  owdMin: 17,
  /** Counters from here up to newest are fully described by the ranges, u16 below newest. */
  completeFrom: 21,
  /** Missing ranges that follow, u8, newest first. */
  ranges: 23,
  zero: 24,
  bytes: 25,
} as const

/** No packet came on the path since the frame before last. */
export const OWD_UNKNOWN = 0x7fffffff

/** A missing range: `distance of its last counter below newest u16 | length u8`. */
export const MISSING_RANGE_BYTES = 3
export const MISSING_RANGES_MAX = 40

/** Header context body: `index u8 | number u16`, then the words of wire/header-compression.ts, 24 or 44 bytes. */
export const HeaderContext = { index: 0, number: 1, bytes: 3 } as const

export const TRAILER_LENGTH_BYTES = FRAME_HEADER_BYTES + 2

/** Train body: `number of the train u8 | packets in it u8`. */
export const Train = { number: 0, packets: 1, bytes: 2 } as const

/** Train report body: `path id u8 | number u8 | packets received u8 | bytes after the first u32 | span u32 (µs)`. */
export const TrainReport = { path: 0, number: 1, packets: 2, received: 3, spanUs: 7, bytes: 11 } as const

/** Packet and frames together, in a data packet with a trailer: what the smallest MTU of a tunnel has room for. */
export const TRAILED_BYTES_MAX = 1_280

/** One line for people: what a datagram is, from its clear bytes alone. */
export function describe(datagram: Uint8Array): string {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength)
  const index = (at: number): string => {
    const value = readIndex(datagram, at)
    return `session ${value >> INDEX_PATH_BITS} path ${value & (PATH_IDS - 1)}`
  }
  const bytes = datagram.length
  switch (datagram[0]) {
    case MessageType.Initiation:
      return bytes === Initiation.bytes ? `initiation from ${index(1)}` : `initiation of ${bytes} bytes`
    case MessageType.Response:
      return bytes === Response.bytes
        ? `response to ${index(1)} from ${index(4)}`
        : `response of ${bytes} bytes`
    case MessageType.CookieReply:
      return bytes === CookieReply.bytes ? `cookie reply to ${index(1)}` : `cookie reply of ${bytes} bytes`
    case MessageType.Data:
    case MessageType.Control: {
      const name = datagram[0] === MessageType.Data ? 'data' : 'control'
      if (bytes < DATA_OVERHEAD_BYTES) return `${name} of ${bytes} bytes`
      return `${name} to ${index(1)} counter ${view.getUint32(4, true)}, ${bytes - DATA_OVERHEAD_BYTES} bytes`
    }
    default:
      return `unknown type ${datagram[0] ?? 'none'}, ${bytes} bytes`
  }
}
