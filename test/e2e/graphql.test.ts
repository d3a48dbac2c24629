// Linear's own SDK through deputy to a Linear: each root field of a call is a call, decided and recorded, whatever the document does to hide it.
import { brotliCompressSync } from 'node:zlib'
import { LinearClient } from '@linear/sdk'
import { createEmulator, type Emulator } from 'emulate'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { BUNDLE, startDeputy, until } from '../support/deputy.ts'
import type { Deputy, EvidenceLine } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const TOKENS = {
  alice: 'lin_oauth_alice_0123456789abcdef',
  bob: 'lin_oauth_bob_0123456789abcdef',
} as const
const EVERYTHING = ['read', 'write', 'issues:create', 'comments:create', 'admin']
const allowed = ['read', 'write', 'issues:create', 'comments:create']
const ENDPOINT = '/api.linear.app/graphql'

let emulator: Emulator
let wire: Upstream
let deputy: Deputy
let team: string
let issue: string

beforeAll(async () => {
  emulator = await createEmulator({
    service: 'linear',
    port: 0,
    hostname: '127.0.0.1',
    seed: {
      linear: {
        // Without it a call that has no token is its administrator's.
        strict_scopes: true,
        users: ['admin', 'alice', 'bob'].map((name) => ({
          name,
          email: `${name}@linear.example`,
          admin: name === 'admin',
        })),
        teams: [{ name: 'Triage', key: 'TRI' }],
        tokens: Object.entries(TOKENS).map(([name, token]) => ({
          token,
          user: `${name}@linear.example`,
          scopes: EVERYTHING,
        })),
      },
    },
  })
  wire = await startUpstream()
  for (const [name, token] of Object.entries(TOKENS)) wire.people.set(token, name)
  wire.handle = async ({ method, url, headers, body }, res) => {
    const { authorization = '', 'content-type': type = '' } = headers
    const answer = await fetch(`${emulator.url}${url}`, {
      method,
      headers: { authorization, 'content-type': type },
      ...(body.length === 0 ? {} : { body }),
    })
    res.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text())
  }
  deputy = await startDeputy({
    upstream: wire.origin,
    people: [
      { id: 'alice', groups: ['engineering'] },
      { id: 'bob', groups: ['staff'] },
      { id: 'carol', groups: ['engineering'] },
      { id: 'dave', groups: ['visitors'] },
    ],
    held: [
      { person: 'alice', connection: 'linear', token: TOKENS.alice, scopes: allowed },
      { person: 'bob', connection: 'linear', token: TOKENS.bob, scopes: allowed },
    ],
    config: {
      // The starter policy with its own tables, and Linear as it ships.
      policy: { bundle: BUNDLE },
      providers: [],
      connections: {
        linear: {
          provider: 'linear',
          client_id: 'deputy',
          client_secret: 'client-secret-of-linear-0123456789',
          scopes: allowed,
          hosts: { 'api.linear.app': wire.origin },
        },
      },
    },
  })
  const { body } = await ask('alice', { query: '{ teams { nodes { id } } }' })
  team = (body['data'] as { teams: { nodes: { id: string }[] } }).teams.nodes[0]?.id ?? ''
  const made = await linearOf('alice').createIssue({ teamId: team, title: 'the first' })
  issue = made.issueId ?? ''
})
afterAll(async () => {
  await deputy.close()
  await wire.close()
  await emulator.close()
})
let before = 0
beforeEach(() => {
  wire.seen.length = 0
  before = deputy.evidence().length
})

/** The official client: its token slot holds what the model made up. */
const linearOf = (user: string): LinearClient =>
  new LinearClient({
    apiUrl: `${deputy.agent}${ENDPOINT}`,
    accessToken: 'lin_made_up_by_the_model',
    headers: { 'Deputy-User': user },
  })

type Answer = {
  readonly status: number
  readonly code: string | null
  readonly body: { readonly [key: string]: unknown }
}
const send = async (
  user: string,
  body: string | Uint8Array<ArrayBuffer> | null,
  { path = ENDPOINT, method = 'POST', headers = {} } = {},
): Promise<Answer> => {
  const answer = await fetch(`${deputy.agent}${path}`, {
    method,
    headers: { 'deputy-user': user, 'content-type': 'application/json', ...headers },
    ...(body === null ? {} : { body }),
  })
  const text = await answer.text()
  return {
    status: answer.status,
    code: answer.headers.get('deputy-answer'),
    body: JSON.parse(text === '' ? '{}' : text) as Answer['body'],
  }
}
const ask = (user: string, body: unknown): Promise<Answer> => send(user, JSON.stringify(body))

