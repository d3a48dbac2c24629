// The newer revision of MCP (2026-07-28) with the official client 2.x and server 2.x: no sessions, headers that repeat the
// body, and a link that the client shows in the midst of a call.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { clickThrough } from '../support/click.ts'
import { startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { MCP_HOST, RESOURCE, startMcpServer, type McpTestServer } from '../support/mcpserver.ts'
import { freePort } from '../support/ports.ts'

/** `.ci/run` makes it. */
const PYTHON =
  process.env['DEPUTY_PYCLIENTS'] ?? join(homedir(), '.cache/deputy-ci/pyclients-3/bin/python')

let server: McpTestServer
let deputy: Deputy

const row = (operations: readonly string[]): Fields => ({
  kinds: ['mcp'],
  access: ['read', 'write'],
  operations,
  max_entitlement_age_s: 300,
})

beforeAll(async () => {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  server = await startMcpServer({ redirectUris: [`${url}/sign-in/callback`], modern: true })
  deputy = await startDeputy({
    upstream: server.origin,
    people: ['alice', 'bob'].map((id) => ({ id, groups: ['staff'] })),
    tables: {
      ...TABLES,
      group_roles: { staff: ['user'] },
      role_grants: { acme: { user: ['use'] } },
      grants: { acme: { use: row(['*']) } },
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
          scope: { always: ['mcp'] },
          tools: [
            { name: 'whoami', access: 'read' },
            { name: 'create_note', access: 'write', scopes: [['write']], inspect: ['/title'] },
            { name: 'delete_all', access: 'delete' },
          ],
        },
      ],
      connections: { acme: { provider: 'acme', scopes: ['write'] } },
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

const linkIn = (text: string): string => /http:\S+\/connect\/[\w-]+/.exec(text)?.[0] ?? ''
const click = async (link: string, user: string): Promise<void> => {
  const page = await clickThrough(createBrowser(), link, { login: user, account: user })
  expect(page.status, page.text).toBe(200)
}
const open = async (
  user: string,
  options: { readonly show?: (url: string) => Promise<void> } = {},
) => {
  const client = new Client(
    { name: 'test', version: '1' },
    {
      capabilities: options.show === undefined ? {} : { elicitation: { url: {} } },
      // Whoever is not connected yet finds no server, and is told why by its older opening.
      versionNegotiation: { mode: 'auto' },
    },
  )
  const { show } = options
  if (show !== undefined)
    client.setRequestHandler('elicitation/create', async ({ params }) => {
      await show('url' in params ? params.url : '')
      return { action: 'accept' }
    })
  const at = new URL(`${deputy.agent}/${MCP_HOST}/mcp`)
  await client.connect(
    new StreamableHTTPClientTransport(at, { requestInit: { headers: { 'deputy-user': user } } }),
  )
  return client
}
const connected = async (user: string, options: Parameters<typeof open>[1] = {}) => {
  const first: unknown = await open(user).catch((error: unknown) => error)
  if (first instanceof Error) await click(linkIn(String(first)), user)
  return open(user, options)
}
const textOf = (result: unknown): string =>
  (result as { content: { text: string }[] }).content.map(({ text }) => text).join()

describe('the official client 2.x, through deputy', () => {
  test('each is themselves; lists are filtered, and for nobody else', async () => {
    const client = await connected('alice')
    expect(textOf(await client.callTool({ name: 'whoami' }))).toBe('alice')
    const bob = await connected('bob')
    expect(textOf(await bob.callTool({ name: 'whoami' }))).toBe('bob')
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual([
      'whoami',
      'create_note',
    ])
    expect(server.seen.at(-1)?.headers).toMatchObject({ 'mcp-method': 'tools/list' })
    await expect(client.callTool({ name: 'delete_all' })).rejects.toMatchObject({ code: 403 })
    await expect(client.callTool({ name: 'unlisted' })).rejects.toMatchObject({ code: -32602 })
    await client.close()
    await bob.close()
  })

  test.skipIf(!existsSync(PYTHON) && process.env['DEPUTY_NO_SKIP'] === undefined)(
    'the official client of Python is the same person, and reads the same refusal',
    async () => {
      await connected('alice').then((client) => client.close())
      const script = fileURLToPath(new URL('mcp_client.py', import.meta.url))
      const { stdout } = await promisify(execFile)(
        PYTHON,
        [script, `${deputy.agent}/${MCP_HOST}/mcp`, 'alice'],
        {
          env: { PATH: process.env['PATH'] ?? '', FASTMCP_CHECK_FOR_UPDATES: 'off' },
        },
      )
      expect(JSON.parse(stdout.trim().split('\n').at(-1) ?? '')).toEqual({
        who: 'alice',
        tools: ['whoami', 'create_note'],
        refusal: expect.stringContaining('The security policy does not allow this call'),
      })
    },
  )

  test('a client that cannot show links gets it as text, where its model reads it', async () => {
    const client = await connected('alice')
    const result = await client.callTool({ name: 'create_note', arguments: { title: 'a' } })
    expect(result).toMatchObject({
      isError: true,
      _meta: { 'deputy/problem': { code: 'consent_required', scopes: ['write'] } },
    })
    expect(textOf(result)).toMatch(/^consent_required: [^]*\/connect\//)
    await client.close()
  })

  test('a client that can shows the link, and the same call goes on once its person has said yes', async () => {
    const shown: string[] = []
    const client = await connected('alice', {
      show: async (url) => {
        shown.push(url)
        await click(url, 'alice')
      },
    })
    const before = server.seen.length
    const result = await client.callTool({ name: 'create_note', arguments: { title: 'a' } })
    expect(textOf(result)).toBe('alice wrote a')
    expect(shown).toHaveLength(1)
    expect(server.seen.slice(before)).toHaveLength(1)
    await client.close()
  })
})
