import { Command, CommanderError } from 'commander'
import { ExitStatus, OperatorError, OperatorErrors } from '../base/errors.js'
import { check } from './check.js'
import { addDemo } from './demo.js'
import { keyNew, keyPsk, keyPublic } from './key.js'
import { addLab } from './lab.js'
import { type StatusOptions, status } from './status.js'
import { realTerminal, type Terminal } from './terminal.js'
import { up } from './up.js'
import { version } from './version.js'

const EXAMPLES = `
Examples:
  plait key new /etc/plait/private.key   make a key; prints the public one for the other end
  plait up /etc/plait/client.yaml        start the tunnel that the file describes; Ctrl-C ends it
  plait status --watch                   see every peer and path, with state, reason and rates

Begin with config/client.yaml and config/server.yaml; docs/config.md explains every key.

Exit status: 0 good, 1 something failed at run time, 2 the command line, the configuration
or the system has to be changed first.
`

/** Runs one command line; the result is the exit status. Never throws on anything the operator can do. */
export async function runCli(args: readonly string[], terminal: Terminal = realTerminal): Promise<number> {
  let exitStatus: number = ExitStatus.Good
  const program = buildProgram(terminal, (result) => {
    exitStatus = result
  })
  try {
    await program.parseAsync([...args], { from: 'user' })
    return exitStatus
  } catch (error) {
    return report(error, terminal)
  }
}

function report(error: unknown, terminal: Terminal): number {
  // Commander has printed it already; help and version arrive here, too.
  if (error instanceof CommanderError)
    return error.exitCode === 0 ? ExitStatus.Good : ExitStatus.OperatorFault
  if (error instanceof OperatorErrors) {
    terminal.err(`${error.message}\n`)
    return error.exitStatus
  }
  if (error instanceof OperatorError) {
    terminal.err(`plait: ${error.message}\n`)
    return error.exitStatus
  }
  terminal.err(`plait: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  return ExitStatus.Failed
}

function buildProgram(terminal: Terminal, result: (exitStatus: number) => void): Command {
  const program = new Command('plait')
    .description(
      'One encrypted tunnel over several uplinks at once: their sum in speed, and no gap when one fails.',
    )
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help; after a command: for that command')
    .helpCommand(false)
    .showSuggestionAfterError()
    .showHelpAfterError('(plait --help says how)')
    .configureOutput({ writeOut: (text) => terminal.out(text), writeErr: (text) => terminal.err(text) })
    .exitOverride()
    .addHelpText('after', EXAMPLES)
  // Each command inherits output and exit behaviour from here.
  const command = (parent: Command, usage: string, description: string): Command =>
    parent.command(usage).description(description).copyInheritedSettings(program)

  const key = command(program, 'key', 'make keys').addHelpText(
    'after',
    '\nA key is 32 bytes in base64, as in WireGuard: keys of wg can be used.\n',
  )
  command(
    key,
    'new',
    'print a new private key; with FILE: write it there (mode 0600) and print the public key',
  )
    .argument('[file]')
    .action((file?: string) => keyNew(file, terminal))
  command(key, 'public', 'print the public key of the private key in FILE, or on standard input')
    .argument('[file]')
    .action((file?: string) => keyPublic(file, terminal))
  command(key, 'psk', 'print a new preshared key; with FILE: write it there (mode 0600)')
    .argument('[file]')
    .action((file?: string) => keyPsk(file, terminal))

  command(program, 'check', 'check a configuration, and whether this machine fits it; changes nothing')
    .argument('<file>', 'configuration (YAML, see docs/config.md)')
    .option('--file-only', 'only the file and its key files, not devices, routes and privileges')
    .action(async (file: string, options: { fileOnly?: boolean }) =>
      result(await check(file, options, terminal)),
    )

  command(program, 'up', 'start the tunnel and stay in the foreground; SIGINT or SIGTERM ends it')
    .argument('<file>', 'configuration (YAML, see docs/config.md)')
    .action(async (file: string) => result(await up(file)))

  command(program, 'status', 'show peers and paths of a running tunnel')
    .argument('[name]', 'interface name, or path of the control socket; not needed for a single tunnel')
    .option('--json', 'print everything as one JSON object')
    .option('--watch', 'again every second, with rates')
    .option('--why', 'what each path is held to carry, what limits it, and its last change')
    .option('--events', 'the event log, too')
    .action(async (name: string | undefined, options: StatusOptions) => status(name, options, terminal))
  addLab(program, command, terminal, result)
  addDemo(program, command, terminal, result)
  return program
}
