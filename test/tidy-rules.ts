/**
 * House rules that neither the compiler nor the linter holds. Each rule looks at the files and returns its complaints:
 * `place: what is wrong; what to do instead`.
 */
import ts from 'typescript'

export interface SourceFile {
  /** From the root of the project, with forward slashes. */
  readonly path: string
  readonly text: string
}

export type Rule = (files: readonly SourceFile[]) => string[]

// ---- who may import whom ------------------------------------------------------------------------------------------

/** What others may know of the core without being driven by it: plain data. */
const CORE_FOR_READERS = [
  'src/core/snapshot.ts',
  'src/core/events.ts',
  'src/core/drop-reasons.ts',
  'src/core/constants.ts',
]

/** By room: the rooms it may import from, and single files of others. */
const BORDERS: Record<string, { rooms: string[]; files: string[] }> = {
  'src/base': { rooms: [], files: [] },
  'src/wire': { rooms: ['src/base'], files: [] },
  'src/noise': { rooms: ['src/base', 'src/wire'], files: [] },
  'src/core': { rooms: ['src/base', 'src/wire', 'src/noise'], files: [] },
  // io implements these two interfaces, and knows nothing else of the protocol.
  'src/io': { rooms: ['src/base'], files: ['src/noise/primitives.ts', 'src/core/packet-cipher.ts'] },
  'src/config': { rooms: ['src/base'], files: [] },
  'src/control': { rooms: ['src/base'], files: CORE_FOR_READERS },
  'src/daemon': {
    rooms: ['src/base', 'src/wire', 'src/noise', 'src/core', 'src/io', 'src/config', 'src/control'],
    files: [],
  },
  'src/cli': {
    rooms: ['src/base', 'src/config', 'src/control', 'src/daemon', 'src/lab'],
    files: CORE_FOR_READERS,
  },
  // The lab runs the built daemon as a program and asks it over its socket; it reads its files as config does.
  'src/lab': { rooms: ['src/base', 'src/io', 'src/config', 'src/control'], files: CORE_FOR_READERS },
  'src/web': { rooms: [], files: [] },
  // The simulator drives the real core, with the real or a null cipher; it reads the lab's scenario files.
  sim: {
    rooms: ['src/base', 'src/wire', 'src/noise', 'src/core', 'src/lab'],
    files: ['src/io/primitives.ts', 'src/io/packet-ciphers.ts'],
  },
  // The bench runs the built daemon as the lab does, and the core alone for its cost per packet.
  bench: {
    rooms: [
      'src/base',
      'src/wire',
      'src/noise',
      'src/core',
      'src/io',
      'src/config',
      'src/control',
      'src/lab',
    ],
    files: [],
  },
}

export const importBorders: Rule = (files) => {
  const complaints: string[] = []
  for (const file of code(files)) {
    if (isTest(file.path)) continue
    const room = roomOf(file.path)
    if (room === undefined) continue
    const border = BORDERS[room]
    if (border === undefined) {
      complaints.push(`${file.path}: the room ${room} has no border; give it an entry in test/tidy-rules.ts`)
      continue
    }
    for (const target of importsOf(file)) {
      const other = roomOf(target)
      if (other === undefined || other === room) continue
      if (border.rooms.includes(other) || border.files.includes(target)) continue
      complaints.push(
        `${file.path}: imports ${target}, which ${room} may not know; ` +
          `move what both need into a room they share, or take it as an argument (docs/architecture.md)`,
      )
    }
  }
  return complaints
}

// ---- the core has no clock, no randomness, no input and output ----------------------------------------------------

const SANS_IO = ['src/base/', 'src/wire/', 'src/noise/', 'src/core/']
const BANNED_NAMES: Record<string, string> = {
  Date: 'take `now: Instant` as an argument',
  performance: 'take `now: Instant` as an argument',
  setTimeout: 'answer to nextTimeout() and handleTimeout(now)',
  setInterval: 'answer to nextTimeout() and handleTimeout(now)',
  setImmediate: 'answer to nextTimeout() and handleTimeout(now)',
  queueMicrotask: 'answer to nextTimeout() and handleTimeout(now)',
  console: 'count a drop reason or emit an event',
  process: 'take it as an argument',
  Buffer: 'use Uint8Array and DataView',
  crypto: 'take a RandomSource or Primitives as an argument',
}

