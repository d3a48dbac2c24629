// A provider for the bench, in a process of its own: bare sockets, so that it costs little beside what is measured.
// Every call names its person in the path, and must bring exactly that person's token.
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

/** What arrived since the last question. */
export type Seen = {
  readonly requests: number
  /** Calls whose Authorization was not the token of the person in their path. */
  readonly foreign: number
  /** Calls that still carried the tag header. */
  readonly tagged: number
  /** One of the foreign ones, to look at. */
  readonly example: string | null
}
export type UpstreamAsk = { readonly kind: 'seen' }
export type UpstreamSays =
  | { readonly kind: 'listening'; readonly port: number }
  | { readonly kind: 'seen'; readonly seen: Seen }

/** The token that the provider gave to `person`. */
export const tokenOf = (person: string): string => `gho_${person}_${'0123456789abcdef'.repeat(2)}`
/** Ends every answer, so that a cut one is seen. */
export const LAST = '"last":true}'

const issues = Array.from({ length: 4 }, (_, i) => ({
  id: 1_000 + i,
  number: i + 1,
  title: `Issue number ${i + 1} of the repository`,
  state: 'open',
  html_url: `https://github.com/acme/app/issues/${i + 1}`,
  user: { login: 'octocat', id: 1, type: 'User', site_admin: false },
  created_at: '2026-11-22T15:00:00Z',
  comments: 3,
}))
const body = `{"issues":${JSON.stringify(issues)},${LAST}`
const ANSWER = Buffer.from(
  [
    'HTTP/1.1 200 OK',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: private, max-age=60',
    'X-RateLimit-Remaining: 4999',
    'Date: Sun, 22 Nov 2026 15:00:00 GMT',
    '',
    body,
  ].join('\r\n'),
)

const serve = (): void => {
  let seen = { requests: 0, foreign: 0, tagged: 0, example: null as string | null }
  const answer = (socket: Socket, head: string): void => {
    seen.requests++
    const person = /^GET \/repos\/([^/]+)\//.exec(head)?.[1] ?? ''
    const found = /\r\nauthorization: ([^\r]*)/i.exec(head)?.[1] ?? ''
    if (found !== `Bearer ${tokenOf(person)}`) {
      seen.foreign++
      seen.example ??= head
    }
    if (/\r\ndeputy-/i.test(head)) seen.tagged++
    socket.write(ANSWER)
  }
  const server = createServer({ noDelay: true }, (socket) => {
    let rest = ''
    socket.setEncoding('latin1')
    socket.on('error', () => socket.destroy())
    socket.on('data', (text: string) => {
      rest += text
      for (let end = rest.indexOf('\r\n\r\n'); end >= 0; end = rest.indexOf('\r\n\r\n')) {
        answer(socket, rest.slice(0, end))
        rest = rest.slice(end + 4)
      }
    })
  })
  const say = (what: UpstreamSays): void => void process.send?.(what)
  server.listen(0, '127.0.0.1', () =>
    say({ kind: 'listening', port: (server.address() as AddressInfo).port }),
  )
  process.on('message', () => {
    say({ kind: 'seen', seen })
    seen = { requests: 0, foreign: 0, tagged: 0, example: null }
  })
  process.on('disconnect', () => process.exit(0))
}

if (import.meta.main) serve()
