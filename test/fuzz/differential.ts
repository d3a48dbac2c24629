// Is what policy saw what the provider got, and what ordinary servers understand? Generated requests go through a
// deputy; for each that leaves, three readings must be one: policy's input, the bytes that arrived, and each server's.
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { compactDecrypt, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import {
  loadFolder,
  prepareFolder,
  startDeputy,
  type Deputy,
  type Fields,
  type Setup,
} from '../support/deputy.ts'
import { makeCa } from '../../proxy/commands/ca.ts'
import { FORGED, HIDDEN } from './pick.ts'
import { CREDENTIALS } from './pieces.ts'
import { startRecorder, type Recorded, type Recorder } from './recorder.ts'
import { generated, type Case, type Way } from './requests.ts'
import { send, type Doors } from './send.ts'
import { startServers, type Server, type Understood } from './servers.ts'

export type Figures = {
  readonly requests: number
  /** Answered by deputy itself; the provider saw nothing. */
  readonly refused: number
  /** Policy, provider and servers read one and the same. */
  readonly identical: number
  /** The same by the way in which they came. */
  readonly ways: Readonly<Partial<Record<Way, number>>>
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

const PEOPLE = ['alice', 'bob'] as const
const tokenOf = (person: string): string => `at-${person}-of-the-fuzz-0123456789`
const AT_ONCE = 32
/** The second segment of a path whose bodies policy does not ask about: they are read for what must not leave. */
const UNASKED = 'notes'

const access: Readonly<Record<string, string>> = { GET: 'read', HEAD: 'read', OPTIONS: 'read' }
const provider = (origin: string): Fields => ({
  id: 'fuzz',
  authorize: `${origin}/authorize`,
  token: `${origin}/token`,
  hosts: { 'api.fuzz.test': origin },
  names: 'insensitive',
  operations: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].flatMap((method) => {
    const id = `fuzz.${method.toLowerCase()}`
    const row = { method, access: access[method] ?? 'write', scopes: [[]] }
    return [
      { ...row, id, path: '/{rest+}', inspect: ['/title'] },
      { ...row, id: `${id}.${UNASKED}`, path: `/{id}/${UNASKED}` },
      { ...row, id: `${id}.${UNASKED}.more`, path: `/{id}/${UNASKED}/{rest+}` },
    ]
  }),
})
const grant = {
  kinds: ['rest', 'asset'],
  access: ['read', 'write', 'delete'],
  operations: ['*'],
  max_entitlement_age_s: 300,
}
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })

const start = async (port: number): Promise<Deputy> => {
  const origin = `http://127.0.0.1:${port}`
  const setup: Setup = {
    upstream: origin,
    held: PEOPLE.map((person) => ({ person, connection: 'fuzz', token: tokenOf(person) })),
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
      forward: { listen: '127.0.0.1:0', ca: './ca' },
      audit: {
        sink: ['file:audit.jsonl'],
        inputs: 'sealed',
        inputs_key: JSON.stringify(pair.publicKey.export({ format: 'jwk' })),
      },
    },
  }
  const dir = await prepareFolder(setup)
  const said: string[] = []
  const print = (line: string): void => void said.push(line)
  const loaded = await loadFolder(dir)
  const now = Date.now()
  if ((await makeCa({ loaded, days: 1, renew: false, now, print, complain: print })) !== 0)
    throw new Error(said.join('\n'))
  return startDeputy(setup, dir)
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
        const { request, user } = JSON.parse(Buffer.from(plaintext).toString()) as Input
        asked.push({ ...request, person: user.id })
      }
    }
    read = lines.length
    return asked
  }
}
type Input = { readonly request: Omit<Asked, 'person'>; readonly user: { readonly id: string } }
type Asked = {
  readonly person: string
  readonly method: string
  readonly segments: readonly string[]
  readonly query: Readonly<Record<string, readonly string[]>>
  readonly body: { readonly state: string; readonly bytes: number; readonly json?: Fields }
}

/** Where the definition says that the provider is: nginx leaves out the port. */
const HOST = /^127\.0\.0\.1(?::\d+)?$/
const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
const sorted = (query: Understood['query']): readonly unknown[] =>
  Object.entries(query).sort(([a], [b]) => (a < b ? -1 : 1))

/** What no field of a body may be called, as the servers read it. */
const CREDENTIAL = /^(?:access|bearer|oauth)_token$/i
const OVERRIDE = /^_method$|^x-http-method-override$/i
/** What differs in one field as one reader has it. */
const ofField = (asked: Asked, name: string, value: unknown): readonly string[] => {
  if (CREDENTIAL.test(name)) return [`a credential in the field ${name}`]
  if (OVERRIDE.test(name)) return [`another method in the field ${name}`]
  const title = asked.body.json?.['/title']
  return name !== 'title' || asked.segments[1] === UNASKED || same(value, title)
    ? []
    : [`title ${JSON.stringify(title)}, ${JSON.stringify(value)}`]
}
/** In what policy's reading and a server's differ; empty: in nothing. */
export const differences = (
  asked: Asked,
  recorded: Recorded,
  said: Understood,
): readonly string[] => [
  ...(said.method === asked.method ? [] : [`method ${asked.method}, ${said.method}`]),
  // Policy sees the parts between encoded slashes as segments, as servers do that decode before they split.
  ...(said.segments.join('/') === asked.segments.join('/')
    ? []
    : [`path ${JSON.stringify(asked.segments)}, ${JSON.stringify(said.segments)}`]),
  ...(same(sorted(said.query), sorted(asked.query))
    ? []
    : [`query ${JSON.stringify(asked.query)}, ${JSON.stringify(said.query)}`]),
  ...(HOST.test(said.host) ? [] : [`host ${said.host}`]),
  ...(same(said.authorization, [`Bearer ${tokenOf(asked.person)}`])
    ? []
    : [`authorization ${JSON.stringify(said.authorization)} for ${asked.person}`]),
  ...(said.body.equals(recorded.body) ? [] : ['the body']),
  ...said.fields.flatMap(([name, value]) => ofField(asked, name, value)),
]

