// Vendors' own clients read redacted answers; each part of a batch, and what a tool of an MCP server says, loses what its own
// row names; and hooks are asked about each part.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Octokit } from '@octokit/core'
import { BatchRequestContent, Client as Graph } from '@microsoft/microsoft-graph-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startDeputy, TABLES, until, type Deputy, type Fields } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const SECRET = 'hidden@example.com'
const row = (change: Fields = {}): Fields => ({
  kinds: ['rest', 'graphql', 'mcp'],
  access: ['read', 'write', 'delete', 'admin'],
  operations: ['*'],
  max_entitlement_age_s: 300,
  ...change,
})
const hiding = (operations: readonly string[], ...pointers: readonly string[]): Fields => ({
  operations,
  obligations: {
    [operations[0] ?? '']: { type: 'redact', properties: { in: 'response', pointers } },
  },
})
const GRANTS: Readonly<Record<string, Readonly<Record<string, Fields>>>> = {
  github: {
    all: row(),
    issues: row(hiding(['issues.listForRepo'], '/*/user/email', '/*/body')),
  },
  microsoft: {
    all: row(),
    messages: row(hiding(['user-list-messages'], '/value/*/subject')),
    me: row(hiding(['user-get'], '/mail')),
  },
  linear: { all: row(hiding(['*'], '/data/viewer/email')) },
  tools: { all: row(), look: row(hiding(['*'], '/user/email')) },
}
const HOSTS: Fields = {
  github: ['api.github.com'],
  microsoft: ['graph.microsoft.com'],
  linear: ['api.linear.app'],
  tools: ['mcp.acme.test'],
}
const questions: Fields[] = []
let refuse = ''
const service = createServer((req, res) => {
  let body = ''
  req.on('data', (chunk: Buffer) => (body += chunk.toString()))
  req.on('end', () => {
    const question = JSON.parse(body) as Fields
    questions.push(question)
    const allow = (question['input'] as { operation: { id: string } }).operation.id !== refuse
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ allow }))
  })
})

let upstream: Upstream
let deputy: Deputy
beforeAll(async () => {
  await new Promise<void>((resolve) => void service.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}/`
  const hook = (when: string): Fields => ({ name: when, when, url, key: 'k'.repeat(32) })
  upstream = await startUpstream()
  const at = (provider: string, host: string, more: Fields = {}): Fields => ({
    provider,
    client_id: 'deputy',
    client_secret: 'secret-of-the-client-0123456789',
    hosts: { [host]: upstream.origin },
    ...more,
  })
  upstream.people.set('token-of-alice-0123456789', 'alice')
  deputy = await startDeputy({
    upstream: upstream.origin,
    tables: {
      ...TABLES,
      grants: GRANTS,
      role_grants: Object.fromEntries(
        Object.entries(GRANTS).map(([id, rows]) => [id, { user: Object.keys(rows) }]),
      ),
      providers: Object.fromEntries(
        Object.entries(HOSTS).map(([id, hosts]) => [id, { hosts, assets: [], inspect_body: [] }]),
      ),
    },
    config: {
      providers: [
        {
          id: 'tools',
          kind: 'mcp',
          name: 'Acme tools',
          url: 'https://mcp.acme.test/mcp',
          hosts: { 'mcp.acme.test': upstream.origin },
          tools: [{ name: 'look', access: 'read' }],
        },
      ],
      connections: {
        github: at('github', 'api.github.com', { scopes: ['repo', 'read:user'] }),
        microsoft: at('microsoft', 'graph.microsoft.com', { scopes: ['User.Read', 'Mail.Read'] }),
        linear: at('linear', 'api.linear.app', { scopes: ['read'] }),
        tools: { provider: 'tools' },
      },
      hooks: [hook('before'), hook('after')].map((one) => ({
        ...one,
        operations: ['user-list-messages', 'user-get'],
      })),
    },
    held: [
      ['github', ['repo', 'read:user']],
      ['microsoft', ['User.Read', 'Mail.Read']],
      ['linear', ['read']],
      ['tools', []],
    ].map(([connection, scopes]) => ({
      person: 'alice',
      token: 'token-of-alice-0123456789',
      connection: connection as string,
      scopes: scopes as string[],
    })),
  })
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
  service.close()
})
beforeEach(() => {
  upstream.seen.length = 0
  questions.length = 0
  refuse = ''
})
const answering = (value: unknown, type = 'application/json'): void => {
  upstream.handle = (_seen, res) =>
    void res
      .writeHead(200, { 'content-type': type })
      .end(typeof value === 'string' ? value : JSON.stringify(value))
}
const post = async (url: string, body: unknown): Promise<readonly [number, string]> => {
  const answer = await fetch(`${deputy.agent}/~alice/${url}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-06-18',
    },
    body: JSON.stringify(body),
  })
  return [answer.status, await answer.text()]
}

