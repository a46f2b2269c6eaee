import { expect, test } from 'vitest'
import { runCli } from './program.js'

async function plait(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const terminal = {
    out: (text: string) => {
      out += text
    },
    err: (text: string) => {
      err += text
    },
    stdin: () => '',
    isInteractive: false,
  }
  return { status: await runCli(args, terminal), out, err }
}

test('the list has every scenario with what it is', async () => {
  const { status, out } = await plait('lab', 'list')
  expect(status).toBe(0)
  expect(out).toMatch(/^bulk-quic {2,}40 Mbit\/s/m)
  expect(out).toMatch(/^unequal-pair {2,}80 Mbit\/s/m)
})

test.each([
  [['lab', 'run', 'equal-pair', '--policy', 'both'], 'Allowed choices are auto, bond'],
  [['lab', 'run', 'equal-pair', '--compare', 'mptcp,none'], 'expected some of mptcp, singles, single'],
  [['lab', 'matrix', 'satellite', '--congestion', 'reno'], 'nothing is expected under these conditions'],
  [['lab', 'matrix', 'no-such-pair'], 'there is no scenario "no-such-pair"'],
  [['lab', 'matrix', '--congestion', 'cubic,vegas'], 'expected some of cubic, bbr, reno'],
  [['lab', 'matrix', '--seeds', '1,x'], 'expected a whole number'],
  [['lab', 'matrix', 'equal-pair', '--json', '/nowhere/runs'], '/nowhere/runs cannot be written (ENOENT)'],
  [['lab', 'random', '--only', '3,'], 'expected a whole number'],
  ...['run', 'matrix', 'random'].map((verb): [string[], string] => [
    ['lab', verb, ...(verb === 'run' ? ['equal-pair'] : []), '--scheduler', 'fastest'],
    'Allowed choices are adaptive, weighted, redundant',
  ]),
  [['lab', 'shell', 'equal-pair', '--end', 'c'], 'equal-pair has no end c'],
])('%j is refused with what is expected', async (words, sentence) => {
  const { status, out, err } = await plait(...words)
  expect(err).toContain(sentence)
  expect(status).toBe(2)
  expect(out).toBe('')
})
