// What the agent hears where policy does not allow: a refusal with its reasons, or the link by which its person can help.
import { describe, expect, test } from 'vitest'
import type {
  Challenge,
  Connection,
  Decision,
  Holding,
  Principal,
  Route,
} from '../../proxy/model.ts'
import type { Act } from '../../proxy/pipeline/classify.ts'
import type { Call, Snapshot } from '../../proxy/pipeline/exchange.ts'
import {
  asking,
  challengeOf,
  createRefusals,
  declinedBy,
  type Link,
} from '../../proxy/pipeline/refusal.ts'
import { Problem, type ProblemExtra } from '../../proxy/problem.ts'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'
import { provider } from '../wire/fixture.ts'

const issues = { id: 'issues.read', scopes: [['read']] }
const files = { id: 'files.read', scopes: [['files']] }
const connection: Connection = {
  name: 'acme',
  provider: {
    ...provider,
    operations: [issues, files].map((one) => ({
      ...one,
      method: 'GET',
      path: `/${one.id}`,
      access: 'read',
      inspect: [],
      upload: false,
      rewrite: [],
      host: null,
    })),
  },
  clientId: 'c',
  clientSecret: null,
  scopes: ['read', 'write', 'files'],
}
const route: Route = {
  connection,
  host: 'api.acme.example',
  origin: 'https://api.acme.example',
  authority: 'api.acme.example',
  port: 443,
  asset: false,
  addressing: { kind: 'absolute' },
  named: null,
  target: canonicalTarget('GET', '/issues.read'),
}
const act = (id: string): Act => ({
  operation: { id, access: 'read', scopes: [[]], inspect: [], upload: false, rewrite: [] },
  kind: 'rest',
  segments: [],
})
const who: Principal = {
  person: { tenant: 't', realm: 'r', id: 'alice' },
  agent: 'a',
  verified: true,
  claims: null,
  issuedAt: null,
  expiresAt: null,
  run: null,
}
const held: Extract<Holding, { kind: 'held' }> = {
  kind: 'held',
  credential: '1',
  status: 'active',
  account: 'alice@acme',
  generation: 1,
  scopes: ['read'],
  granted: ['read'],
}
const decision = (effect: Decision['effect'], more: Partial<Decision> = {}): Decision => ({
  id: 'd1',
  effect,
  reasons: [],
  requiredScopes: ['read'],
  obligations: {},
  grants: [],
  revision: '1',
  digest: '2',
  decidedAt: 0,
  ...more,
})
const call = (more: Partial<Call> = {}): Call => ({
  id: 'one',
  snapshot: {} as Snapshot,
  began: 0,
  route,
  who,
  act: act('issues.read'),
  stripped: [],
  decision: decision('allow'),
  open: false,
  credential: null,
  outcome: null,
  hooked: [],
  taken: null,
  limited: 0,
  recorded: false,
  ...more,
})

const link: Link = {
  authorizationId: 'f1',
  url: 'http://localhost/f1',
  scopes: ['read'],
  expiresAt: 0,
}
const declined = { ...link, declined: { at: 0, until: 60_000 } }
/** Refusals, and how each link was asked for. */
const refusals = (holding: Holding = held, begun: Link | typeof declined = link) => {
  const asked: {
    readonly scopes: readonly string[]
    readonly again: boolean
    readonly challenge: Challenge | null
    readonly operation: string | null
  }[] = []
  const made = createRefusals({
    link: (_who, _connection, scopes, how) => {
      asked.push({ scopes, ...how })
      return Promise.resolve(begun)
    },
    look: () => holding,
  })
  return { ...made, asked }
}
const wanted = { route, act: act('issues.read') }

test('a deny tells the reasons of policy, not what the person could consent to', async () => {
  const { of, asked } = refusals()
  const reasons = [
    { code: 'scope_missing', msg: 'not granted' },
    { code: 'after_hours', msg: 'too late' },
  ]
  expect(await of(who, wanted, held, decision('deny', { reasons }))).toMatchObject({
    code: 'policy_denied',
    message: 'The security policy does not allow this call: too late (after_hours).',
    extra: { reasons: ['after_hours'], decision_id: 'd1' },
  })
  expect(asked).toEqual([])
})

test('of a call of several it says which part is not allowed', async () => {
  const { of } = refusals()
  const reasons = [{ code: 'after_hours', msg: 'too late' }]
  const parts = [act('issues.read'), act('files.read')] as const
  const several = { route, act: { ...act('batch'), parts } }
  expect(await of(who, { ...several, part: 2 }, held, decision('deny', { reasons }))).toMatchObject(
    {
      message:
        'The security policy does not allow part 2 of 2 of this call, files.read, so that nothing of it was sent: too late (after_hours).',
      extra: { part: 2 },
    },
  )
  const whole = await of(who, { ...wanted, part: null }, held, decision('deny', { reasons }))
  expect(whole.extra).not.toHaveProperty('part')
})

