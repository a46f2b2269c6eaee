import { describe, expect, it } from 'vitest'
import { SECOND } from '../base/time.js'
import type { Link } from './link.js'
import { Path } from './path.js'
import type { Peer } from './peer.js'

const STEP_US = SECOND / 4

function makePath(): Path {
  return new Path(
    { device: { mtuWanted: 1440 } } as Peer,
    0,
    { name: 'dsl', weight: 1 } as Link,
    new Uint32Array(10),
    true,
    0,
  )
}

/** Sends at a steady rate for some seconds; returns the time at the end. */
function send(path: Path, bytesPerSec: number, seconds: number, from: number): number {
  let now = from
  for (let i = 0; i < seconds * 4; i++) {
    now += STEP_US
    path.bytesOut += bytesPerSec / 4
    path.measure(now)
  }
  return now
}

describe('what a path keeps for repair', () => {
  it('is everything up to the rate for which loss-free failover is promised', () => {
    const path = makePath()
    send(path, 62_500_000, 10, 0)
    expect(path.rateOutBytesPerSec).toBeCloseTo(62_500_000, -3)
    expect(path.retains).toBe(true)
  })

  it('is nothing at many times that rate, as long as nothing is lost', () => {
    const path = makePath()
    let now = send(path, 600_000_000, 5, 0)
    expect(path.retains).toBe(false)
    path.health.lostAt = now
    now = send(path, 600_000_000, 1, now)
    expect(path.retains).toBe(true)
    now = send(path, 600_000_000, 3, now)
    expect(path.retains).toBe(false)
  })

  it('is everything again only well below, so that it does not go to and fro', () => {
    const path = makePath()
    let now = send(path, 600_000_000, 5, 0)
    now = send(path, 50_000_000, 5, now)
    expect(path.retains).toBe(false)
    send(path, 30_000_000, 5, now)
    expect(path.retains).toBe(true)
  })
})
