import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { Prng } from '../base/prng.js'
import { loadPrimitives } from '../io/primitives.js'
import { Cipher, HandshakePayload, Initiation, InitiationPayload, Response } from '../wire/message.js'
import { type HandshakeFailure, isFailure } from './failure.js'
import {
  chooseCipher,
  consumeInitiation,
  type Identity,
  InitiatorHandshake,
  type Offer,
  type ResponderHandshake,
} from './handshake.js'
import { MacGate } from './mac-gate.js'
import { PeerMacs } from './peer-macs.js'
import type { Primitives } from './primitives.js'

const BOTH = Cipher.ChaCha20Poly1305 | Cipher.Aes256Gcm
const random = new Prng(1)
const psk = new Uint8Array(32).fill(5)
const from = Uint32Array.of(4 | (7 << 16), 0x0100007f, 0, 0, 0)
const ours = () => psk

let primitives: Primitives
let alice: Identity
let bob: Identity
let toAlice: PeerMacs
let toBob: PeerMacs

beforeAll(async () => {
  primitives = await loadPrimitives()
  alice = newIdentity()
  bob = newIdentity()
  toAlice = new PeerMacs(primitives, alice.publicKey)
  toBob = new PeerMacs(primitives, bob.publicKey)
})

function newIdentity(): Identity {
  const privateKey = new Uint8Array(32)
  random.fill(privateKey)
  return { privateKey, publicKey: primitives.publicKey(privateKey) }
}

function offer(change: Partial<Offer> = {}): Offer {
  return { ciphers: BOTH, features: 0x8001, bootId: 0xfedcba9876543210n, ...change }
}

function got<T extends object>(result: T | HandshakeFailure): T {
  if (isFailure(result)) throw new Error(`unexpected ${result}`)
  return result
}

function start(
  change: { psk?: Uint8Array; offer?: Offer; senderIndex?: number } = {},
  by: Primitives = primitives,
): InitiatorHandshake {
  return got(
    InitiatorHandshake.start(by, {
      identity: alice,
      remotePublicKey: bob.publicKey,
      macs: toBob,
      psk,
      senderIndex: 0xabcde0,
      offer: offer(),
      random,
      ...change,
    }),
  )
}

function consume(message: Uint8Array, pskOf: () => Uint8Array = ours): ResponderHandshake | HandshakeFailure {
  return consumeInitiation(primitives, bob, message, random, pskOf)
}

/** An end that breaks the rules: what it seals as a payload is changed first. */
function lying(change: (payload: Uint8Array) => void): Primitives {
  return {
    ...primitives,
    seal(key, nonce, associated, plaintext) {
      const changed = plaintext.slice()
      if (changed.length === HandshakePayload.bytes || changed.length === InitiationPayload.bytes)
        change(changed)
      return primitives.seal(key, nonce, associated, changed)
    },
  }
}

function respond(responder: ResponderHandshake, change: { offer?: Offer } = {}) {
  return responder.respond({
    macs: toAlice,
    senderIndex: 0x123460,
    offer: offer({ bootId: 77n, features: 3 }),
    ...change,
  })
}

