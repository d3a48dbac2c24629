// Thousands of answers and requests that nobody should send, at a running deputy, while a second person works: not one
// of her calls is lost, and the process lives.
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { providersAt, startChild, type Child } from '../support/deputy.ts'
import { dial, lines, sendRaw } from '../support/raw.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const ANSWERS = 2_400
const REQUESTS = 1_600
/** As many at a time as leave the second person a turn. */
const AT_ONCE = 24
const [MALLORY, BOB] = ['at-alice-of-the-provider-0123456789', 'at-bob-of-the-provider-9876543210']

/** mulberry32: the same inputs in every run. */
const seeded = (seed: number) => {
  let state = seed
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number): number => Math.floor(next() * n)
  return { below, one: <T>(list: readonly T[]): T => list[below(list.length)] as T }
}
type Random = ReturnType<typeof seeded>

const ODD = [
  '\0',
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  ' ',
  '\t',
  ':',
  ',',
  ';',
  '=',
  '"',
  '\\',
  '%',
  '\x7f',
]
const BYTES = [
  ...ODD,
  '\x80',
  '\xe9',
  '\xff',
  '\xe6\x88\x90',
  '\xc0\x80',
  '\xed\xa0\x80',
  '\x1b[2J',
]
const NUMBERS = [
  '-1',
  '+5',
  '0',
  '00',
  '1',
  '5',
  '7',
  '1e3',
  '0x10',
  '5, 5',
  '5,6',
  '4294967296',
  '9'.repeat(25),
  '',
]
const HEADERS = [
  ...NUMBERS.map((n) => `Content-Length: ${n}`),
  ...['chunked', 'gzip', 'gzip, chunked', 'chunked, identity', 'Chunked', '"chunked"', ''].map(
    (c) => `Transfer-Encoding: ${c}`,
  ),
  ...['close', 'keep-alive', 'upgrade', 'close, keep-alive', 'content-length', '\xe9'].map(
    (c) => `Connection: ${c}`,
  ),
  ...['gzip', 'br', 'zstd', 'deflate', 'x', 'gzip, gzip', ''].map((c) => `Content-Encoding: ${c}`),
  ...[
    '',
    'Bearer',
    'Basic realm="\xe9',
    'Bearer error="insufficient_user_authentication", acr_values="x"',
  ].map((c) => `WWW-Authenticate: ${c}`),
  ...['', '//', 'http://[', 'https://api.acme.test/\xe9', `/${'%'.repeat(9)}`].map(
    (c) => `Location: ${c}`,
  ),
  ...['<', '<https://api.acme.test/a>; rel=next', '<\xff>;', ','.repeat(99)].map(
    (c) => `Link: ${c}`,
  ),
  'Upgrade: websocket',
  'Trailer: X-A',
  'Expect: 100-continue',
  'Expect: foo',
  'Keep-Alive: timeout=-1',
  'Keep-Alive: timeout=1e99',
  'Host: ',
  'Host: a, b',
  'Deputy-User: bob',
  'Deputy-User: \xff',
  'Deputy-Connection: acme',
  'Prefer: wait=1e9',
  'X: \0',
  ': x',
  'X',
  ' folded',
  '\xe9: \xe9',
  `X: ${'a'.repeat(70_000)}`,
  'Content-Type: application/json',
  'Content-Type: \xff/\0',
  'Content-Type: multipart/form-data; boundary=',
]
const JSON_ANSWER =
  '{"login":"mallory","next":"https://api.acme.test/x","items":[{"url":"https://api.acme.test/y"}]}'
