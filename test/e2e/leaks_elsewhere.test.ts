// The search of leaks.test.ts where security teams look: OTLP, spans, metrics, the console, exports, queries, webhooks; with a
// person's own API key and a WebSocket among the calls. Each place must be there, so that nothing is searched in vain.
import { execFile } from 'node:child_process'
import { copyFileSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { startAuthServer, type AuthServer } from '../support/authserver.ts'
import { createBrowser, type Browser } from '../support/browser.ts'
import { BUNDLE, prepareFolder, providersAt, startChild, TABLES } from '../support/deputy.ts'
import type { Child, Fields, Setup } from '../support/deputy.ts'
import { freePort } from '../support/ports.ts'
import { spellings, unpacked } from '../support/spellings.ts'

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const SHADOW = fileURLToPath(new URL('../fixtures/policies/stuck.tar.gz', import.meta.url))
const run = promisify(execFile)
const canary = (name: string): string => `cnry-${name}-7Qz+/x9Kf2LmW8pTr4Vb`
const SECRETS = {
  access: canary('access'),
  refresh: canary('refresh'),
  apiKey: 'cnry-api-key-7Qz9Kf2LmW8pTr4Vb',
  clientSecret: 'cnry-client-secret-7Qz9Kf2LmW8pTr4Vb',
  notifyKey: 'cnry-notify-key-7Qz9Kf2LmW8pTr4Vb-0123456789',
  collectorKey: 'cnry-collector-key-7Qz9Kf2LmW8pTr4Vb',
  forgedHeader: canary('forged-header'),
  forgedQuery: 'cnry-forged-query-7Qz9Kf2LmW8pTr4Vb',
  forgedPath: 'cnryforgedpath7Qz9Kf2LmW8pTr4VbxxxxYYYY1234',
  forgedProtocol: 'cnryforgedprotocol7Qz9Kf2LmW8pTr4Vb',
  body: canary('body'),
  answer: canary('answer'),
  message: canary('websocket-message'),
} as const
const secrets = new Map<string, string>(Object.entries(SECRETS))
/** What the person's own agent sent, or was meant to get. */
const OF_THE_AGENT = new Set(['body', 'answer', 'message'])

const places = new Map<string, Buffer[]>()
const put = (place: string, bytes: Buffer | string): void =>
  void places.set(place, [...(places.get(place) ?? []), unpacked(Buffer.from(bytes))])
const findings = (): readonly string[] =>
  [...places].flatMap(([place, all]) => {
    const bytes = Buffer.concat(all)
    return [...secrets]
      .filter(([name]) => !(place === 'agent' && OF_THE_AGENT.has(name)))
      .filter(([, secret]) => spellings(secret).some((spelling) => bytes.includes(spelling)))
      .map(([name]) => `${name} in ${place}`)
  })

const servers: Server[] = []
const listening = async (server: Server): Promise<string> => {
  servers.push(server)
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
/** Keeps each body that it is sent, and takes it. */
const keeper = (place: (path: string) => string, heard: Set<string>): Promise<string> =>
  listening(
    createServer((req, res) => {
      const chunks: Buffer[] = []
      req.on('data', (chunk: Buffer) => chunks.push(chunk))
      req.on('end', () => {
        put(place(req.url ?? ''), Buffer.concat(chunks))
        heard.add(JSON.stringify(req.headers))
        res.end()
      })
    }),
  )

let deputy: Child
let idp: AuthServer
/** Origin of the connect listener. */
let url = ''
let setup: Setup
const headersOf = { collector: new Set<string>(), webhook: new Set<string>() }
/** What the provider got: the tokens and the key must have come. */
const provided: string[] = []

beforeAll(async () => {
  const provider = createServer((req, res) => {
    provided.push(JSON.stringify(req.headers))
    res.setHeader('content-type', 'application/json')
    res.end(JSON.stringify({ said: SECRETS.answer, you: req.headers.authorization }))
  })
  const sockets = new WebSocketServer({ noServer: true })
  provider.on('upgrade', (req, socket, head) => {
    provided.push(JSON.stringify(req.headers))
    sockets.handleUpgrade(req, socket, head, (client) => {
      client.on('message', () => client.send(`${SECRETS.answer} ${req.headers.authorization}`))
    })
  })
  const upstream = await listening(provider)
  const otlp = await keeper((path) => `OTLP ${path}`, headersOf.collector)
  const webhook = await keeper(() => 'webhooks', headersOf.webhook)
  const connectPort = await freePort()
  url = `http://127.0.0.1:${connectPort}`
  idp = await startAuthServer({
    clientId: 'deputy-ops',
    redirectUris: [`${url}/console/callback`],
    accounts: { ada: { groups: ['desk'] } },
    config: { clientDefaults: { require_auth_time: true } },
  })
  const [acme, ...others] = providersAt(upstream)
  const rows = Array.isArray(acme?.['operations']) ? (acme['operations'] as Fields[]) : []
  const live = {
    id: 'acme.live',
    method: 'GET',
    path: '/live',
    access: 'write',
    scopes: [[]],
    websocket: ['chat'],
  }
  const keyed = {
    id: 'keyed',
    credential: 'api_key',
    hosts: { 'api.keyed.test': upstream },
    present: 'Authorization: Bearer {token}',
    operations: [{ id: 'it', method: 'GET', path: '/it', access: 'read', scopes: [[]] }],
  }
  const { use } = (TABLES['grants'] as { readonly acme: { readonly use: Fields } }).acme
  const tell = { type: 'notification', properties: { to: 'desk', topic: 't', body: 'a call' } }
  const log = { type: 'log', properties: { level: 'warn', tags: ['x'] } }
  const both = { ...TABLES['role_grants'], keyed: { user: ['use'] } }
  setup = {
    upstream,
    held: [{ person: 'alice', token: SECRETS.access, refresh: SECRETS.refresh, scopes: ['notes'] }],
    tables: {
      ...TABLES,
      role_grants: both,
      grants: {
        ...TABLES['grants'],
        acme: { use: { ...use, obligations: { tell, log } } },
        keyed: { use },
      },
      providers: {
        ...TABLES['providers'],
        keyed: { hosts: ['api.keyed.test'], assets: [], inspect_body: [] },
      },
      operator_roles: { desk: ['operator'] },
    },
    config: {
      listeners: {
        agent: '127.0.0.1:0',
        admin: '127.0.0.1:0',
        connect: `127.0.0.1:${connectPort}`,
      },
      policy: { bundle: BUNDLE, data: './tables', shadow: './shadow.tar.gz' },
      providers: [{ ...acme, operations: [live, ...rows] }, ...others, keyed],
      connections: {
        acme: {
          provider: 'acme',
          client_id: 'deputy',
          client_secret: SECRETS.clientSecret,
          scopes: ['notes'],
        },
        keyed: { provider: 'keyed' },
      },
      connect: { url, sign_in: 'local', notify: { webhook, key: SECRETS.notifyKey } },
      operators_sign_in: { issuer: idp.issuer, client_id: 'deputy-ops' },
      audit: { sink: ['file:audit.jsonl', 'otlp'] },
      telemetry: {
        otlp,
        headers: { 'x-collector-key': SECRETS.collectorKey },
        traces: 1,
        log_level: 'debug',
      },
    },
  }
  const dir = await prepareFolder(setup)
  copyFileSync(SHADOW, join(dir, 'shadow.tar.gz'))
  deputy = await startChild(setup, dir)
})
afterAll(async () => {
  await deputy.close()
  await idp.close()
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
})

const agent = (): string =>
  deputy.agent.startsWith('http') ? deputy.agent : `http://${deputy.agent}`
const admin = async (path: string): Promise<string> => {
  const origin = deputy.admin.startsWith('http') ? deputy.admin : `http://${deputy.admin}`
  return (await fetch(`${origin}${path}`)).text()
}
const call = async (path: string, init: RequestInit = {}, who = 'alice') => {
  const answer = await fetch(`${agent()}${path}`, {
    ...init,
    headers: { ...(init.headers as Record<string, string>), 'deputy-user': who },
  })
  const text = await answer.text()
  put('agent', `${JSON.stringify([...answer.headers])}${text}`)
  return { status: answer.status, text }
}
const firstCall = (): string => {
  const line = deputy.evidence().find(({ event }) => event === 'decision')
  return String(line?.['exchange'])
}
const cookiesOf = (browser: Browser): readonly string[] =>
  [...browser.cookies.values()].flatMap((jar) => [...jar.values()]).filter((one) => one.length > 15)

test('calls, a key that is pasted, and a WebSocket', async () => {
  await expect.poll(() => admin('/readyz?verbose')).toMatch(/shadow.*stuck/)
  const forged = {
    authorization: `Bearer ${SECRETS.forgedHeader}`,
    'x-api-key': SECRETS.forgedHeader,
    'content-type': 'application/json',
  }
  const body = JSON.stringify({ note: SECRETS.body })
  const there = `/api.acme.test/a?access_token=${SECRETS.forgedQuery}`
  expect((await call(there, { method: 'POST', headers: forged, body })).status).toBe(200)
  expect((await call(`/api.acme.test/hooks/${SECRETS.forgedPath}`)).status).toBe(200)
  // Refused by the policy in force, not by its shadow.
  expect((await call('/api.acme.test/a', { headers: forged }, 'bob')).status).toBe(403)

  const asked = await call('/api.keyed.test/it', { headers: forged })
  const { url: link } = JSON.parse(asked.text) as { readonly url: string }
  const browser = createBrowser()
  const code = readFileSync(join(deputy.dir, '.deputy-code'), 'utf8').trim()
  const page = await browser.submit(await browser.open(link), { code })
  const done = await browser.submit(page, { answer: 'yes', key: SECRETS.apiKey })
  expect(done.text).toContain('is connected')
  for (const { text } of browser.seen) put('pages', text)
  expect((await call('/api.keyed.test/it', { headers: forged })).status).toBe(200)

  const socket = new WebSocket(
    `${agent().replace('http', 'ws')}/api.acme.test/live?access_token=${SECRETS.forgedQuery}`,
    ['chat', `bearer.${SECRETS.forgedProtocol}`],
    { headers: { 'deputy-user': 'alice', authorization: forged.authorization } },
  )
  const said = new Promise<string>((resolve, reject) => {
    socket.on('open', () => socket.send(SECRETS.message))
    socket.on('message', (data: Buffer) => resolve(data.toString()))
    socket.on('error', reject)
  })
  put('agent', await said)
  expect(await said).toContain(SECRETS.answer)
  socket.close()

  const sent = provided.join('\n')
  for (const secret of [SECRETS.access, SECRETS.apiKey]) expect(sent).toContain(secret)
  for (const name of ['forgedHeader', 'forgedQuery', 'forgedProtocol'] as const)
    expect([name, sent.includes(SECRETS[name])]).toEqual([name, false])
  await expect.poll(() => places.has('webhooks')).toBe(true)
  await expect
    .poll(() => deputy.evidence().some(({ event }) => event === 'policy.shadow'))
    .toBe(true)
})

test('every page of the console, and what it tells as it happens', async () => {
  const browser = createBrowser()
  const connect = `${url}/console`
  const asked = await browser.open(connect, (next) => next.origin === idp.issuer)
  await browser.open(await idp.consent(asked.url, 'ada'))
  const exchange = firstCall()
  const alice = 'tenant=default&realm=local&id=alice'
  for (const [path, shows] of [
    ['', 'acme'],
    [`/call?exchange=${exchange}`, exchange],
    ['/people', 'alice'],
    [`/person?${alice}`, 'keyed'],
    ['/agents', 'acme'],
    ['/runs', 'Runs'],
    ['/waiting', 'Waiting'],
    ['/policy', 'stuck'],
    ['/health', 'audit'],
  ] as const) {
    const visit = await browser.open(`${connect}${path}`)
    expect([path, visit.status, visit.text.includes(shows)]).toEqual([path, 200, true])
    put(`console${path.replace(/\?.*/, '')}`, visit.text)
  }
  for (const cookie of cookiesOf(browser)) secrets.set(`cookie ${cookie.slice(0, 6)}`, cookie)
  const jar = [...browser.cookies].find(([at]) => connect.includes(at))?.[1] ?? new Map()
  const cookie = [...jar].map((pair) => pair.join('=')).join('; ')
  const stream = await fetch(`${connect}/live`, { headers: { cookie } })
  expect(stream.status).toBe(200)
  const reader = (stream.body as ReadableStream<Uint8Array>).getReader()
  await call('/api.acme.test/live-now', { headers: { authorization: SECRETS.forgedHeader } })
  let text = ''
  while (!text.includes('acme')) {
    const { done, value } = await reader.read()
    if (done) break
    text += Buffer.from(value).toString()
  }
  await reader.cancel()
  expect(text).toContain('acme')
  put('console/live', text)
})

test('metrics, exports, queries in each form, and one call’s story', async () => {
  for (const path of ['/metrics', '/readyz?verbose', '/livez']) put(path, await admin(path))
  const said = async (...args: readonly string[]): Promise<string> => {
    const { stdout, stderr } = await run(process.execPath, [command, ...args], { cwd: deputy.dir })
    put(`deputy ${args.slice(0, 2).join(' ')}`, stdout + stderr)
    return stdout
  }
  const config = ['--config', 'deputy.yaml']
  const person = await said('people', 'export', 'alice', ...config)
  for (const word of ['"acme"', '"keyed"', '"decision"']) expect(person).toContain(word)
  expect(await said('tenants', 'export', 'default', ...config)).toContain('"alice"')
  for (const format of ['text', 'markdown', 'csv', 'jsonl', 'ocsf'])
    expect(await said('audit', 'query', 'audit.jsonl', '--format', format)).toContain('alice')
  expect(await said('audit', 'query', 'audit.jsonl', '--summary')).toContain('alice')
  expect(await said('audit', 'explain', firstCall(), 'audit.jsonl')).toContain('alice')
})

test('no secret stands in any byte of it, nor in what the last moments wrote', async () => {
  expect(await deputy.stop()).toBe(0)
  put('standard output', deputy.stdout())
  put('standard error', deputy.stderr())
  const own = new Set(['keys.json', 'deputy.yaml', 'people.yaml', 'shadow.tar.gz'])
  for (const name of readdirSync(deputy.dir, { recursive: true, encoding: 'utf8' }))
    if (!own.has(name) && statSync(join(deputy.dir, name)).isFile())
      put(`file ${name}`, readFileSync(join(deputy.dir, name)))
  // Where a key belongs it was, and there alone.
  expect([...headersOf.collector].join()).toContain(SECRETS.collectorKey)
  expect([...headersOf.webhook].join()).not.toContain(SECRETS.notifyKey)
  for (const place of ['OTLP /v1/logs', 'OTLP /v1/traces', 'webhooks', 'pages', 'file audit.jsonl'])
    expect([place, Buffer.concat(places.get(place) ?? []).length > 50]).toEqual([place, true])
  const told = Buffer.concat(places.get('OTLP /v1/logs') ?? []).toString('latin1')
  for (const word of [
    'policy.shadow',
    'notification.delivered',
    'person.exported',
    'process.stopped',
  ])
    expect([word, told.includes(word)]).toEqual([word, true])
  expect(findings()).toEqual([])
})

test('the search finds what is packed, and what is spelled otherwise', () => {
  put('packed', gzipSync(`{"a":"${SECRETS.access.replaceAll('/', '\\/')}"}`))
  expect(findings()).toEqual(['access in packed'])
  places.delete('packed')
})
