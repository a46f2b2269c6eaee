import type { Command } from 'commander'
import { addRunOptions, type LabRunFlags, labRun } from './lab.js'
import type { Terminal } from './terminal.js'

const DEFAULT_SCENARIO = 'silent-blackhole'

/** Adds `plait demo [SCENARIO]`: a scenario, live in the terminal, with the table at the end. */
export function addDemo(
  program: Command,
  command: (parent: Command, usage: string, description: string) => Command,
  terminal: Terminal,
  result: (status: number) => void,
): void {
  addRunOptions(command(program, 'demo', 'watch a scenario live on emulated links: needs root'), true).action(
    async (given: string | undefined, flags: LabRunFlags) =>
      result(await labRun(given ?? DEFAULT_SCENARIO, { ...flags, live: true }, terminal)),
  )
}
