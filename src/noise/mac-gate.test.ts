import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Prng } from '../base/prng.js'
import { MILLISECOND, SECOND } from '../base/time.js'
import { loadPrimitives } from '../io/primitives.js'
import { CookieReply, Initiation, MAC_BYTES, MessageType, Response, writeIndex } from '../wire/message.js'
import { LOAD_HANDSHAKES_PER_SECOND, LOAD_WORK_HANDSHAKES } from './load-gauge.js'
import { COOKIE_SECRET_LIFETIME_US, MacGate } from './mac-gate.js'
import { COOKIE_LIFETIME_US, PeerMacs } from './peer-macs.js'
import type { Primitives } from './primitives.js'

const PATH = 3
const OTHER_PATH = 4

let primitives: Primitives
let publicKey: Uint8Array
let random: Prng
let gate: MacGate
let macs: PeerMacs

beforeAll(async () => {
  primitives = await loadPrimitives()
})

beforeEach(() => {
  random = new Prng(11)
  const privateKey = new Uint8Array(32)
  random.fill(privateKey)
  publicKey = primitives.publicKey(privateKey)
  gate = new MacGate(primitives, publicKey, random)
  macs = new PeerMacs(primitives, publicKey)
})

function address(host: number, port = 1000): Uint32Array {
  return Uint32Array.of(4 | (port << 16), host, 0, 0, 0)
}

/** Frames with random insides: the gate does not look into them. */
function initiation(): Uint8Array {
  const message = new Uint8Array(Initiation.bytes)
  random.fill(message)
  message[0] = MessageType.Initiation
  macs.writeMac1(message)
  return message
}

function response(): Uint8Array {
  const message = new Uint8Array(Response.bytes)
  random.fill(message)
  message[0] = MessageType.Response
  macs.writeMac1(message)
  return message
}

function putUnderLoad(now: number, loaded = gate): void {
  for (let i = 0; i < LOAD_WORK_HANDSHAKES; i++) loaded.load.countHandshake(now)
  loaded.load.noteWork(SECOND, SECOND, now)
}

describe('MacGate', () => {
  it('lets a valid mac1 pass, whatever mac2 says, when there is no load', () => {
    for (const message of [initiation(), response()]) {
      expect(gate.check(message, address(1), 0)).toBe('pass')
      message[message.length - 1]! ^= 1
      expect(gate.check(message, address(1), 0)).toBe('pass')
    }
  })

  it('refuses everything of those who do not know the public key, under load too, and does not count them', () => {
    const other = new PeerMacs(primitives, new Uint8Array(32).fill(1))
    const message = initiation()
    other.writeMac1(message)
    for (let i = 0; i < 3 * LOAD_HANDSHAKES_PER_SECOND; i++) {
      expect(gate.check(message, address(1), i)).toBe('badMac')
    }
    expect(gate.load.underLoad(SECOND)).toBe(false)
    putUnderLoad(0)
    expect(gate.check(message, address(1), 0)).toBe('badMac')
    expect(gate.check(new Uint8Array(0), address(1), 0)).toBe('badLength')
  })

  it('wants a cookie under load, and says so in fewer bytes than it got', () => {
    putUnderLoad(0)
    for (const message of [initiation(), response()]) {
      expect(gate.check(message, address(1), 0)).toBe('cookieRequired')
      const reply = gate.cookieReply(message, address(1), 0)
      expect(reply).toHaveLength(CookieReply.bytes)
      expect(reply.length).toBeLessThan(message.length)
      expect(macs.handleCookieReply(reply, message, PATH, 0)).toBeUndefined()
      macs.writeMac2(message, PATH, 0)
      expect(gate.check(message, address(1), 0)).toBe('pass')
    }
  })

  it('takes a cookie only from the address and port it was given to', () => {
    putUnderLoad(0)
    const message = initiation()
    macs.handleCookieReply(gate.cookieReply(message, address(1, 5), 0), message, PATH, 0)
    const next = initiation()
    macs.writeMac2(next, PATH, 0)
    expect(gate.check(next, address(1, 5), 0)).toBe('pass')
    expect(gate.check(next, address(1, 6), 0)).toBe('cookieRequired')
    expect(gate.check(next, address(2, 5), 0)).toBe('cookieRequired')
    const bent = next.slice()
    bent[Initiation.mac2]! ^= 1
    expect(gate.check(bent, address(1, 5), 0)).toBe('cookieRequired')
  })

  it('renews its secret after 120 s, and never has one that is known beforehand', () => {
    const message = initiation()
    macs.handleCookieReply(gate.cookieReply(message, address(1), 0), message, PATH, 0)
    const at = (now: number) => {
      putUnderLoad(now)
      macs.writeMac2(message, PATH, COOKIE_LIFETIME_US - 1)
      return gate.check(message, address(1), now)
    }
    expect(at(COOKIE_SECRET_LIFETIME_US - 1)).toBe('pass')
    expect(at(COOKIE_SECRET_LIFETIME_US)).toBe('cookieRequired')

    const fresh = new MacGate(primitives, publicKey, random)
    putUnderLoad(0, fresh)
    const forged = initiation()
    const cookieOfZeros = primitives.mac(new Uint8Array(32), new Uint8Array(address(1).buffer))
    const mac2 = primitives.mac(cookieOfZeros, forged.subarray(0, Initiation.mac2))
    forged.set(mac2, Initiation.mac2)
    expect(fresh.check(forged, address(1), 0)).toBe('cookieRequired')
  })

  it('comes under load at 101 messages within a second, stays so for one, and limits each source then', () => {
    const message = initiation()
    macs.handleCookieReply(gate.cookieReply(message, address(1), 0), message, PATH, 0)
    macs.writeMac2(message, PATH, 0)
    const none = initiation()
    for (let i = 0; i < LOAD_HANDSHAKES_PER_SECOND; i++) {
      expect(gate.check(none, address(2), i * MILLISECOND)).toBe('pass')
    }
    const now = 100 * MILLISECOND
    expect(gate.check(none, address(2), now)).toBe('cookieRequired')
    const verdicts = Array.from({ length: 6 }, () => gate.check(message, address(1), now))
    expect(verdicts).toEqual(['pass', 'pass', 'pass', 'pass', 'pass', 'handshakeLimited'])
    expect(gate.check(message, address(1), now + 50 * MILLISECOND)).toBe('pass')
    expect(gate.check(none, address(2), now + 3 * SECOND)).toBe('pass')
  })

  it('neither counts nor rations what comes sealed inside a live session', () => {
    putUnderLoad(0)
    const message = initiation()
    for (let i = 0; i < 300; i++) expect(gate.check(message, undefined, 0)).toBe('pass')
    expect(gate.load.underLoad(SECOND)).toBe(false)
    message[5]! ^= 1
    expect(gate.check(message, undefined, 0)).toBe('badMac')
  })
})

