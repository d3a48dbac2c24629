// What people said is asked for where policy wants it, decided upon, and bound to the very call that they were shown.
import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import type { AskBegun, AskDeclined } from '../../proxy/consent/asks.ts'
import type { ApprovalAsk } from '../../proxy/consent/approvals.ts'
import { needsOf } from '../../proxy/consent/approvers.ts'
import { demandIn } from '../../proxy/consent/step_ups.ts'
import type { Decision, Holding, InnerCall, Principal } from '../../proxy/model.ts'
import { createApproval, type ApprovalDeps, type Known } from '../../proxy/pipeline/approval.ts'
import type { Act } from '../../proxy/pipeline/classify.ts'
import type { Facts } from '../../proxy/pipeline/entitlements.ts'
import type { Call } from '../../proxy/pipeline/exchange.ts'
import { NO_BODY, type Body } from '../../proxy/pipeline/inspect.ts'
import type { Request, Verdict } from '../../proxy/pipeline/request.ts'
import { STANDING } from '../../proxy/pipeline/standing.ts'
import { Problem } from '../../proxy/problem.ts'
import { mailPlaces } from '../../proxy/providers/catalogue.ts'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'
import { alice, provider } from '../wire/fixture.ts'

const call = { id: 'call-1' } as unknown as Call
const [FIRST, FRESH] = [{ n: 1 }, { n: 2 }] as unknown as readonly [Facts, Facts]
const held = { kind: 'held', account: 'a1' } as unknown as Holding
const LEAD = { type: 'approval', properties: { approvers: ['group:leads'], ttl_s: 900 } }
const GOLD = { type: 'step-up', properties: { acr_values: ['gold'], max_auth_age_s: 60 } }
const saying = (
  effect: Decision['effect'],
  obligations: Decision['obligations'] = {},
): Decision => ({
  id: 'd1',
  effect,
  reasons: [
    { code: effect, msg: '' },
    { code: 'why', msg: 'because' },
  ],
  requiredScopes: [],
  obligations,
  grants: [],
  revision: 'r',
  digest: 'sha256:r',
  decidedAt: 0,
})
const ALLOW = saying('allow')
const APPROVE = saying('approval_required', { lead: LEAD })
const STEP_UP = saying('step_up_required', { gold: GOLD })
const verdictOf = (
  decision: Decision,
  each: Verdict['each'] = null,
  holding: Holding = held,
): Verdict => ({
  facts: FIRST,
  holding,
  decision,
  each,
  question: {} as unknown as Verdict['question'],
})
const actOf = (id: string, more: object = {}): Act => ({
  operation: { ...STANDING, id, ...more },
  kind: 'rest',
  segments: [],
})
const bodyOf = (text: string, contentType = 'application/json'): Body => ({
  ...NO_BODY,
  state: 'parsed',
  bytes: Buffer.from(text),
  declared: text.length,
  contentType,
})
const STREAM: Body = { ...NO_BODY, state: 'unparsed', bytes: null, declared: null }
const requestOf = (body: Body = NO_BODY, act: Act = actOf('notes.make')): Request => ({
  req: {} as unknown as IncomingMessage,
  tagged: {} as unknown as Request['tagged'],
  route: {
    connection: { name: 'work', provider },
    host: 'api.acme.example',
    target: canonicalTarget('POST', '/notes?a=b'),
  } as unknown as Request['route'],
  said: canonicalTarget('POST', '/notes?a=b'),
  act,
  body,
  sifted: { kept: ['Accept', 'a/b', 'X-Request-Id', '7'] } as unknown as Request['sifted'],
})
const BEGUN: AskBegun = {
  authorizationId: 'ap_1',
  url: 'http://localhost:1/approve/1',
  expiresAt: 0,
}
const DECLINED: AskDeclined = { authorizationId: 'ap_1', declined: { at: 0, until: 60_000 } }
const AUTH = { acr: 'gold', amr: [], at: 1 }

