import type { z } from 'zod'
import { type ErrorCode, OperatorError } from '../base/errors.js'
import type { Path, Places } from './located.js'
import { CONFIG_TABLE, type Field, type Fields } from './schema.js'
import { kindOf, show, type ValueFault } from './value-types.js'

/** The faults that one issue of the schema stands for, with their places. */
export function schemaFault(issue: z.core.$ZodIssue, places: Places): OperatorError[] {
  const path = issue.path.filter((step): step is string | number => typeof step !== 'symbol')
  // A single value was taken for a list of one.
  if (typeof path.at(-1) === 'number' && !Array.isArray(places.raw(...path.slice(0, -1)))) path.pop()
  const name = path.length === 0 ? 'the file' : formatPath(path)
  const fault = (
    code: ErrorCode,
    text: string,
    expected: string,
    hint: string | undefined,
  ): OperatorError => {
    const place = code === 'configMissingKey' ? places.key(...path) : places.value(...path)
    return new OperatorError(code, `${name} ${text}, expected ${expected}`, {
      place,
      ...(hint === undefined ? {} : { remedy: hint }),
    })
  }
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => unknownKey(path, key, places))
  }
  if (issue.code === 'custom') {
    const params = issue.params as unknown as ValueFault
    return [fault(params.code, params.text, params.expected, params.hint ?? missingHint(params.code, path))]
  }
  const raw = places.raw(...path)
  const expected = describeSection(path)
  if (issue.code === 'too_big')
    return [fault('configBadValue', `has ${lengthOf(raw)} entries`, `at most ${issue.maximum}`, undefined)]
  if (issue.code === 'too_small') return [fault('configBadValue', 'has no entry', expected, undefined)]
  if (raw === undefined)
    return [fault('configMissingKey', 'is missing', expected, missingHint('configMissingKey', path))]
  const found = raw === null ? 'is empty' : `is ${typeof raw === 'object' ? kindOf(raw) : show(raw)}`
  const hint =
    expected.startsWith('a list') && typeof raw === 'object' && raw !== null
      ? 'begin each entry with "- "'
      : undefined
  return [fault('configWrongType', found, expected, hint)]
}

/** `peers[1].allowed-ips[2]`, counted from 1 as people do. */
export function formatPath(path: Path): string {
  return path
    .map((step, i) => (typeof step === 'number' ? `[${step + 1}]` : i === 0 ? step : `.${step}`))
    .join('')
}

function missingHint(code: ErrorCode, path: Path): string | undefined {
  if (code !== 'configMissingKey') return undefined
  return `add ${String(path.at(-1))}: to ${path.length === 1 ? 'the file' : formatPath(path.slice(0, -1))}`
}

function unknownKey(path: Path, key: string, places: Places): OperatorError {
  const fields = fieldsAt(path)
  const known = Object.keys(fields)
  const where = path.length === 0 ? 'at the top' : `in ${formatPath(path)}`
  const place = places.key(...path, key)
  const text = `${show(key)} is not known ${where}, expected ${known.join(', ')}`
  const near = nearestOf(key, known)
  if (near !== undefined)
    return new OperatorError('configUnknownKey', text, { place, remedy: `did you mean ${near}?` })
  const home = sectionWith(key)
  const remedy = home === undefined ? 'remove it; docs/config.md has every key' : `${key} belongs ${home}`
  return new OperatorError('configUnknownKey', text, { place, remedy })
}

function fieldAt(path: Path): Field | undefined {
  let fields: Fields = CONFIG_TABLE
  let field: Field | undefined
  for (const step of path) {
    if (typeof step === 'number') continue
    field = Object.hasOwn(fields, step) ? fields[step] : undefined
    if (field === undefined || field.kind === 'key') return field
    fields = field.fields
  }
  return field
}

function fieldsAt(path: Path): Fields {
  const field = fieldAt(path)
  return field === undefined || field.kind === 'key' ? CONFIG_TABLE : field.fields
}

function describeSection(path: Path): string {
  const field = fieldAt(path)
  if (field === undefined) return `the sections ${Object.keys(CONFIG_TABLE).join(', ')}`
  if (field.kind === 'key') return field.type.name
  if (field.kind === 'sections' && typeof path.at(-1) !== 'number') return `a list of ${field.entry}s`
  return `the keys ${Object.keys(field.fields).join(', ')}`
}

/** In which section a key lives that was written elsewhere. */
function sectionWith(key: string): string | undefined {
  for (const [name, field] of Object.entries(CONFIG_TABLE as Fields)) {
    if (name === key) return 'at the top of the file'
    if (field.kind !== 'key' && Object.hasOwn(field.fields, key)) {
      return field.kind === 'sections' ? `into a ${field.entry} of ${name}` : `under ${name}`
    }
  }
  return undefined
}

/** The known word that was most likely meant: at most a third of its letters differ, and never more than three. */
export function nearestOf(word: string, known: readonly string[]): string | undefined {
  if (word.length > 40) return undefined
  const kebab = word
    .replace(/([a-z])([A-Z])/g, '$1-$2')
    .toLowerCase()
    .replaceAll('_', '-')
  let best: string | undefined
  let bestDistance = 4
  for (const candidate of known) {
    const distance = editDistance(kebab, candidate)
    if (distance < bestDistance && distance <= Math.max(1, candidate.length / 3)) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein's distance with neighbours swapped counted as one. */
function editDistance(a: string, b: string): number {
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      let distance = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + cost)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, before[j - 2]! + 1)
      }
      row.push(distance)
    }
    before = last
    last = row
  }
  return last[b.length]!
}

function lengthOf(value: unknown): number {
  return Array.isArray(value) ? value.length : 0
}
