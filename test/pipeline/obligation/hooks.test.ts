// What is asked of a hook, of which call or part, and what its answer does: it can only take away.
import { describe, expect, test } from 'vitest'
import type { Hook, HookAnswer } from '../../../proxy/directory/hook.ts'
import type { Decision, EnvelopeFormat } from '../../../proxy/model.ts'
import type { Act } from '../../../proxy/pipeline/classify.ts'
import type { Question } from '../../../proxy/pipeline/decide.ts'
import { NO_BODY, type Body } from '../../../proxy/pipeline/inspect.ts'
import { createHooks, documentOf, type HookSaid } from '../../../proxy/pipeline/obligation/hooks.ts'
import type { Obliged } from '../../../proxy/pipeline/obligations.ts'
import { STANDING } from '../../../proxy/pipeline/standing.ts'
import { canonicalTarget } from '../../../proxy/wire/canonical.ts'
import { alice, provider } from '../../wire/fixture.ts'

const actOf = (id: string): Act => ({
  operation: { ...STANDING, id },
  kind: 'rest',
  segments: [],
  target: canonicalTarget('GET', `/${id}`),
})
const ALLOW: Decision = {
  id: 'd',
  effect: 'allow',
  reasons: [],
  requiredScopes: [],
  obligations: {},
  grants: [],
  revision: 'r',
  digest: 'sha256:r',
  decidedAt: 0,
}
const route = {
  connection: { name: 'work', provider, scopes: [] },
  host: 'h',
  target: canonicalTarget('POST', '/x'),
} as unknown as Question['route']
const questionOf = (act: Act): Question => ({
  id: 'c',
  principal: alice,
  route,
  act,
  body: NO_BODY,
  stripped: [],
  facts: {} as unknown as Question['facts'],
  holding: { kind: 'none' },
})
const obligedOf = (act: Act, within: Act, part: number | null, whole: Body = NO_BODY): Obliged =>
  ({
    exchange: 'c',
    who: alice,
    route,
    act,
    body: NO_BODY,
    part,
    call: {},
    within,
    whole,
  }) as unknown as Obliged
const one = (id = 'notes.get', decision = ALLOW, body = NO_BODY) => {
  const act = actOf(id)
  const said: HookSaid[] = []
  const about = obligedOf(act, act, null, body)
  return { each: [[about, decision]] as const, question: questionOf(act), said }
}
/** A batch of these operations, whose own ids are in upper case in the request. */
const batch = (ids: readonly string[], format: EnvelopeFormat = 'graph_batch') => {
  const acts = ids.map(actOf)
  const [first = actOf('none'), ...rest] = acts
  const envelope = { format } as unknown as NonNullable<Act['envelope']>
  const within: Act = { ...actOf('batch'), parts: [first, ...rest], envelope }
  const bytes = Buffer.from(JSON.stringify({ requests: ids.map((_, i) => ({ id: `R${i + 1}` })) }))
  const whole: Body = { ...NO_BODY, state: 'parsed', bytes }
  const said: HookSaid[] = []
  return {
    each: acts.map((act, i) => [obligedOf(act, within, i + 1, whole), ALLOW] as const),
    question: questionOf(within),
    said,
  }
}
const answer = (more: Partial<HookAnswer> = {}): HookAnswer => ({
  allow: true,
  reasons: [],
  redact: [],
  ...more,
})

/** @param say what the hook answers to what it is shown */
const house = (
  say: (shown: { readonly [name: string]: unknown }) => HookAnswer | Promise<HookAnswer> = () =>
    answer(),
  { when = 'after', operations = ['*'] }: Partial<Pick<Hook, 'when' | 'operations'>> = {},
) => {
  const shown: { readonly [name: string]: unknown }[] = []
  const bodies: string[] = []
  const hook: Hook = {
    name: 'dlp',
    when,
    operations,
    ask: async (body) => {
      bodies.push(body)
      const document = JSON.parse(body) as { readonly [name: string]: unknown }
      shown.push(document)
      return say(document)
    },
  }
  const redacted: unknown[] = []
  const seen: unknown[] = []
  const hooks = createHooks({
    hooks: [hook],
    decide: async (engine, { act, checks, part }) => {
      await engine?.evaluate(JSON.stringify({ operation: act.operation.id, checks, part }))
      return ALLOW
    },
    redact: ({ part }, name, pointers) => {
      redacted.push([part, name, pointers])
      return { in: 'request', pointers, part }
    },
    clock: { mono: () => 0 },
    seen: (...of) => void seen.push(of),
  })
  const judged = async (of: Parameters<typeof hooks.after>[0], text: string | null, status = 200) =>
    hooks.after(of)?.({ status, text })
  return { ...hooks, judged, shown, bodies, redacted, seen }
}
const NO = answer({
  allow: false,
  reasons: [
    { code: 'card', msg: 'a card' },
    { code: 'x', msg: '' },
  ],
})

