import { closeSync, openSync } from 'node:fs'
import { Writable } from 'node:stream'
import { expect, it } from 'vitest'
import { linesTo, makeLog } from './log.js'

it('writes from the level on, and never a secret', () => {
  const lines: string[] = []
  const stream = new Writable({
    write(chunk, _, done) {
      lines.push(String(chunk))
      done()
    },
  })
  const log = makeLog('info', stream)
  log.debug('quiet')
  log.info(
    { interface: { privateKey: 'S3CRET' }, peers: [{ presharedKey: 'S3CRET', name: 'b' }], psk: 'S3CRET' },
    'up',
  )
  expect(lines).toHaveLength(1)
  expect(lines[0]).not.toContain('S3CRET')
  expect(JSON.parse(lines[0]!)).toMatchObject({ level: 'info', msg: 'up', peers: [{ name: 'b' }] })
})

it('goes on when the disk is full', () => {
  const full = openSync('/dev/full', 'w')
  try {
    const log = makeLog('info', linesTo(full))
    for (let i = 0; i < 3; i++) log.info('up')
  } finally {
    closeSync(full)
  }
})