export const sansIo: Rule = (files) => {
  const complaints: string[] = []
  for (const file of code(files)) {
    if (isTest(file.path) || !SANS_IO.some((room) => file.path.startsWith(room))) continue
    const source = parse(file)
    const complain = (node: ts.Node, what: string, better: string): void => {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart(source))
      complaints.push(`${file.path}:${line + 1}: ${what} in the sans-IO core; ${better}`)
    }
    const visit = (node: ts.Node): void => {
      if (ts.isStringLiteral(node) && ts.isImportDeclaration(node.parent) && !node.text.startsWith('.')) {
        complain(node, `the module ${node.text}`, 'move it to src/io and take an interface as an argument')
      }
      if (ts.isIdentifier(node) && Object.hasOwn(BANNED_NAMES, node.text) && !isMemberName(node)) {
        complain(node, node.text, BANNED_NAMES[node.text]!)
      }
      if (ts.isPropertyAccessExpression(node) && node.getText(source) === 'Math.random') {
        complain(node, 'Math.random', 'take a RandomSource as an argument')
      }
      ts.forEachChild(node, visit)
    }
    visit(source)
  }
  return complaints
}

/** The `Date` of `x.Date` or `{ Date: 1 }` is not the global one. */
function isMemberName(node: ts.Identifier): boolean {
  const { parent } = node
  return (
    (ts.isPropertyAccessExpression(parent) && parent.name === node) ||
    ((ts.isPropertyAssignment(parent) ||
      ts.isPropertySignature(parent) ||
      ts.isPropertyDeclaration(parent)) &&
      parent.name === node)
  )
}

// ---- nothing dead -------------------------------------------------------------------------------------------------

/**
 * Entry points are the programs that package.json, bin/, scripts/ or docs/ name as `dist/….js`, which must be there, and the
 * tests. What only its own test imports is dead all the same.
 */
export const noDeadFiles: Rule = (files) => {
  const sources = new Map(code(files).map((file) => [file.path, file]))
  const reached = new Set<string>()
  const missing: string[] = []
  const open: string[] = [...sources.keys()].filter((path) => isTest(path) || path === 'vitest.config.ts')
  for (const file of files) {
    if (file.path !== 'package.json' && !/^(bin|scripts|docs|\.ci)\//.test(file.path)) continue
    for (const [name, program] of file.text.matchAll(/dist\/([\w./-]+)\.js/g)) {
      open.push(`${program}.ts`)
      if (sources.has(`${program}.ts`)) continue
      missing.push(
        `${file.path}: names ${name}, but there is no ${program}.ts; write it, or take the name out`,
      )
    }
  }
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const file = sources.get(path)
    if (file === undefined || reached.has(path)) continue
    reached.add(path)
    const own = isTest(path) ? path.replace('.test.ts', '.ts') : ''
    open.push(...importsOf(file).filter((target) => target !== own))
  }
  const dead = [...sources.keys()].filter((path) => !reached.has(path))
  return [
    ...missing,
    ...dead.map(
      (path) =>
        `${path}: nothing but its own test uses it; remove it, it is in the history when it is needed`,
    ),
  ]
}

// ---- what must not be left behind ---------------------------------------------------------------------------------

export const noOnly: Rule = (files) =>
  grep(
    files.filter((file) => isTest(file.path)),
    /\b(?:it|test|describe|suite)(?:\.\w+)*\.only\b/,
    'runs one test alone; name it on the command line instead: npx vitest run FILE -t NAME',
  )

// Put together from pieces, so that this file keeps the rule as well.
const UNFINISHED = new RegExp(`\\b(?:${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X'].join('|')})\\b`)
export const nothingUnfinished: Rule = (files) =>
  grep(files, UNFINISHED, 'finish it, or say in docs/ what is not done and why')

/** Homes and work folders; paths of installed systems (/etc, /run, /usr, /tmp) are what a program has to know. */
const MACHINE_PATHS = new RegExp(
  `(?<![\\w.:/~-])/(?:${['home', 'root', 'work', 'Users', 'mnt'].join('|')})/[\\w.]`,
)
export const noMachinePaths: Rule = (files) =>
  grep(files, MACHINE_PATHS, 'a path of one machine; make it relative to the file that needs it')

