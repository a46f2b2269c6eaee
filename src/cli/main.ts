import { runCli } from './program.js'

// `plait status | head` closes the pipe early: that is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
process.exit(await runCli(process.argv.slice(2)))
