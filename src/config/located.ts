import {
  Composer,
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  Lexer,
  LineCounter,
  type Node,
  Parser,
  visit,
} from 'yaml'
import { type ErrorCode, OperatorError, type Place } from '../base/errors.js'
import { show } from './value-types.js'

/** Deeper than any real file; deeper ones would exhaust the stack of the composer. */
const NESTING_MAX = 32
/** Faults beyond these are only counted. */
const SYNTAX_FAULTS_MAX = 20

export type Path = readonly (string | number)[]

/** A value of the file together with where it and its key stand. */
export interface Located {
  /** Plain data: null, boolean, number, string, array, object without prototype. */
  readonly value: unknown
  readonly offset: number
  readonly keyOffset: number | undefined
  readonly children: ReadonlyMap<string | number, Located> | undefined
}

/** Finds the place of any key of the file. */
export class Places {
  constructor(
    private readonly file: string,
    private readonly lines: LineCounter,
    private readonly root: Located | undefined,
  ) {}

  /** Place of the value at `path`, or of the nearest thing around it that is in the file. */
  value(...path: Path): Place {
    return this.offset(this.nearest(path)?.offset ?? 0)
  }

  /** Place of the key at `path`, or of the nearest thing around it. */
  key(...path: Path): Place {
    const found = this.nearest(path)
    return this.offset(found?.keyOffset ?? found?.offset ?? 0)
  }

  /** The value at `path` as it stands in the file; undefined if it is not there. */
  raw(...path: Path): unknown {
    let at: Located | undefined = this.root
    for (const step of path) at = at?.children?.get(step)
    return at?.value
  }

  has(...path: Path): boolean {
    return this.raw(...path) !== undefined
  }

  offset(offset: number): Place {
    const { line, col } = this.lines.linePos(offset)
    return { file: this.file, line: Math.max(1, line), column: Math.max(1, col) }
  }

  private nearest(path: Path): Located | undefined {
    let at = this.root
    for (const step of path) {
      const next = at?.children?.get(step)
      if (next === undefined) break
      at = next
    }
    return at
  }
}

/**
 * Reads YAML 1.2 (core schema), without anchors, aliases, merges and tags. Faults are added to `faults`; the places
 * are good for what could be read. `undefined` value: nothing could.
 */
export function readYaml(
  text: string,
  file: string,
  faults: OperatorError[],
): { value: unknown; places: Places } {
  const lines = new LineCounter()
  const places = new Places(file, lines, undefined)
  const report = (code: ErrorCode, offset: number, words: string, remedy?: string): void => {
    const options = { place: places.offset(offset), ...(remedy === undefined ? {} : { remedy }) }
    faults.push(new OperatorError(code, words, options))
  }
  const document = compose(text, lines, report)
  if (document === undefined) return { value: undefined, places }
  const reader = new Reader(report)
  const root = reader.read(document, undefined, 0)
  return { value: root.value, places: new Places(file, lines, root) }
}

type Report = (code: ErrorCode, offset: number, words: string, remedy?: string) => void

/** The one document of the text as YAML nodes, or undefined after a fault that leaves nothing to read on. */
function compose(text: string, lines: LineCounter, report: Report): Node | undefined {
  const parser = new Parser(lines.addNewLine)
  lines.addNewLine(0)
  const tokens = []
  let flowDepth = 0
  // Lexer and parser keep their own stacks; the composer recurses, so depth is bounded before it runs.
  for (const lexeme of new Lexer().lex(text)) {
    if (lexeme === '[' || lexeme === '{') flowDepth++
    else if (lexeme === ']' || lexeme === '}') flowDepth = Math.max(0, flowDepth - 1)
    if (flowDepth > NESTING_MAX || parser.stack.length > 2 * NESTING_MAX) {
      report('configNesting', parser.offset, `nested deeper than ${NESTING_MAX} levels, expected at most 4`)
      return undefined
    }
    for (const token of parser.next(lexeme)) tokens.push(token)
  }
  for (const token of parser.end()) tokens.push(token)

  const composer = new Composer({ uniqueKeys: false, lineCounter: lines, prettyErrors: false, strict: true })
  const documents = [...composer.compose(tokens, true, text.length)]
  const problems = documents.flatMap((document) => [...document.errors, ...document.warnings])
  for (const problem of problems.slice(0, SYNTAX_FAULTS_MAX)) {
    const code = problem.code === 'TAG_RESOLVE_FAILED' ? 'configTag' : 'configSyntax'
    report(
      code,
      problem.pos[0],
      `${firstLine(problem.message)}, expected valid YAML`,
      syntaxHint(text, problem.pos[0]),
    )
  }
  if (problems.length > SYNTAX_FAULTS_MAX) {
    const rest = problems.length - SYNTAX_FAULTS_MAX
    report('configSyntax', problems[SYNTAX_FAULTS_MAX]!.pos[0], `${rest} more faults of syntax from here on`)
  }
  if (problems.length > 0) return undefined
  const second = documents[1]
  if (second !== undefined) {
    report('configSyntax', second.range[0], 'a second document begins, expected one', 'remove the line ---')
    return undefined
  }
  const contents = documents[0]?.contents
  if (contents === null || contents === undefined || (isScalar(contents) && contents.value === null)) {
    report('configEmpty', 0, 'the file says nothing, expected at least interface, peers and links or listen')
    return undefined
  }
  return hasAliases(contents as Node, report) ? undefined : (contents as Node)
}

