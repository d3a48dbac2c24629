// A real MCP server that demands OAuth, behind deputy: two people, the official clients; each is themselves, and what policy
// refuses is neither shown nor called.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { clickThrough } from '../support/click.ts'
import { AGENT, startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { MCP_HOST, RESOURCE, startMcpServer, type McpTestServer } from '../support/mcpserver.ts'
import { freePort } from '../support/ports.ts'

/** `.ci/run` makes it. */
const PYTHON =
  process.env['DEPUTY_PYCLIENTS'] ?? join(homedir(), '.cache/deputy-ci/pyclients-3/bin/python')

const OPERATOR = 'operator-bearer-000000000000000000000'
let server: McpTestServer
let deputy: Deputy

const row = (access: readonly string[]): Fields => ({
  kinds: ['mcp'],
  access,
  operations: ['*'],
  max_entitlement_age_s: 300,
})

beforeAll(async () => {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  server = await startMcpServer({ redirectUris: [`${url}/sign-in/callback`] })
  deputy = await startDeputy({
    upstream: server.origin,
    people: [
      { id: 'alice', groups: ['writers'] },
      { id: 'bob', groups: ['readers'] },
      { id: 'carol', groups: ['readers'] },
      { id: 'dave', groups: [] },
    ],
    tables: {
      ...TABLES,
      group_roles: { writers: ['writer', 'operator-run'], readers: ['reader'] },
      role_grants: { acme: { writer: ['w'], reader: ['r'] } },
      grants: { acme: { w: row(['read', 'write']), r: row(['read']) } },
      providers: { acme: { hosts: [MCP_HOST], assets: [], inspect_body: [] } },
    },
    config: {
      listeners: { agent: '127.0.0.1:0', admin: '127.0.0.1:0', connect: `127.0.0.1:${port}` },
      providers: [
        {
          id: 'acme',
          name: 'Acme tools',
          kind: 'mcp',
          url: RESOURCE,
          hosts: { [MCP_HOST]: server.origin },
          scope: { whole: true },
          tools: [
            { name: 'whoami', access: 'read' },
            { name: 'slow', access: 'read' },
            { name: 'create_note', access: 'write', inspect: ['/title'] },
            { name: 'delete_all', access: 'delete' },
          ],
          prompts: [{ name: 'greet' }],
          resources: [{ id: 'docs', uri: 'acme://docs/*' }],
        },
      ],
      connections: { acme: { provider: 'acme', scopes: ['mcp'] } },
      operators: [{ name: 'me', bearer: OPERATOR, may: ['runs'] }],
      connect: {
        url,
        sign_in: {
          issuer: server.auth.issuer,
          client_id: 'pages',
          client_secret: 'canary-pages-secret-0000000000000000',
          realm: 'local',
        },
      },
    },
  })
})
afterAll(async () => {
  await deputy.close()
  await server.close()
})

const at = (): URL => new URL(`${deputy.agent}/${MCP_HOST}/mcp`)
const open = async (user: string, capabilities: object = {}, setUp?: (client: Client) => void) => {
  const client = new Client({ name: 'test', version: '1' }, { capabilities })
  setUp?.(client)
  const transport = new StreamableHTTPClientTransport(at(), {
    requestInit: { headers: { 'deputy-user': user } },
  })
  await client.connect(transport)
  return { client, transport }
}
const connected = new Set<string>()
/** Says yes to the link that the refusal names. */
const connect = async (user: string): Promise<void> => {
  if (connected.has(user)) return
  const error: unknown = await open(user).catch((thrown: unknown) => thrown)
  const link = /http:\S+\/connect\/[\w-]+/.exec(String(error))?.[0] ?? ''
  expect(link, String(error)).not.toBe('')
  const page = await clickThrough(createBrowser(), link, { login: user, account: user })
  expect(page.status, page.text).toBe(200)
  connected.add(user)
}
const textOf = (result: unknown): string =>
  (result as { content: { text: string }[] }).content.map(({ text }) => text).join()

describe('the official client 1.x, through deputy', () => {
  test('each of two people is themselves, by a token of their own for this server alone', async () => {
    await connect('alice')
    await connect('bob')
    const alice = await open('alice')
    const bob = await open('bob')
    expect(textOf(await alice.client.callTool({ name: 'whoami' }))).toBe('alice')
    expect(textOf(await bob.client.callTool({ name: 'whoami' }))).toBe('bob')
    await alice.client.close()
    await bob.client.close()
    const [one] = server.auth.requests.filter(
      ({ path, form }) =>
        path === '/token' &&
        form['grant_type'] === 'authorization_code' &&
        form['resource'] !== undefined,
    )
    expect(one?.form).toMatchObject({ resource: RESOURCE })
    expect(one?.form['code_verifier']).toBeDefined()
  })

  test('lists show what this person may call through this agent, and nothing that the definition does not list', async () => {
    await connect('alice')
    await connect('bob')
    const namesFor = async (user: string) => {
      const { client } = await open(user)
      const tools = (await client.listTools()).tools.map(({ name }) => name)
      const resources = (await client.listResources()).resources.map(({ uri }) => uri)
      const prompts = (await client.listPrompts()).prompts.map(({ name }) => name)
      await client.close()
      return { tools, resources, prompts }
    }
    const rest = { resources: ['acme://docs/open'], prompts: ['greet'] }
    expect(await namesFor('alice')).toEqual({ tools: ['whoami', 'create_note', 'slow'], ...rest })
    expect(await namesFor('bob')).toEqual({ tools: ['whoami', 'slow'], ...rest })
  })

  test('what policy refuses cannot be called by its name, and the server hears nothing of it', async () => {
    await connect('bob')
    const { client } = await open('bob')
    const before = server.seen.length
    const refusal = async (work: Promise<unknown>): Promise<unknown> =>
      work.then(
        (done) => done,
        (error: unknown) => error,
      )
    const called = (name: string, args = {}) => refusal(client.callTool({ name, arguments: args }))
    expect(await called('create_note', { title: 'a' })).toMatchObject({
      code: 403,
      data: { code: 'policy_denied', reasons: ['no_grant'] },
    })
    // A server's word that it only reads is not believed.
    expect(await called('delete_all')).toMatchObject({ code: 403 })
    expect(await called('unlisted')).toMatchObject({ code: -32602 })
    expect(await refusal(client.readResource({ uri: 'acme://vault/closed' }))).toMatchObject({
      code: -32602,
    })
    expect(
      await refusal(client.readResource({ uri: 'acme://docs/../vault/closed' })),
    ).toMatchObject({ code: -32602 })
    expect(await refusal(client.getPrompt({ name: 'hidden' }))).toMatchObject({ code: -32602 })
    expect(server.seen.slice(before).filter(({ method }) => method === 'POST')).toEqual([])
    expect((await client.readResource({ uri: 'acme://docs/open' })).contents).toMatchObject([
      { text: 'open to bob' },
    ])
    expect((await client.getPrompt({ name: 'greet' })).messages).toHaveLength(1)
    await client.close()
    const decided = deputy.evidence().filter(({ event }) => event === 'decision')
    expect(decided).toContainEqual(
      expect.objectContaining({
        operation: {
          id: 'tools.create_note',
          access: 'write',
          mcp: { method: 'tools/call', name: 'create_note' },
        },
        decision: expect.objectContaining({ effect: 'deny' }),
      }),
    )
  })

  test.skipIf(!existsSync(PYTHON) && process.env['DEPUTY_NO_SKIP'] === undefined)(
    'the official client of Python is the same person, and reads the same refusal',
    async () => {
      await connect('alice')
      const script = fileURLToPath(new URL('mcp_client.py', import.meta.url))
      const { stdout } = await promisify(execFile)(PYTHON, [script, at().href, 'alice'], {
        env: { PATH: process.env['PATH'] ?? '', FASTMCP_CHECK_FOR_UPDATES: 'off' },
      })
      expect(JSON.parse(stdout.trim().split('\n').at(-1) ?? '')).toEqual({
        who: 'alice',
        tools: ['whoami', 'create_note', 'slow'],
        refusal: expect.stringContaining('The security policy does not allow this call'),
      })
    },
  )

  test('a stream passes event by event, and a session ends where its person ends it', async () => {
    await connect('alice')
    const { client, transport } = await open('alice')
    const progress: number[] = []
    const result = await client.callTool({ name: 'slow' }, undefined, {
      onprogress: ({ progress: at }) => void progress.push(at),
    })
    expect([textOf(result), progress]).toEqual(['done', [1, 2]])
    expect(server.seen.at(-1)?.session).toMatch(/^[0-9a-f-]{36}$/)
    // The agent never sees the server's own session.
    expect(transport.sessionId).toMatch(/^n\.[\w-]{43}\.[0-9a-f-]{36}$/)
    await transport.terminateSession()
    expect(server.seen.at(-1)?.method).toBe('DELETE')
    await client.close()
  })

  test('the stream of a session ends with the tag that opened it, and with the run', async () => {
    await connect('alice')
    const { client, transport } = await open('alice')
    const operator = { authorization: `Bearer ${OPERATOR}` }
    const run = async (seconds: number) => {
      const answer = await fetch(`${deputy.connect}/v1/admin/runs`, {
        method: 'POST',
        headers: { ...operator, 'content-type': 'application/json' },
        body: JSON.stringify({
          user_id: 'alice',
          agent: AGENT,
          connections: ['acme'],
          expires_in: seconds,
        }),
      })
      const made = (await answer.json()) as { readonly id: string; readonly token: string }
      expect(answer.status, JSON.stringify(made)).toBeLessThan(300)
      return made
    }
    /** How its stream ended. */
    const streamed = async (token: string) => {
      const answer = await fetch(at(), {
        headers: {
          authorization: `Bearer ${token}`,
          accept: 'text/event-stream',
          'mcp-session-id': transport.sessionId ?? '',
        },
      })
      expect(answer.status, answer.status === 200 ? '' : await answer.text()).toBe(200)
      return answer.text().then(
        () => 'whole',
        () => 'cut',
      )
    }
    const streams = () => server.seen.filter(({ method }) => method === 'GET').length
    await transport.close()
    const short = await run(2)
    const began = performance.now()
    expect(await streamed(short.token)).toBe('cut')
    expect(performance.now() - began).toBeLessThan(10_000)
    const long = await run(600)
    const before = streams()
    const ended = streamed(long.token)
    await expect.poll(streams).toBe(before + 1)
    await fetch(`${deputy.connect}/v1/admin/runs/${long.id}`, {
      method: 'DELETE',
      headers: operator,
    })
    expect(await ended).toBe('cut')
    await client.close()
  })

  test('a session of somebody else, or one that deputy did not seal, is none', async () => {
    await connect('alice')
    await connect('bob')
    const { client, transport } = await open('alice')
    const sealed = transport.sessionId ?? ''
    const answers = []
    for (const [user, session] of [
      ['bob', sealed],
      ['alice', server.seen.at(-1)?.session ?? ''],
      ['alice', sealed.replace('n.', 'u.')],
    ] as const)
      answers.push(await ask({ method: 'ping' }, { user, headers: { 'mcp-session-id': session } }))
    expect(answers.map(({ status, code }) => [status, code])).toEqual(
      Array.from({ length: 3 }, () => [404, 'mcp_session_unknown']),
    )
    expect(server.seen.filter(({ message }) => isPing(message))).toEqual([])
    await client.close()
  })

  test('a client that can show links is asked to (URL elicitation), and its person is never asked for what policy refuses', async () => {
    const asked: unknown[] = []
    const capabilities = { elicitation: { form: {}, url: {} } }
    const error: unknown = await open('carol', capabilities, (client) =>
      client.setRequestHandler(ElicitRequestSchema, (request) => {
        asked.push(request.params)
        return { action: 'accept' }
      }),
    ).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({
      code: -32042,
      elicitations: [{ mode: 'url', url: expect.stringMatching(/\/connect\//) }],
    })
    // Dave has no role: no link, whatever his client can show.
    const denied: unknown = await open('dave', capabilities).catch((thrown: unknown) => thrown)
    expect(denied).toMatchObject({ code: 403, data: { code: 'policy_denied' } })
    expect(JSON.stringify(denied)).not.toContain('/connect/')
  })
})

const isPing = (message: unknown): boolean => (JSON.stringify(message) ?? '').includes('"ping"')
type Asking = {
  readonly user?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly raw?: string
}
/** One message as it is written, without a client around it. */
const ask = async (message: object, { user = 'alice', headers = {}, raw }: Asking = {}) => {
  const answer = await fetch(at(), {
    method: 'POST',
    headers: {
      'deputy-user': user,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...headers,
    },
    body: raw ?? JSON.stringify({ jsonrpc: '2.0', id: 1, ...message }),
  })
  const text = await answer.text()
  return { status: answer.status, code: answer.headers.get('deputy-answer'), text }
}
const META = 'io.modelcontextprotocol/'
const modern = (more: object = {}) => ({
  _meta: { [`${META}protocolVersion`]: '2026-07-28', [`${META}clientCapabilities`]: {}, ...more },
})

describe('bad input', () => {
  const NONE = {}
  test.each<readonly [string, object | string, Readonly<Record<string, string>>]>([
    ['a batch', '[{"jsonrpc":"2.0","id":1,"method":"ping"}]', NONE],
    ['no JSON-RPC', '{"id":1,"method":"ping"}', NONE],
    ['a member that is none', { method: 'ping', Method: 'tools/call' }, NONE],
    ['a request that is a response', { method: 'ping', result: {} }, NONE],
    ['an id that is no id', { id: null, method: 'ping' }, NONE],
    ['an id that is a list', { id: [1], method: 'ping' }, NONE],
    ['an id past 2^53', '{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}', NONE],
    [
      'a tool named with a control character',
      { method: 'tools/call', params: { name: 'whoami\u0000' } },
      NONE,
    ],
    ['a tool named by a number', { method: 'tools/call', params: { name: 1 } }, NONE],
    [
      'two spellings of one member',
      { method: 'tools/call', params: { name: 'whoami', Name: 'x' } },
      NONE,
    ],
    [
      'a key twice in the arguments',
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_note","arguments":{"title":"a","title":"b"}}}',
      NONE,
    ],
    [
      'an argument that policy needs and other readers round',
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_note","arguments":{"title":9007199254740993}}}',
      NONE,
    ],
    [
      'arguments that are a list',
      { method: 'tools/call', params: { name: 'whoami', arguments: [] } },
      NONE,
    ],
    [
      'a header that names another method',
      { method: 'ping', params: modern() },
      { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call' },
    ],
    [
      'a header that names another tool',
      { method: 'tools/call', params: { name: 'whoami' } },
      { 'mcp-name': 'create_note' },
    ],
    [
      'no header in the newer revision',
      { method: 'tools/call', params: { name: 'whoami', ...modern() } },
      NONE,
    ],
    [
      'another version in the header',
      { method: 'ping', params: modern() },
      { 'mcp-protocol-version': '2025-11-25', 'mcp-method': 'ping' },
    ],
    [
      'a mirrored argument that is none',
      { method: 'tools/call', params: { name: 'create_note', arguments: { title: 'a' } } },
      { 'mcp-param-title': 'b' },
    ],
    ['text after the message', '{"jsonrpc":"2.0","id":1,"method":"ping"} {}', NONE],
  ])('%s is refused, and nothing leaves', async (_what, message, headers) => {
    const before = server.seen.length
    const answer = await ask(typeof message === 'string' ? {} : message, {
      headers,
      ...(typeof message === 'string' ? { raw: message } : {}),
    })
    expect([answer.status, answer.code], answer.text).toEqual([400, 'request_invalid'])
    expect(JSON.parse(answer.text)).toMatchObject({ jsonrpc: '2.0', error: {} })
    expect(server.seen).toHaveLength(before)
  })

  test('headers that disagree are told by the code of the newer revision', async () => {
    const { text } = await ask({ method: 'ping' }, { headers: { 'mcp-method': 'tools/list' } })
    expect(JSON.parse(text)).toMatchObject({ error: { code: -32020 } })
  })

  test('another media type, a query in the URL, a method that nobody listed, a notification that may not pass', async () => {
    const form = await ask({ method: 'ping' }, { headers: { 'content-type': 'text/plain' } })
    expect([form.status, form.code]).toEqual([415, 'unsupported_media_type'])
    const unknown = await ask({ method: 'tasks/list' })
    expect([unknown.status, JSON.parse(unknown.text)]).toEqual([
      200,
      expect.objectContaining({ error: expect.objectContaining({ code: -32601 }) }),
    ])
    const silent = await ask(
      {},
      {
        raw: '{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete_all"}}',
      },
    )
    expect([silent.status, silent.code]).toEqual([403, 'policy_denied'])
  })
})