describe('a handshake', () => {
  it('gives both ends the same keys, hash and cipher, and each the other one’s identity', () => {
    const initiator = start()
    expect(initiator.message).toHaveLength(Initiation.bytes)
    expect(new MacGate(primitives, bob.publicKey, random).check(initiator.message, from, 0)).toBe('pass')

    const responder = got(consume(initiator.message))
    expect(responder.remotePublicKey).toEqual(alice.publicKey)
    expect(responder.payload).toEqual({
      version: 2,
      ciphers: BOTH,
      features: 0x8001,
      bootId: 0xfedcba9876543210n,
    })
    const { message, result: theirs } = got(respond(responder))
    expect(message).toHaveLength(Response.bytes)
    expect(new MacGate(primitives, alice.publicKey, random).check(message, from, 0)).toBe('pass')

    const mine = got(initiator.consumeResponse(message))
    expect(mine).toMatchObject({
      initiator: true,
      remotePublicKey: bob.publicKey,
      remoteIndex: 0x123460,
      remoteBootId: 77n,
      remoteFeatures: 3,
      cipher: Cipher.Aes256Gcm,
    })
    expect(theirs).toMatchObject({
      initiator: false,
      remotePublicKey: alice.publicKey,
      remoteIndex: 0xabcde0,
      remoteBootId: 0xfedcba9876543210n,
      remoteFeatures: 0x8001,
      cipher: Cipher.Aes256Gcm,
    })
    expect(mine.sendKey).toHaveLength(32)
    expect(mine.sendKey).toEqual(theirs.receiveKey)
    expect(mine.receiveKey).toEqual(theirs.sendKey)
    expect(mine.sendKey).not.toEqual(mine.receiveKey)
    expect(mine.handshakeHash).toEqual(theirs.handshakeHash)
    expect(initiator.open).toBe(false)
    expect(initiator.consumeResponse(message)).toBe('handshakeUnexpected')
  })

  it('gives other keys each time, also for the same initiation', () => {
    const initiator = start()
    const first = got(respond(got(consume(initiator.message)))).result
    const second = got(respond(got(consume(initiator.message)))).result
    expect(first.sendKey).not.toEqual(second.sendKey)
    expect(first.handshakeHash).not.toEqual(second.handshakeHash)
  })

  it('with a wrong psk is refused before it is answered; the message is good where the psk is', () => {
    const none = new Uint8Array(32)
    const almost = psk.slice()
    almost[31]! ^= 0x80
    for (const [initiators, responders] of [
      [psk, none],
      [none, psk],
      [psk, almost],
      [almost, psk],
    ] as const) {
      const { message } = start({ psk: initiators })
      expect(consume(message, () => responders)).toBe('handshakePsk')
      expect(isFailure(consume(message, () => initiators))).toBe(false)
    }
    expect(isFailure(consume(start({ psk: none }).message, () => none))).toBe(false)
  })

  it('does not take the proof of another message, nor one over another payload', () => {
    const at = InitiationPayload.pskProof
    let proof: Uint8Array | undefined
    const genuine = start(
      {},
      lying((payload) => {
        proof = payload.slice(at)
      }),
    )
    expect(isFailure(consume(genuine.message))).toBe(false)
    expect(proof).toHaveLength(16)
    const copied = lying((payload) => payload.set(proof!, at))
    expect(consume(start({ psk: new Uint8Array(32) }, copied).message)).toBe('handshakePsk')
    expect(consume(start({}, copied).message)).toBe('handshakePsk')
    for (const field of [HandshakePayload.ciphers, HandshakePayload.features, HandshakePayload.bootId]) {
      const changed = lying((payload) => {
        payload[field]! ^= 4
      })
      expect(consume(start({}, changed).message)).toBe('handshakePsk')
    }
    for (let bit = 0; bit < 128; bit++) {
      const flipped = lying((payload) => {
        payload[at + (bit >> 3)]! ^= 1 << (bit & 7)
      })
      expect(consume(start({}, flipped).message), `bit ${bit}`).toBe('handshakePsk')
    }
  })

  it('by a responder with another psk, who answers all the same, is noticed; the genuine answer still counts', () => {
    const initiator = start()
    const careless: Primitives = { ...primitives, equal: () => true }
    const forger = got(consumeInitiation(careless, bob, initiator.message, random, () => new Uint8Array(32)))
    expect(initiator.consumeResponse(got(respond(forger)).message)).toBe('handshakeFailed')
    const right = got(respond(got(consume(initiator.message)))).message
    expect(isFailure(initiator.consumeResponse(right))).toBe(false)
  })

  it('is a failure with somebody else’s key', () => {
    const { message } = start()
    expect(consumeInitiation(primitives, newIdentity(), message, random, ours)).toBe('handshakeFailed')
    // A responder that has the address but not the key of the one meant.
    const mallory = newIdentity()
    const initiator = start()
    const state = consumeInitiation(primitives, mallory, initiator.message, random, ours)
    expect(state).toBe('handshakeFailed')
    expect(initiator.open).toBe(true)
  })

  it('with our own initiation sent back to us is a failure', () => {
    const initiator = start()
    expect(consumeInitiation(primitives, alice, initiator.message, random, ours)).toBe('handshakeFailed')
  })

  it('with an unknown key is refused before the second Diffie-Hellman', () => {
    let count = 0
    const counting: Primitives = {
      ...primitives,
      dh(privateKey, publicKey) {
        count++
        return primitives.dh(privateKey, publicKey)
      },
    }
    const asked: Uint8Array[] = []
    const pskOf = (key: Uint8Array) => {
      asked.push(key)
      return undefined
    }
    expect(consumeInitiation(counting, bob, start().message, random, pskOf)).toBe('handshakeUnknownPeer')
    expect(asked).toEqual([alice.publicKey])
    expect(count).toBe(1)
  })

  it('with a peer whose key is no usable point fails at the start', () => {
    const nobody = new Uint8Array(32)
    const started = InitiatorHandshake.start(primitives, {
      identity: alice,
      remotePublicKey: nobody,
      macs: new PeerMacs(primitives, nobody),
      psk,
      senderIndex: 0,
      offer: offer(),
      random,
    })
    expect(started).toBe('handshakeFailed')
  })

  it('refuses another version, and a response with a cipher that was not offered', () => {
    const writing = (at: number, value: number): Primitives =>
      lying((payload) => {
        payload[at] = value
      })
    // Also with another psk: what proves it may be another matter in another version.
    expect(consume(start({}, writing(0, 3)).message)).toBe('handshakeVersion')
    expect(consume(start({ psk: new Uint8Array(32) }, writing(0, 3)).message)).toBe('handshakeVersion')

    const answerOf = (initiator: InitiatorHandshake, at: number, value: number): Uint8Array =>
      got(respond(got(consumeInitiation(writing(at, value), bob, initiator.message, random, ours)))).message
    for (const [at, value] of [
      [0, 1],
      [0, 3],
      [1, 0],
      [1, BOTH],
      [1, 4],
      [1, Cipher.Aes256Gcm],
    ] as const) {
      const initiator = start({ offer: offer({ ciphers: Cipher.ChaCha20Poly1305 }) })
      expect(initiator.consumeResponse(answerOf(initiator, at, value))).toBe('handshakeVersion')
      expect(initiator.open).toBe(false)
    }
  })

  it('treats a wrong order of calls as a fault of ours', () => {
    expect(() => start({ senderIndex: 1 })).toThrow('path bits')
    expect(() => start({ senderIndex: 1 << 24 })).toThrow('too large')
    expect(() => start({ psk: new Uint8Array(31) })).toThrow('32 bytes')
    expect(() => start({ offer: offer({ ciphers: Cipher.Aes256Gcm }) })).toThrow('every end offers')
    const responder = got(consume(start().message))
    respond(responder)
    expect(() => respond(responder)).toThrow('answered twice')
  })
})

