// A deputy whose endpoint lists the tools of an MCP server beside its own: people connect at the server as they do elsewhere.
import { createBrowser } from './browser.ts'
import { clickThrough } from './click.ts'
import { startDeputy, TABLES, type Deputy, type Fields } from './deputy.ts'
import { MCP_HOST, RESOURCE } from './mcpserver.ts'
import { freePort } from './ports.ts'

export const row = (access: readonly string[]): Fields => ({
  kinds: ['mcp', 'rest'],
  access,
  operations: ['*'],
  max_entitlement_age_s: 300,
})

/** The definition of such a server, with tools of every kind of access. */
export const definition = (origin: string, more: Fields = {}): Fields => ({
  id: 'acme',
  name: 'Acme notes',
  kind: 'mcp',
  url: RESOURCE,
  hosts: { [MCP_HOST]: origin },
  scope: { always: ['mcp'] },
  tools: [
    { name: 'whoami', access: 'read' },
    { name: 'create_note', access: 'write', scopes: [['write']], inspect: ['/title'] },
    { name: 'delete_all', access: 'delete' },
  ],
  ...more,
})

export type Beside = {
  readonly deputy: Deputy
  /** Opens a link and says yes, as this person. */
  readonly visit: (link: string, user: string) => Promise<void>
}
export const startBeside = async (
  server: { readonly origin: string; readonly issuer: string },
  config: Fields = {},
  port: number | null = null,
): Promise<Beside> => {
  const at = port ?? (await freePort())
  const url = `http://127.0.0.1:${at}`
  const deputy = await startDeputy({
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
      listeners: { agent: '127.0.0.1:0', admin: '127.0.0.1:0', connect: `127.0.0.1:${at}` },
      providers: [definition(server.origin)],
      connections: { notes: { provider: 'acme', scopes: ['write'] } },
      tools: {
        endpoints: [
          { path: '/mcp', tools: ['notes.*'] },
          { path: '/mcp/all', discovery: true },
        ],
      },
      connect: {
        url,
        sign_in: {
          issuer: server.issuer,
          client_id: 'pages',
          client_secret: 'canary-pages-secret-0000000000000000',
          realm: 'local',
        },
      },
      ...config,
    },
  })
  return {
    deputy,
    visit: async (link, user) => {
      const page = await clickThrough(createBrowser(), link, { login: user, account: user })
      if (page.status !== 200) throw new Error(page.text)
    },
  }
}
