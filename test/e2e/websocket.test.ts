// WebSockets, decided at their handshake: real clients and a real server (npm's ws) that knows people by their tokens.
import { createServer, request, type IncomingMessage, type Server } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { WebSocket, WebSocketServer, type RawData } from 'ws'
import { providersAt, startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { paced } from '../support/pace.ts'

/** What ws hands on is a Buffer here. */
const textOf = (data: RawData): string => (Buffer.isBuffer(data) ? data.toString() : 'no Buffer')
const TOKEN = 'at-alice-0123456789abcdef'
let server: Server
let deputy: Deputy
/** Handshakes that the provider got. */
let asked: IncomingMessage[] = []
/** What the provider's own answer to a handshake is instead; null: yes. */
let instead: ((socket: Socket, req: IncomingMessage) => void) | null
let origin = ''

beforeAll(async () => {
  server = createServer((req, res) => {
    asked.push(req)
    res.end('plain')
  })
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: true,
    handleProtocols: (offered) => [...offered][0] ?? false,
  })
  server.on('upgrade', (req, socket, head) => {
    asked.push(req)
    if (instead !== null) return instead(socket as Socket, req)
    if (req.headers.authorization !== `Bearer ${TOKEN}`)
      return void socket.end('HTTP/1.1 401 Unauthorized\r\ncontent-length: 3\r\n\r\nwho')
    sockets.handleUpgrade(req, socket, head, (client) => {
      client.send('hello alice')
      client.on('message', (data, binary) => {
        const text = textOf(data)
        if (text === 'echo the token') client.send(`you said ${TOKEN}, didn’t you?`)
        else if (text === 'bye') client.close(4001, 'as you wish')
        else client.send(data, { binary })
      })
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const [acme, ...others] = providersAt(origin)
  const rows = Array.isArray(acme?.['operations']) ? (acme['operations'] as Fields[]) : []
  const live = {
    id: 'acme.live',
    method: 'GET',
    path: '/live',
    access: 'write',
    scopes: [[]],
    websocket: ['chat'],
  }
  const hidden = { ...live, id: 'acme.hidden', path: '/hide/{what}' }
  const { use } = (TABLES['grants'] as { readonly acme: { readonly use: Fields } }).acme
  const hiding = (where: string): Fields => ({
    ...use,
    path: ['hide', where],
    obligations: { [where]: { type: 'redact', properties: { in: where, pointers: ['/a'] } } },
  })
  const acmes = { use, request: hiding('request'), response: hiding('response') }
  deputy = await startDeputy({
    upstream: origin,
    held: [{ person: 'alice', token: TOKEN }],
    tables: {
      ...TABLES,
      grants: { ...TABLES['grants'], acme: acmes },
      role_grants: { ...TABLES['role_grants'], acme: { user: Object.keys(acmes) } },
    },
    config: {
      providers: [{ ...acme, operations: [live, hidden, ...rows] }, ...others],
      upstream: { idle_timeout: '3s' },
    },
  })
})
afterAll(async () => {
  await deputy.close()
  server.closeAllConnections()
  server.close()
})
beforeEach(() => {
  asked = []
  instead = null
})

const at = (path = '/live'): string => `${deputy.agent.replace('http', 'ws')}/api.acme.test${path}`
const open = (
  headers: Record<string, string> = { 'deputy-user': 'alice' },
  protocols: string[] = [],
  path?: string,
) => {
  const socket = new WebSocket(at(path), protocols, { headers })
  const came: string[] = []
  socket.on('message', (data) => void came.push(textOf(data)))
  const closed = new Promise<[number, string]>((resolve) => {
    socket.on('close', (code, reason) => resolve([code, reason.toString()]))
  })
  const refused = new Promise<{
    status: number
    headers: IncomingMessage['headers']
    body: string
  }>((resolve) => {
    socket.on('unexpected-response', (_, res) => {
      let body = ''
      res.on('data', (chunk: Buffer) => void (body += chunk.toString()))
      res.on('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, body }))
    })
  })
  socket.on('error', () => undefined)
  return { socket, came, closed, refused }
}
const said = (came: readonly string[], n: number) => expect.poll(() => came.length).toBe(n)
const outcome = () => deputy.evidence().findLast(({ event }) => event === 'outcome')
const outcomes = () => deputy.evidence().filter(({ event }) => event === 'outcome').length

test('carries messages both ways as the person, is recorded, and ends as its ends do', async () => {
  const before = outcomes()
  const { socket, came, closed } = open(
    { 'deputy-user': 'alice', authorization: 'Bearer forged', cookie: 'a=b' },
    ['chat', 'openai-insecure-api-key.sk-forged', 'other'],
  )
  await said(came, 1)
  expect([came[0], socket.protocol, socket.extensions]).toEqual(['hello alice', 'chat', ''])
  const headers: IncomingMessage['headers'] = asked[0]?.headers ?? {}
  expect(headers['sec-websocket-protocol']).toBe('chat')
  expect(headers['sec-websocket-extensions']).toBeUndefined()
  expect(JSON.stringify(headers)).not.toMatch(/forged|deputy|cookie|alice@|a=b/)
  const big = 'ä'.repeat(200_000)
  for (const text of ['one', big, '']) socket.send(text)
  await said(came, 4)
  expect(came.slice(1)).toEqual(['one', big, ''])
  expect(deputy.evidence().findLast(({ event }) => event === 'decision')).toMatchObject({
    operation: { id: 'acme.live', access: 'write' },
    stripped: ['header:authorization', 'header:cookie', 'header:sec-websocket-protocol'],
    decision: { effect: 'allow' },
  })
  expect(outcomes()).toBe(before)
  socket.send('bye')
  expect(await closed).toEqual([4001, 'as you wish'])
  await expect.poll(outcomes).toBe(before + 1)
  expect(outcome()).toMatchObject({ result: 'ok', sent: true, status: 101 })
  expect(outcome()?.['bytes_in']).toBeGreaterThan(400_000)
  expect(outcome()?.['bytes_out']).toBeGreaterThan(400_000)
})

test('the token that a provider says back is masked, in a frame of the same length', async () => {
  const { socket, came } = open()
  await said(came, 1)
  socket.send('echo the token')
  await said(came, 2)
  expect(came[1]).toMatch(/^you said \[redacted\]\*+, didn’t you\?$/)
  expect(came[1]).toHaveLength(`you said ${TOKEN}, didn’t you?`.length)
  socket.terminate()
  await expect.poll(outcome).toMatchObject({ masked: 1 })
})

test('Node’s own WebSocket and path addressing by person work too', async () => {
  const url = at().replace('/api.acme', '/~alice/api.acme')
  const socket = new globalThis.WebSocket(url, 'chat')
  const first = await new Promise((resolve) => {
    socket.addEventListener('message', ({ data }) => resolve(data))
  })
  expect(first).toBe('hello alice')
  socket.close()
})

test.each<[string, Record<string, string>, string, number, string]>([
  ['nobody', {}, '/live', 401, 'unauthenticated'],
  ['somebody who has not connected', { 'deputy-user': 'bob' }, '/live', 403, 'consent_required'],
  [
    'a page',
    { 'deputy-user': 'alice', origin: 'https://x.example' },
    '/live',
    403,
    'browser_refused',
  ],
  ['what no row calls a WebSocket', { 'deputy-user': 'alice' }, '/notes', 400, 'request_invalid'],
])('%s is refused at the handshake, with a sentence', async (_, headers, path, status, code) => {
  const answer = await open(headers, [], path).refused
  expect([answer.status, answer.headers['deputy-answer']]).toEqual([status, code])
  expect(JSON.parse(answer.body)).toMatchObject({ status })
  expect(asked).toEqual([])
})

test('a call that should be a handshake is refused, and so is a faulty one', async () => {
  const get = (headers: Record<string, string>) =>
    fetch(at().replace('ws', 'http'), { headers: { 'deputy-user': 'alice', ...headers } })
  const plain = await get({})
  expect([plain.status, await plain.text()]).toEqual([400, expect.stringContaining('handshake')])
  const good = { 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==', 'sec-websocket-version': '13' }
  for (const wrong of [
    { 'sec-websocket-version': '8' },
    { 'sec-websocket-key': 'short' },
    { 'content-length': '1' },
  ]) {
    const upgrade = { connection: 'Upgrade', upgrade: 'websocket', 'deputy-user': 'alice' }
    const status = await new Promise((resolve) => {
      const sent = request(at().replace('ws', 'http'), {
        headers: { ...upgrade, ...good, ...wrong },
      })
      sent.on('response', (res) => resolve(res.resume().statusCode)).on('error', resolve)
      sent.on('upgrade', () => resolve(101))
      sent.end('content-length' in wrong ? 'x' : undefined)
    })
    expect([wrong, status]).toEqual([wrong, 400])
  }
  expect(asked).toEqual([])
})

/** What comes of these lines, until the connection ends or nothing came for a while. */
const spoken = (lines: readonly string[], ms = 1_000): Promise<string> =>
  new Promise((resolve) => {
    const { hostname, port } = new URL(deputy.agent)
    const socket = connect(Number(port), hostname)
    let came = ''
    socket.setTimeout(ms, () => socket.destroy())
    socket.on('data', (chunk) => void (came += chunk.toString('latin1')))
    socket.on('close', () => resolve(came))
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  })
const handshake = (...more: readonly string[]): readonly string[] => [
  'GET /api.acme.test/live HTTP/1.1',
  `Host: ${new URL(deputy.agent).host}`,
  'Deputy-User: alice',
  'Upgrade: websocket',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  'Sec-WebSocket-Version: 13',
  ...more,
]

test.each([[], ['Connection: close'], ['Connection: keep-alive']])(
  'without Connection: upgrade nothing that follows is both a frame and a request: %s',
  async (...more) => {
    expect(await spoken(handshake(...more))).toMatch(/^HTTP\/1\.1 400 /)
    expect(asked).toEqual([])
  },
)

test('who leaves before the answer takes the call along', async () => {
  instead = () => undefined
  const { socket } = open()
  await expect.poll(() => asked.length).toBe(1)
  const began = performance.now()
  socket.terminate()
  const left = { result: 'interrupted', status: null }
  await expect.poll(outcome).toMatchObject(left)
  expect(performance.now() - began).toBeLessThan(paced(1_500))
})

test.each(['request', 'response'])(
  'what policy wants hidden in the %s is never said',
  async (what) => {
    const answer = await open(undefined, [], `/hide/${what}`).refused
    expect([answer.status, answer.headers['deputy-answer']]).toEqual([403, 'obligation_refused'])
    expect(asked).toEqual([])
  },
)

test('the provider’s no is passed on as an answer', async () => {
  instead = (socket) =>
    void socket.end('HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno')
  const answer = await open().refused
  expect([answer.status, answer.headers['retry-after'], answer.body]).toEqual([429, '7', 'no'])
})

test.each<[string, string]>([
  ['another protocol', 'Upgrade: foo\r\nConnection: Upgrade\r\n'],
  ['a wrong key', 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n'],
])('a yes to %s is none', async (_, head) => {
  instead = (socket) => void socket.write(`HTTP/1.1 101 Switching\r\n${head}\r\n`)
  const answer = await open().refused
  expect([answer.status, answer.headers['deputy-answer']]).toEqual([502, 'upstream_unreachable'])
})

test('who is silent on both sides is ended, and the evidence says so', async () => {
  const { came, closed } = open()
  await said(came, 1)
  expect((await closed)[0]).toBe(1008)
  await expect.poll(outcome).toMatchObject({ result: 'interrupted', status: 101 })
})

test('an agent that is gone takes its provider’s end along', async () => {
  const before = outcomes()
  const { socket, came } = open()
  await said(came, 1)
  const gone = new Promise<void>((resolve) => asked[0]?.socket.once('close', () => resolve()))
  socket.terminate()
  await gone
  await expect.poll(outcomes).toBe(before + 1)
})

test('it ends at once when its person is not active any more', async () => {
  const { socket, came, closed } = open()
  await said(came, 1)
  // Never silent for so long that it would end for that.
  const talk = setInterval(() => socket.send('still here'), 200)
  writeFileSync(
    `${deputy.dir}/people.yaml`,
    JSON.stringify({ people: [{ id: 'alice', active: false, groups: ['staff'] }] }),
  )
  const began = performance.now()
  expect((await closed)[0]).toBe(1008)
  clearInterval(talk)
  expect(performance.now() - began).toBeLessThan(paced(2_900))
  await expect.poll(outcome).toMatchObject({ result: 'interrupted' })
})
