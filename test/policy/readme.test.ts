// policies/README.md as it stands: its tables serve and decide what its sentences say, and its Rego is tested and built.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findOpa, OPA_VERSION, policyBuild, policyTest } from '../../proxy/commands/policy.ts'
import { policyTables } from '../../proxy/commands/policy_tables.ts'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import type { PolicyDecision } from '../../proxy/model.ts'
import { openPolicySource } from '../../proxy/policy/source.ts'
import type { PolicySource } from '../../proxy/policy/source.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { createNow } from '../../proxy/wire/now.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const bundle = join(root, 'policies/bundle.tar.gz')
const readme = readFileSync(join(root, 'policies/README.md'), 'utf8')
/** Files that the book shows, by the name in their first line. */
const shown = new Map(
  [...readme.matchAll(/^```(?:yaml|rego)\n# ([\w./]+)\n([^]*?)^```$/gm)].map(
    ([, name = '', text = '']) => [name, text],
  ),
)
const folder = mkdtempSync(join(tmpdir(), 'deputy-readme-'))
const put = (name: string): void => {
  mkdirSync(dirname(join(folder, name)), { recursive: true })
  writeFileSync(join(folder, name), shown.get(name) ?? '')
}
const quiet = (): void => undefined
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
const { providers } = compileProviders(readProviderFiles(join(root, 'providers')))
let source: PolicySource

const NOON = '2026-11-30T11:00:00Z'
type Asked = {
  readonly provider?: string
  readonly group?: string
  readonly agent?: string
  readonly at?: string
  readonly operation: readonly [id: string, access: string, method: string]
  readonly path?: string
  readonly host?: string
  readonly more?: object
  readonly approvals?: readonly object[]
}
const decide = async (asked: Asked): Promise<PolicyDecision> => {
  const engine = source.current()
  if (engine === null) throw new Error(String(source.problem()))
  const { provider = 'github', group = 'engineering', agent = 'triage', at = NOON } = asked
  const [id, access, method] = asked.operation
  const [, now] = createNow({ now: () => Date.parse(at) })(engine.asks.zones)
  const answer = await engine.evaluate(
    JSON.stringify({
      version: 1,
      request_id: 'r',
      now: JSON.parse(now) as unknown,
      user: {
        id: 'ida@acme.example',
        realm: 'acme',
        tenant: 'default',
        verified: true,
        active: true,
        groups: [group],
        roles: [],
        entitlements: [],
        entitlements_age_ms: 0,
      },
      agent: { id: agent },
      provider: {
        id: provider,
        lineage: [provider],
        connection: provider,
        connected: true,
        account: 'ida',
        granted_scopes: [],
      },
      request: {
        method,
        host: asked.host ?? 'api.github.com',
        segments: (asked.path ?? 'repos/acme/app/issues').split('/'),
        query: {},
        stripped: [],
        body: { state: 'parsed', bytes: 64, content_type: 'application/json', json: {} },
        ...asked.more,
      },
      operation: { id, kind: 'rest', access, required_scopes: [], inspects: false },
      approvals: asked.approvals ?? [],
    }),
  )
  if ('failed' in answer) throw new Error(answer.detail)
  return answer
}
const codes = async (asked: Asked): Promise<readonly string[]> =>
  (await decide(asked)).reasons.map(({ code }) => code)

beforeAll(async () => {
  for (const name of shown.keys()) if (name.startsWith('tables/')) put(name)
  source = await openPolicySource({
    bundle,
    data: join(folder, 'tables'),
    providers: providers.values(),
    connections: ['github', 'google', 'slack'],
    inputLimit: 32_768,
    log,
    clock: { now: () => Date.now(), mono: () => performance.now() },
    onChange: quiet,
  })
})
afterAll(async () => {
  await source?.close()
  rmSync(folder, { recursive: true, force: true })
})

test('the tables serve, answer their own probes, and say nothing in vain', () => {
  expect([...shown.keys()].filter((name) => name.startsWith('tables/'))).toEqual(
    ['group_roles', 'grants', 'agents', 'probes'].map((name) => `tables/${name}.yaml`),
  )
  expect(source.problem()).toBeNull()
  expect(source.vain()).toEqual([])
})

test('probes that are answered otherwise keep the tables from serving', async () => {
  const probes = join(folder, 'tables/probes.yaml')
  writeFileSync(probes, (shown.get('tables/probes.yaml') ?? '').replace('payroll', 'public-x'))
  await expect(source.reload()).rejects.toThrow(
    'probe "an intern reads no issues of another repository" gave allow []',
  )
  put('tables/probes.yaml')
  await source.reload()
})

