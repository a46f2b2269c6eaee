/**
 * A proof inside message 1 that its sender has the pre-shared key. IKpsk2 mixes that key into message 2 only, so without
 * a proof the responder would have to answer everybody who has the right public key, and open a session for him that
 * cannot come to life.
 *
 *     key   = BLAKE2b-512("plait 2 psk proof" ‖ psk)
 *     proof = mac(key, h ‖ the payload up to the proof)
 *
 * h is Noise's handshake hash right before the payload: version, message type, sender index, both static keys and the
 * initiator's ephemeral key are in it. So a proof is good for one message, and says nothing to anybody who does not have
 * the pre-shared key; it travels encrypted to the responder all the same. Without a configured key the psk is zeros, and
 * the proof shows that the other end has none either.
 */
import { ascii } from './noise.js'
import type { Primitives } from './primitives.js'

const LABEL = ascii('plait 2 psk proof')

/**
 * The proof, 16 bytes.
 *
 * @param psk 32 bytes
 * @param hash h right before the payload
 * @param payload what stands before the proof in it
 */
export function pskProof(
  primitives: Primitives,
  psk: Uint8Array,
  hash: Uint8Array,
  payload: Uint8Array,
): Uint8Array {
  const key = primitives.hash(LABEL, psk)
  const proof = primitives.mac(key, hash, payload)
  primitives.erase(key)
  return proof
}
