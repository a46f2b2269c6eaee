import { QUIC_DATAGRAM_BYTES, QUIC_PAYLOAD_BYTES } from './apps/quic-framing.js'
import type { Way } from './link-model.js'
import { lteTrace, type RateTrace, readTraceFile, traceRateAt } from './rate-trace.js'
import type { LabEvent, Scenario, ScenarioLink, Traffic } from './scenario.js'
import { formatRate, type Window } from './units.js'

/** Bytes that a data packet of plait has beyond its inner packet, IP and UDP apart (docs/protocol.md). */
const TUNNEL_BYTES = 32
const UDP_BYTES = 8
const ETHERNET_BYTES = 14
const IP_BYTES = { 4: 20, 6: 40 } as const
/** TCP header with time stamps, over IPv4. */
const INNER_TCP_BYTES = 20 + 32
const INNER_UDP_BYTES = 20 + 8
/**
 * Without a tunnel, MPTCP adds its data sequence signal to most segments: kind to flags, a mapping of 64 bits, and an
 * acknowledgement of 64 bits once such numbers were received, which of an upload's sender is never, rounded up to 4 (Linux,
 * mptcp_established_options_dss).
 */
const MPTCP_BYTES = { up: 24, down: 28 } as const

export interface Framing {
  readonly payloadBytes: number
  /** Of the packet as the tunnel carries it. */
  readonly innerBytes: number
  readonly wireBytes: number
  /** For the report: "1388 of 1514 bytes". */
  readonly text: string
}

/** Payload and bytes on the link of a full packet of `traffic` in the tunnel. */
export function tunnelFraming(traffic: Traffic, tunMtu: number, outer: 4 | 6): Framing {
  const outside = TUNNEL_BYTES + UDP_BYTES + IP_BYTES[outer] + ETHERNET_BYTES
  switch (traffic.kind) {
    case 'udp':
    case 'voip':
      return framing(traffic.bytes, traffic.bytes + INNER_UDP_BYTES, outside)
    case 'quic':
      return framing(QUIC_PAYLOAD_BYTES, QUIC_DATAGRAM_BYTES + INNER_UDP_BYTES, outside)
    case 'ping':
      return framing(tunMtu - INNER_UDP_BYTES, tunMtu, outside)
    default:
      return framing(tunMtu - INNER_TCP_BYTES, tunMtu, outside)
  }
}

/** The same for TCP straight over the links. */
export function nativeFraming(linkMtu: number, mptcp: Way | undefined): Framing {
  const options = mptcp === undefined ? 0 : MPTCP_BYTES[mptcp]
  return framing(linkMtu - INNER_TCP_BYTES - options, linkMtu, ETHERNET_BYTES)
}

function framing(payloadBytes: number, innerBytes: number, outsideBytes: number): Framing {
  const wireBytes = innerBytes + outsideBytes
  return { payloadBytes, innerBytes, wireBytes, text: `${payloadBytes} of ${wireBytes} bytes` }
}

/** The traces of a scenario's links, as a run with this seed plays them. */
export function tracesOf(link: ScenarioLink, index: number, seed: number): Partial<Record<Way, RateTrace>> {
  const traces: Partial<Record<Way, RateTrace>> = {}
  for (const way of ['up', 'down'] as const) {
    const spec = link.traces[way]
    if (!spec) continue
    traces[way] =
      'lte' in spec
        ? lteTrace(spec.lte, seed * 1000 + index * 2 + (way === 'up' ? 0 : 1))
        : readTraceFile(spec.file)
  }
  return traces
}

const STEP_US = 10_000

/**
 * What a link can carry in one direction over time: its rate less its losses, nothing while it is down. Events and
 * traces are played as the run plays them.
 */
export class LinkTimeline {
  constructor(
    private readonly link: ScenarioLink,
    private readonly events: readonly LabEvent[],
    private readonly traces: Partial<Record<Way, RateTrace>>,
  ) {}

  /** Bits a second of whole frames that arrive, at a time of the scenario. */
  bitsPerSecAt(way: Way, timeUs: number): number {
    let { rateBitsPerSec: rate, loss } = this.link[way]
    let trace = this.traces[way]
    let down = false
    let unplugged = false
    for (const event of this.events) {
      if (!('link' in event) || event.link !== this.link.name || event.atUs > timeUs) continue
      if (event.action === 'carrier-off') unplugged = true
      if (event.action === 'carrier-on') unplugged = false
      if (event.way !== 'both' && event.way !== way) continue
      if (event.action === 'down') down = true
      if (event.action === 'up') down = false
      if (event.action === 'set') {
        loss = event.set.loss ?? loss
        if (event.set.rateBitsPerSec !== undefined) {
          rate = event.set.rateBitsPerSec
          trace = undefined
        }
      }
    }
    if (down || unplugged) return 0
    return (trace ? traceRateAt(trace, timeUs) : rate) * (1 - loss)
  }

  meanBitsPerSec(way: Way, window: Window): number {
    let sum = 0
    let steps = 0
    for (let t = window.fromUs; t < window.toUs; t += STEP_US) {
      sum += this.bitsPerSecAt(way, t)
      steps++
    }
    return steps === 0 ? 0 : sum / steps
  }
}

export function timelines(scenario: Scenario, seed: number): LinkTimeline[] {
  return scenario.links.map(
    (link, at) => new LinkTimeline(link, scenario.events, tracesOf(link, at + 1, seed)),
  )
}

export interface Achievable {
  readonly bitsPerSec: number
  /** How it was computed, for the person who reads it. */
  readonly how: string
}

/**
 * Sum of the rates of `links` (their places in the scenario) less their losses, times the share of payload in what they
 * carry.
 */
export function achievable(
  scenario: Scenario,
  seed: number,
  way: Way,
  links: readonly number[],
  window: Window,
  frame: Framing,
): Achievable {
  const parts: string[] = []
  let sum = 0
  const lines = timelines(scenario, seed)
  for (const index of links) {
    const link = scenario.links[index]!
    const overhead = link[way].overheadBytes
    const share = frame.payloadBytes / (frame.wireBytes + overhead)
    const mean = lines[index]!.meanBitsPerSec(way, window)
    sum += mean * share
    parts.push(`${link.name} ${formatRate(mean)}${overhead > 0 ? ` (+${overhead} B a frame)` : ''}`)
  }
  return {
    bitsPerSec: sum,
    how: `(${parts.join(' + ')}: rate less loss, mean of the window) x ${frame.text} = ${formatRate(sum)}`,
  }
}