test('a call that no catalogue names is refused with the key under which an operator can name it', async () => {
  const reasons = [{ code: 'operation_unknown', msg: 'the catalogue has no such operation' }]
  const unknown = { route, act: act('unknown') }
  expect(await refusals().of(who, unknown, held, decision('deny', { reasons }))).toMatchObject({
    code: 'policy_denied',
    message:
      'The security policy does not allow this call: the catalogue has no such operation (operation_unknown). No operation of the catalogue is this call; an operator can name it in one line under connections.acme.operations.',
  })
})

test('a policy that cannot decide is said to be unavailable', async () => {
  const { of, asked } = refusals()
  const reasons = [{ code: 'policy_missing', msg: 'inner' }]
  expect(await of(who, wanted, held, decision('error', { reasons }))).toMatchObject({
    code: 'policy_unavailable',
    message: 'no policy could decide (policy_missing)',
    extra: { decision_id: 'd1' },
  })
  expect(asked).toEqual([])
})

test('what a consent lifts comes with its link, and names only what is missing', async () => {
  const { of, asked } = refusals()
  const needs = decision('consent_required', { requiredScopes: ['read', 'write'] })
  const problem = await of(who, wanted, held, needs)
  expect(problem).toMatchObject({
    code: 'consent_required',
    extra: {
      authorization_id: 'f1',
      url: 'http://localhost/f1',
      scopes: ['read'],
      expires_at: '1970-01-01T00:00:00.000Z',
      connection: 'acme',
    },
  })
  expect(problem.message).toContain('allow one thing more (write)')
  expect(asked).toEqual([
    { scopes: ['read', 'write'], again: false, challenge: null, operation: 'issues.read' },
  ])
})

test('of several things in one call the link is for the first', async () => {
  const { of, asked } = refusals()
  const several: Act = { ...act('graphql'), parts: [act('files.read'), act('issues.read')] }
  await of(who, { route, act: several }, held, decision('consent_required'))
  expect(asked).toMatchObject([{ operation: 'files.read' }])
})

test('a grant that lapsed is asked for anew', async () => {
  const { of, asked } = refusals()
  const lost: Holding = { ...held, status: 'needs_reauth' }
  const problem = await of(who, wanted, lost, decision('consent_required'))
  expect(problem.code).toBe('reauthorization_required')
  expect(asked).toMatchObject([{ again: true }])
})

test('whoever declined is not sent a link', async () => {
  const { of } = refusals(held, declined)
  const problem = await of(who, wanted, held, decision('consent_required'))
  expect(problem.code).toBe('consent_required')
  expect(problem.extra).toMatchObject({
    authorization_id: 'f1',
    ask_after: '1970-01-01T00:01:00.000Z',
  })
  expect(problem.extra['url']).toBeUndefined()
})

test('a run asks its person for no more than its operations need', async () => {
  const { of, begin, asked } = refusals()
  const run: Principal = {
    ...who,
    run: 'run',
    reach: { connections: ['acme'], operations: ['issues.*'] },
  }
  await of(run, wanted, held, decision('consent_required'))
  expect(asked).toMatchObject([{ scopes: ['read'] }])
  const how = { again: false, challenge: null, operation: null }
  expect(() => begin(run, connection, ['read', 'files', 'write'], how)).toThrow(
    'The run was not minted for operations that need files, write.',
  )
  expect(asked.length).toBe(1)
})

test.each(['reauthorization_required', 'consent_required', 'step_up_required'] as const)(
  'where a call ended with %s, its person gets a link',
  async (code) => {
    const { told, asked } = refusals()
    const problem = await told(call(), new Problem(code, 'the provider withdrew it'))
    expect(problem.extra['url']).toBe('http://localhost/f1')
    expect(asked).toMatchObject([{ scopes: ['read'], operation: 'issues.read' }])
  },
)

test('a provider’s demand goes into the link: a stronger sign-in, or scopes that were lacking', async () => {
  const { told, asked } = refusals()
  const stronger = { extra: { acr_values: 'mfa' } }
  const problem = await told(call(), new Problem('step_up_required', 'x', stronger))
  expect(problem).toMatchObject({ code: 'step_up_required', extra: { acr_values: 'mfa' } })
  const more = { extra: { scopes: ['files', 'read'] } }
  await told(call({ act: null }), new Problem('consent_required', 'x', more))
  expect(asked).toEqual([
    { scopes: ['read'], again: true, challenge: { acr_values: 'mfa' }, operation: 'issues.read' },
    { scopes: ['read', 'files'], again: false, challenge: null, operation: null },
  ])
})

test.each([
  ['nobody is known', { who: null }, {}],
  ['no route is known', { route: null }, {}],
  ['a link stands already', {}, { extra: { authorization_id: 'f0' } }],
])('where %s, a problem stays as it is', (_name, more, options) => {
  const { told, asked } = refusals()
  const problem = new Problem('reauthorization_required', 'x', options)
  expect(told(call(more), problem)).toBe(problem)
  expect(asked).toEqual([])
})

