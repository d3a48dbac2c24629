// Is what policy saw what the provider got, and what ordinary servers understand? Generated requests go through a
// deputy; for each that leaves, three readings must be one: policy's input, the bytes that arrived, and each server's.
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { compactDecrypt, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import { startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { dial, parseAnswer } from '../support/raw.ts'
import { startRecorder, type Recorded, type Recorder } from './recorder.ts'
import { FORGED, generated, HIDDEN, type Case } from './requests.ts'
import { startServers, type Server, type Understood } from './servers.ts'

export type Figures = {
  readonly requests: number
  /** Answered by deputy itself; the provider saw nothing. */
  readonly refused: number
  /** Policy, provider and servers read one and the same. */
  readonly identical: number
  /** Of those, how often a server would not take what arrived. */
  readonly unread: Readonly<Record<string, number>>
  /** What differed, with the bytes that did it. */
  readonly differing: readonly string[]
}
export type Bench = {
  readonly run: (seed: number, count: number) => Promise<Figures>
  readonly servers: readonly string[]
  /** Programs that this machine does not have. */
  readonly lacking: readonly string[]
  readonly close: () => Promise<void>
}

const TOKEN = 'at-alice-of-the-fuzz-0123456789'
const AT_ONCE = 16
/** ms: how long a request that was not answered may hang. Deputy answers each that is whole at once. */
const PATIENCE = 1_500
/** ms: what else was read from the same bytes is answered by then. */
const BEHIND = 30

const access: Readonly<Record<string, string>> = { GET: 'read', HEAD: 'read', OPTIONS: 'read' }
const provider = (origin: string): Fields => ({
  id: 'fuzz',
  authorize: `${origin}/authorize`,
  token: `${origin}/token`,
  hosts: { 'api.fuzz.test': origin },
  names: 'insensitive',
  operations: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].map((method) => ({
    id: `fuzz.${method.toLowerCase()}`,
    method,
    path: '/{rest+}',
    access: access[method] ?? 'write',
    scopes: [[]],
    inspect: ['/title'],
  })),
})
const grant = {
  kinds: ['rest', 'asset'],
  access: ['read', 'write', 'delete'],
  operations: ['*'],
  max_entitlement_age_s: 300,
}
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })

const start = (port: number): Promise<Deputy> => {
  const origin = `http://127.0.0.1:${port}`
  return startDeputy({
    upstream: origin,
    held: [{ person: 'alice', connection: 'fuzz', token: TOKEN }],
    tables: {
      group_roles: { staff: ['user'] },
      role_grants: { fuzz: { user: ['use'] } },
      grants: { fuzz: { use: grant } },
      providers: { fuzz: { hosts: ['api.fuzz.test'], assets: [], inspect_body: [] } },
    },
    config: {
      providers: [provider(origin)],
      connections: {
        fuzz: { provider: 'fuzz', client_id: 'a', client_secret: 'b', scopes: ['notes'] },
      },
      audit: {
        sink: ['file:audit.jsonl'],
        inputs: 'sealed',
        inputs_key: JSON.stringify(pair.publicKey.export({ format: 'jwk' })),
      },
    },
  })
}

/** What policy was asked since the last time, opened with the investigator's key. */
const createAsked = (dir: string) => {
  const keys = new Map<string, JWK>()
  let read = 0
  return async (): Promise<readonly Asked[]> => {
    const lines = readFileSync(join(dir, 'inputs.jsonl'), 'utf8').split('\n').slice(0, -1)
    const asked: Asked[] = []
    for (const line of lines.slice(read)) {
      const { event, jwe } = JSON.parse(line) as { event: string; jwe: string }
      if (event === 'input.key') {
        const to = await importJWK(pair.privateKey.export({ format: 'jwk' }), 'ECDH-ES+A256KW')
        const jwk = JSON.parse(
          Buffer.from((await compactDecrypt(jwe, to)).plaintext).toString(),
        ) as JWK
        keys.set(jwk.kid ?? '', jwk)
      } else if (event === 'input') {
        const jwk = keys.get(decodeProtectedHeader(jwe).kid ?? '') ?? { kty: 'oct', k: '' }
        const { plaintext } = await compactDecrypt(jwe, await importJWK(jwk, 'dir'))
        asked.push((JSON.parse(Buffer.from(plaintext).toString()) as { request: Asked }).request)
      }
    }
    read = lines.length
    return asked
  }
}
type Asked = {
  readonly method: string
  readonly segments: readonly string[]
  readonly query: Readonly<Record<string, readonly string[]>>
  readonly body: { readonly state: string; readonly bytes: number; readonly json?: Fields }
}

/**
 * Sends the bytes and waits for the answer; then a moment longer, for what may have been read behind the request. What
 * waits for bytes that never come is left after PATIENCE.
 */
