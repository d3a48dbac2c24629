// A listener for people or operators: who asks for another host gets no answer of theirs (DNS rebinding).
import type { RequestListener, Server } from 'node:http'
import { Problem, problemAnswer } from '../problem.ts'
import { meantHere, ownNames } from './host.ts'
import { mannerly } from './sockets.ts'

// Not `import`: naming its members would load all that node:http offers, undici a second time among them (10 MB, 50 ms).
const { createServer } = process.getBuiltinModule('node:http')

export type PagesOptions = {
  /** The configuration key, for messages. */
  readonly key: string
  readonly listen: { readonly host: string; readonly port: number }
  /** Names beside its own by which it is reached: that of `connect.url`, `listeners.names`. */
  readonly names: readonly string[]
  readonly typeBase: () => string
  readonly newId: () => string
  readonly refused: (code: 'host_refused', id: string) => void
}

/**
 * Binds; what is served comes later, since the pages' address is part of every link.
 * Rejects with an Error that names the key.
 */
export const startPages = (
  options: PagesOptions,
): Promise<{ server: Server; port: number; serve: (listener: RequestListener) => void }> =>
  new Promise((resolve, reject) => {
    const { key, listen } = options
    const here = meantHere(ownNames(listen.host, options.names))
    let call: RequestListener = (_req, res) => void res.destroy()
    const guarded: RequestListener = (req, res) => {
      if (here(req)) return call(req, res)
      const id = options.newId()
      options.refused('host_refused', id)
      const problem = new Problem('host_refused', 'the Host header does not name this listener')
      const { status, headers, body } = problemAnswer(problem, id, options.typeBase())
      res.shouldKeepAlive = false
      res.writeHead(status, headers).end(body)
    }
    const server = mannerly(
      createServer({
        headersTimeout: 10_000,
        requestTimeout: 30_000,
        maxHeaderSize: 32_768,
        requireHostHeader: false,
      }),
      { call: guarded },
    )
    server.once('error', (error) =>
      reject(new Error(`${key}: cannot listen on ${listen.host}:${listen.port}: ${error.message}`)),
    )
    server.listen(listen, () => {
      const bound = server.address()
      resolve({
        server,
        port: bound === null || typeof bound === 'string' ? listen.port : bound.port,
        serve: (listener) => (call = listener),
      })
    })
  })
