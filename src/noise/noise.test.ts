import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  timingSafeEqual,
} from 'node:crypto'
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import type { RandomSource } from '../base/prng.js'
import { loadPrimitives } from '../io/primitives.js'
import { CipherState, HandshakeState, type Pattern } from './noise.js'
import type { Primitives } from './primitives.js'

interface Vector {
  source: string
  protocol_name: string
  init_prologue: string
  resp_prologue: string
  init_psks?: string[]
  init_static: string
  init_ephemeral: string
  init_remote_static: string
  resp_static: string
  resp_ephemeral: string
  handshake_hash?: string
  messages: { payload: string; ciphertext: string }[]
}

const { vectors } = JSON.parse(
  readFileSync(new URL('../../test/vectors/noise.json', import.meta.url), 'utf8'),
) as { vectors: Vector[] }

const hex = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16))
const toHex = (bytes: Uint8Array | undefined): string | undefined =>
  bytes && Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

/** A second, independent set of primitives, with BLAKE2s: node:crypto, for the published vectors only. */
const blake2s: Primitives = {
  hashName: 'BLAKE2s',
  hashBytes: 32,
  hashBlockBytes: 64,
  dh(privateKey, publicKey) {
    try {
      return Uint8Array.from(
        diffieHellman({
          privateKey: privateKeyObject(privateKey),
          publicKey: createPublicKey({
            key: Buffer.concat([hex('302a300506032b656e032100'), publicKey]),
            format: 'der',
            type: 'spki',
          }),
        }),
      )
    } catch {
      return undefined
    }
  },
  publicKey(privateKey) {
    const spki = createPublicKey(privateKeyObject(privateKey)).export({ format: 'der', type: 'spki' })
    return Uint8Array.from(spki.subarray(-32))
  },
  hash(...parts) {
    const hash = createHash('blake2s256')
    for (const part of parts) hash.update(part)
    return Uint8Array.from(hash.digest())
  },
  mac: () => expect.unreachable('Noise itself uses no mac'),
  seal(key, nonce, associated, plaintext) {
    const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 })
    cipher.setAAD(associated, { plaintextLength: plaintext.length })
    return Uint8Array.from(Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]))
  },
  open(key, nonce, associated, ciphertext) {
    if (ciphertext.length < 16) return undefined
    const decipher = createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 })
    decipher.setAAD(associated, { plaintextLength: ciphertext.length - 16 })
    decipher.setAuthTag(ciphertext.subarray(-16))
    try {
      return Uint8Array.from(Buffer.concat([decipher.update(ciphertext.subarray(0, -16)), decipher.final()]))
    } catch {
      return undefined
    }
  },
  sealX: () => expect.unreachable('Noise itself uses no XChaCha'),
  openX: () => expect.unreachable('Noise itself uses no XChaCha'),
  equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
  erase: (secret) => secret.fill(0),
}

function privateKeyObject(privateKey: Uint8Array) {
  return createPrivateKey({
    key: Buffer.concat([hex('302e020100300506032b656e04220420'), privateKey]),
    format: 'der',
    type: 'pkcs8',
  })
}

/** Gives the ephemeral key that a vector prescribes. */
function fixed(bytes: Uint8Array): RandomSource {
  return { fill: (out) => out.set(bytes), next: () => 0 }
}

let sodium: Primitives
beforeAll(async () => {
  sodium = await loadPrimitives()
})

function statesOf(
  primitives: Primitives,
  vector: Vector,
): { initiator: HandshakeState; responder: HandshakeState } {
  const pattern = vector.protocol_name.split('_')[1] as Pattern
  const initiator = new HandshakeState(primitives, {
    pattern,
    initiator: true,
    prologue: hex(vector.init_prologue),
    privateKey: hex(vector.init_static),
    publicKey: primitives.publicKey(hex(vector.init_static)),
    remotePublicKey: hex(vector.init_remote_static),
    random: fixed(hex(vector.init_ephemeral)),
  })
  const responder = new HandshakeState(primitives, {
    pattern,
    initiator: false,
    prologue: hex(vector.resp_prologue),
    privateKey: hex(vector.resp_static),
    publicKey: primitives.publicKey(hex(vector.resp_static)),
    random: fixed(hex(vector.resp_ephemeral)),
  })
  if (pattern === 'IKpsk2') {
    initiator.setPsk(hex(vector.init_psks![0]!))
    responder.setPsk(hex(vector.init_psks![0]!))
  }
  return { initiator, responder }
}

