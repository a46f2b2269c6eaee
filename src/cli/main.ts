import { runCli } from './program.js'

// `plait status | head` closes the pipe early: that is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
// Where nobody can be told of faults, as the terminal is gone or the disk full, that is no further one.
process.stderr.on('error', () => {})
const status = await runCli(process.argv.slice(2))
// A pipe takes 64 KiB at a time, and what it has not taken by the end of the process is lost.
await Promise.all([flushed(process.stdout), flushed(process.stderr)])
process.exit(status)

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((done) => {
    if (stream.writableLength === 0) done()
    else stream.write('', () => done())
  })
}
