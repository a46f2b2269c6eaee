import { spawn } from 'node:child_process'
import { OperatorError } from '../base/errors.js'
import { Daemons, endsOf, innerAddress } from './daemons.js'
import { requireDaemon, requireLab } from './programs.js'
import { programsFor } from './runner.js'
import type { Scenario } from './scenario.js'
import { LabState, sweepDeadRuns } from './state-directory.js'
import { type EndName, Topology } from './topology.js'

/** Builds a scenario's links and tunnel and gives a shell at one end; everything goes when the shell ends. */
export async function labShell(
  scenario: Scenario,
  seed: number,
  end: EndName,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<number> {
  if (!endsOf(scenario).includes(end)) {
    throw new OperatorError(
      'usage',
      `${scenario.name} has no end ${end}, expected ${endsOf(scenario).join(' or ')}`,
    )
  }
  requireLab(programsFor(scenario, []))
  requireDaemon()
  sweepDeadRuns()
  const state = LabState.create()
  let topology: Topology | undefined
  let daemons: Daemons | undefined
  try {
    const { links, lan, ecn } = scenario
    topology = await Topology.build(state, { links, lan, ecn }, seed)
    daemons = new Daemons(topology, scenario)
    const note = await daemons.startAll()
    if (note !== undefined) say(`${note}\n`)
    const others = daemons.ends.filter((other) => other !== end)
    say(
      [
        `${scenario.about}`,
        `You are at end ${end}, ${innerAddress(end)} in the tunnel, namespace ${topology.end(end)}.`,
        ...others.map(
          (other) => `End ${other} is ${innerAddress(other)}: ip netns exec ${topology!.end(other)} COMMAND`,
        ),
        `plait status ${daemons.socket(end)} shows this end. The end of the shell takes everything down.`,
        '',
      ].join('\n'),
    )
    return await interactiveShell(topology.end(end), `plait ${scenario.name} ${end}`, signal)
  } finally {
    await daemons?.stopAll()
    await topology?.stop()
    state.remove()
  }
}

function interactiveShell(namespace: string, prompt: string, signal: AbortSignal): Promise<number> {
  const shell = process.env['SHELL'] ?? '/bin/sh'
  // Ctrl-C is for what runs in the shell; without a handler it would end us.
  const ignore = (): void => {}
  process.on('SIGINT', ignore)
  return new Promise((resolve) => {
    const child = spawn('ip', ['netns', 'exec', namespace, shell], {
      stdio: 'inherit',
      env: { ...process.env, PS1: `[${prompt}] \\$ `, PLAIT_LAB: prompt },
    })
    const hangUp = (): void => void child.kill('SIGHUP')
    signal.addEventListener('abort', hangUp, { once: true })
    child.on('close', (code) => {
      process.removeListener('SIGINT', ignore)
      resolve(code ?? 1)
    })
    child.on('error', () => resolve(127))
  })
}