describe('PeerMacs', () => {
  it('writes zeros for mac2 without a cookie, and again when the cookie is 120 s old', () => {
    const zeros = new Uint8Array(MAC_BYTES)
    const message = initiation()
    message.fill(7, Initiation.mac2)
    macs.writeMac2(message, PATH, 0)
    expect(message.subarray(Initiation.mac2)).toEqual(zeros)
    macs.handleCookieReply(gate.cookieReply(message, address(1), 0), message, PATH, 0)
    macs.writeMac2(message, PATH, COOKIE_LIFETIME_US - 1)
    expect(message.subarray(Initiation.mac2)).not.toEqual(zeros)
    macs.writeMac2(message, PATH, COOKIE_LIFETIME_US)
    expect(message.subarray(Initiation.mac2)).toEqual(zeros)
  })

  it('keeps the cookies of several paths apart, as racing needs', () => {
    putUnderLoad(0)
    const message = initiation()
    macs.handleCookieReply(gate.cookieReply(message, address(1), 0), message, PATH, 0)
    macs.handleCookieReply(gate.cookieReply(message, address(2), 0), message, OTHER_PATH, 0)
    const next = initiation()
    macs.writeMac2(next, PATH, 0)
    expect(gate.check(next, address(1), 0)).toBe('pass')
    expect(gate.check(next, address(2), 0)).toBe('cookieRequired')
    macs.writeMac2(next, OTHER_PATH, 0)
    expect(gate.check(next, address(2), 0)).toBe('pass')
    expect(gate.check(next, address(1), 0)).toBe('cookieRequired')
  })

  it('takes no reply that was damaged, cut, meant for another message or made by another end', () => {
    const message = initiation()
    const reply = gate.cookieReply(message, address(1), 0)
    for (let at = 0; at < reply.length; at++) {
      const forged = reply.slice()
      forged[at]! ^= 1 << (at % 8)
      const expected =
        at === 0 ? 'badLength' : at < CookieReply.nonce ? 'handshakeUnexpected' : 'handshakeFailed'
      expect(macs.handleCookieReply(forged, message, PATH, 0), `byte ${at}`).toBe(expected)
      expect(macs.handleCookieReply(reply.subarray(0, at), message, PATH, 0)).toBe('badLength')
    }
    const another = initiation()
    writeIndex(another, Initiation.senderIndex, 0)
    expect(macs.handleCookieReply(reply, another, PATH, 0)).toBe('handshakeUnexpected')
    another.set(message.subarray(0, 4))
    expect(macs.handleCookieReply(reply, another, PATH, 0)).toBe('handshakeFailed')
    const mallory = new MacGate(primitives, new Uint8Array(32).fill(2), random)
    expect(macs.handleCookieReply(mallory.cookieReply(message, address(1), 0), message, PATH, 0)).toBe(
      'handshakeFailed',
    )
    macs.writeMac2(message, PATH, 0)
    expect(message.subarray(Initiation.mac2)).toEqual(new Uint8Array(MAC_BYTES))
    expect(macs.handleCookieReply(reply, message, PATH, 0)).toBeUndefined()
  })

  it('holds a bounded number of cookies, the newest', () => {
    const message = initiation()
    const reply = gate.cookieReply(message, address(1), 0)
    for (let path = 0; path < 65; path++) macs.handleCookieReply(reply, message, path, 0)
    macs.writeMac2(message, 0, 0)
    expect(message.subarray(Initiation.mac2)).toEqual(new Uint8Array(MAC_BYTES))
    macs.writeMac2(message, 64, 0)
    expect(message.subarray(Initiation.mac2)).not.toEqual(new Uint8Array(MAC_BYTES))
  })
})
