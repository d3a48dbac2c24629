// The text that an agent's program shows when deputy answers: clients of Python and Go, unmodified, each in its own language.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BUNDLE, CLIENT_SECRET, startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Seen, Upstream } from '../support/upstream.ts'
import { reply } from '../support/vendor.ts'

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
const cache = (name: string): string => join(homedir(), '.cache/deputy-ci', name)
/** `.ci/run` makes both. */
const PYTHON = process.env['DEPUTY_PYCLIENTS'] ?? cache('pyclients-3/bin/python')
const GO = process.env['DEPUTY_GOCLIENTS'] ?? cache('goclients-2/clients')

/** Definitions that do not ship: their clients show one member of their vendor's error shape. */
const SHAPES: Readonly<Record<string, { readonly host: string; readonly errors: Fields }>> = {
  notion: {
    host: 'api.notion.com',
    // Its client shows the message of codes that Notion has, and of no other.
    errors: {
      object: 'error',
      status: '{status}',
      code: 'restricted_resource',
      message: '{detail}',
    },
  },
  openai: {
    host: 'api.openai.com',
    errors: {
      error: { message: '{detail}', type: 'permission_error', param: null, code: '{code}' },
    },
  },
  atlassian: { host: 'acme.atlassian.net', errors: { errorMessages: ['{detail}'], errors: {} } },
  mcp: {
    host: 'mcp.acme.test',
    errors: { jsonrpc: '2.0', id: null, error: { code: -32001, message: '{detail}' } },
  },
}
const SHIPPED: Readonly<
  Record<string, { readonly hosts: readonly string[]; readonly scopes: readonly string[] }>
> = {
  github: { hosts: ['api.github.com', 'uploads.github.com'], scopes: ['repo', 'read:user'] },
  google: {
    hosts: ['gmail.googleapis.com'],
    scopes: ['https://www.googleapis.com/auth/gmail.readonly'],
  },
  microsoft: { hosts: ['graph.microsoft.com'], scopes: ['User.Read'] },
  linear: { hosts: ['api.linear.app'], scopes: ['read'] },
  slack: { hosts: ['slack.com', 'files.slack.com'], scopes: ['files:write', 'users:read'] },
  salesforce: { hosts: ['acme.my.salesforce.com'], scopes: ['api'] },
}
const NAMES = [...Object.keys(SHIPPED), ...Object.keys(SHAPES)]

const API = 'https://api.github.com'
const issue = (title: string) => ({
  number: 7,
  title,
  url: `${API}/repos/acme/app/issues/7`,
  comments_url: `${API}/repos/acme/app/issues/7/comments`,
})
/** What each vendor answers to the little that is asked. */
const vendors = ({ method, url, body }: Seen, res: Parameters<typeof reply>[0]): void => {
  const { pathname, searchParams } = new URL(url, 'https://x.test')
  if (pathname === '/repos/acme/app')
    return reply(res, 200, { full_name: 'acme/app', url: `${API}/repos/acme/app` })
  if (pathname === '/repos/acme/app/issues' && method === 'GET') {
    const next = `<${API}/repos/acme/app/issues?page=2>; rel="next"`
    return searchParams.get('page') === '2'
      ? reply(res, 200, [issue('second')])
      : reply(res, 200, [issue('first')], { link: next })
  }
  if (pathname === '/repos/acme/app/issues') return reply(res, 201, issue('new'))
  if (method === 'PATCH') return reply(res, 200, issue('edited'))
  if (pathname.endsWith('/comments')) return reply(res, 201, { id: 1, body: 'seen' })
  if (pathname.endsWith('/releases/1/assets')) return reply(res, 201, { name: 'notes.txt' })
  if (pathname === '/user') return reply(res, 200, { login: 'alice' })
  if (pathname.endsWith('files.getUploadURLExternal'))
    return reply(res, 200, {
      ok: true,
      upload_url: 'https://files.slack.com/upload/v1/CwABAAAAXA',
      file_id: 'F1',
    })
  // Each part is answered by the id that its path ends with.
  if (pathname === '/batch/gmail/v1') {
    const parts = [...body.toString().matchAll(/Content-ID: <(.*)>[^]*?GET \S+\/messages\/(\w+)/g)]
    const answers = parts.map(
      ([, id = '', message = '']) =>
        `--b\r\nContent-Type: application/http\r\nContent-ID: <response-${id}>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"id":"${message}"}\r\n`,
    )
    return reply(res, 200, Buffer.from(`${answers.join('')}--b--\r\n`), {
      'content-type': 'multipart/mixed; boundary=b',
    })
  }
  if (pathname.startsWith('/upload/')) return reply(res, 200, Buffer.from('OK'))
  if (pathname.endsWith('files.completeUploadExternal'))
    return reply(res, 200, { ok: true, files: [{ id: 'F1' }] })
  if (pathname.endsWith('auth.test')) return reply(res, 200, { ok: true, user: 'alice' })
  reply(res, 404, { unasked: `${method} ${url} ${body.length}` })
}

