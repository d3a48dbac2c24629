// Tools of MCP servers beside deputy's own, at one endpoint: servers and clients of the official SDKs, both revisions.
import {
  Client as NewClient,
  StreamableHTTPClientTransport as NewTransport,
} from '@modelcontextprotocol/client'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startBeside, type Beside } from '../support/mcpbeside.ts'
import { startMcpServer, type McpTestServer } from '../support/mcpserver.ts'
import { freePort } from '../support/ports.ts'

type Result = {
  readonly isError?: boolean
  readonly content?: unknown
  readonly structuredContent?: unknown
}
const said = ({ content }: Result): string =>
  (content as readonly { readonly text: string }[] | undefined)?.[0]?.text ?? ''
const linkIn = (text: string): string => /http:\S+\/connect\/[\w-]+/.exec(text)?.[0] ?? ''

describe.each([
  ['1.x', false],
  ['2.x', true],
])('a server of SDK %s', (_version, modern) => {
  let server: McpTestServer
  let beside: Beside
  beforeAll(async () => {
    const port = await freePort()
    const redirectUris = [`http://127.0.0.1:${port}/sign-in/callback`]
    server = await startMcpServer({ redirectUris, modern })
    beside = await startBeside({ origin: server.origin, issuer: server.auth.issuer }, {}, port)
  })
  afterAll(async () => {
    await beside.deputy.close()
    await server.close()
  })
  const newer = async (user: string, show?: (url: string) => Promise<void>) => {
    const client = new NewClient(
      { name: 'test', version: '1' },
      {
        capabilities: show === undefined ? {} : { elicitation: { url: {} } },
        versionNegotiation: { mode: { pin: '2026-07-28' } },
      },
    )
    if (show !== undefined)
      client.setRequestHandler('elicitation/create', async ({ params }) => {
        await show('url' in params ? params.url : '')
        return { action: 'accept' }
      })
    await client.connect(
      new NewTransport(new URL(`${beside.deputy.agent}/mcp`), {
        requestInit: { headers: { 'deputy-user': user } },
      }),
    )
    return client
  }
  const older = async (user: string) => {
    const client = new Client({ name: 'test', version: '1' })
    await client.connect(
      new StreamableHTTPClientTransport(new URL(`${beside.deputy.agent}/mcp`), {
        requestInit: { headers: { 'deputy-user': user } },
      }),
    )
    return client
  }
  const connect = async (user: string, tool: string, args: Record<string, unknown> = {}) => {
    const client = await older(user)
    const asked = (await client.callTool({ name: tool, arguments: args })) as Result
    const link = linkIn(said(asked))
    if (link !== '') await beside.visit(link, user)
    await client.close()
  }
  const calls = () =>
    beside.deputy
      .evidence()
      .filter(({ event, via }) => event === 'decision' && via === 'mcp')
      .map(({ operation }) => (operation as { readonly id: string }).id)

  test('is listed before anybody is connected, asked for nothing, and the first call has the link with its own scopes', async () => {
    const client = await newer('alice')
    const { tools } = await client.listTools()
    expect(tools.map(({ name }) => name)).toEqual(['Notes_CreateNote', 'Notes_Whoami'])
    expect(tools[0]).toMatchObject({
      description: expect.stringContaining('connect their Acme notes account first'),
      annotations: { readOnlyHint: false },
    })
    expect(server.seen).toEqual([])
    const asked = (await client.callTool({
      name: 'Notes_CreateNote',
      arguments: { title: 'a' },
    })) as Result
    expect(asked).toMatchObject({
      isError: true,
      structuredContent: { code: 'consent_required', scopes: expect.arrayContaining(['write']) },
    })
    expect(linkIn(said(asked))).not.toBe('')
    // One decision, on the very call.
    expect(calls()).toEqual(['tools.create_note'])
    await client.close()
  })

  test('a client that shows links goes on in the same call once its person has said yes', async () => {
    const shown: string[] = []
    const client = await newer('alice', async (url) => {
      shown.push(url)
      await beside.visit(url, 'alice')
    })
    const done = (await client.callTool({
      name: 'Notes_CreateNote',
      arguments: { title: 'first' },
    })) as Result
    expect(said(done)).toBe('alice wrote first')
    expect(shown).toHaveLength(1)
    await client.close()
  })

  test('each person has their own list, in the server’s words and by policy, and is themselves at the server', async () => {
    await connect('alice', 'Notes_CreateNote', { title: 'x' })
    await connect('bob', 'Notes_Whoami')
    const alice = await newer('alice')
    const bob = await older('bob')
    const { tools } = await alice.listTools()
    expect(tools).toMatchObject([
      {
        name: 'Notes_CreateNote',
        description: 'create_note of the MCP server Acme notes, in its words: Writes',
        inputSchema: {
          type: 'object',
          properties: { title: { type: 'string' } },
          required: ['title'],
        },
        annotations: { readOnlyHint: false, destructiveHint: false },
      },
      { name: 'Notes_Whoami', annotations: { readOnlyHint: true } },
    ])
    expect((await bob.listTools()).tools.map(({ name }) => name)).toEqual(['Notes_Whoami'])
    expect(said((await alice.callTool({ name: 'Notes_Whoami', arguments: {} })) as Result)).toBe(
      'alice',
    )
    expect(said((await bob.callTool({ name: 'notes.whoami', arguments: {} })) as Result)).toBe(
      'bob',
    )
    const denied = (await bob.callTool({
      name: 'Notes_CreateNote',
      arguments: { title: 'no' },
    })) as Result
    expect([denied.isError, said(denied)]).toEqual([
      true,
      expect.stringMatching(/^policy_denied: /),
    ])
    for (const name of ['Notes_DeleteAll', 'Notes_Unlisted'])
      expect(
        await bob.callTool({ name, arguments: {} }).then(
          (result) => said(result as Result).split(':', 1)[0],
          (error: unknown) => (error as { readonly code?: unknown }).code,
        ),
      ).toBe(name === 'Notes_DeleteAll' ? 'policy_denied' : -32602)
    const users = new Set(server.seen.map(({ user }) => user))
    expect([...users].toSorted()).toEqual(['alice', 'bob'])
    expect(JSON.stringify(server.seen)).not.toMatch(/delete_all|"no"/)
    await alice.close()
    await bob.close()
  })

  test('programs find and call them at /v1/tools, with what they take in the server’s words', async () => {
    await connect('alice', 'Notes_CreateNote', { title: 'x' })
    const ask = async (path: string, body?: object) => {
      const answer = await fetch(`${beside.deputy.agent}/v1/${path}`, {
        method: body === undefined ? 'GET' : 'POST',
        headers: { 'content-type': 'application/json', 'deputy-user': 'alice' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      return (await answer.json()) as { readonly [member: string]: unknown }
    }
    const title = { name: 'title', required: true, value_schema: { val_type: 'string' } }
    expect(await ask('tools?toolkit=notes')).toMatchObject({
      items: [
        {
          qualified_name: 'Notes.CreateNote',
          input: { parameters: expect.arrayContaining([expect.objectContaining(title)]) },
        },
        { qualified_name: 'Notes.Whoami', metadata: { behavior: { read_only: true } } },
      ],
      total_count: 2,
    })
    expect(await ask('formatted_tools/Notes.CreateNote?format=openai')).toMatchObject({
      function: { name: 'Notes_CreateNote', parameters: { required: ['title'] } },
    })
    const done = await ask('tools/execute', {
      tool_name: 'Notes.CreateNote',
      input: { title: 'rest' },
    })
    expect(done).toMatchObject({
      success: true,
      output: { value: { content: [{ type: 'text', text: 'alice wrote rest' }] } },
    })
    expect(beside.deputy.evidence().findLast(({ event }) => event === 'decision')).toMatchObject({
      via: 'tool',
      operation: { id: 'tools.create_note' },
    })
  })

  test('what policy sees is what the server gets, once: the call is opened once for a person', async () => {
    await connect('alice', 'Notes_CreateNote', { title: 'x' })
    const before = calls().length
    const client = await older('alice')
    for (const title of ['one', 'two'])
      expect(
        said((await client.callTool({ name: 'Notes_CreateNote', arguments: { title } })) as Result),
      ).toBe(`alice wrote ${title}`)
    expect(calls().slice(before)).toEqual(['tools.create_note', 'tools.create_note'])
    const wrong = (await client.callTool({
      name: 'Notes_CreateNote',
      arguments: { title: { deep: 1 } },
    })) as Result
    expect(wrong.isError).toBe(true)
    const outcome = beside.deputy.evidence().findLast(({ event }) => event === 'decision')
    expect(outcome).toMatchObject({
      via: 'mcp',
      connection: 'notes',
      operation: { id: 'tools.create_note', access: 'write' },
    })
    await client.close()
  })
})
