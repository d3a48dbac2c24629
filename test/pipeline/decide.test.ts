// What policy is asked, and what is made of its answer.
import { toldReasons } from '../../proxy/problem.ts'
import { describe, expect, test } from 'vitest'
import type {
  Decision,
  Entitlements,
  Holding,
  InputMember,
  Operation,
  PolicyDecision,
  PolicyEngine,
  PolicyFailure,
} from '../../proxy/model.ts'
import {
  beyondRun,
  chooseScopes,
  createDecide,
  decideEach,
  usable,
} from '../../proxy/pipeline/decide.ts'
import type { Question } from '../../proxy/pipeline/decide.ts'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'
import { alice as principal, provider } from '../wire/fixture.ts'

const SATURDAY = Date.UTC(2026, 7, 1, 23, 59, 59)
const operation: Operation = {
  id: 'issues.list',
  access: 'read',
  scopes: [['read'], ['all']],
  inspect: [],
  upload: false,
  rewrite: [],
}
const entitlements: Entitlements = {
  active: true,
  groups: ['staff'],
  roles: [],
  entitlements: [],
  auth: null,
  source: 'file',
  digest: 'sha256:x',
  asOf: null,
}
const held: Extract<Holding, { kind: 'held' }> = {
  kind: 'held',
  credential: 'k',
  status: 'active',
  account: 'alice-at-acme',
  generation: 1,
  scopes: ['read', 'write'],
  granted: ['read', 'write'],
}
const question: Question = {
  id: 'call-1',
  principal,
  route: {
    connection: {
      name: 'work',
      provider,
      clientId: 'c',
      clientSecret: null,
      scopes: ['read', 'write'],
    },
    host: 'api.acme.example',
    target: canonicalTarget('GET', '/issues'),
  },
  act: { operation, kind: 'rest', segments: ['issues'] },
  body: null,
  stripped: [],
  facts: { entitlements, ageMs: () => 0 },
  holding: held,
}
const ALLOW: PolicyDecision = {
  version: 1,
  allow: true,
  reasons: [],
  required_scopes: ['read'],
  obligations: { slow: { type: 'rate_limit', properties: {} } },
  max_entitlement_age_s: 60,
  grants: ['use'],
}
type Asked = { readonly [member: string]: { readonly [name: string]: unknown } & string }

const house = (answer: PolicyDecision | PolicyFailure = ALLOW, later = false) => {
  let wall = SATURDAY
  let mono = 5
  const asked: Asked[] = []
  const took: number[] = []
  const shared: (readonly InputMember[])[] = []
  const engine: PolicyEngine = {
    revision: 'rev',
    asks: { zones: [], history: null },
    digest: 'sha256:rev',
    evaluate(input, repeated = []) {
      const members = repeated.map(([name, text]) => `"${name}":${text}`)
      asked.push(JSON.parse(`${input.slice(0, -1)},${members.join(',')}}`) as Asked)
      shared.push(repeated)
      mono += 2_000
      return later ? Promise.resolve(answer) : answer
    },
    close: () => Promise.resolve(),
  }
  let ids = 0
  const decide = createDecide(
    { now: () => wall, mono: () => mono },
    () => `d-${++ids}`,
    (seconds) => void took.push(seconds),
  )
  const on = (more: Partial<Question> = {}): Promise<Decision> =>
    Promise.resolve(decide(engine, { ...question, ...more }))
  const input = async (more: Partial<Question> = {}): Promise<Asked> => {
    await on(more)
    return asked.at(-1) ?? {}
  }
  const at = (time: number): void => void (wall = time)
  return { decide, engine, on, input, asked, shared, took, at }
}

