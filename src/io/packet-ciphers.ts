import type { Cipher, PacketCiphers, PacketKey } from '../core/packet-cipher.js'
import { type KeyHandle, native } from './native.js'

class NativePacketKey implements PacketKey {
  private readonly handle: KeyHandle

  constructor(cipher: Cipher, key: Uint8Array, openssl: boolean) {
    this.handle = native.keyCreate(cipher, key, openssl)
  }

  seal(destination: Uint8Array, source: Uint8Array, rows: Uint32Array, from: number, count: number): void {
    native.keySeal(this.handle, destination, source, rows, from, count)
  }

  open(destination: Uint8Array, source: Uint8Array, rows: Uint32Array, from: number, count: number): void {
    native.keyOpen(this.handle, destination, source, rows, from, count)
  }

  destroy(): void {
    native.keyDestroy(this.handle)
  }
}

/** The packet ciphers of the addon: those of Node's own OpenSSL, and AES-256-GCM of a faster library where there is one. */
export class NativePacketCiphers implements PacketCiphers {
  /**
   * AES-256-GCM (2) is the faster by 2.5 times where the processor has AES instructions. Without them it is several
   * times slower than ChaCha20-Poly1305 (1) and not constant in time, so it is not offered at all.
   */
  readonly preferred: readonly Cipher[]

  /** `withoutAes`: as if the processor had no AES instructions. `openssl`: as if there were no faster library. */
  constructor(
    withoutAes = false,
    private readonly openssl = false,
  ) {
    this.preferred = native.hasAes() && !withoutAes ? [2, 1] : [1]
  }

  key(cipher: Cipher, key: Uint8Array): PacketKey {
    return new NativePacketKey(cipher, key, this.openssl)
  }
}
