// Where identity providers tell what happened: pushed security events (RFC 8935) and back-channel logout (OIDC).
import { Hono, type Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { Env } from './rest.ts'
import { EventRefused } from '../directory/signals.ts'
import type { Log } from '../model.ts'
import { toProblem } from '../problem.ts'

type SignalsDeps = {
  /** Resolves once it has its effect. Throws EventRefused for what is never taken. */
  readonly receive: (token: string, kind: 'event' | 'logout') => Promise<void>
  readonly refused: (kind: 'event' | 'logout', error: EventRefused) => void
  readonly log: Log
}

/** Read whole, so that whoever sends too much is told. */
const MOST_READ = 2 * 1024 ** 2
/** Kept of it: no event is so large. */
const MOST_BYTES = 128 * 1024
const RETRY_S = '5'
/** Taken at once; what comes beside waits for its turn, up to a bound. Who sends slowly has none yet. */
const MOST_AT_ONCE = 16
const MOST_WAITING = 1_024

const tooLarge = (): EventRefused =>
  new EventRefused('invalid_request', 'the body may have 128 KiB')
const textOf = async ({ req }: Context): Promise<string> => {
  const kept: Uint8Array[] = []
  let size = 0
  for await (const chunk of req.raw.body ?? []) {
    size += chunk.length
    if (size <= MOST_BYTES) kept.push(chunk)
    else kept.length = 0
  }
  if (size > MOST_BYTES) throw tooLarge()
  return Buffer.concat(kept).toString()
}

const told = (status: number, body: object | null, headers: Record<string, string> = {}) =>
  new Response(body === null ? null : JSON.stringify(body), {
    status,
    headers: {
      'cache-control': 'no-store',
      ...(body === null ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
  })

/** Mounted at the connect listener. */
export const createSignalsApi = ({ receive, refused, log }: SignalsDeps): Hono<Env> => {
  const app = new Hono<Env>()
  const refuse = (kind: 'event' | 'logout', error: EventRefused): Response => {
    refused(kind, error)
    const { fault, message } = error
    return kind === 'event'
      ? told(400, { err: fault, description: message })
      : told(400, { error: 'invalid_request', error_description: message })
  }
  let running = 0
  const queue: (() => void)[] = []
  /** false: too many wait already. */
  const turn = async (): Promise<boolean> => {
    if (running >= MOST_AT_ONCE) {
      if (queue.length >= MOST_WAITING) return false
      await new Promise<void>((begin) => queue.push(begin))
    } else running += 1
    return true
  }
  const done = (): void => {
    const next = queue.shift()
    if (next === undefined) running -= 1
    else next()
  }
  /** false: it was not begun. */
  const inTurn = async (work: () => Promise<void>): Promise<boolean> => {
    if (!(await turn())) return false
    try {
      await work()
      return true
    } finally {
      done()
    }
  }
  const take = async (
    kind: 'event' | 'logout',
    read: () => Promise<string>,
    status: number,
  ): Promise<Response> => {
    try {
      const token = await read()
      const begun = await inTurn(() => receive(token, kind))
      return begun ? told(status, null) : told(503, null, { 'retry-after': RETRY_S })
    } catch (error) {
      if (error instanceof EventRefused) return refuse(kind, error)
      const { code } = toProblem(error)
      log.error({ err: error, code }, 'a signal could not be taken: its sender may try again')
      return told(503, null, { 'retry-after': RETRY_S })
    }
  }
  const limit = (kind: 'event' | 'logout') =>
    bodyLimit({
      maxSize: MOST_READ,
      onError: () => refuse(kind, tooLarge()),
    })
  const needs = (c: Context, type: string): void => {
    const sent = c.req.header('content-type') ?? ''
    if (sent.split(';')[0]?.trim().toLowerCase() !== type)
      throw new EventRefused('invalid_request', `the body must be ${type}`)
  }
  app.post('/signals', limit('event'), (c) =>
    take(
      'event',
      () => {
        needs(c, 'application/secevent+jwt')
        return textOf(c)
      },
      202,
    ),
  )
  app.post('/logout/backchannel', limit('logout'), (c) =>
    take(
      'logout',
      async () => {
        needs(c, 'application/x-www-form-urlencoded')
        const all = new URLSearchParams(await textOf(c)).getAll('logout_token')
        const [token] = all
        if (token === undefined || all.length > 1)
          throw new EventRefused('invalid_request', 'the form needs logout_token, once')
        return token
      },
      200,
    ),
  )
  for (const path of ['/signals', '/logout/backchannel'])
    app.all(path, () => told(405, null, { allow: 'POST' }))
  app.notFound(() => told(404, null))
  return app
}