describe('policy is asked', () => {
  test('to whom the mail goes, where the call writes one', async () => {
    const { input } = house()
    const mail = { unread: true, sends: true } as const
    const body = {
      state: 'none',
      bytes: null,
      declared: 0,
      contentType: null,
      json: {},
      digest: null,
      stripped: [],
    } as const
    expect(
      (await input({ body: { ...body, mail }, part: { number: 1, of: 2 } }))['request'],
    ).toMatchObject({
      mail,
      part: { number: 1, of: 2 },
    })
    expect((await input({ body }))['request']).not.toHaveProperty('mail')
  })
  test('of the workload whose token names the agent, where one did', async () => {
    const workload = { name: 'cluster', subject: 'system:serviceaccount:agents:triage' }
    const { input } = house()
    expect((await input({ principal: { ...principal, workload } }))['agent']).toEqual({
      id: 'triage',
      workload,
    })
  })
  test('of the application that named the person, where one did', async () => {
    const { input } = house()
    const asserted = { ...principal, verified: false, assertedBy: 'crm' }
    expect((await input({ principal: asserted }))['user']).toMatchObject({
      verified: false,
      asserted_by: 'crm',
    })
    expect((await input())['user']).not.toHaveProperty('asserted_by')
  })
  test('of what authorization services say of this very call, and of nothing where none was asked', async () => {
    const { input, shared } = house()
    const checks = { can_edit: true, in_region: false }
    expect((await input({ checks }))['user']).toMatchObject({ checks, entitlements_age_ms: 0 })
    // The next call of the same person knows nothing of it.
    expect((await input())['user']).not.toHaveProperty('checks')
    expect(shared[0]?.map(([name]) => name)).not.toContain('user')
  })
  test('of everything that this deputy knows, in one JSON object', async () => {
    expect(await house().input()).toEqual({
      version: 1,
      via: 'proxy',
      request_id: 'call-1',
      request: {
        method: 'GET',
        host: 'api.acme.example',
        segments: ['issues'],
        query: {},
        stripped: [],
        body: { state: 'none', bytes: 0 },
      },
      agent: { id: 'triage' },
      user: {
        id: 'alice',
        realm: 'corp',
        tenant: 'default',
        verified: true,
        active: true,
        groups: ['staff'],
        roles: [],
        entitlements: [],
        entitlements_age_ms: 0,
      },
      provider: {
        id: 'acme',
        connection: 'work',
        connected: true,
        account: 'alice-at-acme',
        granted_scopes: ['read', 'write'],
        lineage: ['acme'],
      },
      operation: {
        id: 'issues.list',
        kind: 'rest',
        access: 'read',
        required_scopes: ['read'],
        scope_alternatives: [['read'], ['all']],
        inspects: false,
      },
      approvals: [],
      now: { unix_s: SATURDAY / 1_000, weekday: 'sat', hour: 23 },
    })
  })

  test('on every day and at every hour by its own', async () => {
    const { input, at } = house()
    const days = []
    for (let day = 0; day < 7; day++) {
      at(SATURDAY + 1_000 + day * 86_400_000)
      days.push((await input())['now'])
    }
    expect(days.map((now) => [now?.['weekday'], now?.['hour']])).toEqual(
      ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'].map((day) => [day, 0]),
    )
    const epoch = house()
    epoch.at(0)
    expect((await epoch.input())['now']).toEqual({ unix_s: 0, weekday: 'thu', hour: 0 })
  })

  test('with each query parameter’s values in order, and what was stripped', async () => {
    const target = canonicalTarget('GET', '/issues?b=1&a=x%22y&b=2&c')
    const asked = await house().input({
      route: { ...question.route, target },
      stripped: ['query:token', 'header:x"y'],
    })
    expect(asked['request']).toMatchObject({
      query: { b: ['1', '2'], a: ['x"y'], c: [''] },
      stripped: ['query:token', 'header:x"y'],
    })
  })

  test('with the body as it was read', async () => {
    const none = { bytes: null, digest: null, stripped: [] }
    const bodyOf = async (body: Question['body']) =>
      (await house().input({ body }))['request']?.['body']
    expect(
      await bodyOf({
        ...none,
        state: 'parsed',
        declared: 12,
        contentType: 'application/json',
        json: { '/title': 'x' },
      }),
    ).toEqual({
      state: 'parsed',
      bytes: 12,
      content_type: 'application/json',
      json: { '/title': 'x' },
    })
    expect(
      await bodyOf({ ...none, state: 'unparsed', declared: null, contentType: null, json: {} }),
    ).toEqual({ state: 'unparsed', bytes: -1, content_type: '', json: {} })
    expect(
      await bodyOf({ ...none, state: 'none', declared: 0, contentType: 'text/plain', json: {} }),
    ).toEqual({ state: 'none', bytes: 0 })
    // Without a body, the query may still have said what policy asks for.
    expect(
      await bodyOf({ ...none, state: 'none', declared: 0, contentType: null, json: { '/a': 'x' } }),
    ).toMatchObject({ state: 'none', bytes: 0, json: { '/a': 'x' } })
  })

  test('with the age of the facts and with the sign-in, as they are at that moment', async () => {
    const { input, at, shared } = house()
    expect((await input({ facts: { entitlements, ageMs: () => 1_234.5 } }))['user']).toMatchObject({
      groups: ['staff'],
      entitlements_age_ms: 1_235,
    })
    const auth = { acr: 'high', amr: ['otp'], at: SATURDAY - 90_000 }
    const signedIn: Question['facts'] = { entitlements: { ...entitlements, auth }, ageMs: () => 0 }
    const user = async (facts = signedIn) => (await input({ facts }))['user']
    expect(await user()).toMatchObject({
      entitlements_age_ms: 0,
      auth: { acr: 'high', amr: ['otp'], age_s: 90 },
    })
    at(SATURDAY + 10_000)
    expect(await user()).toMatchObject({ auth: { age_s: 100 } })
    at(SATURDAY - 100_000) // signed in by a clock that is ahead of ours
    expect(await user()).toMatchObject({ auth: { age_s: 0 } })
    const untold = { ...entitlements, auth: { ...auth, at: null } }
    expect(await user({ entitlements: untold, ageMs: () => 0 })).toMatchObject({
      auth: { age_s: null },
    })
    // A directory does not know it: the assertion does.
    const claims = { acr: 'mfa', amr: ['otp'], auth_time: SATURDAY / 1_000 - 100 }
    const { user: asserted } = await input({ principal: { ...principal, claims } })
    expect(asserted).toMatchObject({ auth: { acr: 'mfa', amr: ['otp'], age_s: 0 } })
    const both = await input({ principal: { ...principal, claims }, facts: signedIn })
    expect(both['user']).toMatchObject({ auth: { acr: 'high' } })
    // What is the same for every call of a person is one member; what changes with time is none.
    expect(shared.at(-1)?.map(([name]) => name)).not.toContain('user')
    expect((await input())['user']).not.toHaveProperty('auth')
    expect(shared.at(-1)?.map(([name]) => name)).toContain('user')
  })

  test('with the run, where there is one', async () => {
    expect((await house().input({ principal: { ...principal, run: 'r-1' } }))['run']).toBe('r-1')
    expect(await house().input()).not.toHaveProperty('run')
  })

  test('with what a GraphQL call says, only there', async () => {
    const graphql = { type: 'query', name: 'N', fields: ['issues'], depth: 2 } as const
    const act = { ...question.act, kind: 'graphql', graphql } as Question['act']
    expect((await house().input({ act }))['operation']).toMatchObject({ kind: 'graphql', graphql })
    expect((await house().input())['operation']).not.toHaveProperty('graphql')
  })

  test('with what an MCP call says, only there', async () => {
    const mcp = { method: 'tools/call', key: 'tools/call a', name: 'a', arguments: { '/x': 1 } }
    const act = { ...question.act, kind: 'mcp', mcp } as unknown as Question['act']
    const { input } = house()
    expect((await input({ act }))['operation']).toMatchObject({
      kind: 'mcp',
      mcp: { method: 'tools/call', tool: 'a', arguments: { '/x': 1 } },
    })
    expect((await input({ act }))['operation']).not.toHaveProperty('graphql')
    expect((await input())['operation']).not.toHaveProperty('mcp')
  })

  test('with the manager that the directory tells, and with none where it tells none', async () => {
    const { input } = house()
    const manager = { id: 'boss' }
    const told = { entitlements: { ...entitlements, manager }, ageMs: () => 0 }
    expect((await input({ facts: told as unknown as Question['facts'] }))['user']).toMatchObject({
      manager,
    })
    const nobody = { entitlements: { ...entitlements, manager: null }, ageMs: () => 0 }
    for (const facts of [nobody as unknown as Question['facts'], question.facts])
      expect((await input({ facts }))['user']).not.toHaveProperty('manager')
  })

  test('with what people approved and with what was allowed before, of this very call', async () => {
    const { input } = house()
    const approvals = [{ id: 'h', name: 'lead', by: 'bob' }] as unknown as NonNullable<
      Question['approvals']
    >
    const entry = { provider: 'acme', operation: 'issues.list', count: 2, last_s: 3 }
    const history = { version: 7, person: [entry], run: [] }
    const asked = await input({ approvals, history })
    expect(asked['approvals']).toEqual(approvals)
    expect(asked['history']).toEqual({ person: [entry], run: [] })
    expect((await input())['approvals']).toEqual([])
    expect(await input()).not.toHaveProperty('history')
  })

  test('whether it is for a list, after which nothing leaves', async () => {
    expect((await house().input({ listing: true }))['asked']).toBe('list')
    expect(await house().input({ listing: false })).not.toHaveProperty('asked')
  })

  test('and the decision holds it where somebody wants to know', async () => {
    const { engine, decide } = house()
    const clock = { now: () => SATURDAY, mono: () => 0 }
    const keeping = createDecide(
      clock,
      () => 'd',
      () => undefined,
      true,
    )
    expect(await keeping(engine, question)).toHaveProperty('asked')
    expect(await decide(engine, question)).not.toHaveProperty('asked')
  })

  test('whether the operation looks into bodies', async () => {
    const act = { ...question.act, operation: { ...operation, inspect: ['/title'] } }
    expect((await house().input({ act: act as Question['act'] }))['operation']).toMatchObject({
      inspects: true,
    })
  })

  test('of each person, connection and operation as itself, whatever was asked before', async () => {
    const { input, shared } = house()
    await input()
    const members = shared.at(-1)
    await input()
    // The same objects again, so that the engine may keep what it parsed of them.
    for (const [i, member] of (shared.at(-1) ?? []).entries()) expect(member).toBe(members?.[i])
    const bob = { ...principal, person: { ...principal.person, id: 'bob' } }
    expect((await input({ principal: bob }))['user']).toMatchObject({ id: 'bob' })
    const { connection } = question.route
    const home = { ...question.route, connection: { ...connection, name: 'home' } }
    expect((await input({ route: home }))['provider']).toMatchObject({ connection: 'home' })
    const all = { ...held, scopes: ['all'], granted: ['all'] }
    expect((await input({ holding: all }))['operation']).toMatchObject({ required_scopes: ['all'] })
    const act = { ...question.act, operation: { ...operation, id: 'issues.get' } }
    expect((await input({ act: act as Question['act'] }))['operation']).toMatchObject({
      id: 'issues.get',
    })
    expect((await input())['operation']).toMatchObject({
      id: 'issues.list',
      required_scopes: ['read'],
    })
  })
})