describe('the cipher', () => {
  const ChaCha = Cipher.ChaCha20Poly1305
  const Aes = Cipher.Aes256Gcm
  it.each([
    [ChaCha, ChaCha, ChaCha],
    [ChaCha, BOTH, ChaCha],
    [BOTH, ChaCha, ChaCha],
    [BOTH, BOTH, Aes],
    [BOTH | 0xf0, BOTH, Aes],
    [0xf0 | ChaCha, BOTH, ChaCha],
    [Aes, BOTH, Aes],
    [Aes, ChaCha, undefined],
    [0, BOTH, undefined],
    [0xf0, BOTH, undefined],
  ])('offered %i, own %i: %s', (offered, own, chosen) => {
    expect(chooseCipher(offered, own)).toBe(chosen)
  })

  it('is agreed on by both ends', () => {
    for (const initiatorHas of [ChaCha, BOTH]) {
      for (const responderHas of [ChaCha, BOTH]) {
        const initiator = start({ offer: offer({ ciphers: initiatorHas }) })
        const answer = got(
          respond(got(consume(initiator.message)), { offer: offer({ ciphers: responderHas }) }),
        )
        const cipher = initiatorHas === BOTH && responderHas === BOTH ? Aes : ChaCha
        expect(answer.result.cipher).toBe(cipher)
        expect(got(initiator.consumeResponse(answer.message)).cipher).toBe(cipher)
      }
    }
  })
})

