// What the tests ask of an authorization server that they did not write, and how such a program is started and ended.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Fields } from '../deputy.ts'
import type { Visit } from '../browser.ts'

/** What a server does with a refresh token that comes again, and with the access token before it. */
type Habits = {
  /** Spent a second time: its holder goes on (within a grace), it is refused, or it ends the grant. */
  readonly reuse: 'survives' | 'refuses' | 'kills'
  /** A refresh revokes the access token that was issued before. */
  readonly refreshKillsAccess: boolean
}
type Introspected = { readonly active: boolean; readonly who: string | null }
export type AuthorizationServer = {
  readonly habits: Habits
  readonly token: string
  /** The definition of a provider, but for its token endpoint, hosts and operations. */
  readonly definition: Fields
  /** RFC 7662, as the API would ask. `who` is the name at the sign-in. */
  readonly introspect: (token: string) => Promise<Introspected>
  /** Ends a grant by its refresh token; absent: its revocation endpoint does (RFC 7009). */
  readonly withdraw?: (refreshToken: string) => Promise<void>
  /** What a person fills into the form of one of its pages. */
  readonly fill: (page: Visit, account: string) => Readonly<Record<string, string>>
  readonly close: () => Promise<void>
}
export type Client = {
  readonly id: string
  readonly secret: string
  readonly redirectUris: readonly string[]
  /** Life of its access tokens in seconds. */
  readonly accessTtl: number
}
type ServerOptions = {
  /** Each signs in with the password `pw-NAME`. */
  readonly accounts: readonly string[]
  readonly clients: readonly Client[]
}
export type Kind = {
  readonly name: string
  /** Why it cannot run here; part of the name of what is skipped. */
  readonly missing: string | null
  readonly start: (options: ServerOptions) => Promise<AuthorizationServer>
}

/** null, or why a program is not there: said aloud, and thrown under DEPUTY_NO_SKIP=1. */
export const missingProgram = (path: string): string | null => {
  if (existsSync(path)) return null
  const missing = `${path} is missing: .ci/run makes it`
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)
  process.stderr.write(`SKIPPED: ${missing}\n`)
  return missing
}

/** Starts a program that serves, waits until `ready` answers 200 or says so, and hands over what ends it. */
export const startProgram = async (options: {
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly ready: string | (() => Promise<boolean>)
  readonly withinMs: number
}): Promise<() => Promise<void>> => {
  const child = spawn(options.command, options.args, {
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => void (said = `${said}${chunk.toString()}`.slice(-4_000)))
  const state = { over: false }
  const ended = new Promise<void>((resolve) => {
    const over = (): void => {
      state.over = true
      resolve()
    }
    child.once('error', over).once('close', over)
  })
  const end = (): void => void child.kill('SIGTERM')
  process.once('exit', end)
  const stop = (): Promise<void> => {
    process.off('exit', end)
    end()
    return ended
  }
  const { ready } = options
  const up = (): Promise<boolean> =>
    typeof ready === 'function'
      ? ready()
      : fetch(ready).then(
          ({ ok }) => ok,
          () => false,
        )
  for (const end = Date.now() + options.withinMs; !(await up());) {
    if (state.over || Date.now() > end) {
      await stop()
      throw new Error(`${options.command} does not serve: ${said}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return stop
}

export type Posted = { readonly status: number; readonly answer: Fields }
const send = async (
  method: string,
  url: string,
  body: string | URLSearchParams | null,
  headers: Readonly<Record<string, string>>,
): Promise<Posted> => {
  // A connection of its own: one that was kept may just be closing when the next request goes out.
  const init = { method, body, headers: { connection: 'close', ...headers } }
  const response = await fetch(url, init)
  const text = await response.text()
  return {
    status: response.status,
    answer: text === '' ? {} : (JSON.parse(text) as Fields),
  }
}
/** Sends a form, whatever the answer. */
export const post = (
  url: string,
  form: URLSearchParams,
  headers: Readonly<Record<string, string>> = {},
): Promise<Posted> => send('POST', url, form, headers)

/** Sends JSON to a server's own API; anything but a 2xx is an error. */
export const ask = async (
  method: string,
  url: string,
  body?: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<Fields> => {
  const json = { 'content-type': 'application/json', ...headers }
  const text = body === undefined ? null : JSON.stringify(body)
  const { status, answer } = await send(method, url, text, json)
  if (status >= 300) throw new Error(`${method} ${url}: ${status} ${JSON.stringify(answer)}`)
  return answer
}

/** RFC 7662 2.2, with the member that is the name at the sign-in. */
export const introspectAt = async (
  url: string,
  token: string,
  name: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Introspected> => {
  const { status, answer } = await post(url, new URLSearchParams({ token }), headers)
  if (status !== 200) throw new Error(`introspection: ${status}`)
  return { active: answer['active'] === true, who: (answer[name] ?? null) as string | null }
}

export const basic = (id: string, secret: string): { readonly authorization: string } => ({
  authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`,
})