/** @param say what policy says when it is asked, one after the other */
const house = (
  say: readonly Verdict[],
  people: {
    readonly able?: boolean
    readonly given?: () => unknown
    readonly met?: () => unknown
    readonly begun?: AskBegun | AskDeclined
    readonly spend?: () => Promise<boolean>
    readonly whole?: Buffer | null
  } = {},
) => {
  const at = { ms: 5_000 }
  const diary: string[] = []
  const [knowns, asks, wholes]: [Known[], ApprovalAsk[], Body[]] = [[], [], []]
  const { able = true, given = () => null, met = () => null, begun = BEGUN } = people
  const deps: ApprovalDeps = {
    approvals: {
      able,
      given: async (ask) => {
        diary.push('given')
        asks.push(ask as ApprovalAsk)
        return given() as Awaited<ReturnType<ApprovalDeps['approvals']['given']>>
      },
      begin: async (ask) => {
        diary.push('begin approval')
        asks.push(ask)
        return begun
      },
      spend: people.spend ?? (() => Promise.reject(new Error('nothing is spent'))),
    },
    stepUps: {
      able,
      met: async () => {
        diary.push('met')
        return met() as Awaited<ReturnType<ApprovalDeps['stepUps']['met']>>
      },
      begin: async (_of, _demand, operations) => {
        diary.push(`begin step-up ${operations.join(' ')}`)
        return begun
      },
    },
    needsOf,
    demandIn,
    clock: { mono: () => at.ms },
    readWhole: async () => {
      diary.push('read')
      return people.whole ?? null
    },
  }
  let n = 0
  const approval = createApproval(deps, {
    decided: (_call, _who, request, known) => {
      diary.push('decide')
      knowns.push(known)
      wholes.push(request.body)
      const verdict = say[Math.min(n++, say.length - 1)]
      if (verdict === undefined) throw new Error('policy is not asked')
      return verdict
    },
    factsOf: (_who, _request, fresh) => {
      diary.push(`facts ${fresh}`)
      return FRESH
    },
  })
  const decidedNow = (request: Request = requestOf()) =>
    approval.decided(call, alice, request, FIRST)
  const decided = async (request?: Request) => decidedNow(request)
  return { ...approval, decided, decidedNow, at, diary, knowns, asks, wholes }
}
const GIVEN = { hash: 'h', of: (part: number | null) => (part === null ? ['yes'] : []) }