const fresh = (event: string): readonly EvidenceLine[] =>
  deputy
    .evidence()
    .slice(before)
    .filter((line) => line.event === event)
/** What the evidence says of each part: number, operation, root field, effect. */
const decided = (): readonly unknown[] =>
  fresh('decision').map((line) => {
    const { id, graphql } = line['operation'] as { id: string; graphql: object }
    const { effect } = line['decision'] as { effect: string }
    return [line['part'] ?? null, id, graphql, effect]
  })
/** How `n` of these calls ended; nobody waits for an outcome, so it may come a moment later. */
const outcomes = async (n: number): Promise<readonly unknown[]> => {
  const found = (): readonly EvidenceLine[] => {
    const exchanges = new Set(fresh('decision').map(({ exchange }) => exchange))
    return fresh('outcome').filter(({ exchange }) => exchanges.has(exchange))
  }
  await until(() => found().length >= n, `${n} outcomes`)
  return found().map((line) => [line['result'], line['sent'], line['status']])
}
const titles = async (): Promise<readonly string[]> => {
  const answer = await fetch(`${emulator.url}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKENS.alice}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query: '{ issues { nodes { id title } } }' }),
  })
  const { data } = (await answer.json()) as { data: { issues: { nodes: { title: string }[] } } }
  return data.issues.nodes.map(({ title }) => title)
}

describe('the official SDK', () => {
  test('reads and writes as alice, with her token and not with the one it was given', async () => {
    const linear = linearOf('alice')
    expect((await linear.viewer).email).toBe('alice@linear.example')
    const made = await linear.createIssue({ teamId: team, title: 'written by alice' })
    const id = made.issueId ?? ''
    expect((await linear.updateIssue(id, { title: 'changed by alice' })).success).toBe(true)
    expect((await linear.createComment({ issueId: id, body: 'done' })).success).toBe(true)
    const { data } = await linear.client.rawRequest<{ issue: object }, { id: string }>(
      'query Mine($id: String!) { issue(id: $id) { title creator { email } } }',
      { id },
    )
    expect(data?.issue).toEqual({
      title: 'changed by alice',
      creator: { email: 'alice@linear.example' },
    })
    expect(new Set(wire.seen.map(({ who }) => who))).toEqual(new Set(['alice']))
    expect(wire.bytes().includes('lin_made_up')).toBe(false)
    expect(decided()).toEqual([
      [null, 'viewer.get', { type: 'query', field: 'viewer' }, 'allow'],
      [null, 'issue.create', { type: 'mutation', field: 'issueCreate' }, 'allow'],
      [null, 'issue.update', { type: 'mutation', field: 'issueUpdate' }, 'allow'],
      [null, 'comment.create', { type: 'mutation', field: 'commentCreate' }, 'allow'],
      [null, 'issue.get', { type: 'query', field: 'issue' }, 'allow'],
    ])
    expect(await outcomes(5)).toEqual(Array.from({ length: 5 }, () => ['ok', true, 200]))
    expect(fresh('decision')[0]).toMatchObject({ stripped: ['header:authorization'] })
  })

  test('lets through what else it reads: the emulator does not know these documents, deputy does', async () => {
    const linear = linearOf('bob')
    for (const call of [
      () => linear.issues(),
      () => linear.teams(),
      () => linear.users(),
      () => linear.projects(),
      () => linear.organization,
    ])
      await call().then(
        () => undefined,
        (error: Error) => expect(error.message).toMatch(/Unknown type|Cannot query field/),
      )
    expect(decided().map((line) => (line as unknown[])[1])).toEqual([
      'issue.list',
      'team.list',
      'user.list',
      'project.list',
      'organization.get',
    ])
    expect(wire.seen.map(({ who }) => who)).toEqual(Array.from({ length: 5 }, () => 'bob'))
  })

  test('reads as bob, who may not write: no mutation of his leaves', async () => {
    const linear = linearOf('bob')
    expect((await linear.viewer).email).toBe('bob@linear.example')
    wire.seen.length = 0
    const refused: unknown = await linear
      .createIssue({ teamId: team, title: 'by bob' })
      .catch((error: unknown) => error)
    expect(refused).toMatchObject({
      status: 403,
      message: expect.stringContaining('The security policy does not allow'),
      raw: { response: { code: 'policy_denied' } },
    })
    const { headers } = (refused as { raw: { response: { headers: Headers } } }).raw.response
    expect(headers.get('deputy-answer')).toBe('policy_denied')
    await expect(linear.deleteIssue(issue)).rejects.toThrow()
    expect(wire.seen).toEqual([])
    expect(await titles()).not.toContain('by bob')
    expect(decided().slice(1)).toEqual([
      [null, 'issue.create', { type: 'mutation', field: 'issueCreate' }, 'deny'],
      [null, 'issue.delete', { type: 'mutation', field: 'issueDelete' }, 'deny'],
    ])
  })
})

describe('a mutation of somebody who may only read is refused', () => {
  const gone = (): string => `issueDelete(id: "${issue}") { success }`
  test.each<[string, () => object]>([
    ['behind an alias', () => ({ query: `mutation { viewer: ${gone()} }` })],
    [
      'behind a fragment',
      () => ({ query: `mutation viewer { ...Viewer } fragment Viewer on Mutation { ${gone()} }` }),
    ],
    [
      'behind fragments of fragments, after a query',
      () => ({
        query: `query Q { viewer { id } } mutation M { ...A } fragment A on Mutation { ...B } fragment B on Mutation { ${gone()} }`,
        operationName: 'M',
      }),
    ],
    ['behind an inline fragment', () => ({ query: `mutation { ... { ${gone()} } }` })],
    [
      'behind a directive that seems to leave it out',
      () => ({
        query: `mutation($n: Boolean = true) { issueDelete(id: "${issue}") @include(if: $n) { success } }`,
        variables: { n: true },
      }),
    ],
    ['beside a read', () => ({ query: `mutation { __typename ${gone()} }` })],
    [
      'behind a comment and a text',
      () => ({ query: `# query { viewer }\r mutation { ${gone()} }` }),
    ],
    ['under a name that reads', () => ({ query: `mutation query { ${gone()} }` })],
  ])('%s', async (_, body) => {
    const answer = await ask('bob', body())
    expect([answer.status, answer.code]).toEqual([403, 'policy_denied'])
    expect(wire.seen).toEqual([])
  })

  test('under a key that is written with escapes, or that stands there twice', async () => {
    const mutation = JSON.stringify(`mutation { ${gone()} }`)
    const escaped = await send('bob', `{"qu\\u0065ry":${mutation}}`)
    expect(escaped.code).toBe('policy_denied')
    const twice = await send('bob', `{"query":"{viewer{id}}","query":${mutation}}`)
    expect([twice.status, twice.code]).toEqual([400, 'request_invalid'])
    expect(wire.seen).toEqual([])
  })
})

