import { Prng } from '../src/base/prng.js'
import { type DurationUs, type Instant, SECOND } from '../src/base/time.js'
import type { DeviceConfig } from '../src/core/device.js'
import { dropReasonNames } from '../src/core/drop-reasons.js'
import type { PacketCiphers } from '../src/core/packet-cipher.js'
import type { Primitives } from '../src/noise/primitives.js'
import {
  type Conservation,
  checkConservation,
  checkLedger,
  checkPoolAtRest,
  type DropSums,
  NonceChecker,
} from './checkers.js'
import { Clock } from './clock.js'
import { End, GOOD_MACHINE, type MachineParameters } from './end.js'
import { Ledger } from './ledger.js'
import { type LinkParameters, PERFECT_LINK } from './link-direction.js'
import { type Attachment, addressOf, Network, type Side } from './network.js'
import { NullCiphers } from './null-cipher.js'
import { StepChecker } from './step-checker.js'
import type { Host } from './traffic.js'

export interface LinkOptions {
  name?: string
  weight?: number
  /** Client to server, and back; what is not given is perfect. */
  up?: Partial<LinkParameters>
  down?: Partial<LinkParameters>
}

export interface WorldOptions {
  seed: number
  primitives: Primitives
  /** The null cipher unless given. */
  ciphers?: PacketCiphers
  /** Nothing damages bytes in this world: of full packets only head and tail are carried, which saves time. */
  endsOnly?: boolean
  /** Lines of the client. */
  links: LinkOptions[]
  /** Lines of the server; none: one socket without a line, as in a data centre. */
  serverLinks?: LinkOptions[]
  /** The server has one address, and at it a socket for each of the client's lines, named and weighted as they are. */
  serverPerLine?: boolean
  /** The server knows the client's endpoints as well, so that both may initiate. */
  bothKnowEndpoints?: boolean
  client?: Partial<MachineParameters>
  server?: Partial<MachineParameters>
  scheduler?: DeviceConfig['scheduler']
  policy?: 'auto' | 'bond'
  presharedKey?: Uint8Array
  rekeyAfterUs?: DurationUs
  rekeyAfterPackets?: number
  keepaliveUs?: DurationUs
  /** Largest packets that the hosts behind the ends would send. */
  mtu?: number
}

export const SERVER_PORT = 5_000

const REST_STEP_US = 2 * SECOND
const REST_US_MAX = 10 * SECOND

/** Two ends, their lines, and everything that watches them, from one seed. */
export class World {
  readonly clock = new Clock()
  readonly random: Prng
  readonly network: Network
  readonly ledger: Ledger
  readonly nonces: NonceChecker
  readonly steps: StepChecker
  readonly client: Host
  readonly server: Host

  constructor(readonly options: WorldOptions) {
    this.random = new Prng(options.seed)
    this.network = new Network(this.clock, new Prng(this.random.nextUint32()), options.endsOnly)
    this.ledger = new Ledger(this.network.store, options.ciphers === undefined)
    this.network.watchers.push(this.ledger)
    this.nonces = new NonceChecker(options.ciphers ?? new NullCiphers(undefined, options.endsOnly))

    const clientAddresses = options.links.map((_, i) => addressOf(198, 51, 100, i + 1, 40_000 + i))
    const serverLinks: LinkOptions[] =
      options.serverLinks ?? (options.serverPerLine ? options.links : [{ name: 'any' }])
    const serverAddresses = serverLinks.map((_, i) =>
      addressOf(192, 0, 2, options.serverPerLine ? 1 : i + 1, SERVER_PORT),
    )
    const clientLines = options.links.map((link, i) =>
      this.attach(link, 'client', i, clientAddresses[i]!, true),
    )
    const serverLines = serverLinks.map((link, i) =>
      this.attach(link, 'server', i, serverAddresses[i]!, options.serverLinks !== undefined),
    )
    if (options.serverPerLine) for (const line of serverLines) line.siblings = serverLines

    const { primitives } = options
    const clientKey = new Uint8Array(32)
    const serverKey = new Uint8Array(32)
    this.random.fill(clientKey)
    this.random.fill(serverKey)
    const presharedKey = options.presharedKey ?? new Uint8Array(32)
    const config = (
      privateKey: Uint8Array,
      peerKey: Uint8Array,
      peerName: string,
      peerHost: number,
      endpoints: Uint32Array[],
      links: LinkOptions[],
    ): DeviceConfig => ({
      privateKey,
      scheduler: options.scheduler ?? 'weighted',
      policy: options.policy ?? 'auto',
      links: links.map((link, i) => ({ name: link.name ?? `link${i}`, weight: link.weight ?? 1 })),
      peers: [
        {
          name: peerName,
          publicKey: primitives.publicKey(peerKey),
          presharedKey,
          endpoints,
          allowedIps: [
            { family: 4, bytes: Uint8Array.of(10, 9, 0, peerHost), bits: 32 },
            { family: 6, bytes: innerAddress6(peerHost), bits: 128 },
          ],
          keepaliveUs: options.keepaliveUs ?? 10 * SECOND,
        },
      ],
      ...(options.mtu === undefined ? {} : { mtu: options.mtu }),
      ...(options.rekeyAfterUs === undefined ? {} : { rekeyAfterUs: options.rekeyAfterUs }),
      ...(options.rekeyAfterPackets === undefined ? {} : { rekeyAfterPackets: options.rekeyAfterPackets }),
    })
    const end = (
      name: string,
      deviceConfig: DeviceConfig,
      machine: Partial<MachineParameters> | undefined,
      lines: Attachment[],
    ): End =>
      new End(
        name,
        deviceConfig,
        { ...GOOD_MACHINE, ...machine },
        lines,
        this.clock,
        this.network,
        this.ledger,
        primitives,
        this.nonces.ciphers(),
        this.random.nextUint32(),
      )
    this.client = {
      number: 1,
      end: end(
        'client',
        config(
          clientKey,
          serverKey,
          'server',
          2,
          options.serverPerLine ? serverAddresses.slice(0, 1) : serverAddresses,
          options.links,
        ),
        options.client,
        clientLines,
      ),
    }
    this.server = {
      number: 2,
      end: end(
        'server',
        config(
          serverKey,
          clientKey,
          'client',
          1,
          options.bothKnowEndpoints ? clientAddresses : [],
          serverLinks,
        ),
        options.server,
        serverLines,
      ),
    }
    this.steps = new StepChecker(this.clock, this.ends, this.ledger, () => this.drops())
  }

