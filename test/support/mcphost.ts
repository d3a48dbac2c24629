// A deputy with tools for MCP hosts, an organisation's IdP, and a provider that people connect at: what the tests of the
// door share. Real sockets, real consents.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startAuthServer } from './authserver.ts'
import { createBrowser } from './browser.ts'
import { clickThrough } from './click.ts'
import { prepareFolder, startDeputy, TABLES, type Deputy, type Fields } from './deputy.ts'
import { freePort } from './ports.ts'
import { startUpstream, type Upstream } from './upstream.ts'

const TOOLS = `
provider: acme
tools:
  Acme.ListNotes:
    description: Reads notes.
    input:
      n: { type: integer, default: 5, minimum: 1, maximum: 25 }
      page_token: { type: string }
    steps:
      - operation: notes.list
        as: list
        query: { max: { $arg: n }, page: { $arg: page_token } }
    result: { keep: { notes: /notes } }
    next: { page_token: { $step: list, at: /next } }
  Acme.CreateNote:
    aliases: [Notes.Create]
    description: Writes a note.
    input:
      title: { type: string, required: true, description: Its title. }
    steps: [{ operation: notes.create, body: { title: { $arg: title } } }]
    result: { keep: { id: /id, who: /who } }
  Acme.EraseNotes:
    description: Removes every note.
    steps: [{ operation: notes.erase }]
`
const row = (access: readonly string[], obligations: Fields): Fields => ({
  kinds: ['rest'],
  access,
  operations: ['*'],
  max_entitlement_age_s: 300,
  obligations,
})
const operation = (id: string, method: string, path: string, access: string): Fields => ({
  id,
  method,
  path,
  access,
  scopes: [['notes']],
})

export type McpHouse = {
  readonly deputy: Deputy
  readonly upstream: Upstream
  /** Opens a link and says yes, as this person; or no. */
  readonly visit: (link: string, user: string, answer?: 'yes' | 'no') => Promise<string>
  /** Who is in which groups, from now on. */
  readonly people: (groups: Readonly<Record<string, readonly string[]>>) => void
  readonly close: () => Promise<void>
}

/** @param config laid over the configuration, a whole top-level key at a time */
export const startMcpHouse = async (
  config: Fields = {},
  {
    tools = TOOLS,
    operations = [],
    obligations = {},
    rows = {},
  }: {
    readonly tools?: string
    readonly operations?: readonly Fields[]
    readonly obligations?: Fields
    /** Further rows of writers, by their names: what stands in them counts, and any path, agent and entitlement. */
    readonly rows?: Readonly<Record<string, Fields>>
  } = {},
): Promise<McpHouse> => {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const idp = await startAuthServer({
    clientId: 'pages',
    clientSecret: 'canary-pages-secret-0000000000000000',
    redirectUris: [`${url}/sign-in/callback`],
    accounts: { alice: {}, bob: {}, carol: {} },
  })
  const provider = await startAuthServer({
    clientId: 'deputy',
    clientSecret: 'canary-provider-secret-00000000000000',
    redirectUris: ['acme', 'second'].map((name) => `${url}/callback/${name}`),
    scopes: ['notes'],
    accounts: { alice: {}, bob: {}, carol: {} },
  })
  const upstream = await startUpstream()
  upstream.handle = (seen, res) => {
    const body =
      seen.method === 'GET'
        ? seen.url.includes('page=two')
          ? { notes: ['third'] }
          : { notes: ['first', 'second'], next: 'two' }
        : { id: 'n1', who: 'somebody' }
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  const groups = { alice: ['writers'], bob: ['readers'], carol: ['writers'] }
  const peopleOf = (all: Readonly<Record<string, readonly string[]>>) => ({
    people: Object.entries(all).map(([id, of]) => ({ id, groups: of })),
  })
  const setup = {
    upstream: upstream.origin,
    people: peopleOf(groups).people,
    tables: {
      ...TABLES,
      group_roles: { writers: ['writer'], readers: ['reader'] },
      role_grants: { acme: { writer: ['w', ...Object.keys(rows)], reader: ['r'] } },
      grants: {
        acme: {
          w: row(['read', 'write'], obligations),
          r: row(['read'], obligations),
          ...Object.fromEntries(
            Object.entries(rows).map(([name, one]) => [name, { ...row([], {}), ...one }]),
          ),
        },
      },
      providers: { acme: { hosts: ['api.acme.test'], assets: [], inspect_body: [] } },
    },
    config: {
      listeners: { agent: '127.0.0.1:0', admin: '127.0.0.1:0', connect: `127.0.0.1:${port}` },
      providers: [
        {
          id: 'acme',
          name: 'Acme',
          issuer: provider.issuer,
          authorize: provider.endpoints.authorize,
          token: provider.endpoints.token,
          revoke: provider.endpoints.revoke,
          client_auth: 'client_secret_post',
          authorize_params: { prompt: 'consent' },
          hosts: { 'api.acme.test': upstream.origin },
          operations: [
            operation('notes.list', 'GET', '/notes', 'read'),
            operation('notes.create', 'POST', '/notes', 'write'),
            operation('notes.erase', 'DELETE', '/notes', 'delete'),
            ...operations,
          ],
        },
      ],
      connections: {
        acme: {
          provider: 'acme',
          client_id: 'deputy',
          client_secret: 'canary-provider-secret-00000000000000',
          scopes: ['notes'],
        },
      },
      tools: { files: ['./tools.yaml'] },
      connect: {
        url,
        sign_in: {
          issuer: idp.issuer,
          client_id: 'pages',
          client_secret: 'canary-pages-secret-0000000000000000',
          realm: 'local',
        },
      },
      ...config,
    },
  }
  const dir = await prepareFolder(setup)
  writeFileSync(join(dir, 'tools.yaml'), tools)
  const deputy = await startDeputy(setup, dir)
  return {
    deputy,
    upstream,
    visit: async (link, user, answer = 'yes') =>
      (await clickThrough(createBrowser(), link, { login: user, account: user, answer })).text,
    people: (all) => writeFileSync(join(dir, 'people.yaml'), JSON.stringify(peopleOf(all))),
    close: async () => {
      await deputy.close()
      await upstream.close()
      await idp.close()
      await provider.close()
    },
  }
}
