// What a call is decided by, besides itself: what people did for it, the standing it is made by, what was allowed before.
import type { IncomingMessage } from 'node:http'
import { expect, test } from 'vitest'
import type { Decision, PolicyEngine, Principal } from '../../proxy/model.ts'
import type { Lifted } from '../../proxy/pipeline/approval.ts'
import type { Act } from '../../proxy/pipeline/classify.ts'
import type { Question } from '../../proxy/pipeline/decide.ts'
import type { Facts } from '../../proxy/pipeline/entitlements.ts'
import type { Call } from '../../proxy/pipeline/exchange.ts'
import { NO_BODY } from '../../proxy/pipeline/inspect.ts'
import { createJudge, type JudgeDeps } from '../../proxy/pipeline/judge.ts'
import type { Request } from '../../proxy/pipeline/request.ts'
import { STANDING } from '../../proxy/pipeline/standing.ts'
import { alice, provider } from '../wire/fixture.ts'

const GET = { ...STANDING, id: 'notes.get', access: 'read' } as const
const DROP = { ...STANDING, id: 'notes.drop', access: 'delete' } as const
const actOf = (operation: Act['operation']): Act => ({ operation, kind: 'rest', segments: [] })
const requestOf = (act: Act): Request => ({
  req: {} as unknown as IncomingMessage,
  tagged: {} as unknown as Request['tagged'],
  route: { connection: { name: 'work', provider } } as unknown as Request['route'],
  said: {} as unknown as Request['said'],
  act,
  body: NO_BODY,
  sifted: {} as unknown as Request['sifted'],
})
const lets = { id: 'st_1', days: 1, expires_at: 2_000_000_000, operations: ['notes.get'] }
const facts = { entitlements: { source: 'file' } } as unknown as Facts
const call = { id: 'c', stripped: [] } as unknown as Call

/** @param say what policy says of an operation, by its id; absent: allow */
const house = (say: Readonly<Record<string, string>> = {}, more: Partial<JudgeDeps> = {}) => {
  const asked: Question[] = []
  const accesses: unknown[] = []
  const judge = createJudge({
    via: 'proxy',
    policy: () => null,
    entitlements: (_who, access) => {
      accesses.push(access)
      return facts
    },
    vault: { look: () => ({ kind: 'none' }) },
    decide: (_engine, question) => {
      asked.push(question)
      const code = say[question.act.operation.id]
      return {
        id: `d${asked.length}`,
        effect: code === undefined ? 'allow' : 'deny',
        reasons: code === undefined ? [] : [{ code, msg: '' }],
        requiredScopes: [],
        obligations: {},
        grants: [],
        revision: 'r',
        digest: 'sha256:r',
        decidedAt: 0,
      } satisfies Decision
    },
    history: { deciding: () => Promise.reject(new Error('no table asks')) },
    ...more,
  })
  const decided = (act: Act, who = alice, lifted?: Lifted) =>
    judge.decided(call, who, requestOf(act), lifted === undefined ? { facts } : { facts, lifted })
  return { ...judge, decided, asked, accesses }
}

test('policy hears what people did for the call, and of a call for which nobody did anything nothing', async () => {
  const { decided, asked } = house()
  const auth = { acr: 'gold', amr: ['hwk'], at: 1 }
  const yes = { name: 'lead' } as unknown as ReturnType<Lifted['approvals']>[number]
  const approvals = (part: number | null) => (part === null ? [yes] : [])
  await decided(actOf(GET), alice, { spends: 'h', approvals, auth })
  expect(asked[0]).toMatchObject({ approvals: [yes], auth })
  expect(asked[0]?.approvalsOf?.(1)).toEqual([])
  await decided(actOf(GET))
  expect(asked[1]).toBeDefined()
  expect(Object.keys(asked[1] ?? {})).not.toContain('approvals')
  expect(asked[1]?.auth).toBeUndefined()
})

test('by a standing that policy lets nobody give any more nothing is allowed, and the call itself is not asked about', async () => {
  const away: Principal = { ...alice, standing: 'st_1', lets }
  const gone = house({ [STANDING.id]: 'no_standing' })
  expect(await gone.decided(actOf(GET), away)).toMatchObject({
    decision: {
      effect: 'deny',
      reasons: [{ code: 'standing_withdrawn' }, { code: 'no_standing' }],
    },
    each: null,
  })
  expect(gone.asked.map(({ act, body }) => [act.operation.id, body])).toEqual([[STANDING.id, null]])

  const stands = house({ 'notes.drop': 'no' })
  expect(await stands.decided(actOf(DROP), away)).toMatchObject({ decision: { effect: 'deny' } })
  expect(await stands.decided(actOf(GET), away)).toMatchObject({ decision: { effect: 'allow' } })
  await stands.decided(actOf(GET))
  expect(stands.asked.map(({ act }) => act.operation.id)).toEqual(
    [STANDING.id, 'notes.drop', STANDING.id, 'notes.get'].concat('notes.get'),
  )
})

test('facts are as young as the strictest of a call, its parts or what it lists needs them', async () => {
  const { factsOf, accesses } = house()
  const parts = [actOf(GET), actOf(DROP)] as const
  for (const act of [actOf(GET), { ...actOf(GET), parts }, { ...actOf(DROP), lists: [actOf(GET)] }])
    await factsOf(alice, requestOf(act))
  expect(accesses).toEqual(['read', ['read', 'delete'], ['delete', 'read']])
})

test('where tables ask for it a call is decided by what was allowed before, and so is each of its parts', async () => {
  const history = { person: [], run: null } as unknown as NonNullable<Question['history']>
  const ask = { windows: [], counts: () => true }
  const following: unknown[] = []
  const { decided, asked } = house(
    {},
    {
      policy: () => ({ asks: { zones: [], history: ask } }) as unknown as PolicyEngine,
      history: {
        deciding: async ({ acts, provider: of }, by, decide) => {
          following.push([of, acts.map(({ operation }) => operation.id), by === ask])
          return decide(history)
        },
      },
    },
  )
  await decided(actOf(GET))
  await decided({ ...actOf(GET), parts: [actOf(GET), actOf(DROP)] })
  expect(following).toEqual([
    ['acme', ['notes.get'], true],
    ['acme', ['notes.get', 'notes.drop'], true],
  ])
  expect(asked.map((question) => Array.isArray(question.history?.person))).toEqual([
    true,
    true,
    true,
  ])
})