/** Lines of a head that must not arrive, whatever the servers make of them. */
const UNWANTED: readonly (readonly [RegExp, string])[] = [
  [/^deputy[-_]/im, 'a header of deputy arrived'],
  [/^x[-_](?:http[-_])?(?:method|verb)\b/im, 'a header arrived that overrides the method'],
  [/^x[-_](?:original|rewrite|forwarded)[-_]/im, 'a header arrived that speaks of another target'],
  [
    /^(?:te|trailer|upgrade|connection: (?!close$|keep-alive$)|expect|http2-settings)\b/im,
    'a header of one hop',
  ],
]

/**
 * Did the agent's credential arrive? In a query it is one only where a parameter of such a name holds it: a byte that was
 * changed within the name makes it another. In a body its readers say so.
 */
export const supplied = ({ head, trailers }: Pick<Recorded, 'head' | 'trailers'>): boolean => {
  const query = /^\S+ [^ ?]*\?(\S*)/.exec(head)?.[1] ?? ''
  if ((head.replace(query, '') + trailers).includes(FORGED)) return true
  const holding = query.split(/[&;?#]/).filter((pair) => pair.includes(FORGED))
  return holding.some((pair) => {
    const [name = ''] = pair.toLowerCase().split('=')
    const names = [name, unescape(name)]
    return CREDENTIALS.some((one) => names.some((each) => each.includes(one.toLowerCase())))
  })
}

const idOf = ({ head }: Recorded): string => /^[A-Z]+ \/(c\d+)\//.exec(head)?.[1] ?? ''
const judge = async (
  recorded: Recorded,
  asked: ReadonlyMap<string, readonly Asked[]>,
  servers: readonly Server[],
  unread: Record<string, number>,
): Promise<readonly string[]> => {
  const text = recorded.bytes.toString('latin1')
  const about = asked.get(idOf(recorded)) ?? []
  const [one] = about
  // On a busy machine a decision grows old before the call leaves, and policy is asked the same once more.
  if (one === undefined || about.some((other) => !same(other, one)))
    return [`${about.length} decisions about what arrived: ${JSON.stringify(text)}`]
  const wrong: string[] = []
  if (supplied(recorded)) wrong.push('a credential that the agent supplied arrived')
  if (text.includes(`/${HIDDEN}/`) && !recorded.body.includes(HIDDEN))
    wrong.push('a hidden request')
  for (const [pattern, what] of UNWANTED) if (pattern.test(recorded.head)) wrong.push(what)
  for (const server of servers) {
    const said = await server.understand(recorded.bytes)
    if (typeof said === 'number') unread[server.name] = (unread[server.name] ?? 0) + 1
    else wrong.push(...differences(one, recorded, said).map((what) => `${server.name}: ${what}`))
  }
  return wrong.map((what) => `${what}: ${JSON.stringify(text)}`)
}

const round = async (
  cases: readonly Case[],
  { doors, recorder, servers, asked }: Parts,
): Promise<Figures> => {
  const waiting = [...cases]
  const worker = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) await send(doors, next)
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
  const wayOf = new Map(cases.map(({ id, way }) => [id, way]))
  const ways: Partial<Record<Way, number>> = {}
  let identical = 0
  for (const recorded of arrived) {
    const wrong = await judge(recorded, byId, servers, unread)
    const way = wayOf.get(idOf(recorded))
    if (wrong.length === 0) identical++
    if (wrong.length === 0 && way !== undefined) ways[way] = (ways[way] ?? 0) + 1
    differing.push(...wrong)
  }
  return {
    requests: cases.length,
    refused: cases.length - arrived.length,
    identical,
    ways,
    unread,
    differing,
  }
}
type Parts = {
  readonly doors: Doors
  readonly recorder: Recorder
  readonly servers: readonly Server[]
  readonly asked: () => Promise<readonly Asked[]>
}

/** A deputy in this process, a recording provider and the servers of this machine. */
export const startBench = async (): Promise<Bench> => {
  const recorder = await startRecorder()
  const deputy = await start(recorder.port)
  const { servers, lacking } = await startServers()
  const doors = { agent: deputy.agent, forward: deputy.addresses['forward'] ?? '' }
  const parts = { doors, recorder, servers, asked: createAsked(deputy.dir) }
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

const added = <K extends string>(
  a: Readonly<Partial<Record<K, number>>>,
  b: Readonly<Partial<Record<K, number>>>,
): Partial<Record<K, number>> => {
  const all: Partial<Record<K, number>> = { ...a }
  for (const [name, count] of Object.entries(b) as [K, number][])
    all[name] = (all[name] ?? 0) + count
  return all
}
export const sum = (a: Figures, b: Figures): Figures => ({
  requests: a.requests + b.requests,
  refused: a.refused + b.refused,
  identical: a.identical + b.identical,
  ways: added(a.ways, b.ways),
  unread: added(a.unread, b.unread) as Readonly<Record<string, number>>,
  differing: [...a.differing, ...b.differing],
})
