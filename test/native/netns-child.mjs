// Run by tun.test.ts in a network namespace of its own (unshare -n), with the name of one case. Prints JSON.
// The other side of a TUN pair is a second namespace that ends with the process in it.
import { execFileSync, spawn } from 'node:child_process'
import { readFileSync, readlinkSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const native = require('node-gyp-build')(new URL('../..', import.meta.url).pathname)

const SLOT_BYTES = 2048
const HEADROOM = 16
const SLOTS = 512
const ip = (...args) => execFileSync('ip', args)
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

function packetMemory() {
  return {
    slab: new Uint8Array(SLOTS * SLOT_BYTES),
    slots: Uint32Array.from({ length: SLOTS }, (_, i) => i),
    lengths: new Uint16Array(SLOTS),
    flags: new Uint8Array(SLOTS),
  }
}
function read(tun, m, limit = SLOTS) {
  return native.tunRead(tun.handle, m.slab, SLOT_BYTES, HEADROOM, m.slots, limit, m.lengths, m.flags)
}
function write(tun, m, from, count, more = false) {
  const { slab, slots, lengths, flags } = m
  return native.tunWrite(tun.handle, slab, SLOT_BYTES, HEADROOM, slots, from, count, lengths, flags, more)
}

/** A process in a namespace of its own; its pid is the namespace's name. */
async function secondNamespace() {
  const child = spawn('unshare', ['-n', 'sleep', '100'], { stdio: 'ignore' })
  const own = readlinkSync('/proc/self/ns/net')
  while (readlinkSync(`/proc/${child.pid}/ns/net`) === own) await sleep(5)
  const inside = (...args) => execFileSync('nsenter', ['-t', String(child.pid), '-n', ...args]).toString()
  return { child, inside }
}

/** Two TUN devices, a here and b in another namespace, whatever one gives written to the other. */
async function tunPair(offloadA, offloadB, limit = SLOTS) {
  const a = native.tunOpen('plta%d', offloadA)
  const b = native.tunOpen('pltb%d', offloadB)
  const other = await secondNamespace()
  ip('link', 'set', b.name, 'netns', String(other.child.pid))
  const setUp = (run, name, last) => {
    run('ip', 'link', 'set', 'lo', 'up')
    run('ip', 'addr', 'add', `10.99.0.${last}/24`, 'dev', name)
    run('ip', 'addr', 'add', `fd99::${last}/64`, 'dev', name, 'nodad')
    run('ip', 'link', 'set', name, 'mtu', '1440', 'txqueuelen', '2000', 'up')
  }
  setUp((command, ...args) => execFileSync(command, args), a.name, 1)
  setUp(other.inside, b.name, 2)
  const pump = (from, to) => {
    const m = packetMemory()
    return native.pollStart(from.fd, 1, () => {
      for (let round = 0; round < 8; round++) {
        const count = read(from, m, limit)
        if (count <= 0) return
        if (write(to, m, 0, count) !== count) throw new Error('a TUN device was full')
        if (count < limit) return
      }
    })
  }
  const polls = [pump(a, b), pump(b, a)]
  const close = () => {
    for (const poll of polls) native.pollStop(poll)
    for (const tun of [a, b]) native.tunClose(tun.handle)
    other.child.kill()
  }
  return { a, b, other, close }
}

// Both ends of a transfer, run by `node -e` on either side: they print the SHA-256 of the bytes.
const RECEIVER = `
  const hash = require('node:crypto').createHash('sha256')
  require('node:net').createServer((socket) => {
    socket.on('data', (data) => hash.update(data))
    socket.on('end', () => { console.log(hash.digest('hex')); process.exit() })
  }).listen(5001, '::', () => console.log('listening'))`
const SENDER = `
  const { createHash, randomBytes } = require('node:crypto')
  const [host, blocks] = [process.argv[1], Number(process.argv[2])]
  const hash = createHash('sha256')
  const socket = require('node:net').connect(5001, host, async () => {
    for (let i = 0; i < blocks; i++) {
      const block = randomBytes(1000000 + i)
      hash.update(block)
      if (!socket.write(block)) await new Promise((resolve) => socket.once('drain', resolve))
    }
    socket.end()
    console.log(hash.digest('hex'))
  })`

function run(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  const lines = (count) =>
    new Promise((resolve) => {
      const check = () => {
        if (output.split('\n').length > count) resolve(output.trim().split('\n'))
      }
      child.stdout.on('data', check)
      check()
    })
  child.stdout.on('data', (data) => {
    output += data
  })
  return { child, lines }
}

/** Sends `blocks` MB from here to the other side, or back; whether the hashes are equal. */
async function transfer(pair, host, blocks, back) {
  const there = ['nsenter', '-t', String(pair.other.child.pid), '-n', process.execPath]
  const here = [process.execPath]
  const start = ([command, ...args], ...more) => run(command, [...args, ...more])
  const receiver = start(back ? here : there, '-e', RECEIVER)
  await receiver.lines(1)
  const sender = start(back ? there : here, '-e', SENDER, host, String(blocks))
  const [sent] = await sender.lines(1)
  const received = (await receiver.lines(2))[1]
  return sent === received
}

/** Checksum errors that this namespace and the other have counted, in all protocols. */
function checksumErrors(pair) {
  const count = (text) => {
    const lines = text.split('\n')
    let errors = 0
    for (let i = 0; i + 1 < lines.length; i += 2) {
      const names = lines[i].split(' ')
      const values = lines[i + 1].split(' ')
      names.forEach((name, k) => {
        if (name === 'InCsumErrors') errors += Number(values[k])
      })
    }
    return errors
  }
  return (
    count(readFileSync('/proc/self/net/snmp', 'utf8')) +
    count(pair.other.inside('cat', '/proc/self/net/snmp'))
  )
}

async function transfers(offloadA, offloadB, limit) {
  const pair = await tunPair(offloadA, offloadB, limit)
  const result = {
    offload: [pair.a.offload, pair.b.offload],
    v4: await transfer(pair, '10.99.0.2', 30, false),
    v6: await transfer(pair, 'fd99::2', 30, false),
    back4: await transfer(pair, '10.99.0.1', 30, true),
    back6: await transfer(pair, 'fd99::1', 30, true),
    a: native.tunStats(pair.a.handle),
    b: native.tunStats(pair.b.handle),
    checksumErrors: checksumErrors(pair),
  }
  pair.close()
  return result
}

const cases = {
  offload: () => transfers(true, true),
  // Superpackets that do not fit the slots of one call go on in the next.
  offloadFewSlots: () => transfers(true, true, 7),
  plain: () => transfers(false, false),
  // One end with offload, the other without: partial checksums meet a device that did not ask for them.
  mixed: () => transfers(true, false),

  /** UDP with GSO at the sender, so that superpackets of UDP are cut and joined where the kernel has it. */
  async udp() {
    const pair = await tunPair(true, true)
    const sender = native.udpOpen({
      ...{ device: '', address: '', port: 0, receiveBufferBytes: 0, sendBufferBytes: 4 << 20 },
      ...{ offload: true, reuseAddress: false },
    })
    const receiver = run('nsenter', [
      ...['-t', String(pair.other.child.pid), '-n', process.execPath, '-e'],
      `const socket = require('node:dgram').createSocket({ type: 'udp4', recvBufferSize: 4 << 20 })
       let count = 0, wrong = 0
       socket.on('message', (data) => {
         if (data.length !== 1300 || data.some((byte) => byte !== data[0])) wrong++
         if (++count === 300) { console.log(wrong); process.exit() }
       })
       socket.bind(5001, () => console.log('listening'))`,
    ])
    await receiver.lines(1)
    const slab = new Uint8Array(30 * 1300)
    const rows = new Uint32Array(30 * 4)
    for (let i = 0; i < 30; i++) {
      slab.fill(i, i * 1300, (i + 1) * 1300)
      rows.set([i * 1300, 1300, 0, 0], i * 4)
    }
    const address = Uint32Array.of((4 | (5001 << 16)) >>> 0, 0x0200630a, 0, 0, 0, 0, 0, 0, 0, 0)
    for (let round = 0; round < 10; round++) {
      native.udpSend(sender.handle, slab, rows, 0, 30, address)
      await sleep(10)
    }
    const wrong = Number((await receiver.lines(2))[1])
    const result = {
      wrong,
      udpOffload: pair.a.udpOffload,
      a: native.tunStats(pair.a.handle),
      b: native.tunStats(pair.b.handle),
      checksumErrors: checksumErrors(pair),
    }
    native.udpClose(sender.handle)
    pair.close()
    return result
  },

  /** A device that is full in the middle of a batch of two interleaved flows. */
  async full() {
    const tun = native.tunOpen('pltf%d', true)
    ip('link', 'set', tun.name, 'up')
    const m = packetMemory()
    const count = 8
    for (let i = 0; i < count; i++) {
      const packet = new Uint8Array(JSON.parse(process.argv[3])[i])
      m.slab.set(packet, i * SLOT_BYTES + HEADROOM)
      m.lengths[i] = packet.length
      m.flags[i] = 1
    }
    const results = []
    for (const faults of JSON.parse(process.argv[4])) {
      for (let i = 0; i < count; i++) m.slots[i] = i
      native.tunFault(tun.handle, ...faults)
      const before = native.tunStats(tun.handle)
      const taken = write(tun, m, 0, count)
      const order = Array.from(m.slots.subarray(0, count))
      native.tunFault(tun.handle, 0, 0, 0)
      const rest = write(tun, m, taken, count - taken)
      const after = native.tunStats(tun.handle)
      results.push({
        taken,
        order,
        rest,
        packets: after.writtenPackets - before.writtenPackets,
        frames: after.writtenFrames - before.writtenFrames,
      })
    }
    const stats = native.tunStats(tun.handle)
    native.tunClose(tun.handle)
    return { results, stats }
  },

  /** Packets in two calls, of which the first says that the second will come. */
  async more() {
    const tun = native.tunOpen('pltm%d', true)
    ip('link', 'set', tun.name, 'up')
    const m = packetMemory()
    const packets = JSON.parse(process.argv[3])
    packets.forEach((bytes, i) => {
      m.slab.set(bytes, i * SLOT_BYTES + HEADROOM)
      m.lengths[i] = bytes.length
      m.flags[i] = 1
    })
    const first = Number(process.argv[4])
    const taken = write(tun, m, 0, first, true)
    const order = Array.from(m.slots.subarray(0, first))
    const before = native.tunStats(tun.handle)
    const rest = write(tun, m, taken, packets.length - taken)
    const after = native.tunStats(tun.handle)
    native.tunClose(tun.handle)
    return { taken, order, rest, before, after }
  },

  async refusals() {
    const m = packetMemory()
    const tun = native.tunOpen('pltr%d', true)
    const error = (call) => {
      try {
        call()
      } catch ({ name, code, syscall, message }) {
        return { name, code, syscall, message }
      }
    }
    m.lengths[0] = 20
    m.slab[HEADROOM] = 0x45
    const down = write(tun, m, 0, 1)
    ip('link', 'set', tun.name, 'up')
    m.slab[HEADROOM] = 0
    const noIp = write(tun, m, 0, 1)
    m.lengths[0] = 0
    const empty = write(tun, m, 0, 1)
    m.lengths[0] = 20
    m.flags[0] = 1
    const noChecksum = write(tun, m, 0, 1)
    const taken = [down, noIp, empty, noChecksum]
    const stats = native.tunStats(tun.handle)
    m.lengths[0] = SLOT_BYTES - HEADROOM + 1
    const slots = (change) => {
      const c = { ...m, slotBytes: SLOT_BYTES, headroom: HEADROOM, from: 0, count: 1, ...change }
      const common = [tun.handle, c.slab, c.slotBytes, c.headroom, c.slots]
      return {
        read: error(() => native.tunRead(...common, c.count, c.lengths, c.flags))?.name,
        write: error(() => native.tunWrite(...common, c.from, c.count, c.lengths, c.flags, false))?.name,
      }
    }
    const tooLong = error(() => write(tun, m, 0, 1))?.name
    m.lengths[0] = 20
    const bounds = {
      slot: slots({ slots: Uint32Array.of(SLOTS) }),
      lengths: slots({ slots: Uint32Array.of(5), lengths: new Uint16Array(5) }),
      flags: slots({ slots: Uint32Array.of(5), flags: new Uint8Array(5) }),
      slab: slots({ slots: Uint32Array.of(5), slab: new Uint8Array(6 * SLOT_BYTES - 1) }),
      count: slots({ count: SLOTS + 1 }),
      headroom: slots({ headroom: SLOT_BYTES }),
      slotBytes: slots({ slotBytes: 0 }),
    }
    const busy = error(() => native.tunOpen(tun.name, true))
    ip('link', 'add', 'pltdummy', 'type', 'veth', 'peer', 'name', 'pltpeer')
    const kind = error(() => native.tunOpen('pltdummy', true))
    ip('link', 'del', tun.name)
    const gone = read(tun, m)
    native.tunClose(tun.handle)
    const closed = error(() => read(tun, m))?.name
    return { taken, stats, tooLong, bounds, busy, kind, gone, closed }
  },

  /** Datagrams above the device's MTU: refused, and the MTU is told. Below it, GSO or not, they pass. */
  async mtu() {
    const tun = native.tunOpen('pltm%d', true)
    ip('addr', 'add', '10.98.0.1/24', 'dev', tun.name)
    ip('addr', 'add', 'fd98::1/64', 'dev', tun.name, 'nodad')
    ip('link', 'set', tun.name, 'mtu', '1300', 'up')
    const result = {}
    for (const [name, family, remote] of [
      ['v4', 4, [0x0200620a, 0, 0, 0]],
      ['v6', 6, [0x000098fd, 0, 0, 0x02000000]],
    ]) {
      const socket = native.udpOpen({
        ...{ device: tun.name, address: '', port: 0, receiveBufferBytes: 0, sendBufferBytes: 0 },
        ...{ offload: true, reuseAddress: false },
      })
      const address = Uint32Array.of((family | (9 << 16)) >>> 0, ...remote, 0, 0, 0, 0, 0)
      const send = (sizes) => {
        const rows = Uint32Array.from(sizes.flatMap((bytes, i) => [i * 1400, bytes, 0, 0]))
        return native.udpSend(
          socket.handle,
          new Uint8Array(sizes.length * 1400),
          rows,
          0,
          sizes.length,
          address,
        )
      }
      const small = send([1200, 1200, 1200, 500])
      const before = native.udpStats(socket.handle)
      const big = send([1400, 1400, 1400, 500])
      const after = native.udpStats(socket.handle)
      const record = new Uint32Array(10)
      const errors = []
      for (;;) {
        const error = native.udpError(socket.handle, record)
        if (error === undefined) break
        errors.push({ ...error, family: record[0] & 0xffff, remote: Array.from(record.subarray(1, 5)) })
      }
      result[name] = { small, before, big, after, errors, remote }
      native.udpClose(socket.handle)
    }
    native.tunClose(tun.handle)
    return result
  },

  async netlink() {
    const { fd } = native.netlinkOpen()
    const quiet = native.netlinkDrain(fd)
    ip('link', 'add', 'pltdummy', 'type', 'veth', 'peer', 'name', 'pltpeer')
    const link = native.netlinkDrain(fd)
    const drained = native.netlinkDrain(fd)
    let woken = 0
    const poll = native.pollStart(fd, 1, () => {
      woken++
      native.netlinkDrain(fd)
    })
    ip('addr', 'add', '10.97.0.1/24', 'dev', 'pltdummy')
    await sleep(50)
    native.pollStop(poll)
    native.closeFd(fd)
    return { quiet, link, drained, woken }
  },
}

const result = await cases[process.argv[2]]()
console.log(JSON.stringify(result))
// The other processes are still busy with closing; they end with this one's namespace.
process.exit()
