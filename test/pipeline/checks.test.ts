// A call that authorization services are asked about: when, about what, and what becomes of their answers.
import { describe, expect, test } from 'vitest'
import type { Check } from '../../proxy/directory/checks.ts'
import { Unanswered } from '../../proxy/directory/source.ts'
import type { Decision, OperationRow } from '../../proxy/model.ts'
import { createChecks } from '../../proxy/pipeline/checks.ts'
import type { Question } from '../../proxy/pipeline/decide.ts'
import { filled, Lacking, readTemplate } from '../../proxy/wire/template.ts'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'
import { provider } from '../wire/fixture.ts'

const operation: OperationRow = {
  id: 'issues.create',
  access: 'write',
  scopes: [[]],
  inspect: ['/title', '/n', '/list'],
  upload: false,
  rewrite: [],
  method: 'POST',
  path: '/repos/{owner}/{repo}/contents/{path+}',
  host: null,
}
const question: Question = {
  id: 'call-1',
  principal: {
    person: { tenant: 'acme', realm: 'corp', id: 'alice' },
    agent: 'agent:triage',
    verified: true,
    claims: null,
    issuedAt: null,
    expiresAt: null,
    run: null,
  },
  route: {
    connection: { name: 'work', provider, clientId: 'c', clientSecret: null, scopes: [] },
    host: 'api.acme.example',
    target: canonicalTarget('POST', '/repos/acme/app/contents/a/b'),
  },
  act: {
    operation,
    kind: 'rest',
    segments: ['repos', 'acme', 'app', 'contents', 'a', 'b'],
  },
  body: {
    state: 'parsed',
    bytes: null,
    declared: 9,
    contentType: 'application/json',
    json: { '/title': 'x', '/n': 7, '/list': ['a'] },
    digest: null,
    stripped: [],
  },
  stripped: [],
  facts: {
    entitlements: {
      active: true,
      groups: [],
      roles: [],
      entitlements: [],
      auth: null,
      source: 'file',
      digest: 'sha256:x',
      asOf: null,
    },
    ageMs: () => 0,
  },
  holding: { kind: 'none' },
}
type Said = Question['checks']
/** A policy as a function of what the services say. */
const house = (
  policy: (said: Said) => boolean | string,
  checks: Readonly<Record<string, string>>,
  more: {
    readonly operations?: readonly string[]
    readonly answer?: (name: string) => boolean | Promise<boolean>
  } = {},
) => {
  const asked: string[] = []
  const evaluated: Said[] = []
  const rows = Object.entries(checks).map(([name, template]): Check => ({
    name,
    operations: more.operations ?? ['*'],
    about: (valueOf) => {
      try {
        const text = filled(readTemplate(template), valueOf)
        return async () => {
          asked.push(`${name} ${text}`)
          return (await more.answer?.(name)) ?? true
        }
      } catch (error) {
        if (error instanceof Lacking) return null
        throw error
      }
    },
  }))
  let mono = 0
  const { asking, supposing } = createChecks(
    (_, { checks: said }): Decision => {
      evaluated.push(said)
      const verdict = policy(said)
      const code = verdict === false ? 'no' : verdict
      return {
        id: `d-${evaluated.length}`,
        effect: verdict === true ? 'allow' : code === 'consent' ? 'consent_required' : 'deny',
        reasons: verdict === true ? [] : [{ code: String(code), msg: '' }],
        requiredScopes: [],
        obligations: {},
        grants: [],
        revision: 'r',
        digest: 'd',
        decidedAt: 0,
      }
    },
    rows,
    { mono: () => (mono += 3) },
  )
  const on = (of: Partial<Question> = {}) => Promise.resolve(asking(null, { ...question, ...of }))
  return { on, suppose: () => Promise.resolve(supposing(null, question)), asked, evaluated }
}
const wants = (said: Said): boolean => said?.['a'] === true

