import { MILLISECOND, SECOND } from '../base/time.js'

// ---- protocol: both ends must agree ------------------------------------------------------------------------------

/** Keys are renewed after this time while there is traffic (WireGuard's figure). */
export const REKEY_AFTER_US = 120 * SECOND
/** No packet is sealed or opened with a key older than this. */
export const REJECT_AFTER_US = 180 * SECOND
/** Keys are renewed after this many packets over all paths: AES-GCM's margin at 2^28 packets of <= 2 KB (RFC 9001 B). */
export const REKEY_AFTER_PACKETS = 2 ** 27
/** No key seals more packets than this. */
export const REJECT_AFTER_PACKETS = 2 ** 28

// ---- our own choices -----------------------------------------------------------------------------------------------

/** First handshake retry; doubles up to the next. Short, since a bond that is down costs its user more than a packet. */
export const HANDSHAKE_RETRY_US = 250 * MILLISECOND
/** A restarted far end must be found within 3 s, jitter included. */
export const HANDSHAKE_RETRY_US_MAX = 1_500 * MILLISECOND
/** Jitter keeps many clients of one hub from knocking in step. */
export const HANDSHAKE_JITTER_US = 333 * MILLISECOND
/** The same failure of handshakes with one peer is told of this often at most: some of them anybody can cause. */
export const HANDSHAKE_FAILURE_EVENT_US = 60 * SECOND
/** A response must come within this time; the attempt's ephemeral key is erased then. */
export const HANDSHAKE_ATTEMPT_US = 5 * SECOND
/** Answers we have given that the initiator has not confirmed: at most so many per peer (design: 4 for 5 s). */
export const PENDING_SESSIONS_MAX = 4
export const PENDING_SESSION_US = 5 * SECOND
/**
 * Confirmed sessions kept beside the one in use: a link that comes and goes makes many. Young ones stay, as the two ends
 * need not have agreed yet on which to use.
 */
export const FORMER_SESSIONS_MAX = 8
export const FORMER_SESSION_US = 10 * SECOND
/** ... but no more than so many: each has room for what is under way on sixteen paths. */
export const YOUNG_SESSIONS_MAX = 24
/** Two sessions born within this time came from both ends initiating at once: the smaller public key's one sends. */
export const SIMULTANEOUS_US = 5 * SECOND
/** Sending while every path is silent for this long: the far end may have restarted, so shake hands again. */
export const SILENCE_HANDSHAKE_US = 1 * SECOND

/** A challenge without answer is repeated after this time. */
export const CHALLENGE_RETRY_US = 250 * MILLISECOND
/** A path that is down is tried this often. */
export const PROBE_DOWN_US = 1 * SECOND
/** A learnt path that was down this long is forgotten. */
export const FORGET_PATH_US = 60 * SECOND
/** At most one change of a path's remote address in this time. */
export const ROAM_INTERVAL_US = 1 * SECOND

/** Feedback while data comes in: every 5 ms (10 ms costs half a point of goodput, 20 ms four: measured). */
export const FEEDBACK_US = 5 * MILLISECOND
/** ... but its own bytes stay below this share of the bytes received, and of what the path that takes it can carry, */
export const FEEDBACK_SHARE = 0.02
/** ... or this one where that is less than 2 Mbit/s, */
export const FEEDBACK_SHARE_THIN = 0.05
/** ... except that nothing received waits longer than this to be reported, while a path is free to take it. */
export const FEEDBACK_US_MAX = 50 * MILLISECOND

/** A gap is reported after this time: what the same burst lost shares one frame. */
export const FEEDBACK_GAP_US = 500

/** Heartbeat on a path without traffic of its own, while its peer is active. */
export const HEARTBEAT_ACTIVE_US = 100 * MILLISECOND
/** A peer is active for this long after its last data packet. */
export const ACTIVE_US = 1 * SECOND
/** Unanswered heartbeats are repeated this often (at least one rtt apart). */
export const HEARTBEAT_RETRY_US = 100 * MILLISECOND
/** Lateness beyond which a path is suspect: see health-monitor.ts. */
export const SUSPECT_MARGIN_US = 12 * MILLISECOND
export const SUSPECT_MARGIN_US_MAX = 200 * MILLISECOND
export const SUSPECT_US_MIN = 40 * MILLISECOND
/** A suspect path is probed this often, */
export const SUSPECT_PROBE_US = 20 * MILLISECOND
/** ... and is down when it has not answered for this long. */
export const SUSPECT_US_MAX = 1 * SECOND
/** A loop that woke this late gives no verdict on silence for a while: the silence may be its own. */
export const LATE_WAKE_US = 8 * MILLISECOND
export const LATE_WAKE_GRACE_US = 40 * MILLISECOND
/** Loss above which a path is called lossy, and below which it is well again (hysteresis). */
export const LOSSY_ABOVE = 0.05
export const LOSSY_BELOW = 0.02
/** Round trip above which a path is called late: so many times its least one, and so much more. */
export const LATE_FACTOR = 4
export const LATE_EXTRA_US = 100 * MILLISECOND

/** How long a hole in one flow is held at most when no repair is on its way. */
export const HOLD_US_MAX = 120 * MILLISECOND
/** ... and when lost packets are sent again: a late one is far cheaper for TCP than a missing one. Below its RTO. */
export const HOLD_REPAIR_US_MAX = 300 * MILLISECOND
/** Egress queue of one peer. */
export const EGRESS_BYTES_MAX = 4 << 20
export const EGRESS_PACKETS_MAX = 12_288
/** Bulk, and the rest: what is older than that is of no use to anybody, as after an outage. */
export const EGRESS_US_MAX = 2 * SECOND
export const EGRESS_URGENT_US_MAX = 1 * SECOND

/** Packets of one wake-up, in each direction. */
export const BATCH_PACKETS = 512
/** The core keeps this many events for `plait status`. */
export const EVENTS_MAX = 256
