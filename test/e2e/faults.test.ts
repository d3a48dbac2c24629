// Each way in which a provider can fail, on real sockets: what Proxy-Status calls it (RFC 9209 2.3), and whether the call was sent.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { providersAt, startDeputy, TABLES, type Deputy } from '../support/deputy.ts'
import { dial, parseAnswer } from '../support/raw.ts'

const missing = opensslMissing()
const folder = mkdtempSync(join(tmpdir(), 'deputy-faults-'))
const servers: { close: (done: () => void) => unknown }[] = []
const sockets = new Set<Socket>()
let deputy: Deputy
/** Bytes of the upload that the provider has. */
let taken = 0

const listen = async (server: Server, port = 0): Promise<number> => {
  servers.push(server)
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}
/** A provider that does this with the first bytes of each call. */
const scripted = (act: (socket: Socket) => void): Promise<number> =>
  listen(createServer((socket) => socket.once('data', () => act(socket))))
const says = (text: string) => (socket: Socket) => void socket.write(text)

beforeAll(async () => {
  const closed = createServer()
  const nobody = await listen(closed)
  await new Promise<void>((resolve) => closed.close(() => resolve()))
  const bad = missing === '' ? makeCertificate(folder) : null
  const untrusted =
    bad === null
      ? 1
      : await listen(
          createTlsServer({ cert: bad.pem, key: readFileSync(bad.key, 'utf8') }, (_req, res) =>
            res.end('never'),
          ),
        )
  const at = async (act: (socket: Socket) => void) => `http://127.0.0.1:${await scripted(act)}`
  const hosts: Record<string, string> = {
    'dns.test': 'https://nobody-is-called-this.invalid',
    'nobody.test': `http://127.0.0.1:${nobody}`,
    'mute-tls.test': `https://127.0.0.1:${await scripted(() => undefined)}`,
    'untrusted.test': `https://127.0.0.1:${untrusted}`,
    'no-tls.test': `https://127.0.0.1:${await scripted(says('HTTP/1.1 400 Plain\r\n\r\n'))}`,
    'private.test': 'https://10.1.2.3',
    'ends.test': await at((socket) => socket.end()),
    'resets.test': await at((socket) => socket.resetAndDestroy()),
    'nonsense.test': await at(says('220 mail.test ESMTP\r\n')),
    'header.test': await at(says('HTTP/1.1 200 OK\r\nNo colon here\r\n\r\n')),
    'mute.test': await at(() => undefined),
    'early.test': await at((socket) => {
      socket.pause()
      socket.write('HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig', () =>
        setTimeout(() => socket.resetAndDestroy(), 200),
      )
    }),
    'takes.test': `http://127.0.0.1:${await listen(
      createServer((socket) =>
        socket.on('data', (bytes) => {
          taken += bytes.length
          if (bytes.includes('the-end'))
            socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine')
        }),
      ),
    )}`,
  }
  const [, stream] = providersAt('http://127.0.0.1:1')
  deputy = await startDeputy({
    upstream: 'http://127.0.0.1:1',
    config: {
      providers: [...providersAt('http://127.0.0.1:1').slice(0, 1), { ...stream, hosts }],
      upstream: { connect_timeout: '1s', idle_timeout: '3s' },
    },
    tables: {
      ...TABLES,
      providers: {
        ...TABLES['providers'],
        stream: { hosts: Object.keys(hosts), assets: [], inspect_body: [] },
      },
    },
    held: [{ person: 'alice', connection: 'stream', token: 'token-of-alice-0123456789' }],
  })
})
afterAll(async () => {
  await deputy.close()
  for (const socket of sockets) socket.destroy()
  await Promise.all(servers.map((server) => new Promise<void>((done) => server.close(done))))
  rmSync(folder, { recursive: true, force: true })
})

test.each([
  ['dns.test', 502, 'dns_error', false],
  ['nobody.test', 502, 'connection_refused', false],
  ['mute-tls.test', 504, 'connection_timeout', false],
  ...(missing === '' ? [['untrusted.test', 502, 'tls_certificate_error', false] as const] : []),
  ['no-tls.test', 502, 'tls_protocol_error', false],
  ['private.test', 502, 'destination_ip_prohibited', false],
  ['ends.test', 502, 'connection_terminated', true],
  ['resets.test', 502, 'connection_terminated', true],
  ['nonsense.test', 502, 'http_protocol_error', true],
  ['header.test', 502, 'http_protocol_error', true],
  ['mute.test', 504, 'http_response_timeout', true],
] as const)(`%s is %i, %s, sent: %s${missing}`, async (host, status, error, sent) => {
  const answer = await fetch(`${deputy.agent}/${host}/a`, {
    method: 'POST',
    headers: { 'deputy-user': 'alice', 'content-type': 'application/json' },
    body: '{}',
  })
  expect([answer.status, answer.headers.get('proxy-status')]).toEqual([
    status,
    expect.stringContaining(`error=${error};`),
  ])
  const document = (await answer.json()) as { sent: boolean; detail: string }
  expect(document.sent).toBe(sent)
  expect(document.detail).toContain(sent ? 'may have carried it out' : 'was not sent')
  await expect
    .poll(() => deputy.evidence().findLast(({ event }) => event === 'outcome')?.['sent'])
    .toBe(sent)
})

const upload = (host: string, length: number) =>
  `POST /${host}/a HTTP/1.1\r\nHost: 127.0.0.1\r\nDeputy-User: alice\r\nContent-Type: application/octet-stream\r\nContent-Length: ${length}\r\n\r\n`

test('an upload that flows for longer than idle_timeout is not cut', async () => {
  taken = 0
  const { socket, received } = await dial(deputy.agent)
  const steps = 20
  socket.write(upload('takes.test', steps * 10 + 7))
  for (let step = 0; step < steps; step++) {
    const before = taken
    socket.write('0123456789')
    await expect.poll(() => taken).toBeGreaterThan(before)
    await pause(300)
  }
  socket.write('the-end')
  await expect.poll(() => parseAnswer(received())?.body.toString()).toBe('fine')
  socket.destroy()
})

test('one that stands still is', async () => {
  taken = 0
  const { socket, received } = await dial(deputy.agent)
  socket.write(`${upload('takes.test', 100)}0123456789`)
  await expect.poll(() => parseAnswer(received())?.status).toBe(504)
  expect(parseAnswer(received())?.headers.get('proxy-status')?.[0]).toContain(
    'http_response_timeout',
  )
  expect(taken).toBeGreaterThan(0)
  socket.destroy()
})

test('a provider that answers before it has read the upload, and then resets, is heard', async () => {
  const body = Buffer.alloc(8 * 1024 * 1024, 'x')
  const { socket, received } = await dial(deputy.agent)
  socket.write(upload('early.test', body.length))
  await new Promise((resolve) => socket.write(body, () => resolve(null)))
  await expect.poll(() => parseAnswer(received())?.status).toBe(413)
  expect(parseAnswer(received())?.body.toString()).toBe('big')
  socket.destroy()
})
