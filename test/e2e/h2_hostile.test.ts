// Attacks on HTTP/2 itself, frame by frame: each ends its own connection or stream, another person's calls go on, memory stays.
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createH2, listening } from '../../proxy/net/h2.ts'
import { startChild, type Child } from '../support/deputy.ts'
import {
  block,
  END_HEADERS,
  END_STREAM,
  frame,
  indexed,
  number,
  PADDED,
  setting,
  speak,
  TYPE,
  type Spoken,
} from '../support/frames.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let deputy: Child
const PEOPLE = ['alice', 'bob']
beforeAll(async () => {
  upstream = await startUpstream()
  for (const person of PEOPLE) upstream.people.set(`at-${person}-0123456789abcdef`, person)
  deputy = await startChild({
    upstream: upstream.origin,
    held: PEOPLE.flatMap((person) =>
      ['acme', 'stream'].map((connection) => ({
        person,
        connection,
        token: `at-${person}-0123456789abcdef`,
      })),
    ),
  })
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})
beforeEach(() => {
  upstream.seen.length = 0
})

type Field = readonly [string, string]
const HEAD = END_HEADERS
const WHOLE = END_HEADERS | END_STREAM
const pseudo = (path = '/api.acme.test/a', scheme = 'http'): readonly Field[] => [
  [':method', 'GET'],
  [':scheme', scheme],
  [':path', path],
  [':authority', new URL(deputy.agent).host],
]
const ALICE: Field = ['deputy-user', 'alice']
const call = (...more: readonly Field[]): Buffer => block(...pseudo(), ALICE, ...more)
const upload = (...more: readonly Field[]): Buffer =>
  block(
    [':method', 'POST'],
    ...pseudo('/api.stream.test/p').slice(1),
    ALICE,
    ['content-type', 'application/octet-stream'],
    ...more,
  )
/** One call of the other person. */
const beside = async (): Promise<number> => {
  const headers = { 'deputy-user': 'bob' }
  return (await fetch(`${deputy.agent}/api.acme.test/bob`, { headers })).status
}
/** Nothing has reached the provider, and the other person's calls do. */
const nothingOfIt = async (): Promise<void> => {
  expect(upstream.seen).toEqual([])
  expect(await beside()).toBe(200)
}
const resident = async (): Promise<number> => {
  const text = await (await fetch(`http://${deputy.admin}/metrics`)).text()
  return Number(/^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1])
}

/** The stream numbers of clients. */
const nth = (i: number): number => 1 + 2 * i
const FLOODS: Readonly<
  Record<string, readonly [before: () => Buffer, each: (i: number) => Buffer]>
> = {
  'requests that are reset at once (CVE-2023-44487)': [
    () => Buffer.alloc(0),
    (i) =>
      Buffer.concat([
        frame('headers', nth(i), WHOLE, call()),
        frame('reset', nth(i), 0, number(8)),
      ]),
  ],
  'requests that deputy must reset, by a window of nothing (CVE-2025-8671)': [
    () => Buffer.alloc(0),
    (i) =>
      Buffer.concat([
        frame('headers', nth(i), WHOLE, call()),
        frame('window', nth(i), 0, number(0)),
      ]),
  ],
  'requests that deputy must reset, by a body of another length': [
    () => Buffer.alloc(0),
    (i) =>
      Buffer.concat([
        frame('headers', nth(i), HEAD, upload(['content-length', '5'])),
        frame('data', nth(i), END_STREAM, Buffer.from('too long')),
      ]),
  ],
  'CONTINUATION without end (CVE-2024-27316)': [
    () => frame('headers', 1, 0, call()),
    (i) => frame('continuation', 1, 0, block([`x-${i}`, 'a'])),
  ],
  'empty CONTINUATION': [() => frame('headers', 1, 0, call()), () => frame('continuation', 1, 0)],
  'PING (CVE-2019-9512)': [() => Buffer.alloc(0), () => frame('ping', 0, 0, Buffer.alloc(8))],
  'SETTINGS (CVE-2019-9515)': [() => Buffer.alloc(0), () => setting(4, 65_535)],
  'empty DATA (CVE-2019-9518)': [
    () => frame('headers', 1, HEAD, upload()),
    () => frame('data', 1, 0),
  ],
  'PRIORITY on streams that nobody opened (CVE-2019-9513)': [
    () => Buffer.alloc(0),
    (i) => frame('priority', nth(i), 0, Buffer.concat([number(nth(i) - 1), Buffer.from([255])])),
  ],
}

