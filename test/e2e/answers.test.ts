// Providers that answer in unusual ways, on real sockets: what the agent is told, when, and that the token stays out of it.
import { createServer, type Server, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { startDeputy, type Deputy } from '../support/deputy.ts'
import { dial, parseAnswer } from '../support/raw.ts'

const TOKEN = 'token-of-alice-0123456789=='
let answer: (socket: Socket, head: string) => void
let provider: Server
let deputy: Deputy
const sockets = new Set<Socket>()

beforeEach(async () => {
  provider = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.once('data', (bytes) => answer(socket, bytes.toString('latin1')))
  })
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve))
  const address = provider.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  deputy = await startDeputy({
    upstream: `http://127.0.0.1:${port}`,
    held: [
      { person: 'alice', token: TOKEN },
      { person: 'bob', token: 'token-of-bob-0123456789' },
      { person: 'bob', connection: 'stream', token: 'token-of-bob-0123456789' },
    ],
  })
})
afterEach(async () => {
  await deputy.close()
  for (const socket of sockets) socket.destroy()
  await new Promise((resolve) => provider.close(resolve))
})

const call = (path = '/notes', init: RequestInit = {}): Promise<Response> =>
  fetch(`${deputy.agent}/api.acme.test${path}`, {
    ...init,
    headers: { 'deputy-user': 'alice' },
  })
const says = (text: string | Buffer): void => {
  answer = (socket) => void socket.write(text)
}

test.each(['100 Continue', '102 Processing', '103 Early Hints'])(
  'a %s that nobody asked for is passed over, and the answer comes',
  async (status) => {
    says(`HTTP/1.1 ${status}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine`)
    const got = await call()
    expect([got.status, await got.text()]).toEqual([200, 'fine'])
  },
)

test('a 101 that nobody asked for is a protocol error, and the document says that the call was sent', async () => {
  says('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n')
  const got = await call()
  expect(got.status).toBe(502)
  expect(got.headers.get('proxy-status')).toContain('error=http_protocol_error')
  expect(await got.json()).toMatchObject({ code: 'upstream_unreachable', sent: true })
})

test('a connection that is refused says so, and that nothing was sent', async () => {
  await new Promise((resolve) => provider.close(resolve))
  const got = await call()
  expect(got.headers.get('proxy-status')).toContain('error=connection_refused')
  expect(await got.json()).toMatchObject({ sent: false })
})

test('a 204 loses its length', async () => {
  says('HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n')
  const got = await call()
  expect([got.status, got.headers.get('content-length')]).toEqual([204, null])
})

test.each([
  ['two lines', 'Content-Encoding: identity\r\nContent-Encoding: gzip\r\n'],
  ['a list', 'Content-Encoding: gzip, identity\r\n'],
  ['x-gzip', 'Content-Encoding: x-gzip\r\n'],
])('a coding in %s is undone and searched', async (_how, lines) => {
  const body = gzipSync(`{"a":"${TOKEN}"}`)
  answer = (socket) => {
    socket.write(`HTTP/1.1 200 OK\r\n${lines}Content-Length: ${body.length}\r\n\r\n`)
    socket.write(body)
  }
  expect(await (await call()).text()).toMatch(/^\{"a":"\[redacted\]\**"\}$/)
})

test('nothing in a coding is nothing', async () => {
  says('HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n')
  const got = await call()
  expect([got.status, await got.text()]).toEqual([200, ''])
})

test.each(['compress', 'gzip, br'])(
  'a coding %s that cannot be undone is refused',
  async (coding) => {
    says(`HTTP/1.1 200 OK\r\nContent-Encoding: ${coding}\r\nContent-Length: 1\r\n\r\nx`)
    expect(await (await call()).json()).toMatchObject({ code: 'answer_not_redactable' })
  },
)

const partial = (body: string | Buffer, type = 'text/plain'): void =>
  says(
    Buffer.concat([
      Buffer.from(
        `HTTP/1.1 206 Partial\r\nContent-Type: ${type}\r\nContent-Range: bytes 0-9/99\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`,
      ),
      Buffer.from(body),
    ]),
  )

test('a range shows no part of the token, neither where it begins nor where it ends', async () => {
  partial(`${TOKEN.slice(-12)} and more, ${TOKEN.slice(0, 10)}`)
  expect(await (await call()).text()).toBe(`${'*'.repeat(12)} and more, ${'*'.repeat(10)}`)
  partial(TOKEN.slice(3, 20))
  expect(await (await call()).text()).toBe('*'.repeat(17))
  const masked = () =>
    deputy.evidence().flatMap((line) => (line.event === 'outcome' ? [line['masked']] : []))
  await expect.poll(masked).toEqual([2, 1])
})

