// The listeners for people and operators: bound early, since their address is part of every link; loaded when first asked.
import type { RequestListener, ServerResponse } from 'node:http'
import type { getRequestListener } from '@hono/node-server'
import type { Log } from '../model.ts'
import type { Forwarded } from '../net/forwarded.ts'
import { createHostRule, hostname, ownNames } from '../net/host.ts'
import { closing, mannerly, parting } from '../net/sockets.ts'
import { Problem, problemAnswer } from '../problem.ts'

// Not `import`: naming its members would load all that node:http offers, undici a second time among them (10 MB, 50 ms).
const { createServer } = process.getBuiltinModule('node:http')

/** Of a request, whole, and of its head; how often Node looks, ms. */
const LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 2_000,
  maxHeaderSize: 32_768,
}

export type Web = {
  readonly port: number
  /** @param names further ones that a Host header may have */
  readonly serve: (
    listener: RequestListener,
    names: readonly string[],
    about: { readonly typeBase: string; readonly host: Forwarded['host'] },
  ) => void
  /** Still accepts; each answer is the last of its connection. */
  readonly part: () => void
  /** Stops accepting, waits for what runs; the rest is cut after `ms`. */
  readonly close: (ms: number) => Promise<void>
}

const misdirected = (res: ServerResponse, typeBase: string): void => {
  const what = 'the Host header does not name this listener'
  const { status, headers, body } = problemAnswer(
    new Problem('host_refused', what),
    'none',
    typeBase,
  )
  res.writeHead(status, { ...headers, connection: 'close' }).end(body)
}

/** @param key of the configuration, for messages. Rejects where the address cannot be had */
export const startWeb = (
  key: string,
  listen: { readonly host: string; readonly port: number },
): Promise<Web> =>
  new Promise((resolve, reject) => {
    let call: RequestListener = (_req, res) => void res.destroy()
    const server = mannerly(createServer(LIMITS), { call: (req, res) => call(req, res) })
    server.once('error', (error) =>
      reject(new Error(`${key}: cannot listen on ${listen.host}:${listen.port}: ${error.message}`)),
    )
    server.listen(listen, () => {
      const bound = server.address()
      resolve({
        port: bound === null || typeof bound === 'string' ? listen.port : bound.port,
        serve: (listener, names, { typeBase, host }) => {
          const own = ownNames(listen, names)
          const ours = createHostRule(own)
          call = (req, res) => {
            // A proxy may ask for us by another name than it was asked for.
            const asked = host(req)
            const fine = asked === null ? ours(req) : own.has(hostname(asked) ?? '')
            if (fine) listener(req, res)
            else misdirected(res, typeBase)
          }
        },
        part: () => parting(server),
        close: (ms) => closing(server, ms),
      })
    })
  })

/** Pages and small APIs are loaded when one is first asked for: most sidecars never are. Whoever asks first waits. */
export const whenAsked = (
  log: Log,
  make: () => Promise<{ readonly fetch: Parameters<typeof getRequestListener>[0] }>,
): RequestListener => {
  let loading: Promise<ReturnType<typeof getRequestListener>> | null = null
  const load = async (): Promise<ReturnType<typeof getRequestListener>> => {
    const [server, app] = await Promise.all([import('@hono/node-server'), make()])
    return server.getRequestListener(app.fetch)
  }
  return (req, res) => {
    loading ??= load()
    loading
      .then((listener) => listener(req, res))
      .catch((error: unknown) => {
        loading = null
        log.error({ err: error }, 'a page or API could not be loaded')
        res.destroy()
      })
  }
}
