import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { Prng } from '../../src/base/prng.js'
import { mainProgram } from '../../src/lab/programs.js'

// The lab as its user starts it: the built program.

/** How many runs are ended at random; PLAIT_LAB_KILLS=50 for a long test. */
const runs = Number(process.env['PLAIT_LAB_KILLS'] ?? 6)

const folder = mkdtempSync(join(tmpdir(), 'plait-lab-'))
afterAll(() => rmSync(folder, { recursive: true }))

function scenario(name: string, text: string): string {
  const file = join(folder, `${name}.yaml`)
  writeFileSync(file, `name: ${name}\nabout: A short one.\n${text}`)
  return file
}

const short = scenario(
  'short',
  `links:
  - { name: one, rate: 20Mbit/s, rtt: 10ms }
  - { name: two, rate: 20Mbit/s, rtt: 10ms, nat: true }
traffic:
  - { name: bulk, kind: tcp, for: 4s }
  - { name: call, kind: voip, way: up, for: 4s }
  - { name: echo, kind: ping, for: 4s }
events:
  - { at: 3s, link: two, do: set, rate: 10Mbit/s, way: down }
expect:
  - { what: goodput, of: bulk, window: 1s..4s, min: 5Mbit/s }
  - { what: gap, of: bulk, window: 1s..4s, max: 2s }
  - { what: delay-p50, of: call, window: 1s..4s, max: 1s }
`,
)

const plait = (...words: string[]) =>
  spawnSync(process.execPath, [mainProgram, ...words], { encoding: 'utf8', timeout: 90_000 })

describe('without root or with a wrong file', () => {
  test('a bad scenario: each fault with line and column, exit 2', () => {
    const bad = scenario('bad', 'links: [{ name: one, rate: 20 }]\ntrafic: []\nexpect: []\n')
    const { status, stderr } = plait('lab', 'run', bad)
    expect(status).toBe(2)
    const lines = stderr
      .trim()
      .split('\n')
      .filter((line) => line.includes('bad.yaml'))
    expect(lines.map((line) => line.slice(folder.length + 1).split(' ')[0])).toEqual([
      'bad.yaml:1:1:',
      'bad.yaml:3:28:',
      'bad.yaml:4:1:',
      'bad.yaml:5:9:',
    ])
  })

  test('an unknown scenario names those that there are', () => {
    const { status, stderr } = plait('lab', 'run', 'no-such-pair')
    expect(status).toBe(2)
    expect(stderr).toContain('equal-pair')
  })

  test('what is missing is one sentence with its remedy', () => {
    // The program is asked with a PATH that has nothing, and so finds no iperf3.
    const { status, stderr } = spawnSync(process.execPath, [mainProgram, 'lab', 'run', short], {
      encoding: 'utf8',
      env: { PATH: '/nowhere' },
    })
    expect(status).toBe(2)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(stderr).toMatch(/takes root, hint: run it with sudo|is not installed, hint: apt-get install/)
  })

  test('the list shows every scenario that comes with plait', () => {
    const { status, stdout } = plait('lab', 'list')
    expect(status).toBe(0)
    expect(stdout).toMatch(/^adsl-pair .*\n[\s\S]*^unequal-pair /m)
  })
})

describe.runIf(process.getuid?.() === 0)('on emulated links', () => {
  test('a scenario runs, is measured, and leaves nothing behind', { timeout: 120_000 }, () => {
    const report = join(folder, 'short.html')
    const { status, stdout, stderr } = plait('lab', 'run', short, '--json', '--seed', '3', '--report', report)
    expect(stderr).toContain('waiting for the tunnel')
    const json = JSON.parse(stdout.trim().split('\n').at(-1)!)
    expect(json).toMatchObject({ scenario: 'short', ok: true, seeds: [3] })
    expect(status).toBe(0)
    const [goodput, gap, delay] = json.expectations
    // 20 + 20 for two thirds of the window, 20 + 10 for the rest; payload 1388 of 1514.
    expect(goodput.achievableBitsPerSec / 1e6).toBeCloseTo(((40 * 2 + 30) / 3) * (1388 / 1514), 0)
    expect(gap.value).toBeLessThan(2000)
    expect(delay.value).toBeGreaterThan(4.9)
    expect(json.runs[0].events).toMatchObject([{ text: 'two rateBitsPerSec=10000000 (down)' }])
    expect(json.runs[0].links[1].down.outBytes).toBeGreaterThan(1e6)
    expect(readFileSync(report, 'utf8')).toContain('Throughput down')
    expect(leftovers()).toEqual([])
  })

  test('runs ended at any moment leave nothing that the next one does not remove', {
    timeout: 90_000 + runs * 15_000,
  }, async () => {
    const random = new Prng(Number(process.env['PLAIT_LAB_SEED'] ?? 1))
    for (let i = 0; i < runs; i++) {
      const child = spawn(process.execPath, [mainProgram, 'lab', 'run', short], { stdio: 'ignore' })
      const end = ended(child)
      await new Promise((resolve) => setTimeout(resolve, 200 + random.next() * 4000))
      const signal = random.next() < 0.6 ? 'SIGKILL' : 'SIGINT'
      child.kill(signal)
      const code = await end
      if (signal === 'SIGINT') expect([130, null]).toContain(code)
    }
    // The next run sweeps before it builds.
    expect(plait('lab', 'run', short).status).toBe(0)
    expect(leftovers()).toEqual([])
  })
})

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.on('close', (code) => resolve(code)))
}

/** Namespaces, folders and processes of labs whose owner is no longer there. Labs that run beside this test are not. */
function leftovers(): string[] {
  const list = (path: string): string[] => (existsSync(path) ? readdirSync(path) : [])
  const alive = list('/run/plait-lab').filter((suffix) => {
    try {
      const [pid, started] = readFileSync(`/run/plait-lab/${suffix}/owner`, 'utf8').trim().split(' ')
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] === started
    } catch {
      return false
    }
  })
  const dead = (text: string): boolean => {
    const suffix = /(?:plait-|plait-lab\/)([0-9a-f]{6})\b/.exec(text)?.[1]
    return suffix !== undefined && !alive.includes(suffix)
  }
  const processes = list('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')]
      } catch {
        return []
      }
    })
  const folders = list('/run/plait-lab').map((suffix) => `/run/plait-lab/${suffix}`)
  return [...list('/run/netns'), ...folders, ...processes].filter(dead)
}
