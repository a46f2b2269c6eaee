#!/usr/bin/env node
// Builds native/ into build/Release/plait.node with node-gyp, offline: the headers are those of the running Node.
//
//   npm run build:native            builds what has changed
//   npm run build:native -- --asan  the same with AddressSanitizer and UBSan into build-asan/ (see test-asan.sh)
//   npm run build:native -- --force builds in any case
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const asan = process.argv.includes('--asan')
const force = process.argv.includes('--force')
const outFolder = join(root, asan ? 'build-asan/build' : 'build')
const outFile = join(outFolder, 'Release/plait.node')
const stampFile = join(outFolder, 'plait.stamp')

function fail(sentence) {
  console.error(`build-native: ${sentence}`)
  process.exit(1)
}

function requireTool(command, why, packageName) {
  if (spawnSync(command, ['--version'], { stdio: 'ignore' }).status !== 0) {
    fail(`${command} was not found; it ${why}: apt-get install ${packageName}`)
  }
}

/** The folder that node-gyp calls nodedir: it holds include/node with the headers of this very Node. */
function findNodeDir() {
  const prefix = dirname(dirname(realpathSync(process.execPath)))
  const candidates = [process.env.npm_config_nodedir, prefix, '/usr', '/usr/local'].filter(Boolean)
  const matching = candidates.find((candidate) => {
    const versionFile = join(candidate, 'include/node/node_version.h')
    if (!existsSync(versionFile) || !existsSync(join(candidate, 'include/node/node_api.h'))) return false
    const major = /#define NODE_MAJOR_VERSION (\d+)/.exec(readFileSync(versionFile, 'utf8'))?.[1]
    return major === process.versions.node.split('.')[0]
  })
  if (matching === undefined) {
    fail(
      `the C headers of Node ${process.versions.node} were not found in ${candidates.join(', ')} (include/node); ` +
        'use a Node from nodejs.org or NodeSource, which bring them, or set npm_config_nodedir',
    )
  }
  const openssl = [join(matching, 'include/node/openssl/evp.h'), '/usr/include/openssl/evp.h']
  if (!openssl.some(existsSync))
    fail('OpenSSL headers were not found with the Node headers: apt-get install libssl-dev')
  return matching
}

/** Changes whenever a rebuild is due. */
function stamp() {
  const hash = createHash('sha256')
  hash.update(`${process.version} ${process.arch} ${asan} ${existsSync('/usr/include/intel-ipsec-mb.h')}\n`)
  const sources = readdirSync(join(root, 'native'), { recursive: true }).filter((name) =>
    /\.[ch]$/.test(name),
  )
  const files = sources.sort().map((name) => join('native', name))
  for (const file of [...files, 'binding.gyp', 'scripts/build-native.mjs']) {
    hash.update(`${file}\n`).update(readFileSync(join(root, file)))
  }
  return hash.digest('hex')
}

function run(command, args) {
  // gyp links by g++ unless told otherwise; there is no C++ here, and one compiler less to install.
  const env = { LINK: 'gcc', ...process.env }
  const stdio = ['ignore', 'pipe', 'pipe']
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', env, stdio })
  if (result.status !== 0) {
    process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`)
    fail(`${command} failed${result.error ? `: ${result.error.message}` : ', its output is above'}`)
  }
}

const current = stamp()
if (!force && existsSync(outFile) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === current) {
  process.exit(0)
}
requireTool('gcc', 'compiles native/', 'build-essential')
const nodeDir = findNodeDir()
if (asan) {
  // One compiler call: gyp has no place for a second variant beside the first.
  mkdirSync(dirname(outFile), { recursive: true })
  const sources = readdirSync(join(root, 'native')).filter((name) => name.endsWith('.c'))
  run('gcc', [
    ...['-std=gnu11', '-O1', '-g', '-Wall', '-Wextra', '-Werror', '-fPIC', '-shared', '-D_GNU_SOURCE'],
    ...['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined', '-fno-omit-frame-pointer'],
    ...['-isystem', join(nodeDir, 'include/node'), '-o', outFile],
    ...sources.map((name) => join('native', name)),
  ])
} else {
  requireTool('make', 'builds native/', 'build-essential')
  requireTool('python3', 'is what node-gyp runs on', 'python3')
  const gyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js')
  const configured = existsSync(join(outFolder, 'Makefile')) && !force
  if (!configured) rmSync(outFolder, { recursive: true, force: true })
  run(process.execPath, [gyp, 'configure', 'build', `--nodedir=${nodeDir}`, '--release', '--loglevel=warn'])
}
writeFileSync(stampFile, current)
console.log(`built ${outFile.slice(root.length + 1)}`)
