// For each place of deputy's APIs, pages and commands: how somebody of south asks it about a thing of north's by its id.
// A place that has no case fails test/e2e/tenants.test.ts, which names it.
import type { Fields } from './deputy.ts'

/** Names of north's things; a second set names nothing at all. */
export type Ids = {
  readonly authorization: string
  /** What the link ends with. */
  readonly link: string
  readonly credential: string
  readonly run: string
  /** What a workload may do while its person is away. */
  readonly standing: string
  /** A call that waits for somebody's yes, and what its link ends with; the same of a stronger sign-in. */
  readonly approval: string
  readonly approvalLink: string
  readonly stepUp: string
  readonly stepUpLink: string
  readonly agent: string
  readonly user: string
  readonly tenant: string
  /** A connection that only north still has something of. */
  readonly connection: string
  readonly state: string
  readonly csrf: string
  readonly result: string
  readonly session: string
}
export const ABSENT: Ids = {
  authorization: `ac_${'0'.repeat(64)}`,
  link: 'A'.repeat(43),
  credential: '00000000-0000-4000-8000-000000000000',
  run: '01ARZ3NDEKTSV4RRFFQ69G5FAV',
  standing: '00000000-0000-4000-8000-000000000001',
  approval: `ap_${'0'.repeat(64)}`,
  approvalLink: 'D'.repeat(43),
  stepUp: `su_${'0'.repeat(64)}`,
  stepUpLink: 'E'.repeat(43),
  agent: 'absent-agent',
  user: 'absent-person',
  tenant: 'absent-tenant',
  connection: 'absent-connection',
  state: 'B'.repeat(43),
  csrf: 'C'.repeat(43),
  result: 'e30.e30',
  session: 'e30.e30',
}

/** Whose word a request goes by: south's own person, operator or browser, or nobody's. */
export type As = 'tag' | 'operator' | 'browser' | 'nobody'
export type Asked = {
  readonly path: string
  readonly as?: As
  readonly body?: Fields
  readonly form?: Readonly<Record<string, string>>
  /** Further cookies. */
  readonly cookies?: Readonly<Record<string, string>>
}
export type Case = (ids: Ids, own: Pick<Ids, 'csrf' | 'user'>) => readonly Asked[]

const same: Case = () => []
const authorize = (body: Fields): Fields => ({ auth_requirement: { id: 'stream' }, ...body })

/** Of the agents' listeners, for a tag of south's. */
export const AGENT: Readonly<Record<string, Case>> = {
  'POST /v1/auth/authorize': ({ user, connection }, own) => [
    { path: '/v1/auth/authorize', body: authorize({ user_id: user }) },
    {
      path: '/v1/auth/authorize',
      body: authorize({ user_id: own.user, auth_requirement: { id: connection } }),
    },
  ],
  'POST /v1/tools/authorize': ({ user, connection }) => [
    { path: '/v1/tools/authorize', body: { tool_name: 'stream@stream.get', user_id: user } },
    { path: '/v1/tools/authorize', body: { tool_name: `${connection}@acme.get` } },
  ],
  'GET /v1/auth/status': ({ authorization, approval, stepUp, run, credential }) =>
    [authorization, approval, stepUp, run, credential].flatMap((id) =>
      ['0', '1'].map((wait) => ({ path: `/v1/auth/status?id=${id}&wait=${wait}` })),
    ),
  'GET /v1/openapi.json': () => [{ path: '/v1/openapi.json' }],
  'GET /v1/tools': ({ user }) =>
    ['', `?user_id=${user}`, '?plain=true', '?toolkit=acme'].map((query) => ({
      path: `/v1/tools${query}`,
    })),
  'GET /v1/tools/:name': ({ connection, user }) =>
    [`${connection}%2Facme.get`, `stream%2Fstream.get?user_id=${user}`].map((name) => ({
      path: `/v1/tools/${name}`,
    })),
  'GET /v1/formatted_tools': ({ user }) => [
    { path: `/v1/formatted_tools?format=openai&user_id=${user}` },
  ],
  'GET /v1/formatted_tools/:name': ({ connection }) => [
    { path: `/v1/formatted_tools/${connection}%2Facme.get?format=openai` },
  ],
  'GET /v1/scheduled_tools': () => [{ path: '/v1/scheduled_tools' }],
  'POST /v1/tools/execute': ({ user, connection }) => [
    { path: '/v1/tools/execute', body: { tool_name: 'stream.get', user_id: user } },
    { path: '/v1/tools/execute', body: { tool_name: `${connection}/acme.get` } },
    { path: '/v1/tools/execute', body: { tool_name: 'acme.get', connection } },
  ],
  'POST /v1/tools/requirements': ({ user, connection }) => [
    { path: '/v1/tools/requirements', body: { tools: ['stream.get'], user_id: user } },
    { path: '/v1/tools/requirements', body: { tools: [`${connection}/acme.get`] } },
  ],
  'POST /v1/plan': ({ user, connection }) => [
    { path: '/v1/plan', body: { user_id: user, calls: [{ id: 'a', tool: 'stream.get' }] } },
    { path: '/v1/plan', body: { calls: [{ id: 'a', tool: 'acme.get', connection }] } },
  ],
}