describe('a call', () => {
  test('is decided by the answers, which its decision carries', async () => {
    const yes = house(wants, { a: 'repo:{path.owner}/{path.repo}' })
    expect(await yes.on()).toMatchObject({
      effect: 'allow',
      checks: { answers: { a: true }, ms: 3 },
    })
    expect(yes.asked).toEqual(['a repo:acme/app'])
    const no = house(wants, { a: 'x' }, { answer: () => false })
    expect(await no.on()).toMatchObject({ effect: 'deny', checks: { answers: { a: false } } })
    expect(no.evaluated.at(-1)).toEqual({ a: false })
  })
  test('gives what it is known by', async () => {
    const { on, asked } = house(() => true, {
      a: 'u:{id}|{tenant}|{realm}|{connection}|{operation}|{access}',
      b: '{agent}',
      c: 'f:{path.owner}|{path.path}',
    })
    await on()
    expect(asked).toEqual([
      'a u:alice|acme|corp|work|issues.create|write',
      'b agent:triage',
      'c f:acme|a/b',
    ])
    const body = house(() => true, { d: '{body/title}/{body/n}' })
    await body.on()
    expect(body.asked).toEqual(['d x/7'])
  })
  test('gives a parameter without the verb behind it', async () => {
    const { on, asked } = house(() => true, { a: 'f:{path.id}' })
    for (const [path, segments] of [
      ['/v4/sheets/{id}', ['v4', 'sheets', 's1']],
      ['/v4/sheets/{id}:batchUpdate', ['v4', 'sheets', 's1:batchUpdate']],
      ['/items/{id}:/content', ['items', 's1:', 'content']],
    ] as const) {
      const named: OperationRow = { ...operation, path }
      await on({ act: { operation: named, kind: 'rest', segments } })
    }
    expect(asked).toEqual(['a f:s1', 'a f:s1', 'a f:s1'])
  })
  test('gives a path within a path, and what stands behind it', async () => {
    const { on, asked } = house(() => true, { a: '{path.id}|{path.path}|{path.version}' })
    for (const [path, segments] of [
      ['/items/{id}:/{path+}:/versions/{version}', ['items', 'i1:', 'a', 'b:', 'versions', 'v2']],
      ['/items/{id}/{path+}:/versions/{version}', ['items', 'i1', 'a:', 'versions', 'v2']],
      ['/items/{id}/{path+}/versions/{version}', ['items', 'i1', 'a/b', 'versions', 'v2']],
    ] as const)
      await on({
        act: { operation: { ...operation, path } as OperationRow, kind: 'rest', segments },
      })
    expect(asked).toEqual(['a i1|a/b|v2', 'a i1|a|v2', 'a i1|a/b|v2'])
  })
  test('gives a parameter of many segments as they are', async () => {
    const { on, asked } = house(() => true, { a: 'f:{path.id}' })
    const named: OperationRow = { ...operation, path: '/f/{id+}' }
    await on({ act: { operation: named, kind: 'rest', segments: ['f', 'a', 'b'] } })
    const one: OperationRow = { ...operation, path: '/f/{id}' }
    await on({ act: { operation: one, kind: 'rest', segments: ['f', 'a', 'b'] } })
    const middle: OperationRow = { ...operation, path: '/f/{id+}/g' }
    await on({ act: { operation: middle, kind: 'rest', segments: ['f', 'a/b', 'g'] } })
    expect(asked).toEqual(['a f:a/b', 'a f:a', 'a f:a/b'])
  })
  test('that has no path, or nothing but null where a check looks, lacks it', async () => {
    const { path: _path, method: _method, host: _host, ...pathless } = operation
    const none = house(wants, { a: '{path.owner}' })
    await none.on({ act: { operation: pathless, kind: 'mcp', segments: [] } })
    const empty = house(wants, { a: '{body/n}' })
    await empty.on({ body: question.body && { ...question.body, json: { '/n': null } } })
    expect([...none.asked, ...empty.asked]).toEqual([])
  })
  test('about which a question cannot be made fails, and is not decided without', async () => {
    const about = (): never => {
      throw new Error('a bug')
    }
    const checks = [{ name: 'a', operations: ['*'], about }]
    const { asking } = createChecks(
      () => {
        throw new Error('policy is not asked')
      },
      checks,
      { mono: () => 0 },
    )
    await expect(Promise.resolve(asking(null, question))).rejects.toThrow('a bug')
  })
  test('that lacks what a check names is decided without its answer', async () => {
    for (const template of ['{path.branch}', '{body/other}', '{body/constructor}']) {
      const { on, asked, evaluated } = house(wants, { a: template })
      expect(await on()).not.toHaveProperty('checks')
      expect(asked).toEqual([])
      expect(evaluated).toEqual([undefined])
    }
    const bodiless = house(wants, { a: '{body/title}' })
    expect((await bodiless.on({ body: null })).effect).toBe('deny')
    expect(bodiless.asked).toEqual([])
  })
  test('whose values would change the question is refused, and nobody is asked', async () => {
    const segments = ['repos', 'acme', 'app:x', 'contents', 'a']
    const hostile = house(() => true, { a: 'repo:{path.repo}', b: 'x' })
    await expect(hostile.on({ act: { operation, kind: 'rest', segments } })).rejects.toMatchObject({
      code: 'request_invalid',
    })
    const list = house(() => true, { a: 'repo:{body/list}' })
    await expect(list.on()).rejects.toMatchObject({ code: 'request_invalid' })
    expect([...hostile.asked, ...list.asked]).toEqual([])
  })
  test('is refused where one cannot be asked, whatever the others say', async () => {
    const answer = (name: string): boolean | Promise<boolean> =>
      name === 'b' ? Promise.reject(new Unanswered('timeout', 'late')) : true
    const { on, evaluated } = house(() => true, { a: 'x', b: 'y' }, { answer })
    await expect(on()).rejects.toMatchObject({ code: 'entitlements_unavailable' })
    expect(evaluated).toHaveLength(1)
  })
})

