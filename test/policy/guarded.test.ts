// What the catalogues know of merging, approving and moving refs, of rights and of sharing, against the guards: no name of it passes.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { Json, JsonObject, OperationRow } from '../../proxy/model.ts'
import { activate } from '../../proxy/policy/activate.ts'
import { readBundle } from '../../proxy/policy/bundle.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const quiet = (): void => undefined
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
const clock = { now: () => Date.now(), mono: () => performance.now() }
const files = new Map<string, unknown>(
  readdirSync(join(root, 'providers'))
    .filter((name) => !/\.(?:tools|parameters)\./.test(name))
    .map((name) => [
      `providers/${name}`,
      parse(readFileSync(join(root, 'providers', name), 'utf8')) as unknown,
    ]),
)
const { providers } = compileProviders(files)
const golden = JSON.parse(readFileSync(join(root, 'test/golden/merge-a-pull.json'), 'utf8')) as {
  readonly input: { readonly request: object }
}

const GUARDED = /merge|approve|dismiss|\/refs\b|updateRef|deleteRef/i
/** Makes a new ref, moves one forward (force has golden inputs of its own), says no to a suggestion. */
const HARMLESS = new Set(['git.createRef', 'git.updateRef', 'issues.dismissSuggestion'])

const inputOf = (provider: string, { id, access, scopes, ...row }: OperationRow): string => {
  const [required_scopes = []] = scopes
  const segments = row.path
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll(/\{\w+\+?\}/g, '7'))
  const field = row.graphql?.split(' ')
  const graphql = field && { type: field[0], name: '', fields: [field[1]], depth: 2 }
  const { input } = golden
  return JSON.stringify({
    ...input,
    provider: {
      id: provider,
      connection: provider,
      connected: true,
      account: 'a',
      granted_scopes: scopes.flat(),
      lineage: [provider],
    },
    request: { ...input.request, method: row.method, segments },
    operation: {
      id,
      kind: graphql ? 'graphql' : 'rest',
      access,
      required_scopes,
      inspects: row.inspect.length > 0,
      ...(graphql ? { graphql } : {}),
    },
  })
}

describe('the shipped tables', async () => {
  const bundle = await readBundle(readFileSync(join(root, 'policies/bundle.tar.gz')))
  const engine = await activate(bundle, new Map(), { log, clock })
  test.each(['github', 'github_app', 'gitea'])(
    'let no agent merge, approve or move refs at %s, by whatever name',
    async (provider) => {
      const rows = (providers.get(provider)?.operations ?? []).filter(
        ({ access, id, method, path, graphql }) =>
          access !== 'read' && GUARDED.test(`${method} ${path} ${id} ${graphql ?? ''}`),
      )
      expect(rows.length).toBeGreaterThanOrEqual(5)
      const allowed: string[] = []
      for (const row of rows) {
        const decision = await engine.evaluate(inputOf(provider, row))
        if (!('allow' in decision)) throw new Error(decision.detail)
        if (decision.allow) allowed.push(row.id)
      }
      expect(allowed.filter((id) => !HARMLESS.has(id))).toEqual([])
    },
  )
})

/** A row that covers everything, so that what is refused is refused by a guard. */
const wide = {
  kinds: ['rest', 'graphql'],
  access: ['read', 'write', 'delete', 'admin'],
  operations: ['*'],
  path: ['**'],
  agents: ['*'],
  entitlement: '*',
  scopes: [],
  max_entitlement_age_s: 300,
  obligations: {},
  step_up: {},
  approval: {},
}
const SHARED = ['google', 'microsoft', 'slack', 'salesforce', 'hubspot', 'linear'] as const
const each = (value: Json): JsonObject => Object.fromEntries(SHARED.map((id) => [id, value]))
const changes = ({ method, graphql }: OperationRow): boolean =>
  method !== 'GET' && graphql?.startsWith('query') !== true

/** What has no name here is judged by rows alone. */
const RIGHTS: Readonly<Record<(typeof SHARED)[number], RegExp>> = {
  google:
    /settings\/(?:delegates|forwarding|sendAs|filters|cse|auto|imap|pop)|\/admin\/|\/acl$|permissions$|watch|\/members|Publish|\/drive\/v3\/(?:team)?drives(?:\/\{\w+\})?$/,
  microsoft:
    /\/v1.0\/(?:directory|roleManagement|applications|servicePrincipals|invitations|subscriptions|organization|domains)|\/(?:members|owners|createLink|invite|appRoleAssignments|authentication|messageRules|permissions|sharedWithTeams|installedApps|oauth2PermissionGrants)(?:\/|$)|PATCH \/v1.0\/groups\/\{\w+\}$/,
  slack:
    /\/(?:admin|apps|oauth)\.|inviteShared|acceptShared|approveShared|sharedPublicURL|access\.set|usergroups\.(?:create|update|users)/,
  salesforce: /^$/,
  hubspot:
    /\/settings\/v3\/users|objects\/users(?!\/(?:batch\/read|search))|\/smtp-tokens|object-schemas/,
  linear:
    /mutation (?:webhook|organization|apiKey|oauth|team|user|integration|saml|issueShare|documentShare)/,
}

