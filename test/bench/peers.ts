// Plain proxies that enforce nothing, one a process: `peers.ts KIND UPSTREAM`. What deputy is compared with.
import { Agent as HttpAgent, createServer, request } from 'node:http'
import type { RequestListener, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createProxyServer } from 'http-proxy-3'
import { Agent } from 'undici'

export const PEERS = ['http-proxy-3', 'undici', 'node:http'] as const
export type Peer = (typeof PEERS)[number]

/** Connections to the provider. */
const MOST = 2_000
const HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'host'])
const endToEnd = (raw: readonly (string | Buffer)[]): string[] => {
  const kept: string[] = []
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = String(raw[i])
    if (!HOP.has(name.toLowerCase())) kept.push(name, String(raw[i + 1]))
  }
  return kept
}
const broken = (res: ServerResponse): void => {
  if (res.headersSent) res.destroy()
  else res.writeHead(502).end()
}

const httpProxy = (origin: string): RequestListener => {
  const agent = new HttpAgent({ keepAlive: true, maxSockets: MOST })
  const proxy = createProxyServer({ target: origin, agent })
  return (req, res) => proxy.web(req, res, {}, () => broken(res))
}

const undici = (origin: string): RequestListener => {
  const agent = new Agent({ connections: MOST })
  return (req, res) => {
    agent.dispatch(
      {
        origin,
        path: req.url ?? '/',
        method: req.method ?? 'GET',
        headers: endToEnd(req.rawHeaders),
        body: req.method === 'GET' || req.method === 'HEAD' ? null : req,
      },
      {
        // undici takes a handler for one of the new kind by this method.
        onRequestStart: () => {},
        onResponseStart(controller, status) {
          const raw = (controller.rawHeaders ?? []) as readonly (string | Buffer)[]
          res.writeHead(status, endToEnd(raw))
        },
        onResponseData(controller, chunk) {
          if (res.write(chunk)) return
          controller.pause()
          res.once('drain', () => controller.resume())
        },
        onResponseEnd: () => void res.end(),
        onResponseError: () => broken(res),
      },
    )
  }
}

const nodeHttp = (origin: string): RequestListener => {
  const agent = new HttpAgent({ keepAlive: true, maxSockets: MOST })
  const { hostname, port } = new URL(origin)
  return (req, res) => {
    const { method, url: path } = req
    const headers = ['Host', `${hostname}:${port}`, ...endToEnd(req.rawHeaders)]
    const out = request({ agent, hostname, port, method, path, headers }, (answer) => {
      res.writeHead(answer.statusCode ?? 502, endToEnd(answer.rawHeaders))
      answer.pipe(res)
    })
    out.on('error', () => broken(res))
    req.pipe(out)
  }
}

const MAKE: Readonly<Record<Peer, (origin: string) => RequestListener>> = {
  'http-proxy-3': httpProxy,
  undici,
  'node:http': nodeHttp,
}

if (import.meta.main) {
  const [kind, origin = ''] = process.argv.slice(2)
  const peer = PEERS.find((name) => name === kind)
  if (peer === undefined) throw new Error(`no such peer: one of ${PEERS.join(', ')}`)
  const server = createServer(MAKE[peer](origin))
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
  process.on('disconnect', () => process.exit(0))
}
