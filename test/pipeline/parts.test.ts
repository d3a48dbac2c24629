// A call of several parts: the strictest age, the hardest answer, everything that any part needs.
import { describe, expect, test } from 'vitest'
import type { Decision, Operation, Principal } from '../../proxy/model.ts'
import type { Act } from '../../proxy/pipeline/classify.ts'
import { decideEach, together, type Question } from '../../proxy/pipeline/decide.ts'
import { createEntitlements } from '../../proxy/pipeline/entitlements.ts'
import { NO_BODY, type Body } from '../../proxy/pipeline/inspect.ts'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'

const who = (issuedAt: number): Principal => ({
  person: { tenant: 'default', realm: 'corp', id: 'alice' },
  agent: 'agent:triage',
  verified: true,
  claims: { groups: ['staff'] },
  issuedAt,
  expiresAt: null,
  run: null,
})
describe('facts', () => {
  test('are asked for once, as young as the strictest part wants them', () => {
    const asked: number[] = []
    const ask = createEntitlements({
      source: {
        kind: 'directory',
        ask: (_, maxAge) => {
          asked.push(maxAge)
          return null
        },
      },
      maxAge: { read: 20_000, write: 10, delete: 5, admin: 7 },
      clock: { now: () => 0, mono: () => 0 },
    })
    void ask(who(0), ['read', 'delete', 'write', 'read'])
    void ask(who(0), ['read', 'read'])
    expect(asked).toEqual([5, 20_000])
  })

  test('claims that are too old for one part are too old for the call', () => {
    const ask = createEntitlements({
      source: { kind: 'claims', groups: '/groups', roles: '/roles', entitlements: '/rights' },
      maxAge: { read: 60_000, write: 1_000, delete: 60_000, admin: 60_000 },
      clock: { now: () => 30_000, mono: () => 0 },
    })
    expect(ask(who(0), ['read', 'delete'])).toBeDefined()
    expect(() => ask(who(0), ['delete', 'write'])).toThrow('this write allows 1 s')
  })
})

const decision = (effect: Decision['effect'], more: Partial<Decision> = {}): Decision => ({
  id: `d-${effect}`,
  effect,
  reasons: effect === 'allow' ? [] : [{ code: effect, msg: '' }],
  requiredScopes: [],
  obligations: {},
  grants: [],
  revision: 'r',
  digest: 'sha256:r',
  decidedAt: 5,
  ...more,
})
const EFFECTS = [
  'allow',
  'approval_required',
  'step_up_required',
  'consent_required',
  'deny',
  'error',
] as const

describe('the answer', () => {
  test('is allow only if every part is allowed; else that of the part that was refused hardest', () => {
    for (const [i, a] of EFFECTS.entries())
      for (const [j, b] of EFFECTS.entries()) {
        const hardest = EFFECTS[Math.max(i, j)]
        expect(together([decision(a), decision(b)])).toMatchObject({
          effect: hardest,
          id: `d-${hardest}`,
        })
      }
  })

  test('has the id of the first part that was refused that hard', () => {
    const ids = (...parts: readonly [Decision, ...Decision[]]) => together(parts).id
    const [one, two] = [decision('deny', { id: 'one' }), decision('deny', { id: 'two' })]
    expect(ids(decision('allow'), one, two)).toBe('one')
    expect(ids(two, one, decision('consent_required'))).toBe('two')
  })

  test('names every scope, reason and grant once, and keeps each part’s obligations and the oldest time', () => {
    const limit = { type: 'rate_limit', properties: { limit: 5 } }
    expect(
      together([
        decision('deny', {
          requiredScopes: ['write'],
          obligations: { slow: limit },
          grants: ['a'],
          decidedAt: 7,
        }),
        decision('deny', {
          requiredScopes: ['write', 'read'],
          obligations: { slow: limit },
          grants: ['a', 'b'],
          decidedAt: 6,
        }),
      ]),
    ).toMatchObject({
      requiredScopes: ['write', 'read'],
      reasons: [{ code: 'deny', msg: '' }],
      obligations: { slow: limit, 'slow#2': limit },
      grants: ['a', 'b'],
      decidedAt: 6,
    })
  })
})

