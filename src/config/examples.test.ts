import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { clamp, encodeKey, publicKeyOf } from './keys.js'
import { loadConfig } from './load.js'

const examples = join(import.meta.dirname, '../../config')
let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), `plait-${randomBytes(4).toString('hex')}-`))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

it('every example is good once its keys are made', () => {
  const files = readdirSync(examples).filter((file) => file.endsWith('.yaml'))
  expect(files).toEqual(
    expect.arrayContaining(['client.yaml', 'server.yaml', 'site-to-site-a.yaml', 'site-to-site-b.yaml']),
  )
  for (const file of files) {
    const text = readFileSync(join(examples, file), 'utf8')
    for (const [, name] of text.matchAll(/^[^#\n]*\/etc\/plait\/(\S+)/gm)) {
      writeFileSync(join(folder, name!), encodeKey(clamp(randomBytes(32))), { mode: 0o600 })
    }
    const ready = text
      .replaceAll('/etc/plait/', `${folder}/`)
      .replace(/REPLACE-BY-THE-PUBLIC-KEY-OF-\S+/g, () => encodeKey(publicKeyOf(randomBytes(32))))
    writeFileSync(join(folder, file), ready)
    const { config } = loadConfig(join(folder, file))
    expect(config.peers.length, file).toBeGreaterThan(0)
  }
})

it('an example as it is says which key is to be replaced', () => {
  expect(() => loadConfig(join(examples, 'server.yaml'))).toThrow(
    /server\.yaml:\d+:17: peers\[1\]\.public-key has/,
  )
})