describe('the sentences', () => {
  const LIST = ['issues.listForRepo', 'read', 'GET'] as const
  const CREATE = ['issues.create', 'write', 'POST'] as const
  test('interns read issues, in acme/public-* only', async () => {
    const intern = (path: string, operation: Asked['operation'] = LIST) =>
      codes({ group: 'interns', operation, path })
    expect(await intern('repos/acme/public-site/issues')).toEqual([])
    expect(await intern('repos/acme/public-/issues')).toEqual([])
    for (const path of [
      'repos/acme/payroll/issues',
      'repos/other/public-site/issues',
      'repos/acme',
    ])
      expect([path, await intern(path)]).toEqual([path, ['no_grant']])
    expect(await intern('repos/acme/public-site/issues', CREATE)).toEqual(['no_grant'])
    expect(await intern('repos/acme/public-site/pulls', ['pulls.list', 'read', 'GET'])).toEqual([
      'no_grant',
    ])
  })

  test('nobody’s agent mails outside the company', async () => {
    const mail = (more: object) =>
      codes({
        provider: 'google',
        host: 'gmail.googleapis.com',
        path: 'gmail/v1/users/me/messages/send',
        operation: ['gmail.users.messages.send', 'write', 'POST'],
        more,
      })
    const to = (...domains: readonly string[]) =>
      mail({ mail: { unread: false, sends: true, domains } })
    expect(await to('acme.example')).toEqual([])
    expect(await to('acme.example', 'acme.test')).toEqual([])
    expect(await to('acme.example', 'other.example')).toEqual(['no_grant'])
    expect(await mail({ mail: { unread: true, sends: true } })).toEqual(['no_grant'])
    expect(await mail({})).toEqual(['no_grant'])
  })

  test('at night only the agent nightly writes', async () => {
    const write = (at: string, agent = 'triage') => codes({ at, agent, operation: CREATE })
    expect(await write('2026-11-30T05:00:00Z')).toEqual([])
    expect(await write('2026-11-30T04:59:59Z')).toEqual(['no_grant'])
    expect(await write('2026-11-30T20:59:59Z')).toEqual([])
    expect(await write('2026-11-30T21:00:00Z')).toEqual(['no_grant'])
    expect(await write('2026-11-30T21:00:00Z', 'nightly')).toEqual([])
    // In summer the same hours of Berlin are others of UTC.
    expect(await write('2026-07-01T04:00:00Z')).toEqual([])
    expect(await write('2026-07-01T20:00:00Z')).toEqual(['no_grant'])
    expect(await codes({ at: '2026-11-30T21:00:00Z', operation: LIST })).toEqual([])
  })

  test('deleting needs the manager’s approval', async () => {
    const asked: Asked = { operation: ['issues.deleteComment', 'delete', 'DELETE'] }
    const refused = await decide(asked)
    expect(refused.reasons.map(({ code }) => code)).toEqual(['approval_required'])
    expect(refused.obligations).toEqual({
      boss: { type: 'approval', properties: { approvers: ['manager'], ttl_s: 900 } },
    })
    const approved = [{ id: 'a', name: 'boss', by: 'max@acme.example', expires_in_s: 60 }]
    expect(await codes({ ...asked, approvals: approved })).toEqual([])
  })

  test('twenty messages an hour and person', async () => {
    const answer = await decide({
      provider: 'slack',
      host: 'slack.com',
      path: 'api/chat.postMessage',
      operation: ['chat.postMessage', 'write', 'POST'],
    })
    expect([answer.allow, answer.obligations]).toEqual([
      true,
      {
        hourly: {
          type: 'rate_limit',
          properties: { key: ['person'], limit: 20, window_s: 3600 },
        },
      },
    ])
  })

  test('an agent stays below its ceiling', async () => {
    const slack: Asked = {
      provider: 'slack',
      host: 'slack.com',
      operation: ['chat.postMessage', 'write', 'POST'],
      agent: 'nightly',
    }
    expect(await codes(slack)).toEqual(['agent_ceiling'])
  })
})

test('the tables are printed whole, and what is wrong with them is told', async () => {
  const lines: string[] = []
  const told: string[] = []
  const run = (data: string | null) =>
    policyTables({
      bundle,
      data,
      print: (line) => void lines.push(line),
      complain: (line) => void told.push(line),
    })
  expect(await run(join(folder, 'tables'))).toBe(0)
  const { deputy_data: data } = JSON.parse(lines.join('')) as {
    deputy_data: { grants: { github: Record<string, object> }; role_grants: object }
  }
  expect(Object.keys(data.grants.github['interns-read'] ?? {})).toHaveLength(17)
  expect(data.role_grants).toMatchObject({ github: { intern: ['interns-read'] } })
  expect(data).not.toHaveProperty('probes')
  expect(await run(join(folder, 'nowhere'))).toBe(1)
  expect(told.join()).toMatch(/nowhere/)
})

const places = { named: process.env['DEPUTY_OPA'], path: process.env['PATH'], home: homedir() }
const opa = await findOpa(places).catch(() => null)
const needs = opa === null ? ` (SKIPPED: needs opa ${OPA_VERSION}, name it with DEPUTY_OPA)` : ''
test.skipIf(opa === null)(
  `the Rego is tested whole and built${needs}`,
  { timeout: 300_000 },
  async () => {
    cpSync(join(root, 'policies'), join(folder, 'policies'), { recursive: true })
    const rego = [...shown.keys()].filter((name) => name.endsWith('.rego'))
    expect(rego).toHaveLength(2)
    rego.forEach(put)
    const said: string[] = []
    const options = { root: folder, places, print: (line: string) => void said.push(line) }
    expect([await policyTest({ ...options, coverage: 100 }), said.at(-1)]).toEqual([
      0,
      'coverage: 100 %',
    ])
    expect([await policyBuild(options), said.at(-1)]).toEqual([
      0,
      expect.stringMatching(/^policies\/bundle\.tar\.gz: revision /),
    ])
  },
)
