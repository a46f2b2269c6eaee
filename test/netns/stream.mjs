// A TCP stream and its hash, for tests inside network namespaces.
//
//   node stream.mjs receive ADDRESS PORT          "ready" once it listens; one connection; prints a JSON line at its
//                                                 end, or on SIGTERM: { bytes, sha256, arrivalsMs }
//   node stream.mjs send ADDRESS PORT BYTES       sends so many bytes; prints { bytes, sha256 } when all are taken
//   node stream.mjs send ADDRESS PORT SECONDSs    sends for so long; waits for nothing at the end
//
// arrivalsMs: when data came, ms of CLOCK_MONOTONIC, one entry for each bin of 10 ms.
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { createConnection, createServer } from 'node:net'

const [role, host, port, amount] = process.argv.slice(2)
const BIN_MS = 10
const nowMs = () => Number(process.hrtime.bigint() / 1000n) / 1000

if (role === 'receive') receive()
else send()

function receive() {
  const hash = createHash('sha256')
  const arrivalsMs = []
  let bytes = 0
  const finish = () => {
    process.stdout.write(`${JSON.stringify({ bytes, sha256: hash.digest('hex'), arrivalsMs })}\n`, () =>
      process.exit(0),
    )
  }
  process.on('SIGTERM', finish)
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (data) => {
      hash.update(data)
      bytes += data.length
      const bin = Math.floor(nowMs() / BIN_MS) * BIN_MS
      if (arrivalsMs.at(-1) !== bin) arrivalsMs.push(bin)
    })
    socket.on('end', finish)
  })
  server.listen(Number(port), host, () => process.stdout.write('ready\n'))
}

function send() {
  const hash = createHash('sha256')
  // A key stream: different bytes everywhere, made faster than the tunnel carries them.
  const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16))
  const zeros = Buffer.alloc(1 << 18)
  const seconds = amount.endsWith('s') ? Number(amount.slice(0, -1)) : undefined
  const total = seconds === undefined ? Number(amount) : Number.POSITIVE_INFINITY
  const endAt = seconds === undefined ? Number.POSITIVE_INFINITY : nowMs() + seconds * 1000
  let sent = 0
  const socket = createConnection({ host, port: Number(port) })
  const report = () =>
    process.stdout.write(`${JSON.stringify({ bytes: sent, sha256: hash.digest('hex') })}\n`)
  socket.on('error', (error) => {
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  })
  const pump = () => {
    while (sent < total && nowMs() < endAt) {
      const block = cipher.update(zeros.subarray(0, Math.min(zeros.length, total - sent)))
      hash.update(block)
      sent += block.length
      if (!socket.write(block)) return
    }
    if (seconds !== undefined) {
      report()
      socket.destroy()
      process.exit(0)
    }
    socket.off('drain', pump)
    socket.end()
  }
  socket.on('drain', pump)
  socket.on('connect', pump)
  socket.on('close', report)
  // Without progress there is no drain event to end a timed run.
  if (seconds !== undefined)
    setTimeout(
      () => {
        report()
        process.exit(0)
      },
      seconds * 1000 + 200,
    )
}
