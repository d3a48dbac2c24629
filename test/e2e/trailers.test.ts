// What follows a chunked body, both ways: the harmless of the provider's reaches the agent, all else is named.
import { createServer, type Server, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { startDeputy, type Deputy } from '../support/deputy.ts'
import { lines, sendRaw } from '../support/raw.ts'

const TOKEN = 'token-of-alice-0123456789'
const RUN = `dpr_${'x1'.repeat(22).slice(0, 43)}`
let provider: Server
let deputy: Deputy
let received = ''
let said: string | Buffer

beforeAll(async () => {
  provider = createServer((socket: Socket) => {
    socket.on('error', () => socket.destroy())
    let bytes = ''
    socket.on('data', (chunk) => {
      bytes += chunk.toString('latin1')
      const whole = bytes.startsWith('GET') ? bytes.includes('\r\n\r\n') : bytes.includes('hello')
      if (!whole) return
      received = bytes
      socket.end(said)
    })
  })
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve))
  const address = provider.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  deputy = await startDeputy({
    upstream: `http://127.0.0.1:${port}`,
    held: ['acme', 'stream'].map((connection) => ({ person: 'alice', connection, token: TOKEN })),
  })
})
afterAll(async () => {
  await deputy.close()
  await new Promise((resolve) => provider.close(resolve))
})
beforeEach(() => {
  received = ''
  said = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
})

const get = (version = '1.1') =>
  sendRaw(
    deputy.agent,
    `GET /api.acme.test/a HTTP/${version}\r\nHost: 127.0.0.1\r\nDeputy-User: alice\r\nConnection: close\r\n\r\n`,
  )
const outcome = (): unknown => deputy.evidence().findLast(({ event }) => event === 'outcome')
const chunked = (head: string, body: Buffer, trailers: string): Buffer =>
  Buffer.concat([
    Buffer.from(
      `HTTP/1.1 200 OK\r\n${head}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n`,
    ),
    body,
    Buffer.from(`\r\n0\r\n${trailers}\r\n`, 'latin1'),
  ])
const TRAILERS = [
  'X-Checksum: abc',
  `X-Echo: ${TOKEN}`,
  `X-${TOKEN}: 1`,
  'Content-Digest: sha-256=:x:',
  'Set-Cookie: a=b',
  'WWW-Authenticate: Bearer',
  'Authentication-Info: x',
  'Deputy-Answer: policy_denied',
  'Proxy-Status: x',
  'Location: https://evil.test/',
  'Host: evil.test',
  'Cache-Control: public',
]
  .map((line) => `${line}\r\n`)
  .join('')
const NAMES = [
  'trailer:[redacted]',
  'trailer:set-cookie',
  'trailer:www-authenticate',
  'trailer:authentication-info',
  'trailer:deputy-answer',
  'trailer:proxy-status',
  'trailer:location',
  'trailer:host',
  'trailer:cache-control',
]

test('of a provider’s trailers the harmless pass, searched; the others are named in the evidence', async () => {
  said = chunked('', Buffer.from('hello'), TRAILERS)
  const answer = await get()
  const raw = answer.raw.toString('latin1')
  expect(raw.slice(raw.indexOf('\r\n0\r\n'))).toMatch(
    /^\r\n0\r\nX-Checksum: abc\r\nX-Echo: \[redacted\]\**\r\nContent-Digest: sha-256=:x:\r\n\r\n$/,
  )
  await expect.poll(outcome).toMatchObject({ dropped: NAMES })
})

test('a digest of what was unpacked says nothing any more', async () => {
  said = chunked('Content-Encoding: gzip\r\n', gzipSync('hello'), 'Content-Digest: x\r\nX-A: 1\r\n')
  const raw = (await get()).raw.toString('latin1')
  expect(raw).toContain('\r\n0\r\nX-A: 1\r\n\r\n')
  await expect.poll(outcome).toMatchObject({ dropped: ['trailer:content-digest'] })
})

test('who speaks HTTP/1.0 gets none, and they are named', async () => {
  said = chunked('', Buffer.from('hello'), 'X-Old: 1\r\n')
  expect((await get('1.0')).raw.toString()).toMatch(/\r\n\r\nhello$/)
  await expect.poll(outcome).toMatchObject({ dropped: ['trailer:x-old'] })
})

test.each([
  ['a body that is read, in the decision', 'api.acme.test', 'decision'],
  ['a streamed body, in the outcome', 'api.stream.test', 'outcome'],
])('an agent’s trailers do not leave, and are named: %s', async (_what, host, event) => {
  const type = event === 'decision' ? 'text/plain' : 'application/octet-stream'
  const answer = await sendRaw(
    deputy.agent,
    `${lines(
      `POST /${host}/a HTTP/1.1`,
      'Host: 127.0.0.1',
      'Deputy-User: alice',
      `Content-Type: ${type}`,
      'Transfer-Encoding: chunked',
    )}5\r\nhello\r\n0\r\nX-Sum: ${RUN}\r\nAuthorization: Bearer other\r\n${RUN}: 1\r\n\r\n`,
  )
  expect(answer.status).toBe(200)
  expect(received).toContain('hello')
  expect(received).not.toMatch(/x-sum|other|dpr_/i)
  await expect
    .poll(() => deputy.evidence().findLast((line) => line.event === event)?.['stripped'])
    .toEqual(['trailer:x-sum', 'trailer:authorization', 'trailer:[redacted]'])
  expect(JSON.stringify(deputy.evidence())).not.toContain('dpr_')
})