describe('a holding', () => {
  const none: Holding = { kind: 'none' }
  test.each<[string, Holding, readonly string[]]>([
    ['none', none, []],
    ['that awaits a new consent', { ...held, status: 'needs_reauth' }, []],
    ['without a grant of this agent', { ...held, granted: null }, []],
    ['of this agent', held, ['read', 'write']],
    ['granted in part', { ...held, granted: ['write', 'more'] }, ['write']],
  ])(
    '%s lets the agent use its scopes, and says whether it is connected',
    async (_, holding, scopes) => {
      expect(usable(holding, provider)).toEqual(scopes)
      expect((await house().input({ holding }))['provider']).toMatchObject({
        connected: scopes.length > 0,
        account: holding.kind === 'held' ? 'alice-at-acme' : null,
        granted_scopes: scopes,
      })
    },
  )
  test.each([
    [['all'], ['read', 'all'], ['all']],
    [[], ['all'], ['all']],
    [['other'], ['read', 'all'], ['read']],
    [[], [], ['read']],
  ])('of %j, where %j may be asked for, demands %j', (has, allowed, wanted) => {
    expect(chooseScopes(operation, has, allowed)).toEqual(wanted)
  })
  test('demands the list that adds least, the first of several, and all that is listed where no source says', () => {
    const wide = { ...operation, scopes: [['a', 'b'], ['a', 'c', 'd'], ['c']] }
    expect(chooseScopes(wide, ['a'], ['a', 'b', 'c', 'd'])).toEqual(['a', 'b'])
    expect(chooseScopes(wide, ['d'], ['a', 'b', 'c', 'd'])).toEqual(['c'])
    expect(chooseScopes({ ...operation, scopes: [] }, ['a'], ['a', 'wide'], ['a'])).toEqual(['a'])
  })
  test('demands every scope of a list, and none of an operation that has no list', () => {
    const both = { ...operation, scopes: [['read', 'more'], ['all']] }
    expect(chooseScopes(both, ['read'], ['read', 'all'])).toEqual(['all'])
    expect(chooseScopes({ ...operation, scopes: [] }, [], [])).toEqual([])
  })
})

