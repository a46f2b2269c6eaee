import { type ErrorCode, OperatorError } from '../base/errors.js'
import { formatPath, nearestOf } from '../config/faults.js'
import type { Path, Places } from '../config/located.js'
import { show } from '../config/value-types.js'

/** Reads one value; undefined: it is not what is expected there. */
export interface ValueReader<T> {
  readonly expected: string
  readonly read: (raw: unknown) => T | undefined
}

/** Walks through what a YAML file says and notes each fault with its place; goes on after a fault. */
export class ScenarioReader {
  constructor(
    readonly places: Places,
    readonly faults: OperatorError[],
  ) {}

  fault(
    path: Path,
    text: string,
    expected: string,
    code: ErrorCode = 'configBadValue',
    at: 'key' | 'value' = 'value',
  ): void {
    const name = path.length === 0 ? 'the file' : formatPath(path)
    const place = at === 'key' ? this.places.key(...path) : this.places.value(...path)
    this.faults.push(
      new OperatorError(code, `${name} ${text}, expected ${expected}`, {
        place,
        remedy: 'see docs/testing.md',
      }),
    )
  }

  /** Keys of the map at `path`; notes those that are not among `known`. False: there is no map. */
  map(path: Path, known: readonly string[]): boolean {
    const raw = this.places.raw(...path)
    if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
      this.fault(path, `is ${show(raw)}`, `the keys ${known.join(', ')}`, 'configWrongType')
      return false
    }
    for (const key of Object.keys(raw)) {
      if (known.includes(key)) continue
      const near = nearestOf(key, known)
      const where = path.length === 0 ? 'at the top' : `in ${formatPath(path)}`
      this.faults.push(
        new OperatorError(
          'configUnknownKey',
          `${show(key)} is not known ${where}, expected ${known.join(', ')}`,
          {
            place: this.places.key(...path, key),
            remedy: near === undefined ? 'remove it; docs/testing.md has every key' : `did you mean ${near}?`,
          },
        ),
      )
    }
    return true
  }

  /** Indices of the list at `path`; empty when it is not there. */
  list(path: Path, needed: boolean): number[] {
    const raw = this.places.raw(...path)
    if (raw === undefined && !needed) return []
    if (raw === undefined) {
      this.fault(path, 'is missing', 'a list', 'configMissingKey', 'key')
      return []
    }
    if (!Array.isArray(raw)) {
      this.fault(path, `is ${show(raw)}`, 'a list: begin each entry with "- "', 'configWrongType')
      return []
    }
    if (raw.length === 0 && needed) this.fault(path, 'has no entry', 'at least one')
    return raw.map((_, index) => index)
  }

  /** The value at `path`, or undefined with a fault noted when it is there and wrong. */
  optional<T>(path: Path, type: ValueReader<T>): T | undefined {
    const raw = this.places.raw(...path)
    if (raw === undefined) return undefined
    const value = type.read(raw)
    if (value === undefined) this.fault(path, raw === null ? 'is empty' : `is ${show(raw)}`, type.expected)
    return value
  }

  /** The value at `path`; a fault when it is missing. */
  needed<T>(path: Path, type: ValueReader<T>): T | undefined {
    if (this.places.has(...path)) return this.optional(path, type)
    this.fault(path, 'is missing', type.expected, 'configMissingKey', 'key')
    return undefined
  }
}
