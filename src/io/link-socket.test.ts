import { afterEach, expect, it } from 'vitest'
import { ADDRESS_WORDS, DatagramBatch, ROW_WORDS } from '../base/datagram-batch.js'
import { LinkSocket } from './link-socket.js'

const OPTIONS = {
  ...{ device: '', address: '', port: 0, receiveBufferBytes: 1 << 20, sendBufferBytes: 1 << 20 },
  ...{ offload: true, reuseAddress: false },
}
const sockets: LinkSocket[] = []
const open = (change = {}): LinkSocket => {
  const socket = new LinkSocket({ ...OPTIONS, ...change })
  sockets.push(socket)
  return socket
}
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close()
})

function batchTo(port: number, count: number): DatagramBatch {
  const batch = new DatagramBatch(count * 100, count, 1)
  batch.addresses.set([(4 | (port << 16)) >>> 0, 0x0100007f])
  for (let i = 0; i < count; i++) batch.rows.set([i * 100, 100, 0, 0], i * ROW_WORDS)
  batch.count = count
  batch.addressCount = 1
  return batch
}

it('sends a batch once and receives it', () => {
  const [a, b] = [open(), open()]
  const batch = batchTo(b.port, 50)
  batch.sent = 20
  expect(a.send(batch)).toBe(true)
  expect(batch.sent).toBe(50)
  expect(a.send(batch)).toBe(true)
  const received = new DatagramBatch(1 << 18, 256, 16)
  expect(b.receive(received)).toBe(30)
  expect([received.count, received.addressCount]).toEqual([30, 1])
  expect(received.addresses[0]! >>> 16).toBe(a.port)
  expect(b.receive(received)).toBe(0)
  expect(a.stats()).toMatchObject({ sentDatagrams: 30, sentMessages: 1 })
})

it('gives queued errors with the address they concern', () => {
  const [a, gone] = [open(), open()]
  gone.close()
  a.send(batchTo(gone.port, 1))
  const error = a.takeError()
  expect(error).toMatchObject({ errno: 111, mtu: 0 })
  expect(error!.address).toHaveLength(ADDRESS_WORDS)
  expect(error!.address[0]! >>> 16).toBe(gone.port)
  expect(a.takeError()).toBeUndefined()
})

it('says what is wrong and what to do', () => {
  const port = open().port
  expect(() => open({ port })).toThrow(
    expect.objectContaining({
      code: 'EADDRINUSE',
      message: expect.stringMatching(/port \d+: .*in use; another/),
    }),
  )
})

it('waits for a device that is not there on the loopback device, from where nothing leaves', () => {
  const [waiting, receiver] = [open({ device: 'nosuch0' }), open()]
  waiting.rebind()
  expect(waiting.send(batchTo(receiver.port, 1))).toBe(true)
  expect(receiver.receive(new DatagramBatch(1 << 18, 256, 16))).toBe(1)
})