describe('damaged messages', () => {
  /** What the whole way in says: first the gate, then the handshake. */
  const atResponder = (gate: MacGate, message: Uint8Array): string => {
    const verdict = gate.check(message, undefined, 0)
    if (verdict !== 'pass') return verdict
    const result = consume(message)
    return isFailure(result) ? result : 'accepted'
  }
  const atInitiator = (gate: MacGate, initiator: InitiatorHandshake, message: Uint8Array): string => {
    const verdict = gate.check(message, undefined, 0)
    if (verdict !== 'pass') return verdict
    const result = initiator.consumeResponse(message)
    return isFailure(result) ? result : 'accepted'
  }

  it('are told by each flipped bit: by the gate, and behind it by somebody who can make macs', () => {
    const gateOfBob = new MacGate(primitives, bob.publicKey, random)
    const gateOfAlice = new MacGate(primitives, alice.publicKey, random)
    const initiator = start()
    const response = got(respond(got(consume(initiator.message)))).message
    for (let at = 0; at < Initiation.mac2; at++) {
      const forged = initiator.message.slice()
      forged[at]! ^= 1 << (at % 8)
      expect(atResponder(gateOfBob, forged)).toBe(at === 0 ? 'badLength' : 'badMac')
      if (at === 0 || at >= Initiation.mac1) continue
      toBob.writeMac1(forged)
      expect(atResponder(gateOfBob, forged), `byte ${at} of message 1`).toBe('handshakeFailed')
    }
    for (let at = 0; at < Response.mac2; at++) {
      const forged = response.slice()
      forged[at]! ^= 1 << (at % 8)
      expect(atInitiator(gateOfAlice, initiator, forged)).toBe(at === 0 ? 'badLength' : 'badMac')
      if (at === 0 || at >= Response.mac1) continue
      toAlice.writeMac1(forged)
      const expected = at < Response.senderIndex ? 'handshakeUnexpected' : 'handshakeFailed'
      expect(atInitiator(gateOfAlice, initiator, forged), `byte ${at} of message 2`).toBe(expected)
    }
    expect(atInitiator(gateOfAlice, initiator, response)).toBe('accepted')
  })

  it('are told by each wrong length, with and without the gate', () => {
    const gateOfBob = new MacGate(primitives, bob.publicKey, random)
    const initiator = start()
    const response = got(respond(got(consume(initiator.message)))).message
    for (let bytes = 0; bytes < Initiation.bytes + 4; bytes++) {
      const wrong = new Uint8Array(bytes)
      if (bytes !== Initiation.bytes) {
        wrong.set(initiator.message.subarray(0, bytes))
        expect(gateOfBob.check(wrong, from, 0)).toBe('badLength')
        expect(consume(wrong)).toBe('badLength')
      }
      if (bytes !== Response.bytes) {
        wrong.set(response.subarray(0, bytes))
        expect(gateOfBob.check(wrong, from, 0)).toBe('badLength')
        expect(initiator.consumeResponse(wrong)).toBe('badLength')
      }
    }
  })

  it('never get through, 10,000 mutations each', () => {
    const gateOfBob = new MacGate(primitives, bob.publicKey, random)
    const gateOfAlice = new MacGate(primitives, alice.publicKey, random)
    const initiator = start()
    const response = got(respond(got(consume(initiator.message)))).message
    const changes = fc.record({
      bytes: fc.array(fc.tuple(fc.nat(1000), fc.integer({ min: 1, max: 255 })), {
        minLength: 1,
        maxLength: 6,
      }),
      cut: fc.option(fc.nat(150), { freq: 4 }),
      // One in ten attackers knows the public key; each of those costs Diffie-Hellmans.
      macs: fc.integer({ min: 0, max: 9 }).map((value) => value === 0),
    })
    const mutate = (
      message: Uint8Array,
      change: typeof changes extends fc.Arbitrary<infer C> ? C : never,
    ) => {
      const forged = message.slice(0, change.cut ?? message.length)
      for (const [at, bits] of change.bytes) if (forged.length > 0) forged[at % forged.length]! ^= bits
      return forged
    }
    const same = (a: Uint8Array, b: Uint8Array, bytes: number) =>
      a.length === b.length && a.subarray(0, bytes).every((byte, at) => byte === b[at])

    fc.assert(
      fc.property(changes, (change) => {
        const forged = mutate(initiator.message, change)
        if (change.macs && forged[0] === 1 && forged.length === Initiation.bytes) toBob.writeMac1(forged)
        if (same(forged, initiator.message, Initiation.mac2)) return
        expect(['badLength', 'badMac', 'handshakeFailed']).toContain(atResponder(gateOfBob, forged))
      }),
      { numRuns: 10_000 },
    )
    fc.assert(
      fc.property(changes, (change) => {
        const forged = mutate(response, change)
        if (change.macs && forged[0] === 2 && forged.length === Response.bytes) toAlice.writeMac1(forged)
        if (same(forged, response, Response.mac2)) return
        const verdict = atInitiator(gateOfAlice, initiator, forged)
        expect(['badLength', 'badMac', 'handshakeFailed', 'handshakeUnexpected']).toContain(verdict)
      }),
      { numRuns: 10_000 },
    )
    expect(isFailure(initiator.consumeResponse(response))).toBe(false)
  }, 60_000)
})
