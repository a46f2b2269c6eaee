/** What the documents say in tables, commands and links, held to the code. */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { clamp, encodeKey, publicKeyOf } from '../src/config/keys.js'
import { loadConfig } from '../src/config/load.js'
import { DROP_REASONS } from '../src/core/drop-reasons.js'
import { carriesData, type PathState } from '../src/core/events.js'
import { PROLOGUE } from '../src/noise/handshake.js'
import * as message from '../src/wire/message.js'
import { readConstants, readQuantity } from './constants.js'
import { readAnchors, readBlocks, readLinks, readTables, type Table } from './markdown.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

const protocol = read('docs/protocol.md')
const tables = readTables(protocol)

/** The one table of docs/protocol.md with these first header cells, whose title begins as `title`. */
function table(header: string, title = ''): Table {
  const found = tables.filter(
    (each) => each.header.join(' | ').startsWith(header) && each.title.startsWith(title),
  )
  expect(found, `tables "${header}" "${title}" of docs/protocol.md`).toHaveLength(1)
  return found[0]!
}

/** Name to offset. The fields must follow one another without gap or overlap, up to `bytes`. */
function layout(title: string, bytes: number): Record<string, number> {
  let at = 0
  const offsets: Record<string, number> = {}
  for (const row of table('offset | bytes | field', title).rows) {
    expect(Number(row['offset']), `${title}: offset of ${row['field']}`).toBe(at)
    offsets[row['field']!] = at
    at += Number(row['bytes'])
  }
  expect(at, `${title}: size of all fields`).toBe(bytes)
  return offsets
}

describe('docs/protocol.md', () => {
  it('names every message type with its size', () => {
    const { rows } = table('type | name | bytes')
    expect(Object.fromEntries(rows.map((row) => [row['name'], Number(row['type'])]))).toEqual(
      message.MessageType,
    )
    const sizes = rows.map((row) => Number.parseInt(row['bytes']!, 10))
    const { Initiation, Response, CookieReply, DATA_OVERHEAD_BYTES } = message
    expect(sizes).toEqual([
      Initiation.bytes,
      Response.bytes,
      CookieReply.bytes,
      DATA_OVERHEAD_BYTES,
      DATA_OVERHEAD_BYTES,
    ])
    expect(protocol).toContain(`They cost ${DATA_OVERHEAD_BYTES} bytes beyond IP and UDP.`)
  })

  it('draws the sealed packet as it is', () => {
    const rows = table('offset | bytes | field', 'Sealed packet').rows
    const { HEADER_BYTES, INNER_HEADER_BYTES, TAG_BYTES } = message
    const sizes = rows.map((row) => [row['offset'], row['bytes']])
    const payload = HEADER_BYTES + INNER_HEADER_BYTES
    expect(sizes).toEqual([
      ['0', '1'],
      ['1', '3'],
      ['4', String(HEADER_BYTES - 4)],
      [String(HEADER_BYTES), '4'],
      [String(HEADER_BYTES + 4), String(INNER_HEADER_BYTES - 4)],
      [String(payload), 'n'],
      [`${payload} + n`, String(TAG_BYTES)],
    ])
  })

  it('cuts its words into bits as the code does', () => {
    const bits = Object.fromEntries(
      table('word | bits | field').rows.map((row) => [row['field'], Number(row['bits'])]),
    )
    expect(bits).toEqual({
      path: message.INDEX_PATH_BITS,
      session: message.INDEX_SESSION_BITS,
      flags: 32 - message.STAMP_BITS,
      stamp: message.STAMP_BITS,
      sequence: message.SEQUENCE_BITS,
      bucket: message.BUCKET_BITS,
    })
    const { rows } = table('flag | value')
    expect(Object.fromEntries(rows.map((row) => [row['flag'], Number(row['value'])]))).toEqual(
      message.PacketFlag,
    )
  })

  it('lays out the handshake messages as the code does', () => {
    const { Initiation, Response, CookieReply, HandshakePayload, InitiationPayload } = message
    const initiation = layout('Initiation', Initiation.bytes)
    expect(initiation).toMatchObject({
      senderIndex: Initiation.senderIndex,
      e: Initiation.noise,
      mac1: Initiation.mac1,
      mac2: Initiation.mac2,
    })
    expect(initiation['mac1']! - initiation['e']!).toBe(Initiation.noiseBytes)
    const response = layout('Response', Response.bytes)
    expect(response).toMatchObject({
      receiverIndex: Response.receiverIndex,
      senderIndex: Response.senderIndex,
      e: Response.noise,
      mac1: Response.mac1,
      mac2: Response.mac2,
    })
    expect(response['mac1']! - response['e']!).toBe(Response.noiseBytes)
    expect(layout('Cookie reply', CookieReply.bytes)).toMatchObject({
      receiverIndex: CookieReply.receiverIndex,
      nonce: CookieReply.nonce,
      cookie: CookieReply.cookie,
    })
    const { bytes, ...shared } = HandshakePayload
    const { bytes: initiationBytes, ...own } = InitiationPayload
    expect(layout('Payload of both messages', initiationBytes)).toEqual({ ...shared, ...own })
    expect(own.pskProof).toBe(bytes)
    expect(protocol).toContain(`the ${bytes} bytes of the payload before it`)
    expect(protocol).toContain(`the seven characters \`${PROLOGUE}\``)
    expect(PROLOGUE).toHaveLength(7)
  })

  it('names ciphers and features by their bits', () => {
    const features = table('feature | bit').rows
    expect(Object.fromEntries(features.map((row) => [row['feature'], Number(row['bit'])]))).toEqual(
      message.Feature,
    )
    const { rows } = table('cipher | bit')
    expect(Object.fromEntries(rows.map((row) => [row['cipher'], Number(row['bit'])]))).toEqual(message.Cipher)
  })

  it('names every control frame with the size of its body', () => {
    const { rows } = table('kind | name | body')
    expect(Object.fromEntries(rows.map((row) => [row['name'], Number(row['kind'])]))).toEqual(
      message.FrameKind,
    )
    const body = Object.fromEntries(rows.map((row) => [row['name'], row['body']]))
    expect(body['PathChallenge']).toBe(String(message.CHALLENGE_BYTES))
    expect(body['PathResponse']).toBe(String(message.CHALLENGE_BYTES))
    expect(body['Feedback']).toBe(`${message.Feedback.bytes} + ${message.FeedbackPath.bytes} per path`)
    expect(body['Handshake']).toBe(`${message.Response.bytes} or ${message.Initiation.bytes}`)
  })

  it('lays out feedback as the code does', () => {
    const { bytes, ...fields } = message.Feedback
    expect(layout('Feedback frame', bytes)).toEqual(fields)
    const { bytes: pathBytes, ...pathFields } = message.FeedbackPath
    expect(layout('Each path of it', pathBytes)).toMatchObject(pathFields)
    expect(protocol).toContain(`missing ranges that follow, at most ${message.MISSING_RANGES_MAX} |`)
    expect(protocol).toContain(`the missing ranges, ${message.MISSING_RANGE_BYTES} bytes each`)
  })

  it('names every path state, and whether it carries data', () => {
    const union = /export type PathState = (.+)$/m.exec(read('src/core/events.ts'))?.[1] ?? ''
    const states = [...union.matchAll(/'(\w+)'/g)].map((match) => match[1] as PathState)
    const { rows } = table('state | carries data')
    expect(rows.map((row) => [row['state'], row['carries data']])).toEqual(
      states.map((state) => [state, carriesData(state) ? 'yes' : 'no']),
    )
  })

  it('gives every constant the value that it has', () => {
    const rows = tables.filter((each) => each.header[0] === 'constant').flatMap((each) => each.rows)
    expect(rows.length).toBeGreaterThan(50)
    const files = new Map(
      [...new Set(rows.map((row) => row['where']!))].map((file) => [file, constantsOf(file)]),
    )
    for (const row of rows) {
      const constant = files.get(row['where']!)!.get(row['constant']!)
      expect(constant, `${row['constant']} in src/${row['where']}`).toBeDefined()
      expect(readQuantity(row['value']!), `${row['constant']} is documented as ${row['value']}`).toBeCloseTo(
        constant!.value,
        9,
      )
    }
    // The other way round: what these files export is in the tables.
    const documented = rows.map((row) => `${row['where']} ${row['constant']}`)
    for (const [file, constants] of files) {
      for (const [name, { exported }] of constants) {
        if (exported) expect(documented, `add it to docs/protocol.md`).toContain(`${file} ${name}`)
      }
    }
  })

  it('lists every reason to drop a packet, in the words of the program', () => {
    const { rows } = table('reason | meaning')
    expect(rows.map((row) => [row['reason'], row['meaning']])).toEqual(Object.entries(DROP_REASONS))
  })
})

