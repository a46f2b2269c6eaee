import type { EventSnapshot, Snapshot } from '../core/snapshot.js'

/**
 * THE table of the verbs of the control socket: what each is for, its arguments, its result. The socket checks
 * requests by it, the client and the command line take their types from it; a new verb is a new row.
 */
export const VERBS = {
  status: verb<Record<never, never>, Snapshot>('Everything that this end knows of itself.', {}),
  events: verb<{ since: number | undefined }, EventSnapshot[]>('The event log.', {
    since: 'number',
  }),
} as const

export type VerbName = keyof typeof VERBS
export type Arguments<V extends VerbName> = (typeof VERBS)[V] extends Verb<infer A, unknown> ? A : never
export type Result<V extends VerbName> = (typeof VERBS)[V] extends Verb<infer _, infer R> ? R : never

/** What the daemon hands to the socket: one function per verb. A thrown Error becomes an error answer. */
export type Verbs = { [V in VerbName]: (args: Arguments<V>) => Result<V> | Promise<Result<V>> }

/** One line of JSON. */
export interface Request {
  readonly verb: VerbName
  readonly args: Readonly<Record<string, unknown>>
}
/** One line of JSON; `error` is a sentence for the person who asked. */
export type Answer =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: string }

/** Longest request line in bytes. */
export const REQUEST_BYTES_MAX = 4096

/** Reads a request line. Throws an Error with a sentence for the asker. */
export function parseRequest(line: string): Request {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    throw new Error('the request is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error('the request is no object')
  const { verb: name, args = {}, ...others } = value as Record<string, unknown>
  const unknown = Object.keys(others)[0]
  if (unknown !== undefined) throw new Error(`the request has an unknown member ${JSON.stringify(unknown)}`)
  if (typeof name !== 'string' || !Object.hasOwn(VERBS, name)) {
    throw new Error(`the verb is none of ${Object.keys(VERBS).join(', ')}`)
  }
  if (typeof args !== 'object' || args === null || Array.isArray(args)) throw new Error('args is no object')
  const table: Readonly<Record<string, ArgumentType>> = VERBS[name as VerbName].args
  for (const [key, given] of Object.entries(args)) {
    if (!Object.hasOwn(table, key)) throw new Error(`${name} takes no argument ${JSON.stringify(key)}`)
    if (typeof given !== table[key]) throw new Error(`the argument ${key} of ${name} is no ${table[key]}`)
  }
  return { verb: name as VerbName, args: args as Record<string, unknown> }
}

type ArgumentType = 'number' | 'string' | 'boolean'

interface Verb<A, R> {
  readonly doc: string
  /** All arguments are optional. */
  readonly args: { readonly [K in keyof A]: ArgumentType }
  /** Never there: it carries the types. */
  readonly types?: (args: A) => R
}

function verb<A, R>(doc: string, args: Verb<A, R>['args']): Verb<A, R> {
  return { doc, args }
}
