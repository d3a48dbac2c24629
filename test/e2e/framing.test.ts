// Requests that are not what they say, and callers who leave or stand still: each gets one right end, and one record.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Socket } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { startDeputy, until, type Deputy, type EvidenceLine } from '../support/deputy.ts'
import { dial, lines, sendRaw } from '../support/raw.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const TOKEN = 'at-alice-of-the-provider-0123456789'
const withoutTls = opensslMissing()
const folder = mkdtempSync(join(tmpdir(), 'deputy-framing-'))
let upstream: Upstream
let deputy: Deputy
let host: string
/** Tables are written before there is a deputy. */
const HERE = '{here}'

beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  const listen = '127.0.0.1:0'
  const { cert, key } = withoutTls === '' ? makeCertificate(folder) : { cert: '', key: '' }
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: ['acme', 'stream'].map((connection) => ({ person: 'alice', connection, token: TOKEN })),
    config: {
      listeners: {
        agent: listen,
        admin: listen,
        connect: listen,
        ...(withoutTls === '' ? { agent_tls: { listen, cert, key } } : {}),
      },
    },
  })
  host = new URL(deputy.agent).host
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
  rmSync(folder, { recursive: true })
})
beforeEach(() => {
  upstream.seen.length = 0
  upstream.handle = null
  upstream.early = null
})

const head = (start: string, ...more: readonly string[]): string =>
  lines(start, `Host: ${HERE}`, 'Deputy-User: alice', ...more)
const GET = (path: string, ...more: readonly string[]): string =>
  head(`GET /api.acme.test/${path} HTTP/1.1`, ...more)
/** A type that passes unread at the one provider; at the other the body is read before policy is asked. */
const TYPES = { acme: 'text/plain', stream: 'application/octet-stream' } as const
const POST = (at: 'acme' | 'stream', ...more: readonly string[]): string =>
  head(`POST /api.${at}.test/a HTTP/1.1`, `Content-Type: ${TYPES[at]}`, ...more)

/** Says it on a connection of its own and waits until deputy has closed that. @returns status lines, all bytes, records */
const said = async (
  text: string,
  then: (socket: Socket, received: () => string) => unknown = () => undefined,
) => {
  const before = deputy.evidence().length
  const { socket, received, ended } = await dial(deputy.agent)
  socket.write(Buffer.from(text.replaceAll(HERE, host), 'latin1'))
  const bytes = (): string => received().toString('latin1')
  await then(socket, bytes)
  await ended
  // A refusal and an outcome are written a moment later: a decision of ours is written after them.
  const mark = lines('GET /api.stream.test/mark HTTP/1.1', `Host: ${host}`, 'Deputy-User: marker')
  await sendRaw(deputy.agent, mark)
  const all = () => deputy.evidence().slice(before)
  const marked = ({ user }: EvidenceLine): boolean =>
    (user as { id?: string } | undefined)?.id === 'marker'
  await expect.poll(() => all().some(marked)).toBe(true)
  return {
    statuses:
      bytes()
        .match(/HTTP\/1\.1 \d+/g)
        ?.map((line) => Number(line.slice(9))) ?? [],
    codes: [...bytes().matchAll(/^deputy-answer: (\S+)/gim)].map(([, code]) => code),
    bytes: bytes(),
    records: all()
      .filter((line) => line.event !== 'chain.anchor' && !marked(line))
      .map(({ event, code, result }) => [event, code ?? result].filter(Boolean).join(' ')),
  }
}
const paths = (): readonly string[] => upstream.seen.map(({ method, url }) => `${method} ${url}`)