describe('the answer', () => {
  const reason = (code: string) => ({ code, msg: '' })
  const said = (more: Partial<PolicyDecision>, ask: Partial<Question> = {}, later = false) =>
    house({ ...ALLOW, allow: false, ...more }, later).on(ask)

  test.each([false, true])(
    'is what policy said, with the bundle’s name (a worker: %s)',
    async (later) => {
      const { on, took } = house(ALLOW, later)
      expect(await on()).toEqual({
        id: 'd-1',
        effect: 'allow',
        reasons: [],
        requiredScopes: ['read'],
        obligations: ALLOW.obligations,
        grants: ['use'],
        revision: 'rev',
        digest: 'sha256:rev',
        decidedAt: 2_005,
      })
      expect(took).toEqual([2])
    },
  )

  test('is no allow beside a reason against it, nor without allow', async () => {
    expect(await said({ allow: true, reasons: [reason('hours')] })).toMatchObject({
      effect: 'deny',
      reasons: [reason('hours')],
    })
    expect(await said({})).toMatchObject({
      effect: 'deny',
      reasons: [{ code: 'not_allowed', msg: 'policy gave no reason' }],
    })
    expect(await said({ reasons: [reason('hours'), reason('scope_missing')] })).toMatchObject({
      effect: 'deny',
      reasons: [reason('hours'), reason('scope_missing')],
    })
  })

  test('is no allow on facts older than the decision’s own bound, even where policy forgot to compare', async () => {
    const aged = (ms: number, bound = 60) => ({
      decision: house({ ...ALLOW, max_entitlement_age_s: bound }).on({
        facts: { entitlements, ageMs: () => ms },
      }),
    })
    expect((await aged(60_000).decision).effect).toBe('allow')
    expect(await aged(60_000.5).decision).toMatchObject({
      effect: 'deny',
      reasons: [{ code: 'entitlements_stale' }],
    })
    expect((await aged(1, 0).decision).effect).toBe('deny')
    expect((await aged(0, 0).decision).effect).toBe('allow')
  })

  test.each(['connection_missing', 'scope_missing'])(
    'asks the person where %s alone stands against it, and the page may ask for what is missing',
    async (code) => {
      expect(await said({ reasons: [reason(code)] })).toMatchObject({
        effect: 'consent_required',
        reasons: [reason(code)],
        requiredScopes: ['read'],
      })
      const unlisted = await said({ reasons: [reason(code)], required_scopes: ['read', 'all'] })
      expect(unlisted.effect).toBe('deny')
      expect(unlisted.reasons).toEqual([
        reason(code),
        { code: 'scope_not_listed', msg: 'connections.work.scopes does not list all' },
      ])
      // Nor to anybody else first: what they say would not lift it.
      const both = [reason(code), reason('approval_required')]
      expect((await said({ reasons: both, required_scopes: ['all'] })).effect).toBe('deny')
    },
  )

  test.each([
    [['approval_required'], 'approval_required'],
    [['step_up_required'], 'step_up_required'],
    [['approval_required', 'step_up_required'], 'step_up_required'],
    [['approval_required', 'scope_missing'], 'consent_required'],
    [['step_up_required', 'connection_missing', 'approval_required'], 'consent_required'],
    [['approval_required', 'merge_freeze'], 'deny'],
    [['step_up_required', 'no_grant'], 'deny'],
  ] as const)(
    'what people can lift comes one after another, and nothing else beside: %j',
    async (codes, effect) => {
      const reasons = codes.map((code) => reason(code))
      expect(await said({ reasons })).toMatchObject({ effect, reasons })
    },
  )
  test('of a policy that failed, or of none, is an error', async () => {
    expect(await house({ failed: 'policy_timeout', detail: 'slow' }).on()).toMatchObject({
      effect: 'error',
      reasons: [{ code: 'policy_timeout', msg: 'slow' }],
      requiredScopes: [],
      obligations: {},
      grants: [],
    })
    const { decide } = house()
    expect(await decide(null, question)).toMatchObject({
      effect: 'error',
      reasons: [{ code: 'policy_missing' }],
      revision: '',
      digest: '',
    })
  })

  test('of several parts is one each, in order', async () => {
    const { decide, engine, asked } = house()
    const act = (id: string) => ({
      ...question.act,
      kind: 'graphql' as const,
      operation: { ...operation, id },
    })
    const each = await decideEach(decide, engine, question, [act('a'), act('b')])
    expect(each.map(({ id }) => id)).toEqual(['d-1', 'd-2'])
    expect(asked.map((input) => input['operation']?.['id'])).toEqual(['a', 'b'])
  })
})

