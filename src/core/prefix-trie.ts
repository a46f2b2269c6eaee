import { assert } from '../base/assert.js'

/** No node, no value. */
const NONE = -1
const NODES_AT_START = 64

/**
 * Longest-prefix table from addresses to small integers: a path-compressed binary trie in flat arrays, as the
 * allowed-IPs table of WireGuard. A node has two children or a value, so n prefixes take at most 2n - 1 nodes of
 * 13 + 4 × words bytes each. Addresses come as little-endian words of bytes in network order, as they stand in
 * packets; keys are kept the other way round, so that the first bit of an address is bit 31.
 * Only inserting allocates, when the arrays are full and double.
 */
export class PrefixTrie {
  /** Prefixes in the table. */
  size = 0
  private keys: Int32Array
  private bits: Uint8Array
  private values: Int32Array
  /** Node n: children at 2n (next bit 0) and 2n + 1. */
  private children: Int32Array
  private root = NONE
  private nodesUsed = 0

  /** @param words 32-bit words of an address: 1 or 4 */
  constructor(private readonly words: number) {
    this.keys = new Int32Array(NODES_AT_START * words)
    this.bits = new Uint8Array(NODES_AT_START)
    this.values = new Int32Array(NODES_AT_START)
    this.children = new Int32Array(NODES_AT_START * 2)
  }

  /** Memory of the table in bytes. */
  get bytes(): number {
    return this.values.length * (4 * this.words + 1 + 4 + 8)
  }

  /** The value of the longest prefix that holds the address at `address[at]`, or -1. */
  lookup(address: Uint32Array, at: number): number {
    return this.words === 1 ? this.lookupWord(address[at]!) : this.lookupWords(address, at)
  }

  /** {@link lookup} for a one-word table. */
  lookupWord(word: number): number {
    const address = bigEndian(word)
    const { keys, bits, values, children } = this
    let best = NONE
    let node = this.root
    while (node !== NONE) {
      const length = bits[node]!
      const difference = keys[node]! ^ address
      if (length !== 0 && difference >>> (32 - length) !== 0) return best
      const value = values[node]!
      if (value !== NONE) best = value
      node = children[node * 2 + ((address >>> (31 - length)) & 1)]!
    }
    return best
  }

  private lookupWords(address: Uint32Array, at: number): number {
    let best = NONE
    let node = this.root
    while (node !== NONE) {
      const length = this.bits[node]!
      if (this.commonBits(node, address, at, length) < length) return best
      const value = this.values[node]!
      if (value !== NONE) best = value
      if (length === this.words * 32) return best
      node = this.children[node * 2 + bitOf(address, at, length)]!
    }
    return best
  }

  /**
   * Puts `value` (0 or more) at the prefix of `length` bits of the address at `address[at]`; bits behind it are
   * ignored. Returns the value that stood at exactly this prefix before, or -1.
   */
  insert(address: Uint32Array, at: number, length: number, value: number): number {
    assert(length >= 0 && length <= this.words * 32 && value >= 0, `prefix of ${length} bits to ${value}`)
    let parent = NONE
    let way = 0
    let node = this.root
    while (node !== NONE) {
      const nodeLength = this.bits[node]!
      const common = this.commonBits(node, address, at, Math.min(length, nodeLength))
      if (common < nodeLength) {
        this.insertAbove(node, parent, way, common, address, at, length, value)
        return NONE
      }
      if (nodeLength === length) {
        const former = this.values[node]!
        this.values[node] = value
        if (former === NONE) this.size++
        return former
      }
      parent = node
      way = bitOf(address, at, nodeLength)
      node = this.children[node * 2 + way]!
    }
    this.attach(this.createNode(address, at, length, value), parent, way)
    this.size++
    return NONE
  }

  /** The new prefix and `node` part ways after `common` bits: it becomes the parent of `node`, or its sibling. */
  private insertAbove(
    node: number,
    parent: number,
    way: number,
    common: number,
    address: Uint32Array,
    at: number,
    length: number,
    value: number,
  ): void {
    const above = this.createNode(address, at, common, common === length ? value : NONE)
    const nodeWay = (this.keys[node * this.words + (common >>> 5)]! >>> (31 - (common & 31))) & 1
    this.attach(above, parent, way)
    this.attach(node, above, nodeWay)
    if (common !== length) {
      this.attach(this.createNode(address, at, length, value), above, 1 - nodeWay)
    }
    this.size++
  }

  private attach(node: number, parent: number, way: number): void {
    if (parent === NONE) this.root = node
    else this.children[parent * 2 + way] = node
  }

  private createNode(address: Uint32Array, at: number, length: number, value: number): number {
    if (this.nodesUsed === this.values.length) this.grow()
    const node = this.nodesUsed++
    for (let w = 0; w < this.words; w++) this.keys[node * this.words + w] = bigEndian(address[at + w]!)
    this.bits[node] = length
    this.values[node] = value
    this.children[node * 2] = NONE
    this.children[node * 2 + 1] = NONE
    return node
  }

  private grow(): void {
    const nodes = this.values.length * 2
    this.keys = copied(this.keys, new Int32Array(nodes * this.words))
    this.bits = copied(this.bits, new Uint8Array(nodes))
    this.values = copied(this.values, new Int32Array(nodes))
    this.children = copied(this.children, new Int32Array(nodes * 2))
  }

  /** How many of the first `limit` bits a node's key and an address share. */
  private commonBits(node: number, address: Uint32Array, at: number, limit: number): number {
    const keyAt = node * this.words
    for (let w = 0; w * 32 < limit; w++) {
      const difference = this.keys[keyAt + w]! ^ bigEndian(address[at + w]!)
      if (difference !== 0) return Math.min(limit, w * 32 + Math.clz32(difference))
    }
    return limit
  }
}

function bigEndian(word: number): number {
  return (word >>> 24) | ((word >>> 8) & 0xff00) | ((word << 8) & 0xff0000) | (word << 24)
}

function bitOf(address: Uint32Array, at: number, bit: number): number {
  return (bigEndian(address[at + (bit >>> 5)]!) >>> (31 - (bit & 31))) & 1
}

function copied<T extends Int32Array | Uint8Array>(from: T, to: T): T {
  to.set(from)
  return to
}
