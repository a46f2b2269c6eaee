import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Snapshot } from '../core/snapshot.js'
import { REQUEST_BYTES_MAX, type Verbs } from './api.js'
import { ask, findSocket } from './client.js'
import { type ControlSocket, serveControl } from './unix-socket.js'

const snapshot: Snapshot = {
  device: { name: 'plait0', uptimeS: 1, scheduler: 'weighted', mtu: 1440, drops: {}, offload: [] },
  peers: [],
  events: [],
}
const verbs: Verbs = {
  status: () => snapshot,
  events: async ({ since }) => [{ atS: since ?? 0, kind: 'test', text: 'x' }],
}

let folder = ''
let path = ''
let open: ControlSocket[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), `plait-${randomBytes(4).toString('hex')}-`))
  path = join(folder, 'run', 't.sock')
})
afterEach(async () => {
  for (const socket of open) await socket.close()
  open = []
  rmSync(folder, { recursive: true, force: true })
})

async function serve(given: Verbs = verbs): Promise<ControlSocket> {
  const socket = await serveControl(path, given)
  open.push(socket)
  return socket
}

/** Sends bytes as they are; what came back until the other side closed, or until `lines` lines. */
function exchange(bytes: string | Buffer, lines: number): Promise<string> {
  return new Promise((done, failed) => {
    const socket: Socket = connect(path)
    let text = ''
    socket.on('data', (data) => {
      text += data.toString()
      if (text.split('\n').length > lines) socket.destroy()
    })
    socket.on('close', () => done(text))
    socket.on('error', (error: NodeJS.ErrnoException) => (error.code === 'EPIPE' ? undefined : failed(error)))
    socket.write(bytes)
  })
}

describe('control socket', () => {
  it('answers verbs, is private, and is gone after close', async () => {
    const control = await serve()
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(await ask(path, 'status', {})).toEqual(snapshot)
    expect(await ask(path, 'events', { since: 7 })).toEqual([{ atS: 7, kind: 'test', text: 'x' }])
    await control.close()
    open = []
    expect(existsSync(path)).toBe(false)
    await expect(ask(path, 'status', {})).rejects.toMatchObject({ code: 'notRunning', exitStatus: 1 })
  })

  it('answers 60 clients after one another and 40 at once', async () => {
    await serve()
    for (let i = 0; i < 60; i++) expect((await ask(path, 'status', {})).device.name).toBe('plait0')
    const all = await Promise.all(Array.from({ length: 40 }, () => ask(path, 'status', {})))
    expect(all).toHaveLength(40)
  })

  it('answers several requests of one connection in order', async () => {
    await serve()
    const text = await exchange(
      '{"verb":"events","args":{"since":1}}\n{"verb":"events","args":{"since":2}}\n',
      2,
    )
    expect(
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).result[0].atS),
    ).toEqual([1, 2])
  })

  it.each([
    ['no json', 'not JSON'],
    ['[]', 'no object'],
    ['{"verb":"__proto__"}', 'the verb is none of status, events'],
    ['{"verb":"status","args":{"x":1}}', 'takes no argument "x"'],
    ['{"verb":"events","args":{"since":"1"}}', 'is no number'],
    ['{"verb":"status","args":[]}', 'args is no object'],
    ['{"verb":"status","more":1}', 'unknown member "more"'],
    ['\u0000\u00ff', 'not JSON'],
  ])('refuses %s with a sentence', async (line, sentence) => {
    await serve()
    const answer = JSON.parse(await exchange(`${line}\n`, 1))
    expect(answer.ok).toBe(false)
    expect(answer.error).toContain(sentence)
  })

  it('cuts off a request without end', async () => {
    await serve()
    const text = await exchange(Buffer.alloc(REQUEST_BYTES_MAX * 4, 'x'), 9)
    expect(JSON.parse(text).error).toContain('at most 4096 bytes')
    expect(await ask(path, 'status', {})).toEqual(snapshot)
  })

  it('cuts off a reader who does not read', async () => {
    const big: Snapshot = { ...snapshot, device: { ...snapshot.device, offload: ['x'.repeat(3 << 20)] } }
    await serve({ ...verbs, status: () => big })
    const socket = connect(path)
    socket.pause()
    const closed = new Promise((done) => socket.on('close', done))
    socket.on('error', () => {})
    socket.write('{"verb":"status"}\n'.repeat(20))
    // The answers add up to 60 MiB; the server gives up at 8 and does not keep the rest.
    await new Promise((done) => setTimeout(done, 300))
    socket.resume()
    await closed
    expect(socket.bytesRead).toBeLessThan(16 << 20)
    expect((await ask(path, 'status', {})).device.offload[0]).toHaveLength(3 << 20)
  })

  it('turns a fault of the verb into an answer', async () => {
    await serve({
      ...verbs,
      status: () => {
        throw new Error('broken')
      },
    })
    await expect(ask(path, 'status', {})).rejects.toThrow('broken')
  })

  it('replaces a stale socket, but not a living one and not a file', async () => {
    mkdirSync(join(folder, 'run'))
    const { execFileSync } = await import('node:child_process')
    execFileSync('python3', [
      '-c',
      'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])',
      path,
    ])
    expect(existsSync(path)).toBe(true)
    await serve()
    expect(await ask(path, 'status', {})).toEqual(snapshot)
    await expect(serveControl(path, verbs)).rejects.toMatchObject({ code: 'alreadyRunning', exitStatus: 2 })
    expect(await ask(path, 'status', {})).toEqual(snapshot)

    const file = join(folder, 'file')
    writeFileSync(file, 'mine')
    await expect(serveControl(file, verbs)).rejects.toMatchObject({ code: 'controlSocket' })
    expect(statSync(file).size).toBe(4)
  })

  it('finds the only socket', async () => {
    await serve()
    expect(findSocket(undefined, join(folder, 'run'))).toBe(path)
    expect(findSocket('t', join(folder, 'run'))).toBe(path)
    expect(findSocket('/x/y.sock')).toBe('/x/y.sock')
    expect(() => findSocket(undefined, folder)).toThrow('no control socket')
    writeFileSync(join(folder, 'run', 'u.sock'), '')
    expect(() => findSocket(undefined, join(folder, 'run'))).toThrow('several tunnels are up: t, u')
  })

  it('says so when something else answers', async () => {
    mkdirSync(join(folder, 'run'))
    const other = createServer((socket) => socket.end('HTTP/1.1 400\r\n\r\n', () => socket.destroy()))
    await new Promise<void>((done) => other.listen(path, done))
    await expect(ask(path, 'status', {})).rejects.toMatchObject({ code: 'controlProtocol' })
    await new Promise((done) => other.close(done))
  })
})