describe('a run', () => {
  const within = async (
    connections: readonly string[],
    operations: readonly string[] | null,
    kind: 'rest' | 'deputy' = 'rest',
    scopes = operation.scopes,
  ): Promise<string> => {
    const { on, asked } = house()
    const decision = await on({
      principal: { ...principal, run: 'r', reach: { connections, operations } },
      act: { ...question.act, kind, operation: { ...operation, scopes } } as Question['act'],
    })
    if (decision.effect === 'allow') return 'allow'
    // Policy is not even asked.
    expect(asked).toEqual([])
    expect(decision.effect).toBe('deny')
    return decision.reasons.map(({ code }) => code).join()
  }
  test.each<[readonly string[], readonly string[] | null, string]>([
    [['work'], null, 'allow'],
    [['home', 'work'], ['x', 'issues.list'], 'allow'],
    [['work'], ['issues.*'], 'allow'],
    [['work'], ['issues.l*'], 'run_scope'],
    [['work'], ['issue.*'], 'run_scope'],
    [['work'], ['issues'], 'run_scope'],
    [['work'], ['issues.get'], 'run_scope'],
    [['work'], [], 'run_scope'],
    [['home'], null, 'run_scope'],
    [['home'], ['issues.list'], 'run_scope'],
    [[], ['*'], 'run_scope'],
  ])('of connections %j and operations %j: %s', async (connections, operations, verdict) => {
    expect(await within(connections, operations)).toBe(verdict)
  })
  test('may ask deputy itself about its connection, and about no other', async () => {
    expect(await within(['work'], ['other'], 'deputy', [[]])).toBe('allow')
    expect(await within(['home'], ['other'], 'deputy', [[]])).toBe('run_scope')
    // Nor for a scope that none of its operations needs; a run of all operations may ask for what its person may.
    expect(await within(['work'], ['other'], 'deputy', [['all']])).toBe('run_scope')
    expect(await within(['work'], null, 'deputy', [['all']])).toBe('allow')
  })
})

