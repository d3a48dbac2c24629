// A provider that stops in the middle, and a caller who takes nothing: each ends with upstream.idle_timeout, with its
// outcome in the evidence, and what goes on slowly does not end.
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { startDeputy, until, type Deputy } from '../support/deputy.ts'
import { dial, lines, parseAnswer, sendRaw } from '../support/raw.ts'

const TOKEN = 'at-alice-of-the-provider-0123456789'
let server: Server
let deputy: Deputy
const sockets = new Set<Socket>()
/** What the provider does with a connection. */
let act: (socket: Socket) => void = () => undefined
let gone = 0

beforeAll(async () => {
  server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => {
      sockets.delete(socket)
      gone++
    })
    act(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  deputy = await startDeputy({
    upstream: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    held: ['acme', 'stream'].map((connection) => ({ person: 'alice', connection, token: TOKEN })),
    config: { upstream: { connect_timeout: '1s', idle_timeout: '2s' } },
  })
})
afterAll(async () => {
  await deputy.close()
  for (const socket of sockets) socket.destroy()
  server.close()
})
beforeEach(() => {
  gone = 0
})

const head = (method: string, target: string, ...more: readonly string[]): string =>
  lines(`${method} ${target} HTTP/1.1`, 'Host: 127.0.0.1', 'Deputy-User: alice', ...more)
const outcome = () => deputy.evidence().findLast(({ event }) => event === 'outcome')
/** Says this to the first bytes of each connection. */
const saying = (text: string, then: (socket: Socket) => void = () => undefined) => {
  act = (socket) =>
    void socket.once('data', () => {
      socket.write(text)
      then(socket)
    })
}

test.each([
  ['a stream', '/api.stream.test/a', 'Content-Type: text/event-stream\r\n\r\ndata: 1\n\n'],
  ['a body with a length', '/api.stream.test/a', 'Content-Length: 9\r\n\r\nhalf'],
])('a head, %s begun, and then nothing: cut, and the evidence says so', async (_, path, rest) => {
  saying(`HTTP/1.1 200 OK\r\n${rest}`)
  const answer = await sendRaw(deputy.agent, head('GET', path))
  expect([answer.status, answer.whole]).toEqual([200, false])
  await expect.poll(outcome).toMatchObject({ result: 'interrupted', status: 200 })
  await expect.poll(() => gone).toBe(1)
})

test('an answer that has to be read whole, and stops: 504, since nothing of it was passed on', async () => {
  saying('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"next":')
  const answer = await sendRaw(deputy.agent, head('GET', '/api.acme.test/a'))
  expect([answer.status, answer.json['code']]).toEqual([504, 'upstream_timeout'])
})

test('two bytes a second are slow, and go on for longer than idle_timeout', async () => {
  saying('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n', (socket) => {
    let left = 9
    const drip = setInterval(() => {
      socket.write('x')
      if (--left === 0) clearInterval(drip)
    }, 500)
  })
  const began = performance.now()
  const answer = await sendRaw(deputy.agent, head('GET', '/api.stream.test/a'))
  expect([answer.status, answer.body.toString(), answer.whole]).toEqual([200, 'xxxxxxxxx', true])
  expect(performance.now() - began).toBeGreaterThan(4_000)
})

test('a provider that never reads the upload: 504, and it is said that the call left', async () => {
  act = (socket) => void socket.pause()
  const size = 64 * 1024 * 1024
  const { socket, received } = await dial(deputy.agent)
  const more = ['Content-Type: application/octet-stream', `Content-Length: ${size}`]
  socket.write(head('PUT', '/api.stream.test/a', ...more))
  const chunk = Buffer.alloc(1024 * 1024)
  for (let sent = 0; sent < size; sent += chunk.length) socket.write(chunk)
  await until(() => parseAnswer(received())?.whole === true, 'the answer')
  const answer = parseAnswer(received())
  expect([answer?.status, answer?.json['code'], answer?.json['sent']]).toEqual([
    504,
    'upstream_timeout',
    true,
  ])
  await expect.poll(outcome).toMatchObject({ result: 'upstream_timeout', sent: true })
  socket.destroy()
})

test('a caller who never reads: the provider is let go, the call has its end, and both connections are gone', async () => {
  saying('HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n', (socket) => {
    const chunk = Buffer.alloc(256 * 1024, 97)
    const more = (): void => {
      while (!socket.destroyed && socket.write(chunk));
    }
    socket.on('drain', more)
    more()
  })
  const { socket, ended } = await dial(deputy.agent)
  socket.pause()
  socket.write(head('GET', '/api.stream.test/a'))
  await expect.poll(() => gone).toBe(1)
  await expect.poll(outcome).toMatchObject({ result: 'interrupted', status: 200 })
  socket.resume()
  await ended
})