const place = ({ tenant }: Ids): string => `tenant=${tenant}`
/** Of the operators' API, for an operator with `tenants: [south]`; where it is not served, it answers as anything else. */
export const OPERATORS: Readonly<Record<string, Case>> = {
  'GET /v1/admin/user_connections': (ids) =>
    [
      '',
      `?user_id=${ids.user}`,
      `?${place(ids)}`,
      `?provider_id=${ids.connection}`,
      `?user_id=alice&${place(ids)}`,
    ].map((query) => ({ path: `/v1/admin/user_connections${query}` })),
  'DELETE /v1/admin/user_connections/:id': ({ credential, run }) =>
    [credential, run].map((id) => ({ path: `/v1/admin/user_connections/${id}` })),
  'DELETE /v1/admin/users/:id/connections': (ids) =>
    ['', `?${place(ids)}`, '?realm=corp', `?${place(ids)}&agent=agent-1`].map((query) => ({
      path: `/v1/admin/users/${ids.user}/connections${query}`,
    })),
  ...Object.fromEntries(
    ['GET', 'DELETE'].map((method) => [
      `${method} /v1/admin/users/:id`,
      ((ids) =>
        ['', `?${place(ids)}`].map((query) => ({
          path: `/v1/admin/users/${ids.user}${query}`,
        }))) satisfies Case,
    ]),
  ),
  'GET /v1/admin/people': (ids) =>
    ['', '&limit=1', `&after_realm=corp&after_id=${ids.user}`].map((query) => ({
      path: `/v1/admin/people?${place(ids)}${query}`,
    })),
  'DELETE /v1/admin/tenants/:name': ({ tenant }) => [{ path: `/v1/admin/tenants/${tenant}` }],
  'DELETE /v1/admin/connections/:name/grants': (ids) => [
    { path: `/v1/admin/connections/${ids.connection}/grants` },
    { path: `/v1/admin/connections/acme/grants?${place(ids)}` },
  ],
  'POST /v1/admin/runs': (ids) =>
    [{}, { tenant: ids.tenant }, { realm: 'elsewhere' }].map((more) => ({
      path: '/v1/admin/runs',
      body: {
        user_id: ids.user,
        agent: 'agent-1',
        connections: ['acme'],
        expires_in: 60,
        ...more,
      },
    })),
  'GET /v1/admin/runs': (ids) =>
    ['', `?user_id=${ids.user}`, `?${place(ids)}`].map((query) => ({
      path: `/v1/admin/runs${query}`,
    })),
  'DELETE /v1/admin/runs/:id': ({ run, credential }) =>
    [run, credential].map((id) => ({ path: `/v1/admin/runs/${id}` })),
  'GET /v1/admin/agents': same,
  'POST /v1/admin/agents/:id/disable': (ids) =>
    [`?${place(ids)}`, ''].map((query) => ({
      path: `/v1/admin/agents/${ids.agent}/disable${query}`,
    })),
  'POST /v1/admin/agents/:id/enable': (ids) =>
    [`?${place(ids)}`, ''].map((query) => ({
      path: `/v1/admin/agents/${ids.agent}/enable${query}`,
    })),
  'GET /v1/admin/approvals': (ids) =>
    ['', `?user_id=${ids.user}`, `?${place(ids)}`, `?agent=${ids.agent}`].map((query) => ({
      path: `/v1/admin/approvals${query}`,
    })),
  'DELETE /v1/admin/approvals/:id': ({ approval, stepUp, authorization }) =>
    [approval, stepUp, authorization].map((id) => ({ path: `/v1/admin/approvals/${id}` })),
  'GET /v1/admin/standings': (ids) =>
    ['', `?user_id=${ids.user}`, `?${place(ids)}`, `?agent=${ids.agent}`].map((query) => ({
      path: `/v1/admin/standings${query}`,
    })),
  'DELETE /v1/admin/standings/:id': ({ standing, credential }) =>
    [standing, credential].map((id) => ({ path: `/v1/admin/standings/${id}` })),
  'GET /v1/admin/login': () => [{ path: '/v1/admin/login' }],
  // Its key is the application's, which speaks for all tenants: an operator's bearer is none.
  'POST /v1/auth/confirm_user': ({ authorization, link, user, tenant }) =>
    [authorization, link].map((flow_id) => ({
      path: '/v1/auth/confirm_user',
      body: { flow_id, user_id: user, tenant },
    })),
  'GET /v1/openapi.json': () => [{ path: '/v1/openapi.json' }],
  // By the socket of this machine alone.
  'POST /v1/admin/keys/rotate': () => [{ path: '/v1/admin/keys/rotate', body: { retire: true } }],
  'POST /v1/admin/vault/copy': () => [{ path: '/v1/admin/vault/copy', body: { file: '/x' } }],
  'POST /v1/admin/whois': ({ user }) => [
    { path: '/v1/admin/whois', body: { names: ['hmac2:x'], users: [user] } },
  ],
  'POST /v1/admin/vault/replay': () => [{ path: '/v1/admin/vault/replay', body: { files: [] } }],
}

