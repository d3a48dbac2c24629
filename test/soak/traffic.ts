// Kinds of traffic for the soak, good and bad, each one call by one caller. What came of it is a word that is counted.
import { setTimeout as pause } from 'node:timers/promises'
import type { Upstream } from '../support/upstream.ts'
import { dial, lines, sendRaw } from '../support/raw.ts'

/** How the provider behaves, by the first segment of the path. */
export const misbehave = (upstream: Upstream): void => {
  upstream.handle = async (seen, res) => {
    const [, what = ''] = seen.url.split('/')
    switch (what) {
      case 'status':
        return void res.writeHead(503, { 'retry-after': '1' }).end('later')
      case 'reset':
        return void res.socket?.resetAndDestroy()
      case 'half':
        res.writeHead(200, { 'content-length': '100' }).write('half')
        return void setTimeout(() => res.socket?.destroy(), 5)
      case 'garbage':
        return void res.socket?.end('HTTP/1.1 abc\r\n\r\n')
      case 'never':
        return undefined
      case 'events':
        res.writeHead(200, { 'content-type': 'text/event-stream' })
        for (let i = 0; i < 20 && !res.destroyed; i++) {
          res.write(`data: ${i}\n\n`)
          await pause(20)
        }
        return void res.end()
      default:
        return void res
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ login: seen.who, bytes: seen.body.length }))
    }
  }
}

export type Kind = {
  readonly name: string
  /** Of a hundred calls. */
  readonly share: number
  /** What is expected: anything else is a finding. */
  readonly wanted: readonly string[]
  readonly call: (origin: string, person: string) => Promise<string>
}

const ask =
  (path: string, init: RequestInit = {}, tagged = true) =>
  async (origin: string, person: string): Promise<string> => {
    const headers = { ...(tagged ? { 'deputy-user': person } : {}), ...(init.headers as object) }
    const answer = await fetch(`${origin}/api.acme.test${path}`, { ...init, headers })
    const text = await answer.text()
    if (answer.status === 200 && text.startsWith('{') && !text.includes(`"login":"${person}"`))
      return 'SOMEBODY ELSE'
    return answer.headers.get('deputy-answer') ?? String(answer.status)
  }
const cut = async (origin: string, person: string): Promise<string> => {
  const { socket, received } = await dial(origin)
  socket.write(
    lines(
      'GET /api.acme.test/events HTTP/1.1',
      `Host: ${new URL(origin).host}`,
      `Deputy-User: ${person}`,
    ),
  )
  for (let tries = 0; tries < 500 && !received().includes('data: 2'); tries++) await pause(20)
  socket.destroy()
  return received().includes('data: 2') ? 'cut' : 'NO EVENT'
}
/** A head that comes in drops: it is let go, or answered 408, and holds nobody up. */
const slow = async (origin: string): Promise<string> => {
  const { socket, ended } = await dial(origin)
  const timer = setInterval(() => socket.write('X-A: b\r\n'), 500)
  socket.write(`GET /api.acme.test/a HTTP/1.1\r\nHost: ${new URL(origin).host}\r\n`)
  await Promise.race([ended, pause(8_000)])
  clearInterval(timer)
  socket.destroy()
  return 'slow'
}
const hostile = async (origin: string): Promise<string> =>
  String(
    (await sendRaw(origin, lines('GET /api.acme.test/a/../b HTTP/1.1', 'Host: x', 'A\u0000: b')))
      .status,
  )

const json = { 'content-type': 'application/json' }
export const KINDS: readonly Kind[] = [
  { name: 'read', share: 40, wanted: ['200'], call: ask('/ok/1?state=open') },
  {
    name: 'write',
    share: 15,
    wanted: ['200'],
    call: ask('/notes', { method: 'POST', headers: json, body: '{"title":"a"}' }),
  },
  {
    name: 'upload of 256 KiB',
    share: 3,
    wanted: ['200'],
    call: ask('/upload/a', {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: Buffer.alloc(262_144),
    }),
  },
  { name: 'refused by policy', share: 8, wanted: ['policy_denied'], call: ask('/secret/admin') },
  {
    name: 'without a tag',
    share: 4,
    wanted: ['unauthenticated'],
    call: ask('/ok/1', {}, false),
  },
  {
    name: 'a credential in the body',
    share: 3,
    wanted: ['credential_in_body'],
    call: ask('/notes', { method: 'POST', headers: json, body: '{"token":"x"}' }),
  },
  { name: 'no HTTP', share: 4, wanted: ['400'], call: hostile },
  { name: 'provider: 503', share: 5, wanted: ['503'], call: ask('/status/1') },
  {
    name: 'provider: reset',
    share: 4,
    wanted: ['upstream_unreachable'],
    call: ask('/reset/1'),
  },
  {
    name: 'provider: garbage',
    share: 3,
    wanted: ['upstream_unreachable'],
    call: ask('/garbage/1'),
  },
  {
    name: 'provider: half an answer',
    share: 3,
    wanted: ['broken off'],
    call: (origin, person) => ask('/half/1')(origin, person).catch(() => 'broken off'),
  },
  {
    name: 'provider: never answers',
    share: 2,
    wanted: ['upstream_timeout'],
    call: ask('/never/1'),
  },
  { name: 'a stream, left', share: 4, wanted: ['cut'], call: cut },
  { name: 'a head in drops', share: 2, wanted: ['slow'], call: slow },
]

/** The kind for a number from 0 to 1. */
export const kindAt = (number: number): Kind => {
  const all = KINDS.reduce((sum, { share }) => sum + share, 0)
  let left = number * all
  return KINDS.find(({ share }) => (left -= share) < 0) ?? (KINDS[0] as Kind)
}
