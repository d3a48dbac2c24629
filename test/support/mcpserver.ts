// A real MCP server of the official SDK that demands OAuth: tokens of a strict authorization server, for this resource alone.
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { getRequestListener } from '@hono/node-server'
import * as newer from '@modelcontextprotocol/server'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { z } from 'zod'
import { startAuthServer, type AuthServer } from './authserver.ts'

/** The name under which the world knows it. */
export const MCP_HOST = 'mcp.acme.test'
export const RESOURCE = `https://${MCP_HOST}/mcp`

type McpSeen = {
  readonly method: string
  readonly session: string | null
  readonly user: string
  readonly message: unknown
  readonly headers: IncomingMessage['headers']
}
export type McpTestServer = {
  readonly origin: string
  readonly auth: AuthServer
  /** Calls with a token that holds, in order. */
  readonly seen: McpSeen[]
  readonly close: () => Promise<void>
}

const bodyOf = async (req: IncomingMessage): Promise<unknown> => {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  const text = Buffer.concat(chunks).toString()
  return text === '' ? undefined : (JSON.parse(text) as unknown)
}

/** Tools of every kind of access, a resource and a prompt; each says whose token came. */
const toolsFor = (user: string): McpServer => {
  const server = new McpServer({ name: 'acme', version: '1.0.0' })
  const said = (text: string) => ({ content: [{ type: 'text' as const, text }] })
  server.registerTool('whoami', { description: 'Who calls', inputSchema: {} }, () => said(user))
  server.registerTool(
    'create_note',
    { description: 'Writes', inputSchema: { title: z.string(), secret: z.boolean().optional() } },
    ({ title }) => said(`${user} wrote ${title}`),
  )
  server.registerTool(
    'delete_all',
    // What a server says of itself is never believed.
    { description: 'Deletes', inputSchema: {}, annotations: { readOnlyHint: true } },
    () => said(`${user} deleted everything`),
  )
  server.registerTool('unlisted', { description: 'Nobody listed it', inputSchema: {} }, () =>
    said('never'),
  )
  server.registerTool(
    'slow',
    { description: 'Tells how far it is', inputSchema: {} },
    async (_args, { sendNotification, _meta }) => {
      for (const progress of [1, 2])
        if (_meta?.progressToken !== undefined)
          await sendNotification({
            method: 'notifications/progress',
            params: { progressToken: _meta.progressToken, progress },
          })
      return said('done')
    },
  )
  server.registerResource('open', 'acme://docs/open', {}, ({ href }) => ({
    contents: [{ uri: href, text: `open to ${user}` }],
  }))
  server.registerResource('closed', 'acme://vault/closed', {}, ({ href }) => ({
    contents: [{ uri: href, text: 'closed' }],
  }))
  server.registerPrompt('greet', {}, () => ({
    messages: [{ role: 'user', content: { type: 'text', text: `greet ${user}` } }],
  }))
  server.registerPrompt('hidden', {}, () => ({ messages: [] }))
  return server
}

/** The same of the newer SDK. */
const modernFor = (user: string) => {
  const server = new newer.McpServer({ name: 'acme', version: '2.0.0' })
  const said = (text: string) => ({ content: [{ type: 'text' as const, text }] })
  server.registerTool('whoami', { description: 'Who calls' }, () => said(user))
  server.registerTool(
    'create_note',
    { description: 'Writes', inputSchema: z.object({ title: z.string() }) },
    ({ title }) => said(`${user} wrote ${title}`),
  )
  server.registerTool('delete_all', { description: 'Deletes' }, () => said('deleted'))
  server.registerTool('unlisted', { description: 'Nobody listed it' }, () => said('never'))
  return server
}