/** Of the pages, for a browser of south's. */
export const PAGES: Readonly<Record<string, Case>> = {
  'GET /': same,
  'GET /style.css': same,
  'GET /logo': same,
  'GET /problems/:code': same,
  'GET /connect/:id': ({ link }) => [{ path: `/connect/${link}` }],
  'POST /connect/:id': ({ link, csrf }, own) =>
    [csrf, own.csrf].map((token) => ({
      path: `/connect/${link}`,
      form: { csrf: token, answer: 'yes' },
    })),
  ...Object.fromEntries(
    (['approve', 'step-up'] as const).flatMap((page) => {
      const at = ({ approvalLink, stepUpLink }: Ids): string =>
        `/${page}/${page === 'approve' ? approvalLink : stepUpLink}`
      const post: Case = (ids, own) =>
        [ids.csrf, own.csrf].flatMap((csrf) =>
          ['yes', 'no'].map((answer) => ({ path: at(ids), form: { csrf, answer } })),
        )
      return [
        [`GET /${page}/:id`, ((ids) => [{ path: at(ids) }]) satisfies Case],
        [`POST /${page}/:id`, post],
      ] as const
    }),
  ),
  'GET /callback/:connection': ({ state, connection }) => [
    { path: `/callback/stream?state=${state}&code=x` },
    { path: `/callback/stream?state=${state}&error=access_denied` },
    { path: `/callback/${connection}?state=${state}&code=x` },
    { path: `/callback/stream?state=${state}&code=x`, as: 'nobody' },
  ],
  'GET /result': ({ result }) => [
    { path: '/result', cookies: { 'deputy-result': result } },
    { path: '/result', cookies: { 'deputy-result': result }, as: 'nobody' },
    { path: '/result', cookies: { 'deputy-connections': result } },
  ],
  'GET /sign-in/callback': ({ state, session }) => [
    { path: `/sign-in/callback?state=${state}&code=x` },
    { path: `/sign-in/callback?state=${session}&code=x` },
  ],
  'POST /sign-in/local': ({ link }) => [
    { path: '/sign-in/local', form: { back: `/connect/${link}`, code: 'AAAA-AAAA' } },
  ],
  'POST /sign-out': ({ csrf }) => [{ path: '/sign-out', form: { csrf, sure: 'yes' } }],
  'GET /connections': ({ state, result }) => [
    { path: '/connections' },
    { path: `/connections?ticket=${state}` },
    { path: '/connections', cookies: { 'deputy-connections': result } },
  ],
  'POST /connections': ({ credential, csrf }, own) =>
    [{ csrf }, { csrf: own.csrf }, { csrf: own.csrf, agent: 'agent-1' }].map((more) => ({
      path: '/connections',
      form: { credential, sure: 'yes', ...more },
    })),
  'POST /connections/standing': ({ standing, csrf }, own) =>
    [{ csrf }, { csrf: own.csrf }, { csrf: own.csrf, days: '1' }].map((more) => ({
      path: '/connections/standing',
      form: { standing, sure: 'yes', ...more },
    })),
  'GET /agents': same,
  'GET /agents/:id': ({ agent }) => [{ path: `/agents/${agent}` }],
  'POST /agents/:id': ({ agent, csrf }, own) =>
    [csrf, own.csrf].flatMap((token) =>
      ['stop', 'off', 'on'].map((act) => ({
        path: `/agents/${agent}`,
        form: { csrf: token, act, sure: 'yes' },
      })),
    ),
}
/**
 * Where what exists is told from what does not, on purpose: a link is 256 bits of chance, so who has one was given it,
 * and is told that it is for somebody else. Of whom, nothing is said.
 */
