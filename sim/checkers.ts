import type { PacketPool } from '../src/base/packet-pool.js'
import { SECOND } from '../src/base/time.js'
import { DROP_REASONS, type DropReason } from '../src/core/drop-reasons.js'
import { type Cipher, type PacketCiphers, type PacketKey, SEAL_WORDS } from '../src/core/packet-cipher.js'
import type { FlowRecord, Ledger, LedgerSummary } from './ledger.js'

/** Counters of one path seen under one key: everything up to `newest` but the gaps was used. */
class UsedCounters {
  newest = -1
  readonly gaps = new Set<number>()
}

/**
 * Stands between the cores and the ciphers of the whole world and sees every nonce. The same key bytes are the same
 * key, whichever end made it: a nonce that both ends seal with is as bad as one used twice.
 */
export class NonceChecker {
  readonly faults: string[] = []
  /** Packets sealed. */
  sealed = 0
  private readonly keys = new Map<string, (UsedCounters | undefined)[]>()

  constructor(private readonly inner: PacketCiphers) {}

  /** The ciphers to hand to a Device. */
  ciphers(): PacketCiphers {
    return {
      preferred: this.inner.preferred,
      key: (cipher: Cipher, key: Uint8Array) =>
        this.watch(this.inner.key(cipher, key), `${cipher}:${key.join()}`),
    }
  }

  private watch(key: PacketKey, name: string): PacketKey {
    let paths = this.keys.get(name)
    if (!paths) {
      paths = []
      this.keys.set(name, paths)
    }
    const used = paths
    return {
      seal: (destination, source, rows, from, count) => {
        for (let i = from; i < from + count; i++) {
          const row = i * SEAL_WORDS
          this.use(used, rows[row + 5]!, rows[row + 6]! + rows[row + 7]! * 2 ** 32)
        }
        key.seal(destination, source, rows, from, count)
      },
      open: (destination, source, rows, from, count) => key.open(destination, source, rows, from, count),
      destroy: () => key.destroy(),
    }
  }

  private use(paths: (UsedCounters | undefined)[], path: number, counter: number): void {
    this.sealed++
    let used = paths[path]
    if (!used) {
      used = new UsedCounters()
      paths[path] = used
    }
    if (counter === used.newest + 1) {
      used.newest = counter
    } else if (counter > used.newest) {
      for (let skipped = used.newest + 1; skipped < counter && used.gaps.size < 100_000; skipped++) {
        used.gaps.add(skipped)
      }
      used.newest = counter
    } else if (!used.gaps.delete(counter) && this.faults.length < 20) {
      this.faults.push(`nonce used twice: path ${path} counter ${counter}`)
    }
  }
}

/** Drops counted by the ends, all runs of them together. */
export type DropSums = Partial<Record<DropReason, number>>

/** Reasons that a packet was thrown away before it left, and after it came. */
const BEFORE_WIRE: readonly DropReason[] = [
  'tunMalformed',
  'tunNoPeer',
  'egressFull',
  'egressOld',
  'egressCodel',
  'poolEmpty',
  // Scheduled, and its session ended before it was sealed.
  'sessionExpired',
]
const AFTER_WIRE: readonly DropReason[] = [
  'unknownType',
  'badLength',
  'unknownIndex',
  'authFailed',
  'replayed',
  'sessionExpired',
  'unknownPath',
  'malformedInner',
  'unknownContext',
  'sourceNotAllowed',
  'duplicate',
  'late',
  'poolEmpty',
  'resequencerFull',
]

function sumOf(drops: DropSums, reasons: readonly DropReason[]): number {
  let sum = 0
  for (const reason of reasons) sum += drops[reason] ?? 0
  return sum
}

export const sumBeforeWire = (drops: DropSums): number => sumOf(drops, BEFORE_WIRE)
export const sumAfterWire = (drops: DropSums): number => sumOf(drops, AFTER_WIRE)

export interface Conservation extends LedgerSummary {
  drops: DropSums
  /** Packets that may have died with a restarted end's memory. */
  diedWithRestart: number
  /** Acknowledgements that gave way to newer ones in the queue. */
  acksThinned?: number
  /** ... and after they had come. */
  acksSpaced?: number
}

/**
 * sent = delivered + lost in the network + drops that the cores counted. Valid once everything has come to rest.
 * Returns what does not add up, in words.
 */
export function checkConservation(c: Conservation): string[] {
  const faults: string[] = []
  const before = sumOf(c.drops, BEFORE_WIRE) + (c.acksThinned ?? 0)
  const after = sumOf(c.drops, AFTER_WIRE) + (c.acksSpaced ?? 0)
  if (c.neverOnWire > before + c.diedWithRestart) {
    faults.push(
      `${c.neverOnWire} packets never left, but only ${before} were counted as dropped before the wire`,
    )
  }
  if (c.lostInCore > after + c.diedWithRestart) {
    faults.push(`${c.lostInCore} packets arrived and vanished, but only ${after} were counted as dropped`)
  }
  // Copies are counted as duplicates: they must not make up for packets that vanished.
  if (c.dataArrived > c.delivered + after + c.diedWithRestart) {
    faults.push(
      `${c.dataArrived} datagrams with data arrived, ${c.delivered} delivered and ${after} counted as dropped`,
    )
  }
  if (c.miracles > 0) faults.push(`${c.miracles} packets were delivered that never arrived`)
  const total = c.delivered + c.neverOnWire + c.lostInCore + c.lostInNetwork
  if (total !== c.sent) faults.push(`${c.sent} packets sent, ${total} accounted for`)
  for (const reason of Object.keys(c.drops)) {
    if (!(reason in DROP_REASONS)) faults.push(`a drop without a name: ${reason}`)
  }
  return faults
}

/** Packet memory at rest: every slot is free again. */
export function checkPoolAtRest(name: string, pool: PacketPool): string[] {
  const leaked = pool.slotCount - pool.freeCount
  return leaked === 0 ? [] : [`${name}: ${leaked} of ${pool.slotCount} slots are still held at rest`]
}

/** Liveness: the flow must have got something through within the last `withinUs`. */
export function checkProgress(flow: FlowRecord, now: number, withinUs: number): string[] {
  const since = now - flow.lastDeliveredAt
  if (since <= withinUs) return []
  const text = Number.isFinite(since) ? `for ${(since / SECOND).toFixed(2)} s` : 'at all'
  return [`flow ${flow.name}: nothing delivered ${text}`]
}

/** Everything the ledger saw that must never be. */
export function checkLedger(ledger: Ledger): string[] {
  return ledger.faults.slice()
}