function constantsOf(file: string): ReturnType<typeof readConstants> {
  return readConstants(file, read(`src/${file}`))
}

describe('every document', () => {
  const documents = ['README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)].filter(
    (path) => path.endsWith('.md'),
  )

  it('has only links that lead somewhere', () => {
    for (const path of documents) {
      const text = read(path)
      for (const link of readLinks(text)) {
        if (/^[a-z]+:/.test(link)) continue
        const [file, anchor] = link.split('#') as [string, string?]
        const target = file === '' ? path : join(dirname(path), file)
        expect(existsSync(join(ROOT, target)), `${path} links to ${link}`).toBe(true)
        if (anchor !== undefined) {
          expect(readAnchors(read(target)), `${path} links to ${link}`).toContain(anchor)
        }
      }
    }
  })
})

describe('README.md', () => {
  it('shows configurations that are good once their keys are made', () => {
    const blocks = readBlocks(read('README.md'), 'yaml')
    expect(blocks.length).toBeGreaterThanOrEqual(2)
    const folder = mkdtempSync(join(tmpdir(), `plait-docs-${randomBytes(4).toString('hex')}-`))
    try {
      for (const [i, block] of blocks.entries()) {
        for (const [, name] of block.matchAll(/\/etc\/plait\/([\w.-]+)/g)) {
          writeFileSync(join(folder, name!), encodeKey(clamp(randomBytes(32))), { mode: 0o600 })
        }
        const file = join(folder, `${i}.yaml`)
        writeFileSync(
          file,
          block
            .replaceAll('/etc/plait/', `${folder}/`)
            .replace(/public-key: \S+/g, () => `public-key: ${encodeKey(publicKeyOf(randomBytes(32)))}`),
        )
        expect(loadConfig(file).config.peers.length).toBeGreaterThan(0)
      }
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})
