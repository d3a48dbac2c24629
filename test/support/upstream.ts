// A provider that remembers everything it was sent, byte for byte, and knows people by their tokens. With a token endpoint.
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Seen = {
  readonly method: string
  readonly url: string
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[]
  /** By lower-case name; several values joined as Node does. */
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
  /** Whose token it was; null: of nobody. */
  readonly who: string | null
}
type Handle = (seen: Seen, res: ServerResponse, req: IncomingMessage) => void | Promise<void>

export type Upstream = {
  readonly origin: string
  readonly port: number
  /** Calls of the API, in order; those of the token endpoint are in `refreshes`. */
  readonly seen: Seen[]
  readonly refreshes: URLSearchParams[]
  /** Every byte that came in, on every connection. */
  readonly bytes: () => Buffer
  /** access token → who that is. A token that is not here gets 401. */
  readonly people: Map<string, string>
  /** How to answer; without one: 200 and JSON that says who was seen. */
  handle: Handle | null
  /** Answers before the body has been read. */
  early: ((req: IncomingMessage, res: ServerResponse) => boolean) | null
  /** What the token endpoint answers; default: a new access token for the same person. */
  token: ((form: URLSearchParams, res: ServerResponse) => void | Promise<void>) | null
  readonly close: () => Promise<void>
}

const bearer = (req: IncomingMessage): string =>
  /^(?:bearer|token) +(.+)$/i.exec(req.headers.authorization ?? '')?.[1] ??
  String(req.headers['x-api-key'] ?? '')

/** Starts on a free port of 127.0.0.1. */
export const startUpstream = async (): Promise<Upstream> => {
  const chunks: Buffer[] = []
  const server = createServer({ keepAliveTimeout: 30_000, maxHeaderSize: 131_072 })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  server.on('connection', (socket) => socket.on('data', (chunk: Buffer) => chunks.push(chunk)))
  let issued = 0
  const upstream: Upstream = {
    origin: `http://127.0.0.1:${port}`,
    port,
    seen: [],
    refreshes: [],
    bytes: () => Buffer.concat(chunks),
    people: new Map(),
    handle: null,
    early: null,
    token: null,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  const refresh = (form: URLSearchParams, res: ServerResponse): void => {
    const old = form.get('refresh_token') ?? ''
    const who = /^rt-(.+?)-\d+$/.exec(old)?.[1]
    if (who === undefined) {
      res.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"invalid_grant"}')
      return
    }
    issued += 1
    const access = `at-${who}-refreshed-${issued}-0123456789`
    upstream.people.set(access, who)
    res.writeHead(200, { 'content-type': 'application/json' }).end(
      JSON.stringify({
        access_token: access,
        refresh_token: `rt-${who}-${issued + 1}`,
        token_type: 'bearer',
        expires_in: 3600,
      }),
    )
  }
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    if (upstream.early?.(req, res) === true) return
    const parts: Buffer[] = []
    for await (const part of req) parts.push(part as Buffer)
    const body = Buffer.concat(parts)
    if (req.url === '/oauth/token') {
      const form = new URLSearchParams(body.toString())
      upstream.refreshes.push(form)
      await (upstream.token ?? refresh)(form, res)
      return
    }
    const seen: Seen = {
      method: req.method ?? '',
      url: req.url ?? '',
      rawHeaders: req.rawHeaders,
      headers: req.headers,
      body,
      who: upstream.people.get(bearer(req)) ?? null,
    }
    upstream.seen.push(seen)
    if (upstream.handle !== null) {
      await upstream.handle(seen, res, req)
      return
    }
    const text = JSON.stringify({ login: seen.who, url: seen.url, method: seen.method })
    res.writeHead(seen.who === null ? 401 : 200, { 'content-type': 'application/json' }).end(text)
  }
  server.on('request', (req, res) => {
    // A caller that leaves in the middle is part of the tests.
    answer(req, res).catch(() => res.destroy())
  })
  return upstream
}
