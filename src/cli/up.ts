import { OperatorError, OperatorErrors } from '../base/errors.js'
import { loadConfig } from '../config/load.js'
import type { Places } from '../config/located.js'
import type { Config } from '../config/schema.js'
import { checkSystem, realSystem } from '../daemon/checks.js'

/** Faults that pass by themselves: the tunnel starts and waits for the device, the route or the resolver. */
const PASSING = new Set(['linkNoDevice', 'linkNoSource', 'linkNoRoute', 'endpointUnresolved'])

/** `plait up FILE` */
export async function up(file: string): Promise<number> {
  const { config, places } = loadConfig(file)
  const faults = await checkSystem(config, places)
  if (!mayStart(config, places, faults)) throw new OperatorErrors(faults)
  if (await realSystem.answers(config.control)) {
    throw new OperatorError('alreadyRunning', `another plait answers on ${config.control}`)
  }
  for (const fault of faults) process.stderr.write(`${fault.message}\n`)
  // Loaded late: the addon and the core are not needed for key, check and status.
  const { runDaemon } = await import('../daemon/main.js')
  return runDaemon(config, { file })
}

/** Whether the tunnel can begin with some links and wait for the others: nothing lasting, and a link that works. */
export function mayStart(config: Config, places: Places, faults: readonly OperatorError[]): boolean {
  if (faults.some((fault) => !PASSING.has(fault.code))) return false
  const isBroken = (link: number): boolean =>
    [places.value('links', link, 'device'), places.value('links', link, 'source')].some((place) =>
      faults.some((fault) => fault.place?.line === place.line && fault.place?.column === place.column),
    )
  return config.links.length === 0 || !config.links.every((_, link) => isBroken(link))
}
