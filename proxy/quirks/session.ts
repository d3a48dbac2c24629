// What the scripted provider knows of one person's dealings with it, and how it writes an answer.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createGzip, gzipSync } from 'node:zlib'
import type { Json } from '../model.ts'
import type { Example, Values } from './example.ts'

/** How one answer differs from the documented one. */
export type Twist = {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** Instead of the documented body. */
  readonly body?: string
  readonly template?: 'both'
  /** Over the placeholders; undefined leaves a member out. */
  readonly values?: Values
  /** Over the top-level members; undefined leaves one out. */
  readonly members?: Values
  readonly as?: 'form' | 'html' | 'gzip'
  /** A word of the provider instead of tokens. */
  readonly error?: string
  /** `bomb`: a gigabyte that is a megabyte on the wire; `drip`: a byte now and then, without end. */
  readonly size?: 'large' | 'endless' | 'bomb' | 'drip'
  /** The work is done, and the answer never arrives. */
  readonly lose?: boolean
}
export type Endpoint =
  | 'metadata'
  | 'authorize'
  | 'par'
  | 'token'
  | 'refresh'
  | 'userinfo'
  | 'introspect'
  | 'revoke'
  | 'api'
  | 'other'
/** For each endpoint the twists of its first requests, in order; afterwards it behaves. `always` stands for all of them. */
export type Script = Partial<Record<Endpoint, readonly Twist[] | { readonly always: Twist }>>

export type Seen = {
  readonly endpoint: Endpoint
  readonly method: string
  readonly headers: IncomingMessage['headers']
  readonly form: URLSearchParams
  readonly token: string | null
}
type Code = {
  readonly scopes: readonly string[]
  readonly redirectUri: string
  readonly challenge: string | null
}

/** One person's dealings with the provider, from consent to revocation. */
export type Session = {
  readonly id: string
  readonly example: Example
  /** It names itself in its answers (RFC 9207). */
  readonly issuer: string | null
  readonly seen: Seen[]
  /** What the definition got wrong, as the provider sees it: what it should say. */
  readonly complaints: string[]
  /** The last good token answer. */
  answer: Json
  account: number
  script: Script
  granted: readonly string[]
  access: Set<string>
  refresh: string | null
  readonly spent: Set<string>
  alive: boolean
  serial: number
  readonly codes: Map<string, Code>
  readonly pushed: Map<string, URLSearchParams>
}

const MEBIBYTE = Buffer.alloc(1_048_576, ' ')
const LARGE = 4 * 1024 * 1024
export const readAll = async (request: IncomingMessage): Promise<string> => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}
/** A form, or the members of a JSON object. */
export const fieldsOf = (body: string): URLSearchParams => {
  if (!body.startsWith('{')) return new URLSearchParams(body)
  const parsed = JSON.parse(body) as Record<string, unknown>
  return new URLSearchParams(Object.entries(parsed).map(([name, value]) => [name, String(value)]))
}

/** Tokens are told apart by their beginning: `at-` and `rt-` of the connection's kind, `xt-` of another. */
export const valuesOf = (session: Session): Record<string, Json | undefined> => {
  const { example, granted, account, serial } = session
  const scopes = granted.map((scope) => `${example.scope_prefix}${scope}`)
  const expiresIn = example.expires_in
  return {
    access_token: `at-${session.id}-${serial}`,
    refresh_token: session.refresh ?? undefined,
    other_token: `xt-${session.id}-${serial}`,
    other_refresh: `xr-${session.id}-${serial}`,
    expires_in: expiresIn,
    expires_in_text: String(expiresIn),
    scope: scopes.join(example.answer_separator),
    scopes,
    account: `account-${account}`,
    account_number: 1000 + account,
    tenant: 'tenant-1',
    tenant_number: 77,
    label: `person-${account}@example.com`,
    host: example.host ?? '',
  }
}

/** Writes an answer, with what the twist changes of it. */
export const send = (response: ServerResponse, twist: Twist, status: number, body: Json): void => {
  if (twist.lose === true) return void response.destroy()
  if (twist.size === 'drip') {
    response.writeHead(200, { 'content-type': 'application/json' })
    const timer = setInterval(() => response.write(' '), 100)
    response.on('close', () => clearInterval(timer))
    return
  }
  if (twist.size === 'bomb') {
    const gzip = createGzip()
    response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' })
    gzip.pipe(response)
    let left = 1_024
    const more = (): void => {
      while (left > 0 && !response.destroyed) {
        left -= 1
        if (!gzip.write(MEBIBYTE)) return
      }
      gzip.end()
    }
    gzip.on('drain', more)
    response.on('close', () => gzip.destroy())
    return more()
  }
  if (twist.size === 'endless') {
    response.writeHead(200, { 'content-type': 'application/json' })
    const more = (): void => {
      while (!response.destroyed && response.write(' '.repeat(16_384)));
    }
    response.on('drain', more)
    return more()
  }
  const json = JSON.stringify(body)
  const text =
    twist.body ??
    (twist.size === 'large'
      ? `${json.slice(0, -1)},"pad":"${'x'.repeat(LARGE)}"}`
      : twist.as === 'form'
        ? new URLSearchParams(
            Object.entries(body as object).map(([k, v]) => [k, String(v)]),
          ).toString()
        : json)
  const type =
    twist.as === 'form'
      ? 'application/x-www-form-urlencoded'
      : twist.as === 'html'
        ? 'text/html'
        : 'application/json'
  const headers = { 'content-type': type, ...twist.headers }
  const code = twist.status ?? status
  if (twist.as === 'gzip')
    response.writeHead(code, { ...headers, 'content-encoding': 'gzip' }).end(gzipSync(text))
  else response.writeHead(code, headers).end(code === 204 ? '' : text)
}
