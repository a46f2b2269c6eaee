/** The house rules of tidy-rules.ts, held over the whole project; and each rule shown to catch what it is for. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import {
  exactVersions,
  importBorders,
  nativeSourcesBuilt,
  noDeadFiles,
  noLongFiles,
  noMachinePaths,
  noOnly,
  nothingUnfinished,
  type Rule,
  type SourceFile,
  sansIo,
} from './tidy-rules.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** Made by tools, or given by others. */
const NOT_OURS = new Set([
  '.git',
  'node_modules',
  'dist',
  'build',
  'prebuilds',
  'coverage',
  'vectors',
  'vendor',
])
const TEXT =
  /(\.(ts|js|mjs|json|c|h|md|yaml|yml|html|css|svg|sh|gyp|service)|\/(demo|plait|test|run|LICENSE))$/

function readProject(folder = ''): SourceFile[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`
    if (NOT_OURS.has(entry.name) || path === 'package-lock.json') return []
    if (entry.isDirectory()) return readProject(path)
    return entry.isFile() && TEXT.test(`/${path}`)
      ? [{ path, text: readFileSync(join(ROOT, path), 'utf8') }]
      : []
  })
}

const file = (path: string, text: string): SourceFile => ({ path, text })
// Put together from pieces, so that this file keeps the rules itself.
const ALONE = ['it', 'only'].join('.')
const LATER = ['TO', 'DO'].join('')
const HOME = ['', 'home', ''].join('/')

const lines = (count: number): string => 'x\n'.repeat(count)

/** Each rule, with files in which it must find exactly `complaints`. */
const RULES: { name: string; rule: Rule; bad: SourceFile[]; complaints: string[] }[] = [
  {
    name: 'imports keep to the borders between rooms',
    rule: importBorders,
    bad: [
      file('src/core/a.ts', "import { x } from '../io/clock.js'\nimport { y } from '../base/time.js'\n"),
      file('src/control/b.ts', "import type { S } from '../core/snapshot.js'\nimport '../core/device.js'\n"),
      file('src/cli/c.ts', "await import('../noise/noise.js')\n"),
      file('src/attic/d.ts', ''),
    ],
    complaints: [
      'src/core/a.ts: imports src/io/clock.ts',
      'src/control/b.ts: imports src/core/device.ts',
      'src/cli/c.ts: imports src/noise/noise.ts',
      'src/attic/d.ts: the room src/attic has no border',
    ],
  },
  {
    name: 'base, wire, noise and core are free of clock, randomness and I/O',
    rule: sansIo,
    bad: [
      file('src/wire/a.ts', "import { readFileSync } from 'node:fs'\nconst at = Date.now()\nMath.random()\n"),
      file(
        'src/core/b.ts',
        'const x = { Date: 1 }\n// Date and console in a comment\nsetTimeout(f, x.Date)\n',
      ),
      file('src/core/b.test.ts', 'console.log(Date.now())\n'),
      file('src/daemon/c.ts', 'console.log(Date.now())\n'),
    ],
    complaints: [
      'src/wire/a.ts:1: the module node:fs',
      'src/wire/a.ts:2: Date',
      'src/wire/a.ts:3: Math.random',
      'src/core/b.ts:3: setTimeout',
    ],
  },
  {
    name: 'no file is dead',
    rule: noDeadFiles,
    bad: [
      file('package.json', '{ "bin": "dist/src/cli/main.js" }'),
      file('scripts/demo', 'exec node dist/src/lab/gone.js'),
      file('src/cli/main.ts', "import './a.js'\nnew Worker(new URL('./worker.js', import.meta.url))\n"),
      file('src/cli/a.ts', "await import('./late.js')\njoin(import.meta.dirname, 'program.js')\n"),
      file('src/cli/program.ts', ''),
      file('src/cli/late.ts', ''),
      file('src/cli/worker.ts', ''),
      file('src/cli/dead.ts', ''),
      file('src/cli/tested.ts', ''),
      file('src/cli/tested.test.ts', "import './tested.js'\nimport './helper.js'\n"),
      file('src/cli/helper.ts', ''),
    ],
    complaints: [
      'scripts/demo: names dist/src/lab/gone.js',
      'src/cli/dead.ts: nothing but',
      'src/cli/tested.ts: nothing but',
    ],
  },
  {
    name: 'no test runs alone',
    rule: noOnly,
    bad: [file('a.test.ts', `describe('x', () => ${ALONE}('y', f))\n`), file('b.ts', 'x.only\n')],
    complaints: [`a.test.ts:1: "${ALONE}"`],
  },
  {
    name: 'nothing is marked as unfinished',
    rule: nothingUnfinished,
    bad: [file('docs/a.md', `fine\n${LATER}: more\n`), file('b.c', `/* ${LATER} */\n`)],
    complaints: [`docs/a.md:2: "${LATER}"`, `b.c:1: "${LATER}"`],
  },
  {
    name: 'no path of one machine is written down',
    rule: noMachinePaths,
    bad: [
      file('a.ts', `const folder = '${HOME}ann/plait'\n`),
      file('b.md', `https://example.org${HOME}x, ~${HOME}x, /etc/plait/x\n`),
    ],
    complaints: [`a.ts:1: "${HOME}a"`],
  },
  {
    name: 'no file grows beyond what can be read at a sitting',
    rule: noLongFiles,
    bad: [
      file('a.ts', lines(501)),
      file('b.ts', lines(500)),
      file('c.md', lines(900)),
      file('src/core/fuzz.test.ts', lines(20)),
    ],
    complaints: ['a.ts: 501 lines', 'src/core/fuzz.test.ts: only 20 lines'],
  },
  {
    name: 'every native source is built',
    rule: nativeSourcesBuilt,
    bad: [
      file('binding.gyp', "['native/a.c', 'native/gone.c']"),
      file('native/a.c', ''),
      file('native/b.c', ''),
    ],
    complaints: ['native/b.c: in no target', 'binding.gyp: names native/gone.c'],
  },
  {
    name: 'dependencies have exact versions',
    rule: exactVersions,
    bad: [
      file('package.json', '{"dependencies":{"a":"1.2.3","b":"^1.0.0"},"devDependencies":{"c":"latest"}}'),
    ],
    complaints: ['package.json: b ^1.0.0', 'package.json: c latest'],
  },
]

const project = readProject()

describe('tidiness', () => {
  for (const { name, rule, bad, complaints } of RULES) {
    it(name, () => {
      expect(rule(project)).toEqual([])
    })
    it(`${name}: the rule catches what it is for`, () => {
      const found = rule(bad)
      expect(found.map((text, i) => text.slice(0, complaints[i]?.length))).toEqual(complaints)
      for (const text of found) expect(text, 'names the better way').toMatch(/; \S/)
    })
  }

  it('looks at the whole project', () => {
    const paths = project.map(({ path }) => path)
    for (const path of [
      'README.md',
      'LICENSE',
      'package.json',
      'binding.gyp',
      'src/core/device.ts',
      'native/tun.c',
    ]) {
      expect(paths).toContain(path)
    }
    expect(paths.length).toBeGreaterThan(150)
  })
})
