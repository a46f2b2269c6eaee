import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, it } from 'vitest'
import { MILLISECOND, NEVER } from '../../src/base/time.js'
import { monotonicNow, WakeTimer } from '../../src/io/clock.js'
import { type Native, PollEvent } from '../../src/io/native.js'
import { testing } from './testing.js'

type Socket = ReturnType<Native['udpOpen']>
const sockets: Socket[] = []

function open(): Socket {
  const options = { device: '', address: '127.0.0.1', port: 0, receiveBufferBytes: 0, sendBufferBytes: 0 }
  const socket = testing.udpOpen({ ...options, offload: true, reuseAddress: false })
  sockets.push(socket)
  return socket
}
function send(from: Socket, port: number): void {
  const address = Uint32Array.of(4 | (port << 16), 0x0100007f, 0, 0, 0, 0, 0, 0, 0, 0)
  expect(testing.udpSend(from.handle, new Uint8Array(9), Uint32Array.of(0, 9, 0, 0), 0, 1, address)).toBe(1)
}
function receive(socket: Socket): number {
  const [slab, rows] = [new Uint8Array(65536), new Uint32Array(256)]
  return testing.udpReceive(socket.handle, slab, rows, new Uint32Array(10), new Uint32Array(1))
}
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

afterEach(() => {
  for (const socket of sockets.splice(0)) testing.udpClose(socket.handle)
})

describe('a poll', () => {
  it('calls back for what was asked, changes and stops', async () => {
    const [a, b] = [open(), open()]
    const seen: number[] = []
    const poll = testing.pollStart(b.fd, PollEvent.Readable, (events) => {
      seen.push(events)
      receive(b)
    })
    send(a, b.port)
    await sleep(20)
    expect(seen).toEqual([PollEvent.Readable])
    testing.pollChange(poll, PollEvent.Writable)
    await sleep(20)
    expect(seen.at(-1)).toBe(PollEvent.Writable)
    testing.pollChange(poll, 0)
    send(a, b.port)
    const count = seen.length
    await sleep(20)
    expect(seen.length).toBe(count)
    testing.pollStop(poll)
    testing.pollStop(poll)
    expect(() => testing.pollChange(poll, 1)).toThrow(RangeError)
  })

  it('survives a queued socket error, tells of it and goes on', async () => {
    const [a, b, gone] = [open(), open(), open()]
    testing.udpClose(gone.handle)
    const seen: number[] = []
    const errors: number[] = []
    const poll = testing.pollStart(a.fd, PollEvent.Readable, (events) => {
      seen.push(events)
      receive(a)
      if (events & PollEvent.Error) {
        for (;;) {
          const error = testing.udpError(a.handle, new Uint32Array(10))
          if (error === undefined) break
          errors.push(error.errno)
        }
      }
    })
    send(a, gone.port)
    await sleep(20)
    send(b, a.port)
    await sleep(20)
    testing.pollStop(poll)
    expect(errors).toEqual([111])
    expect(seen.some((events) => events & PollEvent.Error)).toBe(true)
    expect(seen.at(-1)).toBe(PollEvent.Readable)
    expect(seen.length).toBeLessThan(5)
  })

  it('may be stopped from its own callback', async () => {
    const [a, b] = [open(), open()]
    let calls = 0
    const poll = testing.pollStart(b.fd, PollEvent.Readable, () => {
      calls++
      testing.pollStop(poll)
    })
    send(a, b.port)
    await sleep(20)
    expect(calls).toBe(1)
  })
})

describe('the timer', () => {
  it('wakes once, at the time, more exactly than Node', async () => {
    const lateUs: number[] = []
    for (let i = 0; i < 20; i++) {
      const at = monotonicNow() + 3 * MILLISECOND
      await new Promise<void>((resolve) => {
        const timer = new WakeTimer(() => {
          lateUs.push(monotonicNow() - at)
          timer.stop()
          resolve()
        })
        timer.armAt(at, monotonicNow())
      })
    }
    lateUs.sort((a, b) => a - b)
    expect(lateUs[0]).toBeGreaterThanOrEqual(-1)
    expect(lateUs[10]).toBeLessThan(500)
  })

  it('can be moved, disarmed and armed again from its callback', async () => {
    const wakes: number[] = []
    const start = monotonicNow()
    const timer = new WakeTimer(() => {
      wakes.push(monotonicNow() - start)
      if (wakes.length < 3) timer.armAt(monotonicNow() + 2 * MILLISECOND, monotonicNow())
    })
    timer.armAt(start + 500 * MILLISECOND, start)
    timer.armAt(start + 5 * MILLISECOND, start)
    await sleep(60)
    expect(wakes).toHaveLength(3)
    expect(wakes[0]).toBeGreaterThanOrEqual(4_900)
    timer.armAt(monotonicNow() + 5 * MILLISECOND, monotonicNow())
    timer.armAt(NEVER, monotonicNow())
    await sleep(30)
    expect(wakes).toHaveLength(3)
    timer.stop()
  })
})

/** The addon in a worker, which ends by itself or is ended with all of its handles open. */
const WORKER = `
  const { parentPort, workerData } = require('node:worker_threads')
  const native = require(workerData.addon)(workerData.root)
  const options = { device: '', address: '127.0.0.1', port: 0, receiveBufferBytes: 0, sendBufferBytes: 0 }
  const socket = native.udpOpen({ ...options, offload: true, reuseAddress: false })
  const netlink = native.netlinkOpen()
  const poll = native.pollStart(socket.fd, 1, () => {
    const [slab, rows] = [new Uint8Array(65536), new Uint32Array(256)]
    native.udpReceive(socket.handle, slab, rows, new Uint32Array(10), new Uint32Array(1))
    parentPort.postMessage('received')
  })
  const timer = native.timerStart(() => parentPort.postMessage('woke'))
  native.timerArm(timer, 1000)
  const key = native.keyCreate(1, new Uint8Array(32), false)
  globalThis.kept = { socket, netlink, poll, timer, key }
  parentPort.postMessage(socket.port)
`

describe('in worker threads', () => {
  it('works, in several at once, and leaves no descriptor behind when they are ended', async () => {
    const { createRequire } = await import('node:module')
    const { readdirSync } = await import('node:fs')
    const require = createRequire(import.meta.url)
    const workerData = {
      addon: require.resolve('node-gyp-build'),
      root: new URL('../..', import.meta.url).pathname,
    }
    const sender = open()
    const start = async (): Promise<{ worker: Worker; messages: unknown[] }> => {
      const worker = new Worker(WORKER, { eval: true, workerData })
      const messages: unknown[] = []
      await new Promise<void>((resolve, reject) => {
        worker.on('error', reject)
        worker.on('message', (message) => {
          messages.push(message)
          if (typeof message === 'number') send(sender, message)
          if (messages.includes('woke') && messages.includes('received')) resolve()
        })
      })
      return { worker, messages }
    }
    const descriptors = (): number => readdirSync('/proc/self/fd').length
    await (await start()).worker.terminate()
    const before = descriptors()
    for (let round = 0; round < 3; round++) {
      const workers = await Promise.all([start(), start()])
      await Promise.all(workers.map(({ worker }) => worker.terminate()))
    }
    await sleep(50)
    expect(descriptors()).toBe(before)
  })
})
