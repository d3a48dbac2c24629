// A real MCP server that demands OAuth, behind deputy: two people, the official clients; each is themselves, and what policy
// refuses is neither shown nor called.
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { clickThrough } from '../support/click.ts'
import { startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { MCP_HOST, RESOURCE, startMcpServer, type McpTestServer } from '../support/mcpserver.ts'
import { freePort } from '../support/ports.ts'

let server: McpTestServer
let deputy: Deputy

const row = (access: readonly string[]): Fields => ({
  kinds: ['mcp'],
  access,
  operations: ['*'],
  path: ['**'],
  agents: ['*'],
  entitlement: '*',
  scopes: [],
  max_entitlement_age_s: 300,
  obligations: {},
  step_up: {},
  approval: {},
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
    ],
    tables: {
      ...TABLES,
      group_roles: { writers: ['writer'], readers: ['reader'] },
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
  await client.connect(transport as Parameters<Client['connect']>[0])
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
    const [one] = server.auth.requests.filter(({ path, form }) => path === '/token' && form['grant_type'] === 'authorization_code' && form['resource'] !== undefined)
    expect(one?.form).toMatchObject({ resource: RESOURCE })
    expect(one?.form['code_verifier']).toBeDefined()
  })
})