describe('published Noise vectors', () => {
  it('are all there', () => {
    const count = (name: string) => vectors.filter((vector) => vector.protocol_name.endsWith(name)).length
    expect([count('BLAKE2b'), count('BLAKE2s')]).toEqual([4, 12])
  })

  it.each(
    vectors.map((vector, index) => ({
      name: `${vector.protocol_name} of ${vector.source} (${index})`,
      vector,
    })),
  )('$name', ({ vector }) => {
    const primitives = vector.protocol_name.endsWith('BLAKE2b') ? sodium : blake2s
    const { initiator, responder } = statesOf(primitives, vector)
    const [first, second, ...transport] = vector.messages

    const message1 = initiator.writeMessage(hex(first!.payload))!
    expect(toHex(message1)).toBe(first!.ciphertext)
    expect(toHex(responder.readMessage(message1))).toBe(first!.payload)
    expect(responder.remotePublicKey).toEqual(primitives.publicKey(hex(vector.init_static)))
    const message2 = responder.writeMessage(hex(second!.payload))!
    expect(toHex(message2)).toBe(second!.ciphertext)
    expect(toHex(initiator.readMessage(message2))).toBe(second!.payload)

    expect(initiator.handshakeHash).toEqual(responder.handshakeHash)
    if (vector.handshake_hash) expect(toHex(initiator.handshakeHash)).toBe(vector.handshake_hash)
    const ofInitiator = initiator.split()
    const ofResponder = responder.split()
    initiator.erase()
    responder.erase()

    const none = new Uint8Array(0)
    const cipher = (key: Uint8Array) => new CipherState(primitives, key)
    const up = [cipher(ofInitiator.sendKey), cipher(ofResponder.receiveKey)] as const
    const down = [cipher(ofResponder.sendKey), cipher(ofInitiator.receiveKey)] as const
    expect(transport.length).toBeGreaterThan(0)
    transport.forEach(({ payload, ciphertext }, index) => {
      const [from, to] = index % 2 === 0 ? up : down
      expect(toHex(from.encryptWithAd(none, hex(payload)))).toBe(ciphertext)
      expect(toHex(to.decryptWithAd(none, hex(ciphertext)))).toBe(payload)
    })
  })
})

describe('HandshakeState', () => {
  const vector = vectors.find((one) => one.protocol_name === 'Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b')!

  it('is not changed by a message that cannot be read', () => {
    const { initiator, responder } = statesOf(sodium, vector)
    const message1 = initiator.writeMessage(new Uint8Array(3))!
    for (let at = 0; at < message1.length; at++) {
      const forged = message1.slice()
      forged[at]! ^= 1
      expect(responder.readMessage(forged)).toBeUndefined()
      expect(responder.readMessage(message1.subarray(0, at))).toBeUndefined()
    }
    expect(responder.readMessage(message1)).toEqual(new Uint8Array(3))
    const message2 = responder.writeMessage(new Uint8Array(5))!
    for (let at = 0; at < message2.length; at++) {
      const forged = message2.slice()
      forged[at]! ^= 0x80
      expect(initiator.readMessage(forged)).toBeUndefined()
      expect(initiator.readMessage(message2.subarray(0, at))).toBeUndefined()
    }
    expect(initiator.readMessage(message2)).toEqual(new Uint8Array(5))
    expect(initiator.split().sendKey).toEqual(responder.split().receiveKey)
  })

  it('fails on an all-zero shared secret, reading and writing', () => {
    const { initiator, responder } = statesOf(sodium, vector)
    const message1 = initiator.writeMessage(new Uint8Array(0))!
    expect(responder.readMessage(new Uint8Array(message1.length))).toBeUndefined()
    const toNobody = new HandshakeState(sodium, {
      pattern: 'IK',
      initiator: true,
      prologue: new Uint8Array(0),
      privateKey: hex(vector.init_static),
      publicKey: sodium.publicKey(hex(vector.init_static)),
      remotePublicKey: new Uint8Array(32),
      random: fixed(hex(vector.init_ephemeral)),
    })
    expect(toNobody.writeMessage(new Uint8Array(0))).toBeUndefined()
  })

  it('leaves no secret behind: ephemeral and chaining keys, cipher keys, shared secrets, the insides of HMAC', () => {
    const secrets: Uint8Array[] = []
    const keep = <T extends Uint8Array | undefined>(secret: T): T => {
      if (secret !== undefined) secrets.push(secret)
      return secret
    }
    const watched: Primitives = {
      ...sodium,
      publicKey(privateKey) {
        keep(privateKey)
        return sodium.publicKey(privateKey)
      },
      dh: (privateKey, publicKey) => keep(sodium.dh(privateKey, publicKey)),
      // HMAC alone starts with a block; the handshake hash is no secret.
      hash: (...parts) =>
        parts[0]!.length === 128
          ? keep(sodium.hash(keep(parts[0]!), ...parts.slice(1)))
          : sodium.hash(...parts),
      seal: (key, nonce, associated, plaintext) => sodium.seal(keep(key), nonce, associated, plaintext),
      open: (key, nonce, associated, ciphertext) => sodium.open(keep(key), nonce, associated, ciphertext),
    }
    const { initiator, responder } = statesOf(watched, vector)
    // Those were the long-term keys, which the caller owns.
    secrets.length = 0
    const message1 = initiator.writeMessage(new Uint8Array(4))!
    const forged = message1.slice()
    forged[40]! ^= 1
    expect(responder.readMessage(forged)).toBeUndefined()
    responder.readMessage(message1)
    const message2 = responder.writeMessage(new Uint8Array(4))!
    initiator.readMessage(message2)
    const keys = initiator.split()
    initiator.erase()
    responder.erase()

    expect(secrets.length).toBeGreaterThan(100)
    expect(secrets.filter((secret) => secret.some((byte) => byte !== 0))).toEqual([])
    expect(keys.sendKey.some((byte) => byte !== 0)).toBe(true)
    expect(() => initiator.writeMessage(new Uint8Array(0))).toThrow('out of turn')
  })
})