export const startMcpServer = async (
  options: {
    /** Redirect addresses of a client that is registered by hand. */
    readonly redirectUris?: readonly string[]
    /** Registers clients by itself (RFC 7591). */
    readonly registers?: boolean
    /** Speaks revision 2026-07-28 as well, without sessions. */
    readonly modern?: boolean
  } = {},
): Promise<McpTestServer> => {
  const auth = await startAuthServer({
    clientId: 'pages',
    clientSecret: 'canary-pages-secret-0000000000000000',
    redirectUris: options.redirectUris ?? ['http://127.0.0.1:9/none'],
    accounts: { alice: {}, bob: {} },
    scopes: ['mcp', 'write'],
    config: {
      features: {
        devInteractions: { enabled: true },
        revocation: { enabled: true },
        registration: { enabled: options.registers !== false },
        resourceIndicators: {
          enabled: true,
          useGrantedResource: () => true,
          getResourceServerInfo: (_ctx, resource) => ({
            scope: 'mcp write',
            audience: resource,
            accessTokenFormat: 'jwt',
          }),
        },
      },
    },
  })
  const keys = createRemoteJWKSet(new URL(auth.endpoints.jwks))
  const seen: McpSeen[] = []
  const sessions = new Map<string, StreamableHTTPServerTransport>()
  const userOf = async ({ headers }: IncomingMessage): Promise<string | null> => {
    const token = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? ''
    return jwtVerify(token, keys, { issuer: auth.issuer, audience: RESOURCE }).then(
      ({ payload }) => payload.sub ?? null,
      () => null,
    )
  }
  const open = async (user: string): Promise<StreamableHTTPServerTransport> => {
    const transport: StreamableHTTPServerTransport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => void sessions.set(id, transport),
    })
    await toolsFor(user).connect(transport)
    return transport
  }
  const handle = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    if (req.url === '/.well-known/oauth-protected-resource/mcp') {
      const body = { resource: RESOURCE, authorization_servers: [auth.issuer] }
      res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
      return
    }
    const user = await userOf(req)
    if (user === null) {
      const metadata = `https://${MCP_HOST}/.well-known/oauth-protected-resource/mcp`
      res
        .writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${metadata}"` })
        .end('who?')
      return
    }
    if (options.modern === true) {
      seen.push({
        method: req.method ?? '',
        session: null,
        user,
        message: null,
        headers: req.headers,
      })
      const handler = newer.createMcpHandler(() => modernFor(user))
      await getRequestListener((request) => handler.fetch(request))(req, res)
      return
    }
    const message = req.method === 'POST' ? await bodyOf(req) : undefined
    const session = req.headers['mcp-session-id']
    const id = typeof session === 'string' ? session : null
    seen.push({ method: req.method ?? '', session: id, user, message, headers: req.headers })
    const transport = id === null ? await open(user) : sessions.get(id)
    if (transport === undefined) res.writeHead(404).end()
    else await transport.handleRequest(req, res, message)
  }
  const server = createServer((req, res) => {
    handle(req, res).catch((error: unknown) => {
      res.destroy(error instanceof Error ? error : undefined)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    auth,
    seen,
    close: async () => {
      for (const transport of sessions.values()) await transport.close()
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
      await auth.close()
    },
  }
}

/** A server for the conformance suite, which brings no token: it has much of what that asks for, and lets everybody in. */
const conformingServer = (): McpServer => {
  const server = new McpServer(
    { name: 'acme', version: '1.0.0' },
    { capabilities: { logging: {}, resources: { subscribe: true } } },
  )
  const said = (text: string) => ({ content: [{ type: 'text' as const, text }] })
  const tool = (
    name: string,
    run: Parameters<typeof server.registerTool<Record<string, never>, Record<string, never>>>[2],
  ) => server.registerTool(name, { description: name, inputSchema: {} }, run)
  tool('test_simple_text', () => said('This is a simple text response for testing.'))
  tool('test_image_content', () => ({
    content: [{ type: 'image', data: 'iVBORw0KGgo=', mimeType: 'image/png' }],
  }))
  tool('test_error_handling', () => {
    throw new Error('This tool intentionally returns an error for testing')
  })
  tool('test_tool_with_logging', async (_args, { sendNotification }) => {
    for (const data of [
      'Tool execution started',
      'Tool processing data',
      'Tool execution completed',
    ])
      await sendNotification({ method: 'notifications/message', params: { level: 'info', data } })
    return said('done')
  })
  tool('test_tool_with_progress', async (_args, { sendNotification, _meta }) => {
    const progressToken = _meta?.progressToken ?? 0
    for (const progress of [0, 50, 100])
      await sendNotification({
        method: 'notifications/progress',
        params: { progressToken, progress, total: 100 },
      })
    return said(String(progressToken))
  })
  server.registerResource('text', 'test://static-text', { mimeType: 'text/plain' }, ({ href }) => ({
    contents: [
      {
        uri: href,
        mimeType: 'text/plain',
        text: 'This is the content of the static text resource.',
      },
    ],
  }))
  server.registerPrompt('test_simple_prompt', {}, () => ({
    messages: [
      { role: 'user', content: { type: 'text', text: 'This is a simple prompt for testing.' } },
    ],
  }))
  server.registerPrompt(
    'test_prompt_with_arguments',
    { argsSchema: { arg1: z.string(), arg2: z.string() } },
    ({ arg1, arg2 }) => ({
      messages: [
        {
          role: 'user',
          content: { type: 'text', text: `Prompt with arguments: arg1='${arg1}', arg2='${arg2}'` },
        },
      ],
    }),
  )
  return server
}
const opened = new Map<string, StreamableHTTPServerTransport>()
export const openMcpServer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
  const session = req.headers['mcp-session-id']
  const message = req.method === 'POST' ? await bodyOf(req) : undefined
  let transport = typeof session === 'string' ? opened.get(session) : undefined
  if (transport === undefined && session !== undefined) return void res.writeHead(404).end()
  if (transport === undefined) {
    const made: StreamableHTTPServerTransport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => void opened.set(id, made),
    })
    await conformingServer().connect(made)
    transport = made
  }
  await transport.handleRequest(req, res, message)
}