describe('before a call', () => {
  test('a hook sees what policy sees of it, or of each part; whom it does not concern it is not asked about', async () => {
    const { before, after, shown, seen } = house(undefined, { when: 'before' })
    const single = one('notes.get', { ...ALLOW, checks: { answers: { fga: true }, ms: 1 } })
    expect(await before(single)).toEqual([])
    expect(after(single)).toBeUndefined()
    const two = batch(['a.get', 'b.get'])
    await before(two)
    const head = { version: 1, hook: 'dlp', when: 'before', exchange: 'c' }
    const part = (number: number, operation: string) => ({
      part: number,
      input: { operation, part: { number, of: 2 } },
    })
    expect(shown).toMatchObject([
      { ...head, part: null, input: { operation: 'notes.get', checks: { fga: true } } },
      { ...head, ...part(1, 'a.get') },
      { ...head, ...part(2, 'b.get') },
    ])
    expect(shown[1]).not.toHaveProperty('input.checks')
    expect(single.said).toEqual([{ hook: 'dlp', when: 'before', said: 'allow', codes: [], ms: 0 }])
    expect(two.said.map((said) => said.part)).toEqual([1, 2])
    expect(seen).toHaveLength(3)

    const some = house(undefined, { when: 'before', operations: ['b.*', 'c.get'] })
    await some.before(batch(['a.get', 'b.get']))
    await some.before(one('a.get'))
    expect(some.shown).toMatchObject([{ part: 2 }])
  })
  test('one that judges answers is not asked', async () => {
    const { before, shown } = house()
    expect(await before(one())).toEqual([])
    expect(shown).toEqual([])
  })
  test('its no refuses with its reasons, and says in which part', async () => {
    const { before } = house(({ part }) => (part === 1 ? answer() : NO), { when: 'before' })
    const single = one()
    await expect(before(single)).rejects.toMatchObject({
      code: 'policy_denied',
      message: 'The hook dlp does not allow this call: a card (hook_card); hook_x.',
      extra: { reasons: ['hook_card', 'hook_x'], hook: 'dlp' },
    })
    expect(single.said).toMatchObject([{ said: 'refused', codes: ['hook_card', 'hook_x'] }])
    const problem: unknown = await before(batch(['a', 'b'])).catch((error: unknown) => error)
    expect(problem).toMatchObject({
      message: expect.stringContaining('this call in part 2:') as string,
      extra: { part: 2 },
    })
    const silent = house(() => answer({ allow: false }), { when: 'before' })
    const said: unknown = await silent.before(one()).catch((error: unknown) => error)
    expect(said).toMatchObject({
      message: 'The hook dlp does not allow this call: it gives no reason.',
      extra: { reasons: ['hook_refused'] },
    })
    expect(said).not.toHaveProperty('extra.part')
  })
  test('one that does not answer refuses', async () => {
    const { before } = house(() => Promise.reject(new Error('down')), { when: 'before' })
    const single = one()
    await expect(before(single)).rejects.toMatchObject({
      code: 'hook_unavailable',
      extra: { hook: 'dlp' },
    })
    expect(single.said).toMatchObject([{ said: 'unavailable', codes: [] }])
  })
  test('what it names is taken out, of the part that it was asked about', async () => {
    const { before, redacted } = house(
      ({ part }) => answer({ redact: part === 2 ? ['/card'] : [] }),
      { when: 'before' },
    )
    expect(await before(batch(['a', 'b']))).toEqual([
      { in: 'request', pointers: ['/card'], part: 2 },
    ])
    expect(redacted).toEqual([[2, 'dlp', ['/card']]])
  })
})