const started = async (): Promise<{ readonly deputy: Deputy; readonly upstream: Upstream }> => {
  const upstream = await startUpstream()
  upstream.handle = vendors
  const { use } = (TABLES['grants'] ?? {})['github'] as { readonly use: Fields }
  const rest = { grant: { ...use, kinds: ['rest', 'graphql', 'asset'] } }
  const each = (value: (name: string) => unknown): Fields =>
    Object.fromEntries(NAMES.map((name) => [name, value(name)]))
  const hostsOf = (name: string): readonly string[] =>
    SHIPPED[name]?.hosts ?? [SHAPES[name]?.host ?? '']
  const scopesOf = (name: string): readonly string[] => SHIPPED[name]?.scopes ?? ['all']
  for (const name of NAMES) upstream.people.set(`token-of-alice-at-${name}`, 'alice')
  const deputy = await startDeputy({
    upstream: upstream.origin,
    people: [
      { id: 'alice', groups: ['staff'] },
      { id: 'dave', groups: ['staff'] },
      { id: 'carol', groups: [] },
    ],
    held: NAMES.map((name) => ({
      person: 'alice',
      connection: name,
      token: `token-of-alice-at-${name}`,
      scopes: scopesOf(name),
    })),
    tables: {
      group_roles: { staff: ['user'] },
      role_grants: each(() => ({ user: ['grant'] })),
      grants: each(() => rest),
      providers: each((name) => ({ hosts: hostsOf(name), assets: [], inspect_body: [] })),
    },
    config: {
      policy: { bundle: BUNDLE, data: './tables' },
      providers: Object.entries(SHAPES).map(([id, { host, errors }]) => ({
        id,
        authorize: `${upstream.origin}/authorize`,
        token: `${upstream.origin}/token`,
        hosts: [host],
        errors,
        operations: [
          {
            scopes: [['all']],
            read: { 'all.read': 'GET /{rest+}' },
            write: { 'all.write': 'POST /{rest+}' },
          },
        ],
      })),
      connections: each((name) => ({
        provider: name,
        client_id: 'deputy',
        client_secret: CLIENT_SECRET,
        scopes: scopesOf(name),
        hosts: Object.fromEntries(hostsOf(name).map((host) => [host, upstream.origin])),
      })),
    },
  })
  return { deputy, upstream }
}

/** Python's client posts the file as if it were a form. */
const FILES: Readonly<Record<string, string>> = {
  slack: 'nine=byte&b=%7',
  'go-github enterprise': 'nine byte',
}

type Said = {
  readonly client: string
  readonly person: string
  readonly value?: unknown
  readonly error?: string
}

/** Empty, or why nothing is tried: said aloud; under DEPUTY_NO_SKIP=1 it throws. */
const missing = (program: string): string => {
  if (existsSync(program)) return ''
  const text = `${program} is missing: .ci/run makes it`
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(text)
  process.stderr.write(`SKIPPED: ${text}\n`)
  return ` (SKIPPED: ${text})`
}

/** dave has connected nothing, carol may do nothing. */
const LINK = /http:\/\/localhost:\d+\/connect\/[\w-]{20,}/
const SHOWN = { dave: LINK, carol: /policy does not allow/i } as const

describe.each([
  {
    what: 'Python',
    program: PYTHON,
    script: [file('clients.py')],
    clients: [
      'pygithub',
      'google',
      'google_batch',
      'msgraph',
      'gql_linear',
      'notion',
      'openai',
      'atlassian',
      'slack',
      'salesforce',
      'mcp',
      'fastmcp',
    ],
    mute: {} as Fields,
    values: {
      pygithub: ['first', 'second', 'edited'],
      google_batch: ['m1', 'm2'],
      slack: 'F1',
    } as Fields,
  },
  {
    what: 'Go',
    program: GO,
    script: [],
    clients: ['go-github', 'go-github enterprise', 'slack-go'],
    // Of an answer that is not 200 it keeps the status alone.
    mute: { 'slack-go': 'slack server error: 403 Forbidden' } as Fields,
    values: {
      'go-github': 'alice',
      'go-github enterprise': 'notes.txt',
      'slack-go': 'alice',
    } as Fields,
  },
])('clients of $what', ({ program, script, clients, mute, values }) => {
  const lacks = missing(program)
  let said: readonly Said[] = []
  let world: Awaited<ReturnType<typeof started>>
  beforeAll(async () => {
    if (lacks !== '') return
    world = await started()
    const args = [...script, world.deputy.agent, 'alice', 'dave', 'carol']
    const { stdout } = await promisify(execFile)(program, args, { timeout: 240_000 })
    said = stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Said)
  }, 300_000)
  afterAll(async () => {
    if (lacks !== '') return
    await world.deputy.close()
    await world.upstream.close()
  })
  /** The bytes of the file that the client sent, as they arrived. */
  const kept = (client: string): string | undefined =>
    world.upstream.seen
      .find(({ url }) => FILES[client] !== undefined && /^\/(?:upload|.*\/assets)/.test(url))
      ?.body.toString()
  const of = (client: string, person: string): Said | undefined =>
    said.find((one) => one.client === client && one.person === person)

  test.skipIf(lacks !== '').each(clients.filter((name) => mute[name] === undefined))(
    `%s shows the link, and why policy refuses${lacks}`,
    (client) => {
      for (const person of ['dave', 'carol'] as const)
        expect(of(client, person)?.error).toMatch(SHOWN[person])
    },
  )
  test.skipIf(lacks !== '')(`docs/agents.md says who shows neither${lacks}`, () => {
    for (const [client, words] of Object.entries(mute))
      for (const person of ['dave', 'carol']) expect(of(client, person)?.error).toBe(words)
    expect(of(clients[0] ?? '', 'carol')).toBeDefined()
  })
  test.skipIf(lacks !== '').each(Object.entries(values))(
    `%s does its work as the person${lacks}`,
    (client, value) => {
      expect(of(client, 'alice')).toEqual({ client, person: 'alice', value })
      expect(kept(client)).toEqual(FILES[client])
    },
  )
})
