/** Numbers that a source file gives names at its top level, private ones too, without running the file. */
import ts from 'typescript'

/** A constant of a file: what its initializer comes to. */
export interface Constant {
  readonly value: number
  readonly exported: boolean
}

/** Names of base/time.ts, which most of them are made of. */
const UNITS: Record<string, number> = { MILLISECOND: 1_000, SECOND: 1_000_000 }

/** Constants in capitals whose initializers are arithmetic; others are left out. */
export function readConstants(path: string, text: string): Map<string, Constant> {
  const found = new Map<string, Constant>()
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true)
  const evaluate = (node: ts.Expression): number => {
    if (ts.isNumericLiteral(node)) return Number(node.text)
    if (ts.isParenthesizedExpression(node)) return evaluate(node.expression)
    if (ts.isIdentifier(node)) return found.get(node.text)?.value ?? UNITS[node.text] ?? Number.NaN
    if (!ts.isBinaryExpression(node)) return Number.NaN
    const left = evaluate(node.left)
    const right = evaluate(node.right)
    switch (node.operatorToken.kind) {
      case ts.SyntaxKind.PlusToken:
        return left + right
      case ts.SyntaxKind.MinusToken:
        return left - right
      case ts.SyntaxKind.AsteriskToken:
        return left * right
      case ts.SyntaxKind.SlashToken:
        return left / right
      case ts.SyntaxKind.AsteriskAsteriskToken:
        return left ** right
      case ts.SyntaxKind.LessThanLessThanToken:
        return left << right
      default:
        return Number.NaN
    }
  }
  for (const statement of source.statements) {
    if (!ts.isVariableStatement(statement)) continue
    const exported = statement.modifiers?.some((each) => each.kind === ts.SyntaxKind.ExportKeyword) ?? false
    for (const { name, initializer } of statement.declarationList.declarations) {
      if (!ts.isIdentifier(name) || initializer === undefined || !/^[A-Z0-9_]+$/.test(name.text)) continue
      const value = evaluate(initializer)
      if (!Number.isNaN(value)) found.set(name.text, { value, exported })
    }
  }
  return found
}

const FACTORS: Record<string, number> = {
  '': 1,
  µs: 1,
  ms: 1_000,
  s: 1_000_000,
  '%': 0.01,
  KiB: 1024,
  MiB: 1024 * 1024,
}

/** What a document writes for a constant: `250 ms`, `2^27`, `4,096`, `5 %`; durations come out in µs. */
export function readQuantity(text: string): number {
  const match = /^([\d,.]+)(?:\^(\d+))? ?(µs|ms|s|%|KiB|MiB|)$/.exec(text)
  if (match === null) return Number.NaN
  const base = Number(match[1]!.replaceAll(',', ''))
  const factor = FACTORS[match[3]!]!
  return (match[2] === undefined ? base : base ** Number(match[2])) * factor
}
