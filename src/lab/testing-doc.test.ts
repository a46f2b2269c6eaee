import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { packageRoot } from './programs.js'
import { END_ACTIONS, LINK_ACTIONS, MEASURES } from './scenario.js'
import { SCENARIO_KEYS } from './scenario-load.js'
import { scenarioFolder } from './shipped.js'

const manual = readFileSync(join(packageRoot, 'docs/testing.md'), 'utf8')

test('the manual names every key, measure and action of a scenario', () => {
  const words = [...Object.values(SCENARIO_KEYS).flat(), ...MEASURES, ...LINK_ACTIONS, ...END_ACTIONS]
  const missing = words.filter((word) => !manual.includes(`\`${word}\``) && !manual.includes(`**${word}**`))
  expect(missing).toEqual([])
})

test('the scenario shown in the manual is the file as it is', () => {
  expect(manual).toContain(readFileSync(join(scenarioFolder, 'dsl-and-lte.yaml'), 'utf8'))
})
