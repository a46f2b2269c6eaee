import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { OperatorError } from '../base/errors.js'
import { packageRoot } from './programs.js'
import { type Congestion, isExpected, type Policy, type Scenario } from './scenario.js'
import { loadScenario } from './scenario-load.js'

export const scenarioFolder = join(packageRoot, 'config/scenarios')
/** The one place that names the scenarios which plait cannot pass yet, and why. */
const KNOWN_FAILING_FILE = join(scenarioFolder, 'known-failing.yaml')

/** Names of the scenarios that come with plait. */
export function shippedNames(): string[] {
  return readdirSync(scenarioFolder)
    .filter((file) => file.endsWith('.yaml') && file !== 'known-failing.yaml')
    .map((file) => file.slice(0, -'.yaml'.length))
    .sort()
}

/** What plait cannot pass yet: under any congestion control and policy, or only under those named. */
export interface KnownFailure {
  readonly congestion?: readonly Congestion[]
  readonly policy?: Policy
  readonly why: string
}

/** By name of the scenario. */
export function knownFailures(): Readonly<Record<string, KnownFailure>> {
  if (!existsSync(KNOWN_FAILING_FILE)) return {}
  return (parse(readFileSync(KNOWN_FAILING_FILE, 'utf8')) ?? {}) as Record<string, KnownFailure>
}

/** Why `scenario`, as it is played, is known to fail. */
export function knownFailing(scenario: Scenario, failures = knownFailures()): string | undefined {
  const failure = failures[scenario.name]
  return failure !== undefined && isExpected(failure, scenario) ? failure.why : undefined
}

/** A scenario by its file or by the name of one that comes with plait. */
export function findScenario(given: string): Scenario {
  if (existsSync(given)) return loadScenario(given)
  const names = shippedNames()
  if (names.includes(given)) return loadScenario(join(scenarioFolder, `${given}.yaml`))
  if (given.includes('/') || given.includes('.')) return loadScenario(given)
  throw new OperatorError('usage', `there is no scenario "${given}"`, {
    remedy: `give a file, or one of ${names.join(', ')}`,
  })
}