describe('an answer', () => {
  test('of a call that no hook concerns is not held back', () => {
    expect(house(undefined, { operations: ['b.*'] }).after(one('a.get'))).toBeUndefined()
    expect(house(undefined, { operations: ['b.*'] }).after(batch(['a.get', 'b.get']))).toBeDefined()
  })
  test('is shown with its numbers as they are written, and without a mark of order', async () => {
    const { judged, bodies, shown } = house()
    const text = '{"n":1.0,"big":9007199254740993}'
    const posted: Body = { ...NO_BODY, state: 'parsed', bytes: Buffer.from('{}') }
    expect(await judged(one(), `\ufeff${text}`)).toEqual({ text, count: 0 })
    expect(await judged(one('notes.make', ALLOW, posted), text)).toEqual({ text, count: 0 })
    expect(bodies[0]).toContain(`"answer":{"status":200,"body":${text}}}`)
    expect(shown[0]).toMatchObject({ when: 'after', part: null, input: { operation: 'notes.get' } })
  })
  test('without a body is shown as that, and nothing can be taken out of it', async () => {
    const { judged, shown } = house(() => answer({ redact: ['/a'] }))
    expect(await judged(one(), null, 204)).toEqual({ text: '', count: 0 })
    expect(shown[0]).toMatchObject({ answer: { status: 204, body: null } })
  })
  test('is refused by its no, which says that the call was carried out', async () => {
    const { judged } = house(() => NO)
    await expect(judged(one(), '{}')).rejects.toMatchObject({
      code: 'policy_denied',
      message: expect.stringContaining('the answer of this call, which was carried out') as string,
    })
  })
  test('loses what it names, and is shown without to the next', async () => {
    const { judged } = house(() => answer({ redact: ['/a'] }))
    expect(await judged(one(), '{"a":1,"b":2}')).toEqual({
      text: '{"a":"[redacted]","b":2}',
      count: 1,
    })
  })
  test.each(['', 'not JSON', '{"a":1,"a":2}', `${'['.repeat(300)}${']'.repeat(300)}`])(
    'that has no one reading is shown to nobody: %j',
    async (text) => {
      const { judged, shown } = house()
      await expect(judged(one(), text)).rejects.toMatchObject({ code: 'answer_not_redactable' })
      expect(shown).toEqual([])
    },
  )
})

describe('the answer to a batch', () => {
  const TEXT =
    '{"responses":[{"id":"r2","status":200,"body":{"card":2.0}},{"id":"r1","status":204}]}'
  test('is shown part by part, each with the answer to it, and loses what is named there', async () => {
    const { judged, shown, bodies } = house(({ part }) =>
      answer({ redact: part === 2 ? ['/card'] : [] }),
    )
    expect(await judged(batch(['a', 'b']), TEXT)).toEqual({
      text: TEXT.replace('2.0', '"[redacted]"'),
      count: 1,
    })
    expect(shown.map(({ part, input, answer: of }) => [part, input, of])).toMatchObject([
      [1, { operation: 'a' }, { body: null }],
      [2, { operation: 'b' }, { body: { card: 2 } }],
    ])
    expect(bodies[1]).toContain('"body":{"card":2.0}')
  })
  test('of the parts that it concerns alone', async () => {
    const { judged, shown } = house(undefined, { operations: ['b'] })
    await judged(batch(['a', 'b']), TEXT)
    expect(shown).toMatchObject([{ part: 2 }])
  })
  test('that failed as a whole is one document, shown for each part', async () => {
    const { judged, shown } = house()
    const failed = '{"error":"no"}'
    for (const status of [300, 400]) await judged(batch(['a', 'b']), failed, status)
    expect(shown.map(({ part, answer: of }) => [part, of])).toMatchObject(
      [300, 300, 400, 400].map((status, i) => [(i % 2) + 1, { status, body: { error: 'no' } }]),
    )
    await expect(judged(batch(['a', 'b']), failed, 299)).rejects.toMatchObject({
      code: 'answer_not_redactable',
    })
  })
  test('that has no list of parts to tell apart, or none at all, passes nothing', async () => {
    const { judged } = house()
    await expect(judged(batch(['a']), null)).rejects.toMatchObject({
      code: 'answer_not_redactable',
    })
    const { each, ...rest } = batch(['a'])
    const [about, decision] = each[0] ?? []
    if (about === undefined || decision === undefined) throw new Error('a batch of one')
    const odd = { ...about, whole: { ...NO_BODY, bytes: Buffer.from('{}') } }
    const unread = { ...about, whole: NO_BODY }
    for (const of of [odd, unread])
      expect(await judged({ ...rest, each: [[of, decision]] }, '{"a":1}')).toEqual({
        text: '{"a":1}',
        count: 0,
      })
  })
  test('whose parts nobody can tell apart is not asked for at all', () => {
    const mixed = batch(['a', 'b'], 'multipart_batch')
    expect(() => house().after(mixed)).toThrow('these cannot be told apart: send the calls alone')
    expect(house(undefined, { operations: ['c'] }).after(mixed)).toBeUndefined()
  })
})

test('what is told of a call is what policy would be asked, whoever listens', async () => {
  const asked: unknown[] = []
  const document = await documentOf(
    async (engine, { act }) => {
      asked.push(engine?.asks)
      await engine?.evaluate(`{"operation":"${act.operation.id}"}`, [['now', '1']])
      return ALLOW
    },
    questionOf(actOf('notes.get')),
    ['Europe/Berlin'],
  )
  expect(document).toBe('{"operation":"notes.get","now":1}')
  expect(asked).toEqual([{ zones: ['Europe/Berlin'], history: null }])
})
