// Three ordinary servers, each in its own language, that say what they understood of a request: Node's, Go's and nginx.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connect } from 'node:net'
import { sendRaw } from '../support/raw.ts'
import { fieldsIn } from './readers.ts'
import { freePort } from '../support/ports.ts'

export type Understood = {
  readonly method: string
  readonly segments: readonly string[]
  readonly query: Readonly<Record<string, readonly string[]>>
  readonly host: string
  readonly authorization: readonly string[]
  readonly body: Buffer
  /** Names and values of a body's members and fields, as each of this server's readers has them. */
  readonly fields: readonly (readonly [string, unknown])[]
}
export type Server = {
  readonly name: string
  /** What it understood of these bytes; the status when it refused them. */
  readonly understand: (bytes: Buffer) => Promise<Understood | number>
  readonly close: () => Promise<void>
}

type Told = Omit<Understood, 'body'> & { readonly body: string }
/** An answer to HEAD has no body to say it in: it is asked as GET, and only then is the method what was sent. */
const ask = async (port: number, bytes: Buffer): Promise<Understood | number> => {
  const head = bytes.toString('latin1', 0, 5) === 'HEAD '
  const sent = head ? Buffer.concat([Buffer.from('GET'), bytes.subarray(4)]) : bytes
  const answer = await sendRaw(`http://127.0.0.1:${port}`, sent)
  if (answer.status !== 200) return answer.status
  const told = answer.json as unknown as Told
  return {
    ...told,
    method: head && told.method === 'GET' ? 'HEAD' : told.method,
    body: Buffer.from(told.body, 'base64'),
  }
}
/** Where `.ci/run` puts it. */
const NGINX =
  process.env['DEPUTY_NGINX'] ?? join(homedir(), '.cache/deputy-ci/nginx-1.22/usr/sbin/nginx')
const find = (name: string, ...more: readonly string[]): string | undefined =>
  [...more, ...(process.env['PATH'] ?? '').split(delimiter).map((path) => join(path, name))].find(
    (file) => existsSync(file),
  )

const fieldsOf = (url: URL): Record<string, string[]> => {
  const query: Record<string, string[]> = Object.create(null)
  for (const [name, value] of url.searchParams) (query[name] ??= []).push(value)
  return query
}
const toldOf = async (req: IncomingMessage): Promise<Told> => {
  const body = Buffer.concat(await req.toArray())
  const seen = (name: string): string | undefined => req.headersDistinct[name]?.[0]
  const url = new URL(req.url ?? '/', 'http://api.fuzz.test')
  const path = seen('x-nginx-uri') ?? null
  return {
    method: req.method ?? '',
    segments:
      path === null
        ? url.pathname.slice(1).split('/').map(decodeURIComponent)
        : // Between bars, since the blanks around a header are cut off.
          Buffer.from(path, 'latin1').toString('utf8').slice(2, -1).split('/'),
    query: fieldsOf(url),
    host: seen('host') ?? '',
    authorization: req.headersDistinct['authorization'] ?? [],
    body: body.toString('base64'),
    fields: await fieldsIn(req.headersDistinct, body),
  }
}
/** Node's own server, as a handler of `node:http` is usually written. Behind nginx it says what nginx handed on. */
const startNode = async (): Promise<Server & { readonly port: number }> => {
  const server = createServer((req, res) => {
    toldOf(req).then(
      (told) =>
        res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(told)),
      () => res.writeHead(400).end(),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    name: `node ${process.version}`,
    port,
    understand: (bytes) => ask(port, bytes),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.once('exit', () => resolve())
    child.kill('SIGTERM')
  })

const startGo = async (): Promise<Server | string> => {
  const go = find('go', '/usr/local/go/bin/go')
  if (go === undefined) return 'Go'
  const folder = join(homedir(), '.cache', 'deputy-fuzz')
  mkdirSync(folder, { recursive: true })
  const file = join(folder, 'understood')
  const source = fileURLToPath(new URL('servers/understood.go', import.meta.url))
  const built = spawnSync(go, ['build', '-o', file, source], { encoding: 'utf8' })
  if (built.status !== 0) throw new Error(`understood.go does not build: ${built.stderr}`)
  const child = spawn(file, { stdio: ['ignore', 'pipe', 'inherit'] })
  const port = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.stdout.once('data', (text: Buffer) => resolve(Number(text.toString())))
  })
  return {
    name: 'Go net/http',
    understand: (bytes) => ask(port, bytes),
    close: () => ended(child),
  }
}

const startNginx = async (behind: number): Promise<Server | string> => {
  const file = find('nginx', NGINX, '/usr/sbin/nginx')
  if (file === undefined) return 'nginx'
  const folder = mkdtempSync(join(tmpdir(), 'deputy-nginx-'))
  const port = await freePort()
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; master_process off; pid ${folder}/pid; error_log stderr crit;
events { worker_connections 64; }
http {
  access_log off; ${temp.map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${behind}/?$args;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header X-Nginx-Uri "|$uri|";
    }
  }
}
`,
  )
  const child = spawn(file, ['-p', folder, '-e', 'stderr', '-c', join(folder, 'nginx.conf')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const open = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1')
      const done = (is: boolean) => () => {
        socket.destroy()
        resolve(is)
      }
      socket.once('connect', done(true)).once('error', done(false))
    })
  while (!(await open())) {
    if (child.exitCode !== null) throw new Error(`nginx ended with ${child.exitCode}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return {
    name: 'nginx',
    understand: (bytes) => ask(port, bytes),
    close: async () => {
      await ended(child)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Starts those that this machine has, and names the others. */
export const startServers = async (): Promise<{
  readonly servers: readonly Server[]
  readonly lacking: readonly string[]
}> => {
  const node = await startNode()
  const others = [await startGo(), await startNginx(node.port)]
  return {
    servers: [node, ...others.filter((one) => typeof one !== 'string')],
    lacking: others.filter((one) => typeof one === 'string'),
  }
}
