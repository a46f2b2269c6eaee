/**
 * Faults of the operator or of the system under us: each has a code in the table below, one clear sentence, the place
 * it comes from, and a remedy. (Faults of the network are drop reasons; faults of ours are assertions.)
 */

/** Exit statuses of `plait`. */
export const ExitStatus = {
  Good: 0,
  /** Something failed at run time: the system refused, the other side did not answer. */
  Failed: 1,
  /** The operator is to change something: usage, configuration, environment. */
  OperatorFault: 2,
} as const

interface ErrorRow {
  readonly text: string
  readonly remedy: string
  readonly exitStatus: number
}

/** THE table of error codes: what it means in general, what usually helps, and how the program ends. */
export const ERRORS = {
  usage: row('the command line is wrong', 'see plait --help'),

  configUnreadable: row('the configuration file cannot be read', 'check its path and its mode'),
  configTooLarge: row('the configuration file is larger than 1 MiB', 'give the right file'),
  configEmpty: row('the configuration file says nothing', 'start from an example in config/'),
  configEncoding: row('the file is not UTF-8 text without a byte order mark', 'save it as UTF-8 without BOM'),
  configControlCharacter: row('the file has a character that is no text', 'remove the character'),
  configTab: row('a line is indented by a tab', 'indent by spaces'),
  configSyntax: row('the file is not valid YAML', 'correct the line'),
  configNesting: row('the file is nested too deeply', 'no key is deeper than four levels'),
  configAlias: row('YAML anchors, aliases and merges are not taken', 'write the value out'),
  configTag: row('YAML tags are not taken', 'remove the tag'),
  configDuplicateKey: row('a key is given twice', 'keep one of them'),
  configUnknownKey: row('a key that plait does not know', 'see docs/config.md'),
  configMissingKey: row('a key that is needed is missing', 'add it'),
  configWrongType: row('a value is of another type', 'see docs/config.md'),
  configBadValue: row('a value is not valid', 'see docs/config.md'),
  configBareNumber: row('a number without its unit', 'write the unit'),
  configConflict: row('two settings contradict each other', 'change one of them'),
  keyFile: row('a key file cannot be used', 'make one with: plait key new FILE'),
  keyExposed: row('a secret can be read by others', 'chmod 600 the file'),

  linkNoDevice: row('the device of a link does not exist', 'see ip link for the names'),
  linkNoSource: row('the source address of a link is not on its device', 'see ip address'),
  linkNoRoute: row('a link has no route to an endpoint', 'add a route, or a gateway, for that device'),
  linkReversePathFilter: row('strict reverse path filtering would drop what comes in', 'sysctl to 2 (loose)'),
  endpointUnresolved: row('the name of an endpoint does not resolve', 'check the name and the resolver'),
  tunMissing: row('/dev/net/tun is missing', 'modprobe tun'),
  privileges: row('plait may not set up devices and routes', 'run it as root or with CAP_NET_ADMIN'),
  deviceTaken: row('the name of the TUN device is taken', 'choose another interface.name'),
  toolMissing: row('a program that plait calls is missing', 'apt-get install iproute2'),

  routesFailed: row('addresses or routes could not be set', 'see the text of ip', ExitStatus.Failed),
  systemRefused: row(
    'the system refused a device or socket',
    'see ip link, ip address and ss -ulnp',
    ExitStatus.Failed,
  ),
  hookFailed: row('a command from the configuration failed', 'run it by hand', ExitStatus.Failed),
  alreadyRunning: row('another plait runs under this name', 'stop it, or use another interface.name'),
  controlSocket: row('the control socket cannot be made', 'see control in docs/config.md', ExitStatus.Failed),
  notRunning: row('no plait answers', 'start it with: plait up FILE', ExitStatus.Failed),
  controlProtocol: row(
    'the answer on the control socket is not understood',
    'same version?',
    ExitStatus.Failed,
  ),
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS

/** Where in a file of the operator's a fault is; line and column count from 1. */
export interface Place {
  readonly file: string
  readonly line?: number
  readonly column?: number
}

export class OperatorError extends Error {
  readonly code: ErrorCode
  readonly place: Place | undefined
  readonly remedy: string
  readonly exitStatus: number
  /** The sentence alone, without place and remedy. */
  readonly text: string

  /** @param remedy what to do about it; the table's general one when left out */
  constructor(code: ErrorCode, text: string, options: { place?: Place | undefined; remedy?: string } = {}) {
    const remedy = options.remedy ?? ERRORS[code].remedy
    const at = options.place === undefined ? '' : `${formatPlace(options.place)}: `
    super(`${at}${text}, hint: ${remedy}`)
    this.name = 'OperatorError'
    this.code = code
    this.text = text
    this.place = options.place
    this.remedy = remedy
    this.exitStatus = ERRORS[code].exitStatus
  }
}

/** All the faults that were found, one line each. */
export class OperatorErrors extends Error {
  readonly exitStatus: number
  constructor(readonly faults: readonly OperatorError[]) {
    super(faults.map((fault) => fault.message).join('\n'))
    this.name = 'OperatorErrors'
    this.exitStatus = faults.some((fault) => fault.exitStatus === ExitStatus.OperatorFault)
      ? ExitStatus.OperatorFault
      : ExitStatus.Failed
  }
}

/** `file:line:column`, as editors understand it. */
export function formatPlace(place: Place): string {
  if (place.line === undefined) return place.file
  return `${place.file}:${place.line}:${place.column ?? 1}`
}

function row(text: string, remedy: string, exitStatus: number = ExitStatus.OperatorFault): ErrorRow {
  return { text, remedy, exitStatus }
}
