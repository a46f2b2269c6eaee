import { PrefixTrie } from './prefix-trie.js'

/**
 * Which peer an inner address belongs to: the most specific prefix wins. Outbound the destination finds the peer;
 * inbound the source must find the peer that the packet came from.
 *
 * An address is `addressWords` little-endian words (1: IPv4, 4: IPv6) of its bytes in network order, as
 * wire/ip.ts points at them in the slab. A lookup does not allocate. 130,000 prefixes take 4.3 MiB (IPv4) or 7.3 MiB
 * (IPv6).
 */
export class AllowedIps {
  private readonly ipv4 = new PrefixTrie(1)
  private readonly ipv6 = new PrefixTrie(4)

  /** Prefixes in the table. */
  get size(): number {
    return this.ipv4.size + this.ipv6.size
  }

  /** Memory of the table in bytes. */
  get bytes(): number {
    return this.ipv4.bytes + this.ipv6.bytes
  }

  /** Index of the peer to whom the address at `words[at]` belongs, or -1. */
  lookup(words: Uint32Array, at: number, addressWords: number): number {
    return addressWords === 1 ? this.ipv4.lookupWord(words[at]!) : this.ipv6.lookup(words, at)
  }

  /** Gives a prefix of `bits` bits to `peer` (0 or more). Returns the peer that had exactly this prefix, or -1. */
  insert(words: Uint32Array, at: number, addressWords: number, bits: number, peer: number): number {
    return (addressWords === 1 ? this.ipv4 : this.ipv6).insert(words, at, bits, peer)
  }
}
