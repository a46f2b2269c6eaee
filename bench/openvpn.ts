import { mkdirSync, writeFileSync } from 'node:fs'
import { runSync, type Task } from '../src/lab/processes.js'
import { findProgram } from '../src/lab/programs.js'
import { ENDS, type End, Network } from './network.js'
import type { Tunnel } from './tunnel.js'

const DEVICE = 'ovpn0'
const PORT = 1194
const ADDRESSES: Record<End, string> = { a: '10.79.0.1', b: '10.79.0.2' }

/** The yardstick as its distribution ships it: every setting but the necessary ones is its default. */
export function openvpnCommand(end: End, folder: string): string[] {
  const necessary = [
    ...['--dev', DEVICE, '--dev-type', 'tun', '--proto', 'udp', '--port', String(PORT)],
    ...['--ifconfig', ADDRESSES[end], ADDRESSES[end === 'a' ? 'b' : 'a']],
    ...['--data-ciphers', 'AES-256-GCM'],
    ...['--ca', `${folder}/ca.crt`, '--cert', `${folder}/${end}.crt`, '--key', `${folder}/${end}.key`],
  ]
  const role =
    end === 'a' ? ['--tls-client', '--remote', Network.linkAddress('b', 1)] : ['--tls-server', '--dh', 'none']
  return [...necessary, ...role]
}

/** Two ends of OpenVPN over the first link, with an authority and certificates made for the occasion. */
export async function startOpenvpn(network: Network): Promise<Tunnel> {
  const program = findProgram('openvpn')
  if (program === undefined) throw new Error('openvpn is not installed: apt-get install openvpn')
  const folder = network.path('openvpn')
  mkdirSync(folder)
  makeCertificates(folder)
  const tasks = new Map<End, Task>()
  for (const end of ENDS) tasks.set(end, network.task(end, program, ...openvpnCommand(end, folder)))
  const ready = [...tasks.values()].map(
    (task) =>
      new Promise<boolean>((resolve) => {
        task.onLine((line) => line.includes('Initialization Sequence Completed') && resolve(true))
        void task.ended.then(() => resolve(false))
        setTimeout(() => resolve(false), 15_000)
      }),
  )
  if ((await Promise.all(ready)).includes(false)) {
    throw new Error(`OpenVPN did not come up: ${[...tasks.values()].map((task) => task.stdout).join('\n')}`)
  }
  return {
    name: 'openvpn',
    addresses: ADDRESSES,
    device: DEVICE,
    pids: { a: tasks.get('a')!.child.pid!, b: tasks.get('b')!.child.pid! },
    stop: async () => {
      await Promise.all([...tasks.values()].map((task) => task.stop()))
    },
  }
}

export function openvpnVersion(): string {
  const program = findProgram('openvpn')
  // It prints its version and ends with status 1.
  return program === undefined ? 'none' : runSync('sh', ['-c', `${program} --version | head -n 1`]).trim()
}

function makeCertificates(folder: string): void {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-batch']
  const openssl = (...args: string[]): string => runSync('openssl', args)
  openssl(
    'req',
    '-x509',
    ...key,
    '-subj',
    '/CN=bench',
    '-keyout',
    `${folder}/ca.key`,
    '-out',
    `${folder}/ca.crt`,
  )
  for (const end of ENDS) {
    const request = `${folder}/${end}.csr`
    openssl(
      'req',
      ...key.filter((word) => word !== '-days' && word !== '2'),
      '-subj',
      `/CN=${end}`,
      '-keyout',
      `${folder}/${end}.key`,
      '-out',
      request,
    )
    const usage = `${folder}/${end}.ext`
    writeFileSync(usage, `extendedKeyUsage=${end === 'a' ? 'clientAuth' : 'serverAuth'}\n`)
    openssl(
      'x509',
      '-req',
      '-in',
      request,
      '-CA',
      `${folder}/ca.crt`,
      '-CAkey',
      `${folder}/ca.key`,
      '-CAcreateserial',
      '-days',
      '2',
      '-extfile',
      usage,
      '-out',
      `${folder}/${end}.crt`,
    )
  }
}
