/** Just enough Markdown to compare a document with the code. */

export interface Table {
  /** The line of text before it, without marks: what the document calls the table. */
  readonly title: string
  readonly header: readonly string[]
  /** By header cell; code marks are taken off. */
  readonly rows: readonly Readonly<Record<string, string>>[]
}

export function readTables(markdown: string): Table[] {
  const lines = withoutFences(markdown).split('\n')
  const tables: Table[] = []
  let title = ''
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!
    if (!line.startsWith('|')) {
      if (line.trim() !== '') title = line.replace(/[#*`]/g, '').replace(/:$/, '').trim()
      continue
    }
    const header = cells(line)
    const rows: Record<string, string>[] = []
    for (i += 2; lines[i]?.startsWith('|'); i++) {
      const values = cells(lines[i]!)
      rows.push(Object.fromEntries(header.map((name, column) => [name, values[column] ?? ''])))
    }
    tables.push({ title, header, rows })
  }
  return tables
}

function cells(line: string): string[] {
  return line
    .trim()
    .slice(1, -1)
    .split(/(?<!\\)\|/)
    .map((cell) =>
      cell
        .trim()
        .replace(/^`(.*)`$/, '$1')
        .replaceAll('\\|', '|'),
    )
}

/** Blocks between fences of one language, without the fences. */
export function readBlocks(markdown: string, language: string): string[] {
  return [...markdown.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)]
    .filter((match) => match[1] === language)
    .map((match) => match[2]!)
}

/** Targets of links and pictures. */
export function readLinks(markdown: string): string[] {
  const text = withoutFences(markdown).replace(/`[^`\n]*`/g, '')
  return [
    ...[...text.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1]!),
    ...[...text.matchAll(/\b(?:src|srcset|href)="([^"]+)"/g)].map((match) => match[1]!),
  ]
}

/** Anchors that headings give, as GitHub makes them. */
export function readAnchors(markdown: string): string[] {
  return [...withoutFences(markdown).matchAll(/^#+ +(.+)$/gm)].map((match) =>
    match[1]!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

function withoutFences(markdown: string): string {
  return markdown.replace(/^```[\s\S]*?^```$/gm, '')
}