describe('a flood', () => {
  let before = 0
  beforeAll(async () => {
    await beside()
    before = await resident()
  })
  const flood = async (spoken: Spoken, name: string): Promise<void> => {
    const [first, each] = FLOODS[name] ?? []
    if (first === undefined || each === undefined) throw new Error(name)
    spoken.write(first())
    for (let i = 0; i < 100_000 && !spoken.closed(); i += 250) {
      spoken.write(...Array.from({ length: 250 }, (_, j) => each(i + j)))
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  test.each(Object.keys(FLOODS))('%s: its connection ends', async (name) => {
    const spoken = await speak(deputy.agent)
    const flooding = flood(spoken, name)
    const statuses = [await beside(), await beside()]
    await flooding
    await expect.poll(spoken.closed).toBe(true)
    expect([...statuses, await beside()]).toEqual([200, 200, 200])
    // Of so many a few may leave before the end.
    expect(upstream.seen.filter(({ who }) => who === 'alice').length).toBeLessThan(400)
  })
  test('and what all of them took is given back', async () => {
    expect(deputy.alive()).toBe(true)
    await expect
      .poll(async () => (await resident()) - before, { interval: 1_000 })
      .toBeLessThan(120_000_000)
  })
})

/** How the first stream ended: by a reset (its code), by deputy's word, or by an answer of the provider. */
const endOf = async (spoken: Spoken): Promise<string> => {
  const mine = () => spoken.frames().filter(({ stream }) => stream === 1)
  await expect
    .poll(() => mine().some(({ type, flags }) => type === TYPE.reset || (flags & END_STREAM) !== 0))
    .toBe(true)
  const reset = mine().find(({ type }) => type === TYPE.reset)
  const body = Buffer.concat(mine().flatMap(({ type, payload }) => (type === 0 ? [payload] : [])))
  spoken.socket.destroy()
  if (body.length === 0) return `reset ${reset?.payload.readUInt32BE() ?? 'none'}`
  const { code, login } = JSON.parse(body.toString()) as { code?: string; login?: string }
  return code ?? `passed for ${login ?? 'nobody'}`
}

describe('a header section', () => {
  const raw =
    (...fields: readonly Field[]) =>
    () =>
      block(...fields)
  const more =
    (...fields: readonly Field[]) =>
    () =>
      call(...fields)
  const path = (text: string) => () => block(...pseudo(text), ALICE)
  test.each<[string, string, () => Buffer]>([
    ['two :authority', 'reset 1', () => block(...pseudo(), [':authority', 'b.test'], ALICE)],
    ['two :path', 'reset 1', () => block(...pseudo(), [':path', '/b'], ALICE)],
    ['a pseudo-header behind others', 'reset 1', more([':authority', '127.0.0.1'])],
    ['a pseudo-header of answers', 'reset 1', more([':status', '200'])],
    ['a pseudo-header that is none', 'reset 1', more([':x', 'y'])],
    ['no :scheme', 'reset 1', () => block(...pseudo().toSpliced(1, 1), ALICE)],
    ['another :scheme', 'request_invalid', () => block(...pseudo(undefined, 'ftp'), ALICE)],
    [
      'a :scheme with more in it',
      'reset 1',
      () => block(...pseudo(undefined, 'http://x/?'), ALICE),
    ],
    ['no :authority', 'reset 1', () => block(...pseudo().slice(0, 3), ALICE)],
    [
      'a user in :authority',
      'reset 1',
      () => block(...pseudo().slice(0, 3), [':authority', 'bob@127.0.0.1'], ALICE),
    ],
    ['a fragment in :path', 'request_invalid', path('/api.acme.test/a#b')],
    ['a blank in :path', 'reset 1', path('/api.acme.test/a b')],
    ['a line break in :path', 'reset 1', path('/api.acme.test/a\r\nx: y')],
    ['nothing in :path', 'reset 1', path('')],
    ['an absolute :path', 'reset 1', path('http://api.acme.test/a')],
    ['a name in upper case', 'reset 1', more(['X-A', 'b'])],
    ['connection', 'reset 1', more(['connection', 'close'])],
    ['transfer-encoding', 'reset 1', more(['transfer-encoding', 'chunked'])],
    ['upgrade', 'reset 1', more(['upgrade', 'h2c'])],
    ['te of more than trailers', 'reset 1', more(['te', 'gzip'])],
    ['two lengths', 'reset 1', more(['content-length', '0'], ['content-length', '5'])],
    ['a list of lengths', 'reset 1', more(['content-length', '0, 0'])],
    ['a length with a sign', 'reset 1', more(['content-length', '+0'])],
    ['a host that is not the authority', 'request_invalid', more(['host', 'b.test'])],
    ['two tags', 'unauthenticated', more(['deputy-user', 'bob'])],
    ['CONNECT', 'method_not_allowed', raw([':method', 'CONNECT'], [':authority', 'a.test:443'])],
    ['a scheme of TLS', 'passed for alice', () => block(...pseudo(undefined, 'https'), ALICE)],
    ['te: trailers', 'passed for alice', more(['te', 'trailers'])],
  ])('with %s: %s', async (_name, end, section) => {
    const spoken = await speak(deputy.agent)
    spoken.write(frame('headers', 1, WHOLE, section()))
    expect(await endOf(spoken)).toBe(end)
    expect(upstream.seen).toHaveLength(end.startsWith('passed') ? 1 : 0)
  })

  // nghttp2 leaves such a field out.
  test.each(['b\r\nx-smuggled: c', 'b\nx-smuggled: c', 'b\0x-smuggled'])(
    'whose value is %j: that field is not there',
    async (value) => {
      const spoken = await speak(deputy.agent)
      spoken.write(frame('headers', 1, WHOLE, call(['x-a', value], ['x-b', 'kept'])))
      expect(await endOf(spoken)).toBe('passed for alice')
      expect(JSON.stringify(upstream.seen)).not.toContain('smuggled')
      expect(upstream.seen[0]?.headers).toMatchObject({ 'x-b': 'kept' })
    },
  )

  test('that unpacks to two hundred times its size is refused (an HPACK bomb)', async () => {
    const spoken = await speak(deputy.agent)
    const bomb = Buffer.concat([
      call(),
      indexed('x-a', 'a'.repeat(3_900)),
      Buffer.alloc(12_000, 0xbe),
    ])
    spoken.write(frame('headers', 1, WHOLE, bomb))
    expect(await endOf(spoken)).toBe('reset 11')
    await nothingOfIt()
  })
})

describe('a stream', () => {
  // What is answered to a stream that is gone would be an exception, and the end of deputy.
  test.each<[string, () => Buffer]>([
    ['a call', call],
    ['what is refused', () => block([':method', 'CONNECT'], [':authority', 'a.test:443'])],
    ['a blank', () => block(...pseudo('/a b'), ALICE)],
  ])('that is reset in the same breath ends nothing: %s', async (_name, section) => {
    const spoken = await speak(deputy.agent)
    for (let i = 0; i < 50; i += 1)
      spoken.write(
        Buffer.concat([
          frame('headers', nth(i), HEAD, section()),
          frame('reset', nth(i), 0, number(8)),
        ]),
      )
    spoken.write(frame('headers', 1_001, WHOLE, call()))
    await expect.poll(() => spoken.frames().some(({ stream }) => stream === 1_001)).toBe(true)
    expect([await beside(), deputy.alive()]).toEqual([200, true])
    spoken.socket.destroy()
  })

  const body = (...data: readonly Buffer[]) => [frame('headers', 1, HEAD, upload()), ...data]
  test('with padding is its bytes alone', async () => {
    const spoken = await speak(deputy.agent)
    const padded = Buffer.concat([Buffer.from([250]), Buffer.from('x'), Buffer.alloc(250)])
    const data = Array.from({ length: 200 }, () => frame('data', 1, PADDED, padded))
    spoken.write(...body(...data, frame('data', 1, END_STREAM, Buffer.from('y'))))
    expect(await endOf(spoken)).toBe('passed for alice')
    expect(upstream.seen[0]?.body.toString()).toBe(`${'x'.repeat(200)}y`)
  })
  test('with more padding than frame ends its connection', async () => {
    const spoken = await speak(deputy.agent)
    spoken.write(...body(frame('data', 1, PADDED | END_STREAM, Buffer.from([250, 1, 2]))))
    await expect.poll(spoken.closed).toBe(true)
    await nothingOfIt()
  })
  // Of more Node ends the connection, of less the stream.
  test.each([
    ['more', 'too long'],
    ['less', 'x'],
  ])('with %s than it announced reaches nobody', async (_name, text) => {
    const spoken = await speak(deputy.agent)
    spoken.write(
      frame('headers', 1, HEAD, upload(['content-length', '5'])),
      frame('data', 1, END_STREAM, Buffer.from(text)),
    )
    await expect
      .poll(() => spoken.closed() || spoken.frames().some(({ type }) => type === TYPE.reset))
      .toBe(true)
    spoken.socket.destroy()
    await nothingOfIt()
  })
})

test('trailers of a request do not leave, whatever they say, and the evidence names them', async () => {
  const spoken = await speak(deputy.agent)
  const fields: readonly Field[] = [
    ['x-sum', '1'],
    ['authorization', 'Bearer other'],
    ['x-euro', '\xe2\x82\xac'],
    ['x-line', 'b\r\nx-smuggled: c'],
  ]
  spoken.write(
    frame('headers', 1, HEAD, upload(['trailer', 'x-sum'])),
    frame('data', 1, 0, Buffer.from('hello')),
    frame('headers', 1, WHOLE, block(...fields)),
  )
  expect(await endOf(spoken)).toBe('passed for alice')
  expect(upstream.seen[0]?.body.toString()).toBe('hello')
  expect(upstream.bytes().toString('latin1')).not.toMatch(/x-sum|other|x-euro|smuggled/)
  await expect
    .poll(() => deputy.evidence().findLast(({ event }) => event === 'outcome'))
    .toMatchObject({ stripped: ['trailer:x-sum', 'trailer:authorization', 'trailer:x-euro'] })
})

test('who keeps the window shut loses each stream whose answer is whole, and no other', async () => {
  const coming: ServerResponse[] = []
  const server = createServer((req, res) => {
    if (req.url === '/whole') res.end('x')
    else {
      res.write('x')
      coming.push(res)
    }
  })
  const refusal = () => ({ status: 400, headers: {}, body: 'no' })
  const h2 = createH2({ server, maxHeaderBytes: 16_384, patience: 200, refusal })
  listening(server, h2.enter, 30_000)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const get = (path: string, scheme = 'http'): Buffer =>
    block([':method', 'GET'], [':scheme', scheme], [':path', path], [':authority', 'a.test'])
  const spoken = await speak(origin, setting(4, 0))
  spoken.write(
    frame('headers', 1, WHOLE, get('/whole')),
    frame('headers', 3, WHOLE, get('/comes')),
    frame('headers', 5, WHOLE, get('/refused', 'ftp')),
  )
  const resets = () =>
    spoken
      .frames()
      .filter(({ type }) => type === TYPE.reset)
      .map(({ stream, payload }) => [stream, payload.readUInt32BE()])
  await expect
    .poll(() => resets().toSorted(([a = 0], [b = 0]) => a - b))
    .toEqual([
      [1, 8],
      [5, 8],
    ])
  // Its end comes, and its window opens.
  coming[0]?.end('y')
  spoken.write(frame('window', 3, 0, number(10)))
  const told = () =>
    spoken
      .frames()
      .flatMap(({ type, stream, payload }) => (type === 0 && stream === 3 ? [payload] : []))
  await expect.poll(() => Buffer.concat(told()).toString()).toBe('xy')
  spoken.socket.destroy()
  h2.part()
  server.close()
})