  private attach(
    link: LinkOptions,
    side: Side,
    index: number,
    address: Uint32Array,
    line: boolean,
  ): Attachment {
    const name = link.name ?? `${side === 'client' ? 'link' : 'server'}${index}`
    const lines = { up: { ...PERFECT_LINK, ...link.up }, down: { ...PERFECT_LINK, ...link.down } }
    const attachment = this.network.attach(name, address, line ? lines : undefined)
    attachment.side = side
    attachment.index = index
    return attachment
  }

  get ends(): readonly End[] {
    return [this.client.end, this.server.end]
  }

  /** Access line of a client's link. */
  line(index: number): Attachment {
    return this.client.end.attachments[index]!
  }

  run(until: Instant): void {
    this.clock.run(until)
  }

  drops(): DropSums {
    const sums: DropSums = {}
    for (const end of this.ends) {
      const drops = end.drops()
      for (const reason of dropReasonNames) {
        if (drops[reason]) sums[reason] = (sums[reason] ?? 0) + drops[reason]
      }
    }
    return sums
  }

  conservation(): Conservation {
    return {
      ...this.ledger.summary(),
      drops: this.drops(),
      acksThinned: this.ends.reduce((sum, end) => sum + end.acksThinned, 0),
      acksSpaced: this.ends.reduce((sum, end) => sum + end.acksSpaced, 0),
      diedWithRestart: this.ends.reduce((sum, end) => sum + end.diedWithRestart, 0),
    }
  }

  /** Faults that are faults at any moment. */
  faults(): string[] {
    const faults = [...checkLedger(this.ledger), ...this.nonces.faults, ...this.steps.faults]
    for (const end of this.ends) {
      if (end.overdueTimers > end.wakeUps / 2 + 1000) {
        faults.push(`${end.name}: a timer stayed due after ${end.overdueTimers} of ${end.wakeUps} wake-ups`)
      }
    }
    return faults
  }

  /**
   * Lets everything come to rest once traffic has ended and lines are well: queues of modems run empty, paths that were
   * given up come back, what waits is sent. Returns the faults that are left then.
   */
  rest(): string[] {
    const until = this.clock.now + REST_US_MAX
    for (;;) {
      this.run(Math.min(until, this.clock.now + REST_STEP_US))
      const faults = this.faultsAtRest()
      if (faults.length === 0 || this.clock.now >= until) return faults
    }
  }

  /** Faults once traffic has ended and everything has come to rest. */
  faultsAtRest(): string[] {
    const faults = this.faults()
    for (const end of this.ends) if (end.running) faults.push(...checkPoolAtRest(end.name, end.pool))
    if (this.ledger.followsWire) faults.push(...checkConservation(this.conservation()))
    return faults
  }
}

export function innerAddress6(host: number): Uint8Array {
  const bytes = new Uint8Array(16)
  bytes.set([0xfd, 0, 0, 9])
  bytes[15] = host
  return bytes
}