/**
 * Reports anchors, aliases and tags: they save nothing in a file of this size, and make bombs possible. What an alias
 * stands for stays unread.
 */
function hasAliases(contents: Node, report: Report): boolean {
  let count = 0
  let aliases = 0
  visit(contents, (_, node) => {
    if (count >= SYNTAX_FAULTS_MAX) return visit.BREAK
    const at = (node as Node)?.range?.[0] ?? 0
    if (isAlias(node)) {
      count++
      aliases++
      report('configAlias', at, `*${node.source} is an alias, expected the value itself`)
    } else if (
      (isScalar(node) || isCollection(node)) &&
      (node.anchor !== undefined || node.tag !== undefined)
    ) {
      // The composer sets `tag` only where the file has one.
      count++
      if (node.anchor !== undefined)
        report('configAlias', at, `&${node.anchor} is an anchor, expected a plain value`)
      else report('configTag', at, `${node.tag} is a tag, expected a plain value`)
    }
    return undefined
  })
  return aliases > 0
}

class Reader {
  constructor(private readonly report: Report) {}

  read(node: unknown, keyOffset: number | undefined, around: number): Located {
    // What is not written has no place of its own: that of its key says more.
    const isWritten = !(isScalar(node) && node.value === null && node.source === '')
    const offset = (isWritten ? (node as Node | null)?.range?.[0] : undefined) ?? keyOffset ?? around
    if (isMap(node)) return this.readMap(node.items, offset, keyOffset)
    if (isCollection(node)) {
      const children = new Map<number, Located>()
      node.items.forEach((item, index) => {
        // A pair within a list is a map of one: [a: 1].
        children.set(
          index,
          isPair(item) ? this.readMap([item], offset, undefined) : this.read(item, undefined, offset),
        )
      })
      return { value: [...children.values()].map((child) => child.value), offset, keyOffset, children }
    }
    return { value: isScalar(node) ? node.value : null, offset, keyOffset, children: undefined }
  }

  private readMap(items: readonly unknown[], offset: number, keyOffset: number | undefined): Located {
    const children = new Map<string, Located>()
    // Without prototype, __proto__ is a key like any other, and unknown.
    const value: Record<string, unknown> = Object.create(null)
    for (const pair of items) {
      if (!isPair(pair)) continue
      const keyNode = pair.key as Node | null
      const at = keyNode?.range?.[0] ?? offset
      if (!isScalar(keyNode) || keyNode.value === null) {
        this.report('configSyntax', at, 'a key that is no word, expected key: value')
        continue
      }
      const name = String(keyNode.value)
      if (children.has(name)) {
        const words = `${show(name)} is given twice in the same section, expected once`
        this.report('configDuplicateKey', at, words)
        continue
      }
      const child = this.read(pair.value, at, at)
      children.set(name, child)
      value[name] = child.value
    }
    return { value, offset, keyOffset, children }
  }
}

function firstLine(message: string): string {
  const line = message.split('\n')[0]!
  return line.length > 160 ? `${line.slice(0, 157)}...` : line
}

function syntaxHint(text: string, offset: number): string | undefined {
  const start = text.lastIndexOf('\n', offset - 1) + 1
  const end = text.indexOf('\n', start)
  const line = text.slice(start, end < 0 ? undefined : end)
  if (/:\s*\[[0-9a-fA-F:.]*\]:\d/.test(line)) return 'put an IPv6 address in quotes: "[::]:51820"'
  if (/:\s*[@`%]/.test(line)) return 'put the value in quotes'
  return undefined
}