test('Octokit reads a list whose people have no address, and pages on through deputy', async () => {
  const octokit = new Octokit({ baseUrl: `${deputy.agent}/~alice/api.github.com` })
  const url = 'https://api.github.com/repos/acme/app/issues/1'
  answering([{ number: 1, url, body: SECRET, user: { login: 'bob', email: SECRET } }])
  const { data } = await octokit.request('GET /repos/{owner}/{repo}/issues', {
    owner: 'acme',
    repo: 'app',
  })
  expect(data).toEqual([
    {
      number: 1,
      url: `${deputy.agent}/~alice/api.github.com/repos/acme/app/issues/1`,
      body: '[redacted]',
      user: { login: 'bob', email: '[redacted]' },
    },
  ])
})
test('a GraphQL call is refused before it leaves: an alias would carry the member past the pointer', async () => {
  answering({ data: { viewer: { x: SECRET } } })
  const [status, text] = await post('api.linear.app/graphql', { query: '{ viewer { x: email } }' })
  expect([status, text]).toEqual([403, expect.stringContaining('obligation_refused')])
  expect(upstream.seen).toEqual([])
})

describe('a batch of Graph’s client', () => {
  const batch = async () =>
    new BatchRequestContent(
      ['/me', '/me/messages'].map((path, i) => ({
        id: String(i + 1),
        request: new Request(`https://graph.microsoft.com${path}`),
      })),
    ).getContent()
  const graph = (): Graph =>
    Graph.init({
      baseUrl: `${deputy.agent}/~alice/graph.microsoft.com/`,
      authProvider: (done) => done(null, 'dummy'),
    })
  const me = { mail: SECRET, subject: 'kept' }
  const list = { value: [{ subject: SECRET, mail: 'kept' }] }

  test('each part loses what its own row names, and hooks are asked about each', async () => {
    answering({
      responses: [
        { id: '2', status: 200, body: list },
        { id: '1', status: 200, body: me },
      ],
    })
    expect(
      await graph()
        .api('/$batch')
        .post(await batch()),
    ).toEqual({
      responses: [
        { id: '2', status: 200, body: { value: [{ subject: '[redacted]', mail: 'kept' }] } },
        { id: '1', status: 200, body: { mail: '[redacted]', subject: 'kept' } },
      ],
    })
    expect(
      questions.map((one) => `${String(one['when'])} ${String(one['part'])}`).toSorted(),
    ).toEqual(['after 1', 'after 2', 'before 1', 'before 2'])
    // A hook is shown what the agent would get.
    expect(questions.find((one) => one['when'] === 'after' && one['part'] === 1)).toMatchObject({
      answer: { body: { mail: '[redacted]', subject: 'kept' } },
      input: {
        operation: { id: 'user-get' },
        request: { segments: ['v1.0', 'me'], part: { number: 1, of: 2 } },
      },
    })
    expect(JSON.stringify(questions)).not.toContain(SECRET)
  })
  test('a part that a hook refuses keeps all of them back', async () => {
    refuse = 'user-list-messages'
    const answer = await post('graph.microsoft.com/v1.0/$batch', await batch())
    expect(answer).toEqual([403, expect.stringContaining('in part 2')])
    expect(upstream.seen).toEqual([])
  })
})

describe('what a tool of an MCP server says', () => {
  const call = {
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: { name: 'look', arguments: {} },
  }
  const result = (...texts: readonly string[]): Fields => ({
    jsonrpc: '2.0',
    id: 1,
    result: {
      content: texts.map((text) => ({ type: 'text', text })),
      structuredContent: { user: { email: SECRET, id: 1 } },
    },
  })
  const clean = JSON.stringify({ user: { email: '[redacted]', id: 1 } })

  test('loses its members in structured content and in texts, whole or as an event', async () => {
    const said = result(JSON.stringify({ user: { email: SECRET, id: 1 } }))
    for (const type of ['application/json', 'text/event-stream']) {
      answering(type === 'application/json' ? said : `data: ${JSON.stringify(said)}\n\n`, type)
      const [status, text] = await post('mcp.acme.test/mcp', call)
      expect([status, text.includes(SECRET)]).toEqual([200, false])
      expect(JSON.parse(text.replace(/^data: /, ''))).toMatchObject({
        result: {
          content: [{ text: clean }],
          structuredContent: { user: { email: '[redacted]' } },
        },
      })
    }
  })
  test('does not pass where a text of it is none that can be redacted', async () => {
    answering(result(`Her address is ${SECRET}.`))
    const [status, text] = await post('mcp.acme.test/mcp', call)
    expect(text).toContain('answer_not_redactable')
    expect([status, text.includes(SECRET)]).toEqual([200, false])
    expect(JSON.parse(text)).toMatchObject({ jsonrpc: '2.0', id: 1 })
    await until(
      () => deputy.evidence().some((line) => line['result'] === 'answer_not_redactable'),
      'the outcome',
    )
    expect(JSON.stringify(deputy.evidence()) + deputy.logged()).not.toContain(SECRET)
  })
})