describe('what people did is looked up', () => {
  test.each(['allow', 'deny', 'consent_required', 'error'] as const)(
    'not for %s',
    async (effect) => {
      const said = verdictOf(saying(effect, { lead: LEAD, gold: GOLD }))
      const { decidedNow, diary } = house([said])
      // At once: a call for which nobody need do anything costs no turn.
      expect(decidedNow()).toMatchObject({ lifted: null, decision: { effect } })
      expect(diary).toEqual(['decide'])
    },
  )
  test('as far as this step asks for it', async () => {
    const both = { lead: LEAD, gold: GOLD }
    const people = { given: () => GIVEN, met: () => AUTH }
    const yes = house([verdictOf(saying('approval_required', both)), verdictOf(ALLOW)], people)
    await yes.decided()
    expect(yes.diary).toEqual(['decide', 'given', 'decide'])
    const signIn = house([verdictOf(saying('step_up_required', both)), verdictOf(ALLOW)], people)
    await signIn.decided()
    expect(signIn.diary).toEqual(['decide', 'met', 'decide'])
    const none = house([verdictOf(saying('step_up_required', both))], { given: () => GIVEN })
    await none.decided()
    expect(none.diary).toEqual(['decide', 'met'])
  })
  test('where policy wants a yes: with it policy is asked once more, and the call spends it', async () => {
    const { decided, diary, knowns } = house([verdictOf(APPROVE), verdictOf(ALLOW)], {
      given: () => GIVEN,
    })
    expect(await decided()).toMatchObject({ decision: ALLOW, lifted: { spends: 'h', auth: null } })
    expect(diary).toEqual(['decide', 'given', 'decide'])
    expect(knowns[0]).toEqual({ facts: FIRST })
    expect(knowns[1]?.facts).toBe(FIRST)
    expect([knowns[1]?.lifted?.approvals(null), knowns[1]?.lifted?.approvals(1)]).toEqual([
      ['yes'],
      [],
    ])
  })
  test('and without one it stays as it was decided', async () => {
    const { decided, diary } = house([verdictOf(APPROVE)])
    expect(await decided()).toMatchObject({ decision: APPROVE, lifted: null })
    expect(diary).toEqual(['decide', 'given'])
  })
  test('where nobody could give it, nobody is asked whether they did', async () => {
    const odd = { lead: { type: 'approval', properties: {} } }
    for (const obligations of [odd, {}]) {
      const { decided, diary } = house([verdictOf(saying('approval_required', obligations))])
      expect(await decided()).toMatchObject({ lifted: null })
      expect(diary).toEqual(['decide'])
    }
  })
  test('a stronger sign-in first, then the yes, with both known', async () => {
    const said = [verdictOf(STEP_UP), verdictOf(APPROVE), verdictOf(ALLOW)]
    const { decided, diary, knowns } = house(said, { given: () => GIVEN, met: () => AUTH })
    expect(await decided()).toMatchObject({ decision: ALLOW, lifted: { spends: 'h', auth: AUTH } })
    expect(diary).toEqual(['decide', 'met', 'decide', 'given', 'decide'])
    expect(knowns[1]?.lifted).toMatchObject({ spends: null, auth: AUTH })
    expect(knowns[1]?.lifted?.approvals(null)).toEqual([])
  })
  test('a sign-in that nobody made, or could make, lifts nothing', async () => {
    const without = house([verdictOf(STEP_UP)])
    expect(await without.decided()).toMatchObject({ decision: STEP_UP, lifted: null })
    expect(without.diary).toEqual(['decide', 'met'])
    const vague = house([verdictOf(saying('step_up_required'))], { met: () => AUTH })
    expect(await vague.decided()).toMatchObject({ lifted: null })
    expect(vague.diary).toEqual(['decide'])
  })
  test('and where that took more than a second, who the caller is is asked anew', async () => {
    for (const [ms, facts] of [
      [1_000, FIRST],
      [1_001, FRESH],
    ] as const) {
      const slow = house([verdictOf(APPROVE), verdictOf(ALLOW)], {
        given: () => {
          slow.at.ms += ms
          return GIVEN
        },
      })
      await slow.decided()
      expect(slow.knowns[1]?.facts).toBe(facts)
    }
  })
  test('what cannot be read lifts nothing: the vault is not there; a refusal stays one', async () => {
    for (const [thrown, code] of [
      [new Error('disk'), 'vault_unavailable'],
      [new Problem('entitlements_unavailable', 'no'), 'entitlements_unavailable'],
    ] as const) {
      const failing = (): never => {
        throw thrown
      }
      const yes = house([verdictOf(APPROVE)], { given: failing })
      await expect(yes.decided()).rejects.toMatchObject({ code })
      const signIn = house([verdictOf(STEP_UP)], { met: failing })
      await expect(signIn.decided()).rejects.toMatchObject({ code })
    }
  })
})

describe('a yes covers the whole body', () => {
  const wanting = (whole: Buffer | null) =>
    house([verdictOf(APPROVE), verdictOf(ALLOW)], { given: () => GIVEN, whole })
  test('so one that streams is read, and known as one that nobody looked into', async () => {
    const { decided, diary, wholes, asks } = wanting(Buffer.from('bytes'))
    const { request } = await decided(requestOf(STREAM))
    expect(diary).toEqual(['decide', 'read', 'given', 'decide'])
    expect(request.body).toMatchObject({ bytes: Buffer.from('bytes'), declared: 5, unseen: true })
    expect(request.body.digest).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(wholes[1]).toBe(request.body)
    expect(asks[0]?.shown).toMatchObject({ body: Buffer.from('bytes').toString('base64') })
  })
  test('and one that is too long for that is refused', async () => {
    await expect(wanting(null).decided(requestOf(STREAM))).rejects.toMatchObject({
      code: 'request_too_large',
    })
  })
  test('one that was read, and one that is none, are not read again', async () => {
    for (const body of [NO_BODY, bodyOf('{}')]) {
      const { decided, diary } = wanting(null)
      expect((await decided(requestOf(body))).request.body).toBe(body)
      expect(diary).not.toContain('read')
    }
  })
})