test('a download goes on where it ended: a long range is asked for, a short one and several are not', async () => {
  let asked = ''
  answer = (socket, head) => {
    asked = /^range: (.*)$/im.exec(head)?.[1]?.trim() ?? 'none'
    socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine')
  }
  for (const [range, goes] of [
    ['bytes=1000-', true],
    ['bytes=0-1048575', true],
    ['bytes=0-20', false],
    ['bytes=21-40', false],
    ['bytes=0-9999,20000-29999', false],
  ] as const) {
    const got = await fetch(`${deputy.agent}/api.stream.test/f`, {
      headers: { 'deputy-user': 'bob', range },
    })
    expect([range, await got.text(), asked]).toEqual([range, 'fine', goes ? range : 'none'])
  }
})

test.each([
  ['several parts', 206, 'multipart/byteranges; boundary=x'],
  ['UTF-7', 200, 'text/html; charset=utf-7'],
  ['EBCDIC', 200, 'text/plain; charset="IBM037"'],
])('an answer in %s cannot be searched, and is refused', async (_what, status, type) => {
  says(
    `HTTP/1.1 ${status} X\r\nConnection: close\r\nContent-Type: ${type}\r\nContent-Length: 1\r\n\r\nx`,
  )
  const got = await call()
  expect([got.status, await got.json()]).toMatchObject([502, { code: 'answer_not_redactable' }])
  const bodyless = await call('/notes', { method: 'HEAD' })
  expect(bodyless.status).toBe(status)
})

test.each(['utf-16le', 'utf-16be'] as const)('an answer in %s is searched', async (charset) => {
  const little = Buffer.from(`a=${TOKEN};`, 'utf16le')
  const body = charset === 'utf-16le' ? little : Buffer.from(little).swap16()
  says(
    Buffer.concat([
      Buffer.from(
        `HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=${charset}\r\nContent-Length: ${body.length}\r\n\r\n`,
      ),
      body,
    ]),
  )
  const text = Buffer.from(await (await call()).arrayBuffer()).toString('latin1')
  expect(text.replaceAll('\0', '')).toMatch(/^a=\[redacted\]\**;$/)
})

test('a challenge that echoes the token leaves it in no answer', async () => {
  says(
    `HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer error="insufficient_user_authentication", acr_values="${TOKEN}"\r\nContent-Length: 0\r\n\r\n`,
  )
  const got = await call()
  expect(got.status).toBe(403)
  expect(await got.text()).not.toContain(TOKEN)
})

test('a header whose name is the token is left out', async () => {
  says(
    `HTTP/1.1 200 OK\r\nx-${TOKEN.replaceAll('=', '')}: 1\r\nx-b: ${TOKEN}\r\nContent-Length: 0\r\n\r\n`,
  )
  const got = await call()
  expect(got.headers.get('x-b')).toMatch(/^\[redacted\]\**$/)
})

test('a provider that answers before it has read the upload does not leave the caller waiting', async () => {
  answer = (socket) => {
    socket.pause()
    socket.write('HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig')
  }
  const body = Buffer.alloc(8 * 1024 * 1024, 'x')
  const { socket, received } = await dial(deputy.agent)
  socket.write(
    `POST /api.acme.test/upload/x HTTP/1.1\r\nHost: 127.0.0.1\r\nDeputy-User: alice\r\nContent-Type: application/octet-stream\r\nContent-Length: ${body.length}\r\n\r\n`,
  )
  // As a client does that looks at the answer only once its body has left.
  await new Promise((resolve, reject) =>
    socket.write(body, (error) => (error ? reject(error) : resolve(null))),
  )
  expect(parseAnswer(received())?.status).toBe(413)
  socket.destroy()
})

test('300 calls of one person’s agent that hang keep nobody else from the provider', async () => {
  answer = (socket, head) => {
    if (!head.includes('/hang')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine')
  }
  const leave = new AbortController()
  const hanging = Array.from({ length: 300 }, () =>
    call('/hang', { signal: leave.signal }).catch(() => null),
  )
  while (sockets.size < 300) await new Promise((resolve) => setTimeout(resolve, 20))
  expect(await (await call()).text()).toBe('fine')
  leave.abort()
  await Promise.all(hanging)
})
