import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { configManual } from './manual.js'
import { CONFIG_TABLE, type Fields } from './schema.js'

const root = join(import.meta.dirname, '../..')

it('docs/config.md is what the table says', () => {
  const remedy = 'run: npm run build:ts && node dist/src/config/write-manual.js'
  expect(readFileSync(join(root, 'docs/config.md'), 'utf8'), remedy).toBe(configManual())
})

it('the manual has every key', () => {
  const text = configManual()
  const check = (fields: Fields): void => {
    for (const [name, field] of Object.entries(fields)) {
      if (field.kind === 'key') expect(text).toMatch(new RegExp(`^\\| \`${name}\` \\| [^|]+ `, 'm'))
      else {
        expect(text).toContain(`## \`${name}\``)
        check(field.fields)
      }
    }
  }
  check(CONFIG_TABLE)
})