describe('what each part asks for', () => {
  const operation = (...scopes: readonly string[][]): Operation => ({
    id: 'x',
    access: 'read',
    scopes,
    inspect: [],
    upload: false,
    rewrite: [],
  })
  const chosen = async (granted: readonly string[], ...operations: readonly Operation[]) => {
    const asked: (readonly string[] | undefined)[] = []
    const holding =
      granted.length === 0
        ? { kind: 'none' }
        : { kind: 'held', status: 'active', granted, scopes: granted }
    const connection = { provider: {}, scopes: ['read', 'write', 'send'] }
    const question = { holding, route: { connection }, body: null, stripped: [] }
    const [first, ...rest] = operations.map((one) => ({
      operation: one,
      kind: 'rest' as const,
      segments: [],
    }))
    if (first === undefined) return asked
    await decideEach(
      (_, { scopes }) => {
        asked.push(scopes)
        return decision('allow')
      },
      null,
      question as unknown as Question,
      [first, ...rest],
    )
    return asked
  }

  test('is the least that suffices for all at once', async () => {
    const [read, write] = [operation(['read'], ['write']), operation(['write'])]
    expect(await chosen([], read, write)).toEqual([['write'], ['write']])
    expect(await chosen([], read, read)).toEqual([['read'], ['read']])
    expect(await chosen(['read'], read, write)).toEqual([['read'], ['write']])
    // What is granted is asked for, whatever else the other part will bring.
    const either = operation(['write'], ['read'])
    expect(await chosen(['read'], either, write)).toEqual([['read'], ['write']])
  })

  test('is its own target, body and yes; and few parts wait for nobody’s turn', async () => {
    const asked: Question[] = []
    const body = (stripped: readonly string[]): Body => ({ ...NO_BODY, stripped })
    const parts = [body(['body:a']), body([]), body([])]
    const target = canonicalTarget('GET', '/one')
    const act = (id: string, more: Partial<Act> = {}): Act => ({
      operation: { ...operation(), id },
      kind: 'rest',
      segments: [],
      ...more,
    })
    const whole = canonicalTarget('POST', '/batch')
    const question = {
      holding: { kind: 'none' },
      route: { connection: { provider: {}, scopes: [] }, target: whole },
      body: { ...NO_BODY, parts },
      stripped: ['header:x'],
      approvalsOf: (part: number) => [{ name: `yes ${part}` }],
    } as unknown as Question
    let turned = false
    setImmediate(() => (turned = true))
    const listen = (_: unknown, one: Question): Decision => {
      asked.push(one)
      return decision('allow')
    }
    await decideEach(listen, null, question, [act('a', { target }), act('b', { target }), act('c')])
    expect(turned).toBe(false)
    expect(
      asked.map(({ route, body: own, stripped, part, approvals }) => [
        route.target,
        own === question.body ? 'whole' : parts.findIndex((one) => one === own),
        stripped,
        part,
        approvals,
      ]),
    ).toEqual([
      [target, 0, ['header:x', 'body:a'], { number: 1, of: 3 }, [{ name: 'yes 1' }]],
      [target, 1, ['header:x'], { number: 2, of: 3 }, [{ name: 'yes 2' }]],
      [whole, 'whole', ['header:x'], undefined, [{ name: 'yes 3' }]],
    ])
    const { approvalsOf: _approvalsOf, ...unasked } = question
    await decideEach(listen, null, { ...unasked, body: NO_BODY }, [act('a', { target })])
    expect(asked.at(-1)).toMatchObject({ route: { target: whole }, body: NO_BODY })
    expect(asked.at(-1)).not.toHaveProperty('approvals')
  })

  test('is asked for a few parts at once, in their order, and others have their turn meanwhile', async () => {
    let [now, most, turns] = [0, 0, 0]
    const parts = Array.from({ length: 40 }, (_, i) => ({
      operation: { ...operation([]), id: `x${i}` },
      kind: 'rest' as const,
      segments: [],
    }))
    const [first, ...rest] = parts
    if (first === undefined) throw new Error('no parts')
    const turn = (): void => {
      turns++
      if (turns < 99) setImmediate(turn)
    }
    setImmediate(turn)
    const question = {
      holding: { kind: 'none' },
      route: { connection: { provider: {}, scopes: [] } },
      body: null,
      stripped: [],
    }
    const said = await decideEach(
      async (_, { act }) => {
        most = Math.max(most, ++now)
        await Promise.resolve()
        now--
        return decision('allow', { id: act.operation.id })
      },
      null,
      question as unknown as Question,
      [first, ...rest],
    )
    expect(said.map(({ id }) => id)).toEqual(parts.map(({ operation: { id } }) => id))
    expect(most).toBe(8)
    expect(turns).toBeGreaterThanOrEqual(4)
  })

  test('and of scopes that contain each other the widest alone', () => {
    const scopeReach = new Map([['write', ['write', 'read']]])
    const consent = (requiredScopes: readonly string[]) =>
      decision('consent_required', { requiredScopes })
    const all = [consent(['read']), consent(['write'])] as const
    expect(together(all, { scopeReach }).requiredScopes).toEqual(['write'])
    expect(together(all).requiredScopes).toEqual(['read', 'write'])
  })
})
