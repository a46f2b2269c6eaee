import { describe, expect, it } from 'vitest'
import { MILLISECOND, SECOND } from '../base/time.js'
import { SOURCES_MAX, SourceLimiter } from './source-limiter.js'

const ipv4 = (host: number, port = 1) => Uint32Array.of(4 | (port << 16), host, 0, 0, 0)
const ipv6 = (network: number, host: number) => Uint32Array.of(6, network, 0, 0, host)

describe('SourceLimiter', () => {
  it('allows a burst of 5 and 20 a second, whatever the port', () => {
    const limiter = new SourceLimiter()
    let allowed = 0
    for (let now = 0; now < 10 * SECOND; now += MILLISECOND) {
      if (limiter.allow(ipv4(1, now % 60_000), now)) allowed++
    }
    expect(allowed).toBe(5 + 199)
  })

  it('keeps sources apart: IPv4 addresses, IPv6 networks of 64 bits', () => {
    const limiter = new SourceLimiter()
    const exhaust = (source: (index: number) => Uint32Array) =>
      Array.from({ length: 7 }, (_, index) => limiter.allow(source(index), 0)).filter(Boolean).length
    expect(exhaust(() => ipv4(1))).toBe(5)
    expect(exhaust((index) => ipv4(index + 2))).toBe(7)
    expect(exhaust((index) => ipv6(1, index))).toBe(5)
    expect(exhaust((index) => ipv6(index + 2, 0))).toBe(7)
  })

  it('is bounded: a full table refuses newcomers until the sweep has forgotten the quiet ones', () => {
    const limiter = new SourceLimiter()
    for (let host = 0; host < SOURCES_MAX; host++) expect(limiter.allow(ipv4(host), 0)).toBe(true)
    expect(limiter.allow(ipv4(SOURCES_MAX), SECOND - 1)).toBe(false)
    expect(limiter.size).toBe(SOURCES_MAX)
    expect(limiter.allow(ipv4(0), SECOND - 1)).toBe(true)
    expect(limiter.allow(ipv4(SOURCES_MAX), SECOND)).toBe(true)
    expect(limiter.size).toBe(2)
  })
})
