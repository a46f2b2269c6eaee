/**
 * `npm run bench`: what the data plane carries, beside the bare link and OpenVPN on the same machine. Raw veth swings
 * threefold with the placement on cores, and everything here shares the machine's cores with both ends and the
 * traffic; what counts is therefore the ratio of medians whose runs alternate.
 */
import { Command } from 'commander'
import { runSync } from '../src/lab/processes.js'
import { findProgram, requireLab } from '../src/lab/programs.js'
import { type Bench, MEASUREMENTS, type Options } from './measurements.js'
import { Network } from './network.js'
import { openvpnVersion } from './openvpn.js'
import { loadAverage } from './process-figures.js'
import { table } from './table.js'

const program = new Command('bench')
  .description('Measures the tunnel in network namespaces, beside the bare link and OpenVPN. Needs root.')
  .option('--json', 'print the figures as one JSON object on the last line')
  .option('--quick', 'three short runs of each instead of five: for a first look')
  .option('--only <names>', `of ${Object.keys(MEASUREMENTS).join(', ')}: separated by commas`)
  .option('--scheduler <name>', 'scheduler of the tunnels in place of the default')
  .option('--runs <count>', 'runs of each', Number)
  .option('--seconds <seconds>', 'length of a run', Number)
  .option('--minutes <minutes>', 'length of the measurement "endurance"', Number)
  .option('--wait <minutes>', 'wait so long at most for a load average below 1', Number)
const words = program.parse().opts<{
  json?: true
  quick?: true
  only?: string
  scheduler?: string
  runs?: number
  seconds?: number
  minutes?: number
  wait?: number
}>()

const names = words.only?.split(',') ?? Object.keys(MEASUREMENTS).filter((name) => !MEASUREMENTS[name]!.extra)
for (const name of names) {
  if (MEASUREMENTS[name] === undefined) {
    program.error(`there is no measurement ${name}; there are ${Object.keys(MEASUREMENTS).join(', ')}`, {
      exitCode: 2,
    })
  }
}
try {
  requireLab(['ip', 'tc', 'iperf3', 'ping'])
} catch (error) {
  program.error((error as Error).message, { exitCode: 2 })
}

const options: Options = {
  runs: words.runs ?? (words.quick ? 3 : 5),
  seconds: words.seconds ?? (words.quick ? 2 : 5),
  minutes: words.minutes ?? 10,
  scheduler: words.scheduler,
}
const say = (text: string): void => void process.stderr.write(`${text}\n`)
process.on('SIGINT', () => process.exit(130))
process.on('SIGTERM', () => process.exit(143))
process.on('SIGHUP', () => process.exit(129))

if (words.wait !== undefined) {
  const end = performance.now() + words.wait * 60_000
  while (loadAverage() > 1 && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 5000))
  }
}
const loadBefore = loadAverage()
if (loadBefore > 1.5)
  say(`The load is ${loadBefore}: other work takes its part, only the ratios mean something.`)

const network = Network.build([{ name: 'link1' }, { name: 'gig1', mbit: 1000 }, { name: 'gig2', mbit: 1000 }])
const bench: Bench = { network, options, say, detail: {} }
const figures: Record<string, unknown> = {}
try {
  for (const name of names) Object.assign(figures, await MEASUREMENTS[name]!.run(bench))
} finally {
  network.remove()
}
const detail = {
  ...bench.detail,
  machine: {
    processor: /model name\s*: (.*)/.exec(runSync('cat', ['/proc/cpuinfo']))?.[1] ?? 'unknown',
    cores: Number(runSync('nproc', [])),
    kernel: runSync('uname', ['-r']).trim(),
    node: process.version,
    openvpn: findProgram('openvpn') === undefined ? 'none' : openvpnVersion(),
    loadBefore,
    runs: options.runs,
    seconds: options.seconds,
  },
}
say(table(figures, detail))
if (words.json) process.stdout.write(`${JSON.stringify({ ...figures, detail })}\n`)