test('a run asks its person for what its operations need, and for nothing else', () => {
  const row = (id: string, ...scopes: readonly string[]) => ({
    ...operation,
    id,
    scopes: [scopes],
    method: 'GET',
    path: `/${id}`,
    host: null,
  })
  const operations = [row('issues.list', 'read'), row('issues.add', 'write'), row('admin', 'all')]
  const connection = { provider: { ...provider, operations }, scopes: ['read', 'write', 'all'] }
  const beyond = (named: readonly string[] | null, ...wanted: readonly string[]) =>
    beyondRun({ connections: ['work'], operations: named }, connection, wanted)
  expect(beyond(['issues.*'], 'read', 'write', 'all')).toEqual(['all'])
  expect(beyond(['issues.list'], 'read', 'write')).toEqual(['write'])
  expect(beyond([], 'read')).toEqual(['read'])
  expect(beyond(null, 'all')).toEqual([])
  expect(beyondRun(undefined, connection, ['all'])).toEqual([])
})

test('reasons are told in the words of policy, or by their code', () => {
  const reasons = [
    { code: 'late', msg: 'after hours' },
    { code: 'bare', msg: '' },
  ]
  expect(toldReasons(reasons)).toBe('after hours (late); bare')
  expect(toldReasons([])).toBe('')
})
