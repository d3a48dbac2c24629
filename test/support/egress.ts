// Egress proxies: a recording one of ours that can be made to misbehave, and tinyproxy of Debian.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttp, type IncomingMessage } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from './ports.ts'

type Asked = { readonly authority: string; readonly authorization: string | null }
export type EgressProxy = {
  readonly port: number
  /** What was asked of it by CONNECT, in order. */
  readonly asked: Asked[]
  /** Where it speaks TLS: whom it was taken for (RFC 6066 3). */
  readonly names: (string | false | null | undefined)[]
  /** Every byte that went through the tunnels towards providers. */
  readonly bytes: () => Buffer
  /** The only Proxy-Authorization that it takes; null: anybody may. */
  wanted: string | null
  /** What else it is told to answer a CONNECT with, on its bare socket; null: it tunnels. */
  answer: ((socket: Socket, authority: string) => void) | null
  readonly close: () => Promise<void>
}

/** A CONNECT proxy on loopback. @param options.tls it speaks TLS to those who ask it */
export const startEgress = async (
  options: {
    readonly tls?: { readonly cert: string; readonly key: string }
    /** `user:password`; without it, nobody is asked for one. */
    readonly credentials?: string
  } = {},
): Promise<EgressProxy> => {
  const sockets = new Set<Socket>()
  const chunks: Buffer[] = []
  const server = options.tls === undefined ? createHttp() : createHttps({ ...options.tls })
  const proxy: EgressProxy = {
    port: 0,
    asked: [],
    names: [],
    bytes: () => Buffer.concat(chunks),
    wanted:
      options.credentials === undefined
        ? null
        : `Basic ${Buffer.from(options.credentials).toString('base64')}`,
    answer: null,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  const held = (socket: Socket): void => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  }
  server.on('connection', held)
  server.on('secureConnection', (socket: TLSSocket) => proxy.names.push(socket.servername))
  server.on('connect', (req: IncomingMessage, socket: Socket) => {
    const authority = req.url ?? ''
    const authorization = req.headers['proxy-authorization'] ?? null
    proxy.asked.push({ authority, authorization })
    held(socket)
    if (proxy.answer !== null) return proxy.answer(socket, authority)
    if (proxy.wanted !== null && authorization !== proxy.wanted)
      return void socket.end(
        'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="egress"\r\n\r\n',
      )
    const [, host = '', port] = /^\[?([^\]]*?)\]?:(\d+)$/.exec(authority) ?? []
    const on = connect(Number(port), host)
    held(on)
    on.once('error', () => socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'))
    on.once('connect', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      socket.on('data', (chunk: Buffer) => chunks.push(chunk))
      socket.pipe(on).pipe(socket)
      socket.on('close', () => on.destroy())
      on.on('close', () => socket.destroy())
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return Object.assign(proxy, { port: (server.address() as AddressInfo).port })
}

/** A server that answers each connection's first bytes with these, and says nothing more. */
export const startRaw = async (
  answer: (socket: Socket, first: Buffer) => void,
): Promise<{ readonly port: number; readonly seen: () => string; readonly close: () => void }> => {
  const sockets = new Set<Socket>()
  let seen = ''
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => (seen += chunk.toString('latin1')))
    socket.once('data', (chunk: Buffer) => answer(socket, chunk))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    seen: () => seen,
    close: () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

const TINYPROXY = '/usr/bin/tinyproxy'
/** Empty, or why nothing is tried with it: said aloud; under DEPUTY_NO_SKIP=1 it throws. */
export const tinyproxyMissing = (): string => {
  if (existsSync(TINYPROXY)) return ''
  const missing = `${TINYPROXY} is missing (apt-get install tinyproxy-bin)`
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)
  process.stderr.write(`SKIPPED: ${missing}\n`)
  return ` (SKIPPED: ${missing})`
}

export type Tinyproxy = {
  readonly port: number
  readonly log: () => string
  readonly stop: () => Promise<void>
}
/** @param lines more of its configuration, such as `BasicAuth user password` */
export const startTinyproxy = async (lines: readonly string[] = []): Promise<Tinyproxy> => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-tinyproxy-'))
  const port = await freePort()
  const file = join(folder, 'tinyproxy.conf')
  writeFileSync(
    file,
    `${[`Port ${port}`, 'Listen 127.0.0.1', 'Timeout 60', 'LogLevel Connect', 'MaxClients 50', ...lines].join('\n')}\n`,
  )
  let log = ''
  const child = spawn(TINYPROXY, ['-d', '-c', file], { stdio: ['ignore', 'pipe', 'pipe'] })
  for (const out of [child.stdout, child.stderr])
    out.on('data', (chunk: Buffer) => (log += chunk.toString()))
  const ended = once(child, 'exit')
  const open = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1')
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
  while (!(await open())) {
    if (child.exitCode !== null) throw new Error(`tinyproxy ended: ${log}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return {
    port,
    log: () => log,
    stop: async () => {
      child.kill('SIGTERM')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
