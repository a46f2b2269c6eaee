// Sends datagrams from a socket of its own and counts what comes back.
//
//   node datagrams.mjs LOCAL_PORT HOST PORT WAIT_MS [PER_SECOND] < JSON list of datagrams in hex
//
// Prints { sent, replies, types } (replies by first byte) after WAIT_MS without more to send. LOCAL_PORT 0: any.
import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'

const [localPort, host, port, waitMs, perSecond = '2000'] = process.argv.slice(2)
const datagrams = JSON.parse(readFileSync(0, 'utf8')).map((hex) => Buffer.from(hex, 'hex'))
const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
let replies = 0
const types = {}
socket.on('message', (message) => {
  replies++
  types[message[0]] = (types[message[0]] ?? 0) + 1
})
await new Promise((resolve) => socket.bind(Number(localPort), resolve))
for (const datagram of datagrams) {
  await new Promise((resolve) => socket.send(datagram, Number(port), host, resolve))
  await new Promise((resolve) => setTimeout(resolve, 1000 / Number(perSecond)))
}
setTimeout(() => {
  process.stdout.write(`${JSON.stringify({ sent: datagrams.length, replies, types })}\n`)
  process.exit(0)
}, Number(waitMs))