export const TOLD_APART: ReadonlySet<string> = new Set(
  ['connect', 'approve', 'step-up'].flatMap((page) => [`GET /${page}/:id`, `POST /${page}/:id`]),
)

/** Where an identity provider speaks, by what it signed. */
export const SIGNALS: Readonly<Record<string, Case>> = {
  'POST /signals': ({ user, tenant }) => [{ path: '/signals', body: { sub: user, tenant } }],
  'POST /logout/backchannel': ({ result, session }) =>
    [result, session].map((logout_token) => ({
      path: '/logout/backchannel',
      form: { logout_token },
    })),
}
const resource = (kind: 'Users' | 'Groups'): readonly (readonly [string, Case])[] => {
  const one: Case = ({ credential, user }) =>
    [credential, user].map((id) => ({ path: `/scim/v2/${kind}/${id}`, body: {} }))
  const search: Case = ({ user }) => [{ path: `/scim/v2/${kind}/.search`, body: { filter: user } }]
  return [
    [`POST /scim/v2/${kind}/.search`, search],
    [
      `GET /scim/v2/${kind}`,
      ({ user }) => [{ path: `/scim/v2/${kind}?filter=userName%20eq%20%22${user}%22` }],
    ],
    [
      `POST /scim/v2/${kind}`,
      ({ user }) => [{ path: `/scim/v2/${kind}`, body: { userName: user } }],
    ],
    [`GET /scim/v2/${kind}/:id`, (ids, own) => one(ids, own).map(({ path }) => ({ path }))],
    ...['PUT', 'PATCH', 'DELETE'].map((method) => [`${method} /scim/v2/${kind}/:id`, one] as const),
  ]
}
/** Of SCIM, which nobody serves beside a file: it tells nothing. Served, it is of one tenant: test/e2e/scim.test.ts. */
export const SCIM: Readonly<Record<string, Case>> = Object.fromEntries([
  ...['ServiceProviderConfig', 'Schemas', 'ResourceTypes', 'Schemas/:id', 'ResourceTypes/:id'].map(
    (name) => [`GET /scim/v2/${name}`, same] as const,
  ),
  [
    'POST /scim/v2/.search',
    (({ user }) => [{ path: '/scim/v2/.search', body: { filter: user } }]) satisfies Case,
  ] as const,
  ...resource('Users'),
  ...resource('Groups'),
])

/** Commands that ask the operators' API: what follows their name. */
export const COMMANDS: Readonly<Record<string, (ids: Ids) => readonly (readonly string[])[]>> = {
  'runs create': ({ user, tenant }) =>
    [[], ['--tenant', tenant]].map((more) =>
      ['--user', user, '--agent', 'agent-1', '--connection', 'acme', '--expires-in', '60'].concat(
        more,
      ),
    ),
  'connections list': ({ user, tenant, connection }) => [
    [],
    ['--user', user],
    ['--tenant', tenant],
    ['--provider', connection],
  ],
  'connections revoke': ({ credential, user, tenant, connection }) => [
    [credential],
    ['--user', user],
    ['--user', 'alice', '--tenant', tenant],
    ['--connection', connection],
    ['--connection', 'acme', '--tenant', tenant],
  ],
  'agents list': () => [[]],
  'agents disable': ({ agent, tenant }) => [[agent, '--tenant', tenant], [agent]],
  'agents enable': ({ agent, tenant }) => [[agent, '--tenant', tenant], [agent]],
  'people erase': ({ user, tenant }) => [[user], [user, '--tenant', tenant]],
  'people export': ({ user, tenant }) =>
    [[], ['--tenant', tenant]].map((more) => [user, '--without-evidence', ...more]),
  'tenants export': ({ tenant }) => [[tenant, '--without-evidence']],
  'tenants erase': ({ tenant }) => [[tenant]],
}
/** Commands for whoever has the files and keys of a deputy, who has every tenant's. */
export const ON_THIS_MACHINE: ReadonlySet<string> = new Set([
  'login', // signs in at one deputy; what it may do there is the operators' API
  'logout',
  'entitlements show',
  'tools list',
  'tools test',
  'serve',
  'init',
  'validate',
  'print-config',
  'version',
  'healthz',
  'keygen',
  'import',
  'keys rotate',
  'keys wrap',
  'keys unwrap',
  'policy build',
  'policy test',
  'policy explain',
  'policy diff',
  'policy who-can',
  'policy tables',
  'selftest',
  'providers list',
  'providers test',
  'providers show',
  'ca',
  'connect code',
  'audit verify',
  'audit query',
  'audit explain',
  'audit whois',
  'vault backup',
  'vault restore',
  'vault replay',
])