const STARTS = [
  '200 OK',
  '200',
  '200 ',
  '204 No Content',
  '206 x',
  '301 x',
  '304 x',
  '401 x',
  '404 Non trouv\xe9',
  '200 \xe6\x88\x90\xe5\x8a\x9f',
  '500 x',
  '000 x',
  '099 x',
  '100 x',
  '101 Switching Protocols',
  '103 Early Hints',
  '199 x',
  '600 x',
  '999 x',
  '1000 x',
  '-1 x',
  '2e2 x',
  'OK',
  '',
].map((status) => `HTTP/1.1 ${status}`)
const VERSIONS = [
  'HTTP/1.0 200 OK',
  'HTTP/0.9 200 OK',
  'HTTP/2.0 200 OK',
  'HTTP/1.10 200 OK',
  'ICY 200 OK',
  'http/1.1 200 OK',
  'HTTP/1.1200 OK',
]
const chunked = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`

/** One byte put in, taken out or changed, a piece doubled, cut or cut off. */
const mutate = (text: string, random: Random): string => {
  const at = random.below(text.length + 1)
  const to = Math.min(text.length, at + 1 + random.below(12))
  switch (random.below(6)) {
    case 0:
      return text.slice(0, at) + random.one(BYTES) + text.slice(at)
    case 1:
      return text.slice(0, at) + random.one(BYTES) + text.slice(at + 1)
    case 2:
      return text.slice(0, at) + text.slice(to)
    case 3:
      return text.slice(0, to) + text.slice(at)
    case 4:
      return text.slice(0, at)
    default:
      return text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + 1)
  }
}
const mutated = (text: string, random: Random): string => {
  let said = text
  for (let times = random.below(3); times > 0; times--) said = mutate(said, random)
  return said
}
const message = (start: string, body: string, random: Random): string => {
  const framed = random.below(3)
  const headers = Array.from({ length: random.below(4) }, () => random.one(HEADERS))
  if (framed === 0) headers.push(`Content-Length: ${body.length}`)
  if (framed === 1) headers.push('Transfer-Encoding: chunked')
  return `${[start, ...headers].join('\r\n')}\r\n\r\n${framed === 1 ? chunked(body) : body}`
}
const answerOf = (random: Random): string => {
  const start = random.one(random.below(4) === 0 ? VERSIONS : STARTS)
  const before = random.below(8) === 0 ? `${random.one(STARTS)}\r\n\r\n` : ''
  const after = random.below(8) === 0 ? `${random.one(STARTS)}\r\n\r\n` : ''
  const body = random.one(['', 'x', JSON_ANSWER, '{"a":', '\x1f\x8b\x08', 'a'.repeat(70_000)])
  return mutated(before + message(start, body, random) + after, random)
}
const METHODS = [
  'GET',
  'POST',
  'PUT',
  'DELETE',
  'HEAD',
  'OPTIONS',
  'CONNECT',
  'TRACE',
  'PRI',
  'get',
  '',
]
const TARGETS = [
  '/api.acme.test/a',
  '/api.stream.test/a',
  '/api.acme.test/notes',
  '/v1/auth/status?id=x&wait=0',
  '/v1/auth/authorize',
  '/connect/x',
  '/metrics',
  '*',
  'a:1',
  'http://api.acme.test/a',
  '//',
  '/%',
  '/\xe9',
  '',
]
const requestOf = (host: string, random: Random): string => {
  const version = random.one([
    'HTTP/1.1',
    'HTTP/1.1',
    'HTTP/1.1',
    'HTTP/1.0',
    'HTTP/0.9',
    'HTTP/2.0',
    '',
  ])
  const start = `${random.one(METHODS)} ${random.one(TARGETS)} ${version}\r\nHost: ${host}\r\nDeputy-User: alice`
  const one = message(
    start,
    random.one(['', '{"title":"x"}', 'a=b&c=d', 'a'.repeat(70_000)]),
    random,
  )
  return mutated(random.below(4) === 0 ? one + one : one, random)
}

/** Says one mutated answer to each request, whatever it was, and ends the connection in one of several ways. */
const startMallory = async (answer: () => { text: string; way: number }): Promise<Server> => {
  const server = createServer((socket: Socket) => {
    socket.on('error', () => undefined)
    socket.on('data', () => {
      const { text, way } = answer()
      const bytes = Buffer.from(text, 'latin1')
      const half = way === 1 ? bytes.length >> 1 : bytes.length
      socket.write(bytes.subarray(0, half))
      setTimeout(() => {
        socket.write(bytes.subarray(half))
        if (way === 2) socket.resetAndDestroy()
        else if (way !== 3) socket.end()
      }, 2)
      // Who says too little and stays is not waited for.
      setTimeout(() => socket.destroy(), 60)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}

const inTurns = async (count: number, work: () => Promise<void>): Promise<void> => {
  let left = count
  const lane = async (): Promise<void> => {
    while (left-- > 0) await work()
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane))
}

let good: Upstream
let mallory: Server
let deputy: Child
const random = seeded(11)
let said = 0

beforeAll(async () => {
  good = await startUpstream()
  good.people.set(BOB, 'bob')
  mallory = await startMallory(() => {
    said++
    return { text: answerOf(random), way: random.below(4) }
  })
  const bad = `http://127.0.0.1:${(mallory.address() as AddressInfo).port}`
  deputy = await startChild({
    upstream: good.origin,
    config: { providers: [providersAt(bad)[0], providersAt(good.origin)[1]] },
    held: [
      { person: 'alice', connection: 'acme', token: MALLORY },
      { person: 'bob', connection: 'stream', token: BOB },
    ],
  })
})
afterAll(async () => {
  await deputy.close()
  mallory.close()
  await good.close()
})