describe('the very call', () => {
  const digestOf = async (
    request: Request,
    { who = alice, holding = held }: { readonly who?: Principal; readonly holding?: Holding } = {},
  ) => {
    const { begin, asks } = house([])
    await begin(who, request, verdictOf(APPROVE, null, holding))
    return asks[0]?.digest
  }
  test('is another one by its body, its operations, its account, its person', async () => {
    const none = { kind: 'none' } as unknown as Holding
    const other = { ...held, account: 'a2' } as unknown as Holding
    const parts = [actOf('notes.make'), actOf('notes.drop')] as const
    const digests = await Promise.all([
      digestOf(requestOf()),
      digestOf(requestOf(bodyOf('{"a":1}'))),
      digestOf(requestOf(bodyOf('{"a":2}'))),
      digestOf(requestOf(NO_BODY, actOf('notes.drop'))),
      digestOf(requestOf(NO_BODY, { ...actOf('notes.make'), parts })),
      digestOf(requestOf(), { holding: none }),
      digestOf(requestOf(), { holding: other }),
      digestOf(requestOf(), { who: { ...alice, standing: 'st' } }),
      digestOf(requestOf(), { who: { ...alice, run: 'run' } }),
      digestOf({
        ...requestOf(),
        sifted: { kept: ['Accept', 'c/d'] } as unknown as Request['sifted'],
      }),
    ])
    expect(new Set(digests).size).toBe(digests.length)
    expect(await digestOf(requestOf(bodyOf('{"a":1}')))).toBe(digests[1])
  })
  test('of somebody without an account there is of none', async () => {
    const { begin, asks } = house([])
    const none = { kind: 'none' } as unknown as Holding
    await begin(alice, requestOf(), verdictOf(APPROVE, null, none))
    expect(asks[0]?.shown).toMatchObject({ account: null })
  })
  test('is the same with another number of its message, and not by one in other JSON', async () => {
    const message = {} as unknown as NonNullable<Body['message']>
    const [one, two] = ['{"id":1,"method":"m"}', '{"id":2,"method":"m"}'].map((text) =>
      bodyOf(text),
    )
    const plain = await Promise.all([one, two].map((body) => digestOf(requestOf(body))))
    expect(plain[0]).not.toBe(plain[1])
    const spoken = [one, two].map((body) => requestOf({ ...(body ?? NO_BODY), message }))
    const numbered = await Promise.all(spoken.map((request) => digestOf(request)))
    expect(numbered[0]).toBe(numbered[1])
  })
  test('is shown as it will be sent, with what is said for it', async () => {
    const { begin, asks } = house([])
    await begin(alice, requestOf(bodyOf('{}')), verdictOf(APPROVE))
    expect(asks[0]).toMatchObject({
      agent: 'triage',
      connection: 'work',
      operations: ['notes.make'],
      needs: [{ name: 'lead', part: null }],
      shown: {
        method: 'POST',
        url: 'https://api.acme.example/notes?a=b',
        headers: [['accept', 'a/b']],
        body: 'e30=',
        account: 'a1',
        why: ['because'],
        parts: [],
        mails: [],
      },
    })
  })
  test('of several calls says which of them want a yes, and wants those alone', async () => {
    const target = canonicalTarget('DELETE', '/notes/1')
    const parts = [actOf('notes.make'), { ...actOf('notes.drop'), target }] as const
    const request = requestOf(bodyOf('{}'), { ...actOf('batch'), parts })
    const { begin, asks } = house([])
    const unmeetable = saying('allow', { lead: { type: 'approval', properties: {} } })
    await begin(alice, request, verdictOf(APPROVE, [unmeetable, APPROVE]))
    expect(asks[0]).toMatchObject({
      operations: ['notes.make', 'notes.drop'],
      needs: [{ name: 'lead', part: 2 }],
      shown: {
        parts: [
          { operation: 'notes.make', method: null, target: null, needs: false },
          { operation: 'notes.drop', method: 'DELETE', target: '/notes/1', needs: true },
        ],
      },
    })
    expect(await begin(alice, request, verdictOf(APPROVE, [ALLOW, ALLOW]))).toBeNull()
    const vague = { ...unmeetable, effect: 'approval_required' } as const
    expect(await begin(alice, request, verdictOf(APPROVE, [vague, APPROVE]))).toBeNull()
    expect(asks).toHaveLength(1)
  })
})