describe('nobody is asked', () => {
  test('about operations that the check does not name', async () => {
    for (const operations of [['issues'], ['issue.*'], ['pulls.*', 'repos.get'], ['issues.*.x']]) {
      const { on, asked } = house(() => true, { a: 'x' }, { operations })
      expect(await on()).not.toHaveProperty('checks')
      expect(asked).toEqual([])
    }
    for (const operations of [['*'], ['issues.*'], ['x', 'issues.create']]) {
      const { on, asked } = house(() => true, { a: 'x' }, { operations })
      await on()
      expect(asked).toHaveLength(1)
    }
  })
  test('about deputy’s own operations', async () => {
    const { on, asked } = house(() => true, { a: 'x' })
    await on({ act: { operation, kind: 'deputy', segments: [] } })
    expect(asked).toEqual([])
  })
  test('about a call that is refused whatever the answers are', async () => {
    const { on, asked, evaluated } = house(() => false, { a: 'x', b: 'y' })
    const decision = await on()
    expect(decision.effect).toBe('deny')
    expect(decision).not.toHaveProperty('checks')
    expect(asked).toEqual([])
    expect(evaluated).toHaveLength(5)
    expect(evaluated.at(-1)).toBeUndefined()
  })
  test('but of one that any answers could let through, a no among them', async () => {
    const unless = house((said) => said?.['a'] === true && said['b'] === false, { a: 'x', b: 'y' })
    expect((await unless.on()).effect).toBe('deny')
    expect(unless.asked).toHaveLength(2)
    const three = { a: '1', b: '2', c: '3' }
    const mixed = (said: Said) => said?.['a'] === true && said['b'] === false
    const some = house(mixed, three, { answer: (name) => name !== 'b' })
    expect((await some.on()).effect).toBe('allow')
    const hopeless = house(() => false, three)
    await hopeless.on()
    expect(hopeless.asked).toEqual([])
    // Of more than three only the two ends are supposed.
    expect((await house(mixed, { ...three, d: '4' }).suppose()).effect).toBe('deny')
    expect((await house(mixed, three).suppose()).effect).toBe('allow')
    const many = house(() => false, { a: '1', b: '2', c: '3', d: '4' })
    await many.on()
    expect(many.asked).toHaveLength(4)
  })
  test('while all that is missing is fresher facts', async () => {
    const { on, asked } = house(() => 'entitlements_stale', { a: 'x' })
    const decision = await on()
    expect([decision.effect, decision.reasons[0]?.code]).toEqual(['deny', 'entitlements_stale'])
    expect(asked).toEqual([])
  })
})

test('who has yet to consent gets no link before the answer is yes', async () => {
  const policy = (said: Said): string | false => (wants(said) ? 'consent' : false)
  expect((await house(policy, { a: 'x' }).on()).effect).toBe('consent_required')
  expect((await house(policy, { a: 'x' }, { answer: () => false }).on()).effect).toBe('deny')
})

test('what is no call yet is judged by the best that could be answered, and nobody is asked', async () => {
  const { suppose, asked } = house(wants, { a: 'x' })
  expect(await suppose()).toMatchObject({ effect: 'allow' })
  expect(await suppose()).not.toHaveProperty('checks')
  const other = house(() => true, { a: 'x' }, { operations: ['other'] })
  await other.suppose()
  expect(other.evaluated).toEqual([undefined])
  const unless = house((said) => said?.['a'] === false, { a: 'x' })
  expect((await unless.suppose()).effect).toBe('allow')
  const never = house(() => false, { a: 'x' })
  expect((await never.suppose()).effect).toBe('deny')
  expect([...asked, ...unless.asked, ...never.asked]).toEqual([])
})