// ---- size ---------------------------------------------------------------------------------------------------------

const LINES_MAX = 500
/** Why a file may be longer. An entry that is not needed any more is a fault, too. */
const LONG_FILES: Record<string, string> = {
  'src/core/fuzz.test.ts': 'one harness for every message type and frame; its cases share all of its set-up',
  'src/config/bad-files.test.ts': 'a table of faulty files with the fault that each must give',
}

export const noLongFiles: Rule = (files) => {
  const complaints: string[] = []
  for (const { path, text } of files) {
    if (!/\.(ts|js|mjs|c|h|css)$/.test(path)) continue
    const lines = text.split('\n').length - 1
    if (lines > LINES_MAX && LONG_FILES[path] === undefined) {
      complaints.push(
        `${path}: ${lines} lines, more than ${LINES_MAX}; give each part its own room, or its reason in tidy-rules.ts`,
      )
    }
    if (lines <= LINES_MAX && LONG_FILES[path] !== undefined) {
      complaints.push(
        `${path}: only ${lines} lines; take it off the list of long files in test/tidy-rules.ts`,
      )
    }
  }
  return complaints
}

// ---- build --------------------------------------------------------------------------------------------------------

export const nativeSourcesBuilt: Rule = (files) => {
  const build = files.find((file) => file.path === 'binding.gyp')?.text ?? ''
  const listed = new Set([...build.matchAll(/'(native\/[\w./-]+\.c)'/g)].map((match) => match[1]!))
  const present = files.map((file) => file.path).filter((path) => /^native\/.*\.c$/.test(path))
  return [
    ...present
      .filter((path) => !listed.has(path))
      .map((path) => `${path}: in no target of binding.gyp; add it to one, or remove it`),
    ...[...listed]
      .filter((path) => !present.includes(path))
      .map((path) => `binding.gyp: names ${path}, which is not there; take it out`),
  ]
}

export const exactVersions: Rule = (files) => {
  const manifest = files.find((file) => file.path === 'package.json')
  if (manifest === undefined) return []
  const { dependencies = {}, devDependencies = {} } = JSON.parse(manifest.text) as Record<
    string,
    Record<string, string>
  >
  return Object.entries({ ...dependencies, ...devDependencies })
    .filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))
    .map(([name, version]) => `package.json: ${name} ${version}; name one version, such as 1.2.3`)
}

// ---- helpers ------------------------------------------------------------------------------------------------------

function code(files: readonly SourceFile[]): SourceFile[] {
  return files.filter((file) => file.path.endsWith('.ts'))
}

function isTest(path: string): boolean {
  return path.endsWith('.test.ts')
}

/** `src/core`, `sim`, ...; undefined for what stands outside of the rooms. */
function roomOf(path: string): string | undefined {
  return /^(src\/[^/]+|sim|bench)\//.exec(path)?.[1]
}

function parse(file: SourceFile): ts.SourceFile {
  return ts.createSourceFile(file.path, file.text, ts.ScriptTarget.ES2022, true)
}

/** Files of ours that `file` imports, loads late, or starts as a worker or program by their place beside it. */
function importsOf(file: SourceFile): string[] {
  const names = ts
    .preProcessFile(file.text, true, true)
    .importedFiles.map((each) => each.fileName)
    .filter((name) => name.startsWith('.'))
  // new URL('./x.js', import.meta.url), or a path joined to import.meta's.
  for (const [, name] of file.text.matchAll(/new URL\('([\w./-]+\.js)', import\.meta\.url\)/g))
    names.push(name!)
  for (const [, name] of file.text.matchAll(/import\.meta\.(?:url|dirname)[^'\n]*'([\w./-]+\.js)'/g)) {
    names.push(name!)
  }
  return names.map((name) => resolve(file.path, name))
}

function resolve(from: string, name: string): string {
  const parts = from.split('/').slice(0, -1)
  for (const part of name.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '.') parts.push(part)
  }
  return parts.join('/').replace(/\.js$/, '.ts')
}

function grep(files: readonly SourceFile[], pattern: RegExp, better: string): string[] {
  return files.flatMap((file) =>
    file.text.split('\n').flatMap((line, i) => {
      const found = pattern.exec(line)
      return found === null ? [] : [`${file.path}:${i + 1}: "${found[0]}"; ${better}`]
    }),
  )
}