describe('several root fields are several calls', () => {
  test('each is decided and named in the evidence, with one outcome for all', async () => {
    const answer = await ask('bob', {
      query: '{ me: viewer { email } ...T } fragment T on Query { teams { nodes { key } } }',
    })
    expect(answer.body['data']).toMatchObject({ me: { email: 'bob@linear.example' } })
    expect(decided()).toEqual([
      [1, 'viewer.get', { type: 'query', field: 'viewer' }, 'allow'],
      [2, 'team.list', { type: 'query', field: 'teams' }, 'allow'],
    ])
    expect(await outcomes(1)).toEqual([['ok', true, 200]])
    expect(new Set(fresh('decision').map((line) => line['exchange'])).size).toBe(1)
  })

  test('one that is refused keeps all of them from leaving, and the others’ outcome says so', async () => {
    const answer = await ask('alice', {
      query: `mutation { a: issueCreate(input: { teamId: "${team}", title: "must not be" }) { success } b: issueDelete(id: "${issue}") { success } c: apiKeyCreate(input: {}) { success } }`,
    })
    expect([answer.status, answer.code]).toEqual([403, 'policy_denied'])
    expect(answer.body['reasons']).toEqual(['no_grant', 'linear_protected', 'operation_unknown'])
    expect(decided()).toEqual([
      [1, 'issue.create', { type: 'mutation', field: 'issueCreate' }, 'allow'],
      [2, 'issue.delete', { type: 'mutation', field: 'issueDelete' }, 'deny'],
      [3, 'unknown', { type: 'mutation', field: 'apiKeyCreate' }, 'deny'],
    ])
    expect(await outcomes(1)).toEqual([['policy_denied', false, null]])
    // An administrator finds the decision by the id that the agent was told.
    expect(fresh('decision').map((line) => (line['decision'] as { id: string }).id)).toContain(
      answer.body['decision_id'],
    )
    expect(wire.seen).toEqual([])
    expect(await titles()).not.toContain('must not be')
  })

  test('ask for one consent with the least scopes of all; who is not entitled gets no link', async () => {
    const query = `mutation { issueCreate(input: { teamId: "${team}", title: "x" }) { success } commentCreate(input: { issueId: "${issue}", body: "x" }) { success } }`
    const carol = await ask('carol', { query })
    expect([carol.status, carol.code]).toEqual([403, 'consent_required'])
    expect(carol.body['scopes']).toEqual(['comments:create', 'issues:create'])
    const dave = await ask('dave', { query })
    expect([dave.code, dave.body['url']]).toEqual(['policy_denied', undefined])
    // Some parts could be consented to, one can never be: no link either.
    const mixed = await ask('carol', { query: `{ viewer { id } apiKeys { id } }` })
    expect([mixed.code, mixed.body['url']]).toEqual(['policy_denied', undefined])
    expect(wire.seen).toEqual([])
  })
})