describe('what follows is not carried out', () => {
  test('after Connection: close', async () => {
    const { statuses } = await said(GET('one', 'Connection: close') + GET('two'))
    expect([statuses, paths()]).toEqual([[200], ['GET /one']])
  })
  test('after a request of HTTP/1.0', async () => {
    for (const more of [[], ['Connection: keep-alive']]) {
      upstream.seen.length = 0
      const one = head('GET /api.acme.test/one HTTP/1.0', ...more)
      expect([(await said(one + GET('two'))).statuses, paths()]).toEqual([[200], ['GET /one']])
    }
  })
  test.each([
    ['two lengths', POST('acme', 'Content-Length: 0', 'Content-Length: 0')],
    [
      'a length and chunks',
      `${POST('acme', 'Content-Length: 5', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
    ],
    [
      'chunks and a length',
      `${POST('acme', 'Transfer-Encoding: chunked', 'Content-Length: 5')}0\r\n\r\n`,
    ],
    ['a coding in the spelling of CGI', POST('acme', 'Transfer_Encoding: chunked')],
    ['a length in the spelling of CGI', POST('acme', 'Content_Length: 9')],
    ['a coding that is none', POST('acme', 'Transfer-Encoding: identity')],
    [
      'chunks in HTTP/1.0',
      `${head('POST /api.acme.test/a HTTP/1.0', 'Connection: keep-alive', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
    ],
    [
      'Connection that names a length',
      POST('acme', 'Connection: content-length', 'Content-Length: 0'),
    ],
    [
      'the same for deputy’s own API',
      head('POST /v1/auth/authorize HTTP/1.1', 'Transfer_Encoding: chunked'),
    ],
  ])('after %s', async (_name, text) => {
    const { statuses, codes, records } = await said(text + GET('two'))
    expect({ statuses, codes, records }).toEqual({
      statuses: [400],
      codes: ['request_invalid'],
      records: ['refused request_invalid'],
    })
    expect(paths()).toEqual([])
  })
  test.each(['HTTP/2.0', 'HTTP/0.9'])('after a request line of %s', async (version) => {
    const { codes, records } = await said(head(`GET /api.acme.test/a ${version}`) + GET('two'))
    expect(codes).toEqual(['http_version_unsupported'])
    expect(records).toEqual(['refused http_version_unsupported'])
    expect(paths()).toEqual([])
  })
})

describe('bytes that belong to nothing', () => {
  test.each(['acme', 'stream'] as const)(
    'behind a whole POST to %s: it is carried out and gets its own answer',
    async (at) => {
      const { statuses, records } = await said(
        `${POST(at, 'Content-Length: 5')}hello and more\r\n\r\n`,
      )
      expect([statuses, paths()]).toEqual([[200], ['POST /a']])
      expect(upstream.seen[0]?.body.toString()).toBe('hello')
      expect(records).toEqual(['decision', 'outcome ok'])
    },
  )
  test('in the middle of an answer: it goes on to its end', async () => {
    let finish: () => void = () => undefined
    upstream.handle = (_seen, res) => {
      res.writeHead(200, { 'content-length': 10 }).write('hello')
      finish = () => res.end('world')
    }
    const { bytes, statuses } = await said(GET('a'), async (socket, received) => {
      await until(() => received().includes('hello'), 'half an answer')
      await new Promise<void>((resolve) => socket.write('\0\xff\r\n\r\n', () => resolve()))
      // Whatever it makes of them is said before another call is answered.
      await fetch(`http://${deputy.admin}/livez`)
      finish()
    })
    expect(statuses).toEqual([200])
    expect(bytes.endsWith('helloworld')).toBe(true)
  })
  test('in a body whose answer has begun: nothing more is said', async () => {
    upstream.early = (_req, res) => {
      res.writeHead(200, { 'content-length': 10 }).write('hello')
      return true
    }
    const { bytes, statuses, records } = await said(
      `${POST('stream', 'Transfer-Encoding: chunked')}1\r\na\r\n`,
      async (socket, received) => {
        await until(() => received().includes('hello'), 'half an answer')
        socket.write('zz\r\n')
      },
    )
    expect(statuses).toEqual([200])
    expect(bytes.endsWith('hello')).toBe(true)
    expect(records).toEqual(['decision', 'outcome interrupted'])
  })
  test.each([
    [
      'at once',
      `${POST('acme', 'Transfer-Encoding: chunked')}zz\r\n`,
      '',
      ['refused request_invalid'],
    ],
    [
      'while the body is inspected',
      `${POST('acme', 'Transfer-Encoding: chunked')}1\r\na\r\n`,
      'zz\r\n',
      ['refused request_invalid'],
    ],
    [
      'while the body streams',
      `${POST('stream', 'Transfer-Encoding: chunked')}1\r\na\r\n`,
      'zz\r\n',
      ['decision', 'outcome request_invalid'],
    ],
  ])('in a body %s: 400, once', async (_name, first, second, wanted) => {
    const { statuses, codes, records } = await said(first, async (socket) => {
      if (second === '') return
      await new Promise((resolve) => setTimeout(resolve, 50))
      socket.write(second)
    })
    expect({ statuses, codes, records }).toEqual({
      statuses: [400],
      codes: ['request_invalid'],
      records: wanted,
    })
  })
})

describe('a caller who leaves in mid-body', () => {
  const half = (at: 'acme' | 'stream'): string => `${POST(at, 'Content-Length: 50')}hello`
  const ways = [
    ['closes', (socket: Socket) => socket.destroy()],
    ['resets', (socket: Socket) => socket.resetAndDestroy()],
    ['half-closes', (socket: Socket) => socket.end()],
  ] as const
  test.each(ways)('before policy was asked, and %s: nobody was refused', async (_name, leave) => {
    for (const pause of [0, 30]) {
      const { records } = await said(half('acme'), async (socket) => {
        await new Promise((resolve) => setTimeout(resolve, pause))
        leave(socket)
      })
      expect(records).toEqual([])
    }
  })
  test.each(ways)('whose call was on its way, and %s: one outcome', async (_name, leave) => {
    let arrived = false
    upstream.early = (req) => {
      req.on('data', () => (arrived = true)).on('error', () => undefined)
      return true
    }
    const { records } = await said(half('stream'), async (socket) => {
      await until(() => arrived, 'the first bytes at the provider')
      leave(socket)
    })
    expect(records).toEqual(['decision', 'outcome interrupted'])
    arrived = false
  })
})

describe('Expect', () => {
  const expecting = (text: string): string =>
    text.replace('\r\n\r\n', '\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n')
  test.each(['acme', 'stream'] as const)(
    '100-continue: 100 once the call may go on, at %s',
    async (at) => {
      const { statuses } = await said(
        expecting(POST(at, 'Connection: close')),
        async (socket, received) => {
          await until(() => received().startsWith('HTTP/1.1 100'), '100')
          socket.write('hello')
        },
      )
      expect([statuses, paths()]).toEqual([[100, 200], ['POST /a']])
    },
  )
  test.each([
    ['nobody’s host', head('POST /evil.test/a HTTP/1.1'), 'route_not_found'],
    ['an ambiguous header', POST('acme', 'Content_Type: x'), 'request_invalid'],
  ])('100-continue, refused for %s: no 100', async (_name, text, code) => {
    const { statuses, codes } = await said(expecting(text))
    expect(statuses).toHaveLength(1)
    expect(codes).toEqual([code])
  })
  test('100-continue, refused for its size, its person or by policy: no 100', async () => {
    const large = POST('acme', 'Expect: 100-continue', 'Content-Length: 5000000')
    expect((await said(large)).statuses).toEqual([413])
    const nobody = lines('POST /api.acme.test/a HTTP/1.1', `Host: ${HERE}`)
    expect((await said(expecting(nobody))).statuses).toEqual([401])
    const stranger = lines(
      'POST /api.stream.test/a HTTP/1.1',
      `Host: ${HERE}`,
      'Deputy-User: mallory',
      'Content-Type: application/octet-stream',
    )
    expect((await said(expecting(stranger))).statuses).toEqual([403])
    expect(paths()).toEqual([])
  })
  test('anything else is 417, with a code and a record', async () => {
    const { statuses, codes, records } = await said(
      POST('acme', 'Expect: foo', 'Content-Length: 0'),
    )
    expect({ statuses, codes, records }).toEqual({
      statuses: [417],
      codes: ['expectation_failed'],
      records: ['refused expectation_failed'],
    })
  })
  test('of HTTP/1.0 nothing is expected', async () => {
    const { statuses } = await said(head('GET /api.acme.test/a HTTP/1.0', 'Expect: foo'))
    expect(statuses).toEqual([200])
  })
})

describe('a tunnel would hide the call', () => {
  test.each([
    ['api.acme.test:443', () => `base URL to ${deputy.agent}/api.acme.test instead of HTTPS_PROXY`],
    ['API.acme.TEST:443', () => `with HTTP_PROXY=${deputy.agent}`],
    ['pypi.test:443', () => 'no connection of this deputy serves that host'],
    ['[::1]:443', () => 'no connection of this deputy serves that host'],
    ['a b', () => 'HTTP/1.1 400'],
  ])(
    'CONNECT %s: the reason phrase, which is all that clients show, says what to set',
    async (to, words) => {
      const { statuses, bytes, codes } = await said(
        lines(`CONNECT ${to} HTTP/1.1`, `Host: ${to}`, 'Deputy-User: alice'),
      )
      expect(bytes.split('\r\n')[0]).toContain(words())
      expect(statuses).toEqual([to === 'a b' ? 400 : 405])
      if (to !== 'a b') expect(codes).toEqual(['method_not_allowed'])
      expect(paths()).toEqual([])
    },
  )
})

describe('refusals of large uploads arrive', () => {
  const MB = 1_048_576
  const body = Buffer.alloc(8 * MB, 97)
  const refusals = [
    ['/api.acme.test/a', {}, '401 unauthenticated'],
    [
      '/api.stream.test/a',
      { 'deputy-user': 'mallory', 'content-type': 'application/octet-stream' },
      '403 policy_denied',
    ],
    ['/api.acme.test/a', { 'deputy-user': 'alice' }, '413 request_too_large'],
    ['/evil.test/a', { 'deputy-user': 'alice' }, '404 route_not_found'],
    ['/api.acme.test/a', { origin: 'http://evil.test' }, '403 browser_refused'],
    ['/v1/auth/authorize', { 'deputy-user': 'alice' }, '413 request_too_large'],
  ] as const
  test.each(refusals)('%s of %o to Node’s fetch: %s', async (path, headers, wanted) => {
    const ask = (): Promise<string> =>
      fetch(deputy.agent + path, { method: 'POST', body, headers }).then(
        async (answer) => {
          await answer.arrayBuffer()
          return `${answer.status} ${answer.headers.get('deputy-answer')}`
        },
        (error: unknown) => String((error as Error).cause),
      )
    const alone = []
    for (let i = 0; i < 15; i++) alone.push(await ask())
    const together = await Promise.all(Array.from({ length: 15 }, ask))
    expect([...alone, ...together].filter((one) => one !== wanted)).toEqual([])
  })
  /** Sends all of it before it reads anything, as many clients do. */
  const script = (url: string, headers: object): string => `
import http.client, ssl
from urllib.parse import urlsplit
u = urlsplit(${JSON.stringify(url)})
c = http.client.HTTPSConnection(u.netloc, context=ssl._create_unverified_context()) if u.scheme == 'https' else http.client.HTTPConnection(u.netloc)
c.request('POST', u.path, b'a' * ${body.length}, ${JSON.stringify(headers)})
r = c.getresponse()
print(r.status, r.headers['deputy-answer'])
`
  const run = (code: string): Promise<string> =>
    new Promise((resolve) => {
      execFile('python3', ['-c', code], (error, out) =>
        resolve(error === null ? out.trim() : error.message),
      )
    })
  test.each(refusals)('%s of %o to Python: %s', async (path, headers, wanted) => {
    const tls = (deputy.addresses['agent_tls'] ?? '').replace('127.0.0.1', 'localhost')
    for (const origin of tls === '' ? [deputy.agent] : [deputy.agent, tls])
      expect([origin, await run(script(origin + path, headers))]).toEqual([origin, wanted])
  })
})