describe('the mails in it', () => {
  const mail = mailPlaces.parse({
    raw: ['/raw'],
    bodies: { 'message/rfc822': 'message', 'application/json': 'message' },
  })
  const read = { unread: false, sends: true, to: ['b@b.test'] } as unknown as NonNullable<
    Body['mail']
  >
  const message = Buffer.from('To: b@b.test\r\n\r\nx')
  const raw = message.toString('base64')
  const mailsOf = async (body: Body, act: Act) => {
    const { begin, asks } = house([])
    await begin(alice, requestOf(body, act), verdictOf(APPROVE))
    const shown: { readonly mails?: unknown } | undefined = asks[0]?.shown
    return shown?.mails
  }
  const plain = mailPlaces.parse({ raw: ['/raw'], bodies: { 'message/rfc822': 'message' } })

  test('are shown as policy read them, with the message in a member or by itself', async () => {
    const sends = actOf('mail.send', { mail: plain })
    const json = { ...bodyOf(`\ufeff{"raw":"${raw}"}`), mail: read }
    expect(await mailsOf(json, sends)).toEqual([{ part: null, mail: read, message: raw }])
    const own = { ...bodyOf(message.toString(), 'message/rfc822'), mail: read }
    expect(await mailsOf(own, sends)).toEqual([{ part: null, mail: read, message: raw }])
    const form = { ...bodyOf('raw=x', 'application/x-www-form-urlencoded'), mail: read }
    expect(await mailsOf(form, sends)).toEqual([{ part: null, mail: read, message: null }])
  })
  test('a type that is both is read as policy read it', async () => {
    const both = { ...bodyOf(message.toString()), mail: read }
    expect(await mailsOf(both, actOf('mail.send', { mail }))).toEqual([
      { part: null, mail: read, message: raw },
    ])
  })
  test('one that nobody read has no message, and a call without has none', async () => {
    const unread = { ...bodyOf(`{"raw":"${raw}"}`), mail: read, state: 'unparsed' } as const
    expect(await mailsOf(unread, actOf('mail.send', { mail: plain }))).toEqual([
      { part: null, mail: read, message: null },
    ])
    expect(await mailsOf(bodyOf('{}'), actOf('notes.make'))).toEqual([])
    expect(await mailsOf({ ...bodyOf('{}'), mail: read }, actOf('notes.make'))).toEqual([
      { part: null, mail: read, message: null },
    ])
  })
  test('each part of a batch has its own', async () => {
    const inner = (body: InnerCall['body'], contentType: string | null): InnerCall => ({
      method: 'POST',
      target: '/mail',
      contentType,
      stripped: [],
      body,
    })
    const sends = actOf('mail.send', { mail: plain })
    const parts = [sends, actOf('notes.get'), sends, sends] as const
    const parsed: Body = { ...NO_BODY, state: 'parsed', mail: read }
    const body: Body = {
      ...bodyOf('{"raw":"ZGVjb3k="}'),
      calls: [
        inner({ kind: 'json', value: { raw }, pointer: '/0' }, 'application/json'),
        inner({ kind: 'none' }, null),
        inner({ kind: 'bytes', bytes: message }, 'message/rfc822'),
        inner({ kind: 'bytes', bytes: message }, 'message/rfc822'),
      ],
      parts: [parsed, NO_BODY, parsed, { ...parsed, state: 'unparsed' }],
    }
    expect(await mailsOf(body, { ...actOf('batch'), parts })).toEqual([
      { part: 1, mail: read, message: raw },
      { part: 3, mail: read, message: raw },
      { part: 4, mail: read, message: null },
    ])
  })
})

describe('a call that was approved', () => {
  const lifted = (spends: string | null) => ({
    ...verdictOf(ALLOW),
    request: requestOf(),
    lifted: { spends, approvals: () => [], auth: null },
  })
  const nobody = { ...lifted(null), lifted: null }
  test('is spent once, by the call; where there is nothing to spend nobody is asked', async () => {
    for (const first of [true, false]) {
      const spends: string[] = []
      const { spent } = house([], { spend: async () => (spends.push('h'), first) })
      expect(await spent(call, lifted('h'))).toBe(first)
      expect(await spent(call, lifted(null))).toBe(true)
      expect(await spent(call, nobody)).toBe(true)
      expect(spends).toEqual(['h'])
    }
    const { spent } = house([])
    await expect(spent(call, lifted('h'))).rejects.toMatchObject({ code: 'vault_unavailable' })
  })
  test('leaves with nothing taken out of it', () => {
    const { unchanged } = house([])
    const taken = { pointers: ['/a'], digest: 'sha256:x' }
    expect(() => unchanged(lifted('h'), taken)).toThrow('send it without /a')
    for (const [of, out] of [
      [lifted('h'), null],
      [lifted('h'), { ...taken, digest: null }],
      [lifted(null), taken],
      [nobody, taken],
    ] as const)
      expect(() => unchanged(of, out)).not.toThrow()
  })
})