test('what no person can lift stays as it is', () => {
  const { told } = refusals()
  const problem = new Problem('upstream_timeout', 'late')
  expect(told(call(), problem)).toBe(problem)
  const decided = new Problem('consent_required', 'x', { extra: { decision_id: 'd1' } })
  expect(told(call(), decided), 'what policy refused by itself').toBe(decided)
})

test('a link that cannot be made is a problem of its own', async () => {
  const { told } = createRefusals({
    link: () => Promise.reject(new Problem('vault_unavailable', 'locked')),
    look: () => held,
  })
  expect(await told(call(), new Problem('consent_required', 'x'))).toMatchObject({
    code: 'vault_unavailable',
  })
})

test('what a provider demanded of the next sign-in is kept: texts, and no other member', () => {
  const of = (code: 'step_up_required' | 'consent_required', extra: ProblemExtra) =>
    challengeOf(new Problem(code, 'x', { extra }))
  const asked = { acr_values: 'high', max_age: '60', claims: '{}' }
  expect(of('step_up_required', { ...asked, scope: 'x' })).toEqual(asked)
  expect(of('consent_required', { acr_values: 'high', max_age: 60 })).toEqual({
    acr_values: 'high',
  })
  expect(of('step_up_required', {})).toEqual({})
  expect(of('consent_required', { scope: 'x' })).toBeNull()
})

const HELD: Holding = {
  kind: 'held',
  credential: 'c1',
  account: 'alice',
  generation: 4,
  status: 'active',
  scopes: ['notes'],
  granted: ['notes'],
}
describe('what the person has to do', () => {
  const of = (more: object): Holding => ({ ...(HELD as object), ...more }) as Holding
  const lost = { status: 'needs_reauth' }
  type Way = Partial<Parameters<typeof asking>[3]>
  const ask = (holding: Holding, link: Way = {}) =>
    asking(holding, 'Acme', ['read', 'write'], {
      url: 'https://d/1',
      after: null,
      challenge: null,
      ...link,
    })
  test.each<[string, Holding, Way, string, string, object]>([
    [
      'nothing connected',
      { kind: 'none' },
      {},
      'consent_required',
      'To go on, connect your Acme account: https://d/1',
      {},
    ],
    [
      'ended',
      of(lost),
      {},
      'reauthorization_required',
      'To go on, reconnect your Acme account: https://d/1',
      {},
    ],
    [
      'not for this agent',
      of({ granted: null }),
      {},
      'consent_required',
      'To go on, allow this agent to use your Acme account: https://d/1',
      {},
    ],
    [
      'not enough',
      of({}),
      {},
      'consent_required',
      'To go on, allow one thing more (read, write) on your Acme account: https://d/1',
      {},
    ],
    [
      'another sign-in',
      of({}),
      { challenge: { acr_values: 'high', claims: '{}' } },
      'step_up_required',
      'To go on, sign in to your Acme account again, the way Acme asks for: https://d/1',
      { acr_values: 'high', needs: 'provider_sign_in' },
    ],
    [
      'another sign-in, as the grant says',
      of({ ...lost, needs: 'sign_in' }),
      {},
      'reauthorization_required',
      'To go on, sign in to your Acme account again, the way Acme asks for: https://d/1',
      { needs: 'provider_sign_in' },
    ],
    [
      'an administrator, as the grant says',
      of({ ...lost, needs: 'admin' }),
      {},
      'reauthorization_required',
      'To go on, ask an administrator of your organisation at Acme to approve this application; then reconnect your Acme account: https://d/1',
      { needs: 'provider_admin' },
    ],
    [
      'an administrator, as the last try ended',
      { kind: 'none' },
      { after: 'admin_required' },
      'consent_required',
      'To go on, ask an administrator of your organisation at Acme to approve this application; then connect your Acme account: https://d/1',
      { needs: 'provider_admin' },
    ],
    [
      'the operator, as the last try ended',
      { kind: 'none' },
      { after: 'client_refused' },
      'consent_required',
      'To go on, connect your Acme account: https://d/1 (Acme did not accept this application the last time: tell your administrator.)',
      {},
    ],
  ])('%s', (_what, holding, link, code, detail, extra) => {
    expect(ask(holding, link)).toEqual({ code, detail, extra })
  })
  test('who said no is told until when they are not asked', () => {
    const no = {
      authorizationId: 'f1',
      scopes: ['notes'],
      declined: { at: 0, until: 60_000 },
    }
    for (const [ended, code] of [
      [true, 'reauthorization_required'],
      [false, 'consent_required'],
    ] as const) {
      const problem = declinedBy(
        no,
        { ...connection, provider: { ...provider, name: 'Acme' } },
        ended,
      )
      expect(problem.code).toBe(code)
      expect(problem.message).toMatch(
        /^You declined this for your Acme account at 1970-01-01T00:00:00.000Z, so you are not asked again before 1970-01-01T00:01:00.000Z/,
      )
      expect(problem.extra).toEqual({
        authorization_id: 'f1',
        scopes: ['notes'],
        connection: 'acme',
        declined_at: '1970-01-01T00:00:00.000Z',
        ask_after: '1970-01-01T00:01:00.000Z',
      })
    }
  })
})
