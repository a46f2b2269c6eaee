/** The program as it was built: its threads, and what it says to whom. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const program = fileURLToPath(new URL('../dist/sim/main.js', import.meta.url))

function sim(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' })
  return { status, out: stdout, err: stderr }
}

test('runs are the same, and in the same order, however many threads play them', () => {
  const play = (threads: number): string[] => {
    const { status, out } = sim(
      ...['--mode', 'all', '--seed', '3', '--runs', '3', '--minutes', '0.02'],
      ...['--threads', String(threads)],
    )
    expect(status).toBe(0)
    return out.trimEnd().split('\n')
  }
  const [alone, together] = [play(1), play(3)]
  expect(alone.filter((line) => line.includes(', trace '))).toHaveLength(9)
  expect(together.slice(0, -1)).toEqual(alone.slice(0, -1))
  expect(together.at(-1)).toMatch(/3 at a time: \d+ x real time$/)
})

test('what cannot be understood or played is answered in one sentence', () => {
  for (const [args, answer] of [
    [['--threads', '0'], 'sim: --threads 0: expected a whole number above 0'],
    [['--scenario', 'bulk-quic'], 'the simulator has no traffic "quic"'],
  ] as const) {
    const { status, out, err } = sim(...args)
    expect({ status, out }).toEqual({ status: 2, out: '' })
    expect(err).toContain(answer)
    expect(err.trimEnd().split('\n')).toHaveLength(1)
  }
})