describe('the agent hears', () => {
  const hears = async (
    decision: Decision,
    people: Parameters<typeof house>[1] = {},
    each: Verdict['each'] = null,
  ) => {
    const { refused, begin, diary } = house([], people)
    const request = requestOf()
    const id = await begin(alice, request, verdictOf(decision, each))
    const problem = await refused(alice, request, verdictOf(decision, each))
    return { id, code: problem?.code, said: problem?.message, extra: problem?.extra, diary }
  }
  const DEMAND = { acr_values: 'gold', max_age: 60 }
  const LINK = { authorization_id: 'ap_1', url: BEGUN.url, expires_at: '1970-01-01T00:00:00.000Z' }

  test('the link to approve by, or to sign in', async () => {
    const approve = await hears(APPROVE)
    expect(approve).toMatchObject({ id: 'ap_1', code: 'approval_required' })
    expect(approve.said).toMatch(
      /^approval_required; because\. Show this link to somebody who may/i,
    )
    expect(approve.extra).toEqual({ connection: 'work', decision_id: 'd1', ...LINK })
    const stepUp = await hears(STEP_UP)
    expect(stepUp).toMatchObject({ id: 'ap_1', code: 'step_up_required' })
    expect(stepUp.said).toContain('Ask the user to sign in at')
    expect(stepUp.extra).toEqual({ ...DEMAND, connection: 'work', decision_id: 'd1', ...LINK })
    expect(stepUp.diary[0]).toBe('begin step-up notes.make')
  })
  test('of a yes nothing that only a sign-in demands', async () => {
    const both = saying('approval_required', { lead: LEAD, gold: GOLD })
    const { code, extra, diary } = await hears(both)
    expect(code).toBe('approval_required')
    expect(extra).not.toHaveProperty('acr_values')
    expect(diary).toEqual(['begin approval', 'begin approval'])
  })
  test('that it was declined, and until when', async () => {
    const approve = await hears(APPROVE, { begun: DECLINED })
    expect(approve).toMatchObject({ id: null, code: 'policy_denied' })
    expect(approve.said).toMatch(/^This very call was declined at .* before 1970-01-01T00:01:00/)
    const stepUp = await hears(STEP_UP, { begun: DECLINED })
    expect(stepUp).toMatchObject({ id: null, code: 'policy_denied' })
    expect(stepUp.said).toContain('The user declined to sign in')
  })
  test('why there is no link', async () => {
    const noPage = await hears(APPROVE, { able: false })
    expect(noPage).toMatchObject({ id: null, code: 'approval_required', diary: [] })
    expect(noPage.said).toMatch(/Nobody can approve it here: this deputy has no page/)
    const vague = await hears(saying('approval_required'))
    expect(vague).toMatchObject({ id: null, code: 'approval_required', diary: [] })
    expect(vague.said).toContain('in no form that deputy knows')
    const elsewhere = await hears(STEP_UP, { able: false })
    expect(elsewhere).toMatchObject({ id: null, code: 'step_up_required', diary: [] })
    expect(elsewhere.said).toMatch(
      /This deputy has no page.* A tag whose claims tell of a sign-in as gold that is at most 60 s old does\.$/,
    )
    expect(elsewhere.extra).toMatchObject(DEMAND)
    const nothing = await hears(saying('step_up_required'))
    expect(nothing).toMatchObject({ id: null, code: 'step_up_required', diary: [] })
    expect(nothing.said).toMatch(/its policy asks for no sign-in that one could make\.$/)
    expect(nothing.extra).toEqual({ connection: 'work', decision_id: 'd1' })
  })
  test('nothing of it where policy wants neither', async () => {
    const { refused } = house([])
    for (const effect of ['deny', 'allow', 'consent_required'] as const)
      expect(await refused(alice, requestOf(), verdictOf(saying(effect)))).toBeNull()
  })
})