describe('a row that covers everything', async () => {
  const bundle = await readBundle(readFileSync(join(root, 'policies/bundle.tar.gz')))
  const tables = new Map([
    ['grants', each({ all: wide })],
    ['role_grants', each({ developer: ['all'] })],
  ])
  const engine = await activate(bundle, tables, { log, clock })
  const refused = async (id: string, row: OperationRow): Promise<boolean> => {
    const hosts = [...(providers.get(id)?.hosts.keys() ?? [])]
    const input = JSON.parse(inputOf(id, row)) as {
      request: Record<string, unknown>
      operation: { graphql?: Record<string, unknown> }
    }
    input.request['host'] = row.host ?? hosts[0] ?? 'acme.my.salesforce.com'
    input.request['body'] = { state: 'parsed', bytes: 2, json: {} }
    Object.assign(input.operation.graphql ?? {}, { types: [], selects: [] })
    const decision = await engine.evaluate(JSON.stringify(input))
    if (!('allow' in decision)) throw new Error(decision.detail)
    return !decision.allow
  }
  test.each(SHARED)('changes nobody’s rights at %s, and shares nothing', async (id) => {
    const rows = (providers.get(id)?.operations ?? []).filter(
      (row) =>
        row.access === 'admin' &&
        changes(row) &&
        row.method !== 'DELETE' &&
        RIGHTS[id].test(`${row.method} ${row.path} ${row.graphql ?? ''}`),
    )
    expect(rows.length).toBeGreaterThanOrEqual(id === 'salesforce' ? 0 : 8)
    const passed: string[] = []
    for (const row of rows)
      if (!(await refused(id, row))) passed.push(`${row.method} ${row.path} ${row.id}`)
    expect(passed).toEqual([])
  })
  test.each(SHARED)('does at %s what people do with their own', async (id) => {
    const rows = (providers.get(id)?.operations ?? []).filter(
      (row) => row.access === 'write' && changes(row),
    )
    expect(rows.length).toBeGreaterThan(3)
    const kept: string[] = []
    for (const row of rows)
      if (await refused(id, row)) kept.push(row.graphql ?? `${row.method} ${row.path}`)
    // It is about a person, as all that Linear calls user… is.
    expect(kept).toEqual(id === 'linear' ? ['mutation userFlagUpdate'] : [])
  })
})

describe('a rule that trusts what was not said', () => {
  const pointersOf = (provider: string, name: string): readonly string[] => {
    const rego = readFileSync(
      join(root, `policies/deputy/providers/${provider}/${provider}.rego`),
      'utf8',
    )
    const list = new RegExp(`${name} := \\[([^\\]]*)\\]`).exec(rego)?.[1] ?? ''
    return [...list.matchAll(/"([^"]+)"/g)].map(([, pointer = '']) => pointer)
  }
  test.each([
    ['microsoft', 'me.update'],
    ['microsoft', 'users.update'],
    ['salesforce', 'user.update'],
  ])('has a row that looks for it: %s %s', (provider, id) => {
    const fields = pointersOf(provider, 'fields')
    expect(fields.length).toBeGreaterThan(10)
    const row = providers.get(provider)?.operations.find((one) => one.id === id)
    expect(row?.inspect.toSorted()).toEqual(fields.toSorted())
  })
  test.each([
    ['google', 'drive.revisions.update', ['/published', '/publishAuto', '/publishedOutsideDomain']],
    ['google', 'calendar.acl.insert', ['/role', '/scope/type', '/scope/value']],
    ['google', 'calendar.events.insert', ['/attendees']],
    ['microsoft', 'driveitem-createlink', ['/scope']],
    ['microsoft', 'drives.items.createLink', ['/scope']],
    ['microsoft', 'drives.items.invite', ['/recipients']],
    ['microsoft', 'user-post-events', ['/attendees']],
    ['github', 'repos.createOrUpdateFileContents', ['/branch']],
    ['github', 'repos.deleteFile', ['/branch']],
    ['github', 'repos.merge', ['/base']],
    ['github', 'repos.mergeUpstream', ['/branch']],
    ['github', 'git.createRef', ['/ref']],
    ['github', 'graphql.createCommitOnBranch', ['/input/branch/branchName']],
    ['github', 'graphql.mergeBranch', ['/input/base']],
    ['github', 'graphql.createRef', ['/input/name']],
    ['gitea', 'repos.createFile', ['/branch', '/new_branch']],
    ['gitea', 'repos.changeFiles', ['/branch', '/new_branch']],
    ['gitea', 'repos.deleteFile', ['/branch', '/new_branch']],
    ['gitea', 'repos.createBranch', ['/new_branch_name']],
    ['gitea', 'repoApplyDiffPatch', ['/branch', '/new_branch']],
    ['gitea', 'repoMergeUpstream', ['/branch']],
  ])('%s %s', (provider, id, pointers) => {
    const rows = providers.get(provider)?.operations.filter((one) => one.id === id) ?? []
    expect(rows.length).toBeGreaterThan(0)
    for (const row of rows) expect(row.inspect).toEqual(expect.arrayContaining(pointers))
  })
})