describe('what the catalogue does not know', () => {
  test.each(['query', 'mutation'])('is refused: a %s', async (type) => {
    const answer = await ask('alice', { query: `${type} { viewer: secrets { id } }` })
    expect([answer.code, answer.body['reasons']]).toEqual([
      'policy_denied',
      ['no_grant', 'operation_unknown'],
    ])
    expect(decided()).toEqual([[null, 'unknown', { type, field: 'secrets' }, 'deny']])
    expect(wire.seen).toEqual([])
  })

  test('is not written down where it looks like a credential', async () => {
    await ask('alice', { query: '{ ghp_0123456789abcdefghijklmnopqrstuvwxyz }' })
    expect(JSON.stringify(fresh('decision'))).not.toContain('ghp_')
  })

  test('introspection is a read of its own, and a query that mutates by its name only passes as what it is', async () => {
    const answer = await ask('bob', { query: 'query mutation { __schema { queryType { name } } }' })
    expect(answer.status).toBe(200)
    expect(decided()).toEqual([[null, 'schema.get', { type: 'query', field: '__schema' }, 'allow']])
  })
})

describe('a call that a server might read otherwise does not leave', () => {
  const read = JSON.stringify({ query: '{ viewer { id } }' })
  const mutation = encodeURIComponent('mutation { issueDelete(id: "1") { success } }')
  test.each<[string, Parameters<typeof send>[1], Parameters<typeof send>[2], number, string]>([
    ['a batch', `[${read}]`, {}, 400, 'request_invalid'],
    [
      'a query in the URL too',
      read,
      { path: `${ENDPOINT}?query=${mutation}` },
      400,
      'request_invalid',
    ],
    ['anything in the URL', read, { path: `${ENDPOINT}?a` }, 400, 'request_invalid'],
    ['a GET', null, { method: 'GET', path: `${ENDPOINT}?query=${mutation}` }, 403, 'policy_denied'],
    ['no body', null, {}, 400, 'request_invalid'],
    ['no JSON', '{ viewer { id } }', {}, 400, 'request_invalid'],
    [
      'a document as the body',
      '{ viewer { id } }',
      { headers: { 'content-type': 'application/graphql' } },
      415,
      'unsupported_media_type',
    ],
    [
      'a form whose text is JSON',
      read,
      { headers: { 'content-type': 'application/x-www-form-urlencoded' } },
      415,
      'unsupported_media_type',
    ],
    [
      'a file upload',
      '--x--',
      { headers: { 'content-type': 'multipart/form-data; boundary=x' } },
      415,
      'unsupported_media_type',
    ],
    [
      'a body that is compressed in another way than gzip',
      Uint8Array.from(brotliCompressSync(read)),
      { headers: { 'content-encoding': 'br' } },
      415,
      'unsupported_media_type',
    ],
    [
      'a body longer than is read',
      JSON.stringify({ query: '{ viewer { id } }', variables: { x: 'x'.repeat(1_100_000) } }),
      {},
      413,
      'request_too_large',
    ],
    ['a subscription', JSON.stringify({ query: 'subscription { a }' }), {}, 400, 'request_invalid'],
    ['another spelling of the path', read, { path: `${ENDPOINT}/` }, 403, 'policy_denied'],
    ['another case of the path', read, { path: '/api.linear.app/GraphQL' }, 403, 'policy_denied'],
  ])('%s', async (_, body, options, status, code) => {
    const answer = await send('alice', body, options)
    expect([answer.status, answer.code]).toEqual([status, code])
    expect(wire.seen).toEqual([])
  })
})

test('an operation can be authorized by its name before it is called', async () => {
  const authorize = (user: string, tool: string): Promise<Answer> =>
    send(user, JSON.stringify({ tool_name: tool, user_id: user }), { path: '/v1/tools/authorize' })
  expect(await authorize('alice', 'issue.create')).toMatchObject({
    status: 200,
    body: { status: 'completed' },
  })
  expect(await authorize('bob', 'issue.create')).toMatchObject({ code: 'policy_denied' })
  expect(await authorize('bob', 'issue.list')).toMatchObject({ status: 200 })
})