/** Calls of the second person, one after the other, until `over`. @returns how each ended */
const bobAtWork = (over: () => boolean): Promise<readonly string[]> => {
  const host = new URL(deputy.agent).host
  const ask = async (n: number): Promise<string> => {
    const text = lines(`GET /api.stream.test/${n} HTTP/1.1`, `Host: ${host}`, 'Deputy-User: bob')
    const answer = await sendRaw(deputy.agent, text, { ms: 15_000 })
    return `${answer.status} ${String(answer.json['login'])}`
  }
  const all = async (): Promise<readonly string[]> => {
    const ends: string[] = []
    for (let n = 0; !over() || n < 50; n++)
      ends.push(await ask(n).catch((error: unknown) => String(error)))
    return ends
  }
  return all()
}

/** Everybody else does `work`; meanwhile the second person loses nothing, and afterwards all is well. */
const besides = async (work: () => Promise<void>): Promise<void> => {
  let over = false
  const ends = bobAtWork(() => over)
  try {
    await work()
  } finally {
    over = true
  }
  const all = await ends
  expect(all.filter((end) => end !== '200 bob')).toEqual([])
  expect(all.length).toBeGreaterThanOrEqual(50)
  expect(deputy.alive()).toBe(true)
  expect((await fetch(`http://${deputy.admin}/livez`)).status).toBe(200)
  expect(deputy.logged()).not.toMatch(/"msg":"(?:uncaught|unhandled|a call failed beyond)/)
}

describe('while a second person works', () => {
  test(`${ANSWERS} mutated answers of a provider`, async () => {
    const host = new URL(deputy.agent).host
    const call = async (): Promise<void> => {
      const body = random.one(['', '{"title":"x"}', 'x'.repeat(200_000)])
      const target = random.one(['/a', '/notes', '/upload/x'])
      const text = lines(
        `${body === '' ? 'GET' : 'POST'} /api.acme.test${target} HTTP/1.1`,
        `Host: ${host}`,
        'Deputy-User: alice',
        ...(body === '' ? [] : [`Content-Length: ${body.length}`]),
      )
      // Whatever comes of it: an answer, or an end.
      await sendRaw(deputy.agent, text + body, { ms: 2_000 }).catch(() => undefined)
    }
    await besides(async () => {
      // A call that is refused, or that finds a connection gone, draws no answer.
      for (const enough = () => said >= ANSWERS; !enough();) await inTurns(200, call)
    })
    expect(said).toBeGreaterThanOrEqual(ANSWERS)
  })

  test(`${REQUESTS} mutated requests at every listener`, async () => {
    const origins = [deputy.agent, deputy.agent, deputy.connect, `http://${deputy.admin}`]
    const call = async (): Promise<void> => {
      const origin = random.one(origins)
      const { socket, received, ended } = await dial(origin)
      socket.write(Buffer.from(requestOf(new URL(origin).host, random), 'latin1'))
      const patience = new Promise((resolve) => setTimeout(resolve, random.below(30)))
      await Promise.race([ended, patience])
      if (random.below(2) === 0) socket.resetAndDestroy()
      else socket.end()
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 20))])
      received()
      socket.destroy()
    }
    await besides(() => inTurns(REQUESTS, call))
  })
})
