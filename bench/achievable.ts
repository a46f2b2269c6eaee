/** Bytes that a full packet of one TCP flow has on an Ethernet link under the tunnel, as tbf counts them. */
const TUN_MTU = 1440
const TCP_HEADERS = 20 + 32
const TUNNEL = 32
const OUTER_HEADERS = 14 + 20 + 8

/** What one TCP flow can get at most out of two links of 1 Gbit/s, in Gbit/s. */
export function twoGigAchievable(): number {
  return (2 * (TUN_MTU - TCP_HEADERS)) / (TUN_MTU + TUNNEL + OUTER_HEADERS)
}
