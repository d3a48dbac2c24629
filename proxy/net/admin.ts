// The admin listener: /livez, /readyz, /metrics and nothing else, apart from traffic so that no probe is a call.
import { chmodSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ListenOptions, Socket } from 'node:net'
import type { Log } from '../model.ts'
import { createHostRule, ownNames } from './host.ts'
import { closing, mannerly } from './sockets.ts'

// Not `import`: naming its members would load all that node:http offers, undici a second time among them (10 MB, 50 ms).
const { createServer } = process.getBuiltinModule('node:http')

export type Check = { readonly name: string; readonly ok: boolean; readonly detail: string }

export type AdminOptions = {
  readonly listen: { readonly host: string; readonly port: number } | { readonly path: string }
  /** Is everything there that a call needs? Asked on every /readyz. */
  readonly checks: () => readonly Check[] | Promise<readonly Check[]>
  readonly render: () => string | Promise<string>
  /** Further names that a Host header may have, beside this machine's and the address at which the request came in. */
  readonly names?: readonly string[]
  readonly log: Log
}

const FOREIGN =
  'the Host header does not name this listener: use its address, or list the name under listeners.names\n'

const CHECK_MS = 2_000
const HEADER_BYTES = 8_192
/** Connections that may wait for their next request. */
const MOST_WAITING = 128

type Answer = { readonly status: number; readonly body: string; readonly type?: string }
const METRICS = 'text/plain; version=0.0.4; charset=utf-8'
const TEXT = 'text/plain; charset=utf-8'

/** One line of a terminal: what would move its cursor is a space. */
export const printable = (text: string): string =>
  text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, ' ')

const advice = (error: Error, where: string): string => {
  const code = 'code' in error ? error.code : null
  if (code === 'EADDRINUSE') {
    return `${where} is in use: stop the program that listens there, or choose another address`
  }
  if (code === 'EACCES') {
    return `${where} may not be used by this user: choose a port above 1023, or a folder that it may write to`
  }
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    return `${where} is no address of this machine: use 127.0.0.1, or one that the machine has`
  }
  return `cannot listen on ${where}: ${error.message}`
}

/** Whoever fills this listener with connections that say nothing keeps no probe out: the oldest that ask nothing go first. */
const createCrowd = () => {
  const waiting = new Set<Socket>()
  const wait = (socket: Socket): void => {
    waiting.add(socket)
    const [oldest] = waiting
    if (waiting.size > MOST_WAITING) oldest?.destroy()
  }
  return {
    enter: (socket: Socket): void => {
      socket.once('close', () => waiting.delete(socket))
      wait(socket)
    },
    asks: (socket: Socket, res: ServerResponse): void => {
      waiting.delete(socket)
      res.once('close', () => socket.destroyed || wait(socket))
    },
  }
}

/** Rejects when it takes longer than `ms`. */
export const within = async <T>(ms: number, work: () => T | Promise<T>): Promise<T> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([Promise.resolve().then(work), late])
  } finally {
    clearTimeout(timer)
  }
}

/** Listens; rejects with an Error that names `listeners.admin` and what to do. `address` is host:port, or the path. */
export const startAdmin = async (
  options: AdminOptions,
): Promise<{ readonly address: string; readonly close: () => Promise<void> }> => {
  const { listen, log } = options

  const ready = async (verbose: boolean): Promise<Answer> => {
    let checks: readonly Check[]
    try {
      checks = await within(CHECK_MS, options.checks)
    } catch (error) {
      log.error({ err: error }, 'the readiness checks failed')
      checks = [{ name: 'checks', ok: false, detail: 'they could not be run; the log says why' }]
    }
    const status = checks.every(({ ok }) => ok) ? 200 : 503
    const lines = checks
      .filter(({ ok }) => verbose || !ok)
      .map(
        ({ name, ok, detail }) =>
          `[${ok ? '+' : '-'}] ${printable(`${name} ${detail}`.trimEnd())}\n`,
      )
    const last =
      verbose || status !== 200 ? `readyz check ${status === 200 ? 'passed' : 'failed'}\n` : 'ok'
    return { status, body: lines.join('') + last }
  }

  const answer = async (path: string, verbose: boolean): Promise<Answer> => {
    switch (path) {
      case '/livez':
      case '/healthz':
        return { status: 200, body: 'ok' }
      case '/readyz':
        return ready(verbose)
      case '/metrics':
        return { status: 200, body: await options.render(), type: METRICS }
      default:
        return {
          status: 404,
          body: 'not found: here are /livez, /readyz and /metrics; agents call listeners.agent\n',
        }
    }
  }

  const ours = 'path' in listen ? () => true : createHostRule(ownNames(listen, options.names ?? []))
  const handle = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const [path = '', query = ''] = (req.url ?? '').split('?', 2)
    const known = req.method === 'GET' || req.method === 'HEAD'
    const verbose = new URLSearchParams(query).has('verbose')
    const { status, body, type }: Answer = !ours(req)
      ? { status: 421, body: FOREIGN, type: TEXT }
      : known
        ? await answer(path, verbose)
        : { status: 405, body: 'only GET and HEAD\n', type: TEXT }
    // A probe has no body; one that was sent is not read, so the connection cannot be used again.
    if (
      req.headers['content-length'] !== undefined ||
      req.headers['transfer-encoding'] !== undefined
    ) {
      res.shouldKeepAlive = false
    }
    res.writeHead(status, {
      'content-type': type ?? TEXT,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...(known ? {} : { allow: 'GET, HEAD' }),
    })
    res.end(req.method === 'HEAD' ? undefined : body)
  }

  const crowd = createCrowd()
  const server = mannerly(
    createServer({
      maxHeaderSize: HEADER_BYTES,
      headersTimeout: 5_000,
      requestTimeout: 10_000,
      keepAliveTimeout: 15_000,
      connectionsCheckingInterval: 1_000,
    }),
    {
      call: (req, res) => {
        crowd.asks(req.socket, res)
        handle(req, res).catch((error: unknown) => {
          log.error({ err: error }, 'the admin listener could not answer')
          if (res.headersSent) res.destroy()
          else res.writeHead(500, { 'content-type': TEXT }).end()
        })
      },
    },
  )
  server.on('connection', crowd.enter)
  const where = 'path' in listen ? `unix:${listen.path}` : `${listen.host}:${listen.port}`
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(new Error(`listeners.admin: ${advice(error, where)}`, { cause: error })),
    )
    server.listen({ ...listen, exclusive: true } satisfies ListenOptions, resolve)
  })
  server.on('error', (error) => log.error({ err: error }, 'the admin listener failed'))
  if ('path' in listen) chmodSync(listen.path, 0o600)
  const bound = server.address()
  const address =
    bound === null || typeof bound === 'string'
      ? where
      : `${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`
  return {
    address,
    close: () => closing(server, 1_000),
  }
}
