import { ExitStatus, OperatorErrors } from '../base/errors.js'
import { loadConfig } from '../config/load.js'
import type { Config } from '../config/schema.js'
import { checkSystem } from '../daemon/checks.js'
import type { Terminal } from './terminal.js'

/** `plait check FILE` */
export async function check(
  file: string,
  options: { fileOnly?: boolean },
  terminal: Terminal,
): Promise<number> {
  const { config, places } = loadConfig(file)
  const faults = options.fileOnly === true ? [] : await checkSystem(config, places)
  if (faults.length > 0) throw new OperatorErrors(faults)
  terminal.out(`${file}: good: ${summary(config)}\n`)
  return ExitStatus.Good
}

function summary(config: Config): string {
  const peers = config.peers.map((peer) => peer.name).join(', ')
  const links = config.links.map((link) => link.name).join(', ')
  return [
    `device ${config.interface.name}`,
    `${config.peers.length === 1 ? 'peer' : 'peers'} ${peers}`,
    links === '' ? 'no links: packets leave as the routing table says' : `links ${links}`,
  ].join('; ')
}