const send = async (origin: string, bytes: Buffer): Promise<void> => {
  const { socket, ended, received } = await dial(origin)
  const method = bytes.toString('latin1', 0, bytes.indexOf(' '))
  let timer = setTimeout(() => socket.destroy(), PATIENCE)
  socket.on('data', () => {
    if (parseAnswer(received(), method)?.whole !== true) return
    clearTimeout(timer)
    timer = setTimeout(() => socket.destroy(), BEHIND)
  })
  socket.write(bytes)
  await ended
  clearTimeout(timer)
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
const sorted = (query: Understood['query']): readonly unknown[] =>
  Object.entries(query).sort(([a], [b]) => (a < b ? -1 : 1))

/** In what policy's reading and a server's differ; empty: in nothing. */
export const differences = (
  asked: Asked,
  recorded: Recorded,
  said: Understood,
): readonly string[] => {
  const title = asked.body.json?.['/title']
  return [
    ...(said.method === asked.method ? [] : [`method ${asked.method}, ${said.method}`]),
    // Policy sees the parts between encoded slashes as segments, as servers do that decode before they split.
    ...(said.segments.join('/') === asked.segments.join('/')
      ? []
      : [`path ${JSON.stringify(asked.segments)}, ${JSON.stringify(said.segments)}`]),
    ...(same(sorted(said.query), sorted(asked.query))
      ? []
      : [`query ${JSON.stringify(asked.query)}, ${JSON.stringify(said.query)}`]),
    ...(same(said.authorization, [`Bearer ${TOKEN}`])
      ? []
      : [`authorization ${JSON.stringify(said.authorization)}`]),
    ...(said.body.equals(recorded.body) ? [] : ['the body']),
    ...(said.title === undefined || said.title === null || same(said.title, title)
      ? []
      : [`title ${JSON.stringify(title)}, ${JSON.stringify(said.title)}`]),
  ]
}

const judge = async (
  recorded: Recorded,
  asked: ReadonlyMap<string, readonly Asked[]>,
  servers: readonly Server[],
  unread: Record<string, number>,
): Promise<readonly string[]> => {
  const text = recorded.bytes.toString('latin1')
  const id = /^[A-Z]+ \/(c\d+)\//.exec(recorded.head)?.[1] ?? ''
  const about = asked.get(id) ?? []
  const [one] = about
  if (one === undefined || about.length > 1)
    return [`${about.length} decisions about what arrived: ${JSON.stringify(text)}`]
  const wrong: string[] = []
  if (text.includes(FORGED)) wrong.push('a credential that the agent supplied arrived')
  if (text.includes(`/${HIDDEN}/`) && !recorded.body.includes(HIDDEN))
    wrong.push('a hidden request')
  if (/^deputy[-_]/im.test(recorded.head)) wrong.push('a header of deputy arrived')
  for (const server of servers) {
    const said = await server.understand(recorded.bytes)
    if (typeof said === 'number') unread[server.name] = (unread[server.name] ?? 0) + 1
    else wrong.push(...differences(one, recorded, said).map((what) => `${server.name}: ${what}`))
  }
  return wrong.map((what) => `${what}: ${JSON.stringify(text)}`)
}

const round = async (
  cases: readonly Case[],
  { deputy, recorder, servers, asked }: Parts,
): Promise<Figures> => {
  const waiting = [...cases]
  const worker = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop())
      await send(deputy.agent, next.bytes)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  const byId = new Map<string, Asked[]>()
  for (const one of await asked()) {
    const id = one.segments[0] ?? ''
    byId.set(id, [...(byId.get(id) ?? []), one])
  }
  const unread: Record<string, number> = {}
  const differing: string[] = []
  const arrived = recorder.take()
  let identical = 0
  for (const recorded of arrived) {
    const wrong = await judge(recorded, byId, servers, unread)
    if (wrong.length === 0) identical++
    differing.push(...wrong)
  }
  return {
    requests: cases.length,
    refused: cases.length - arrived.length,
    identical,
    unread,
    differing,
  }
}
type Parts = {
  readonly deputy: Deputy
  readonly recorder: Recorder
  readonly servers: readonly Server[]
  readonly asked: () => Promise<readonly Asked[]>
}

/** A deputy in this process, a recording provider and the servers of this machine. */
export const startBench = async (): Promise<Bench> => {
  const recorder = await startRecorder()
  const deputy = await start(recorder.port)
  const { servers, lacking } = await startServers()
  const parts = { deputy, recorder, servers, asked: createAsked(deputy.dir) }
  const { host } = new URL(deputy.agent)
  let sent = 0
  return {
    run: async (seed, count) => {
      const cases = generated(seed, count, sent, host)
      sent += count
      return round(cases, parts)
    },
    servers: servers.map(({ name }) => name),
    lacking,
    close: async () => {
      await deputy.close()
      await Promise.all([recorder.close(), ...servers.map((server) => server.close())])
    },
  }
}

export const sum = (a: Figures, b: Figures): Figures => ({
  requests: a.requests + b.requests,
  refused: a.refused + b.refused,
  identical: a.identical + b.identical,
  unread: Object.fromEntries(
    [...new Set([...Object.keys(a.unread), ...Object.keys(b.unread)])].map((name) => [
      name,
      (a.unread[name] ?? 0) + (b.unread[name] ?? 0),
    ]),
  ),
  differing: [...a.differing, ...b.differing],
})
