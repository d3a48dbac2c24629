// An agent that is switched off by an operator: whatever of it is under way ends, whatever comes is refused, for whom
// the operator serves and nobody else.
import { Hono } from 'hono'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { addAgentRoutes } from '../../proxy/api/agents.ts'
import { createGate } from '../../proxy/api/operator.ts'
import type { Env } from '../../proxy/api/rest.ts'
import { Problem, toProblem } from '../../proxy/problem.ts'
import { READER, startHouse } from '../support/house.ts'
import type { House } from '../support/house.ts'
import { startDeputy } from '../support/deputy.ts'
import { conforming } from '../support/openapi.ts'

const AGENT = 'agent:triage'
const OTHERS = 'canary-others-bearer-000000000000000000'
const BEARER = 'canary-backend-bearer-00000000000000000'
const OWNER = { id: 'bob', tenant: 'acme' }
let house: House
beforeAll(async () => {
  house = await startHouse({
    tenants: ['acme', 'other'],
    config: {
      agents: [
        { id: AGENT, name: 'Triage', owner: OWNER, contact: 'https://help.acme.example' },
        { id: 'agent:quiet' },
      ],
      operators: [
        { name: 'backend', bearer: BEARER, may: ['runs', 'connections', 'revoke'] },
        { name: 'reader', bearer: READER, may: ['connections'], tenants: ['other'] },
        { name: 'others', bearer: OTHERS, may: ['connections', 'revoke'], tenants: ['other'] },
      ],
    },
  })
  await house.connect('alice', 'alice-acme')
  await house.connect('alice', 'alice-acme', { tenant: 'other' })
})
afterAll(() => house.close())
afterEach(async () => {
  house.provider.before = () => {}
  for (const bearer of [BEARER, OTHERS]) await agents('POST', `/${AGENT}/enable`, bearer)
})

const agents = async (method: string, path: string, bearer = BEARER) => {
  const answer = await house.api(method, `/v1/admin/agents${path}`, undefined, bearer)
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}
const codeOf = async (tenant = 'acme', agent = AGENT, user = 'alice'): Promise<string | null> => {
  const answer = await house.call(await house.tag(user, tenant, agent))
  await answer.body?.cancel()
  return answer.headers.get('deputy-answer')
}
const events = (name: string) => house.deputy.evidence().filter(({ event }) => event === name)
/** A call that is at the provider and gets no answer. */
const flying = async (tag: string) => {
  const there = Promise.withResolvers<void>()
  const gone = Promise.withResolvers<void>()
  house.provider.before = ({ path }) =>
    path === '/me' ? (there.resolve(), gone.promise) : undefined
  const call = house.call(tag)
  await there.promise
  return { call, end: () => gone.resolve() }
}

describe('switched off for everybody', () => {
  test('what is in flight ends, what comes is refused with a sentence, and both are so for every tenant', async () => {
    const one = await flying(await house.tag('alice'))
    const { status, body } = await agents('POST', `/${AGENT}/disable`)
    expect([status, body]).toMatchObject([
      200,
      {
        id: AGENT,
        name: 'Triage',
        known: true,
        owner: 'bob',
        disabled: [{ tenant: null, by: 'operator' }],
      },
    ])
    const cut = await one.call
    expect([cut.status, cut.headers.get('deputy-answer')]).toEqual([403, 'agent_disabled'])
    expect(await cut.json()).toMatchObject({
      code: 'agent_disabled',
      detail: 'The agent agent:triage is switched off.',
    })
    one.end()
    expect([await codeOf(), await codeOf('other')]).toEqual(['agent_disabled', 'agent_disabled'])
    expect(await codeOf('acme', 'agent:quiet')).toBe('consent_required')
    expect(events('agent.disabled').at(-1)).toMatchObject({
      operator: 'backend',
      agent: { id: AGENT },
      tenant: null,
    })
    expect((await agents('POST', `/${AGENT}/enable`)).body['disabled']).toEqual([])
    expect(events('agent.enabled').at(-1)).toMatchObject({
      operator: 'backend',
      agent: { id: AGENT },
    })
    expect(await codeOf()).toBe(null)
  })

  test('nothing leaves once it is off', async () => {
    await agents('POST', `/${AGENT}/disable`)
    house.provider.requests.length = 0
    expect(await codeOf()).toBe('agent_disabled')
    expect(house.provider.requests).toEqual([])
  })

  test('its runs act no more, and no new one is minted', async () => {
    const run = {
      user_id: 'alice',
      tenant: 'acme',
      agent: AGENT,
      connections: ['acme'],
      expires_in: 60,
    }
    const minted = await house.api('POST', '/v1/admin/runs', run)
    const { token } = (await minted.json()) as { readonly token: string }
    expect((await house.call(token)).status).toBe(200)
    const one = await flying(token)
    await agents('POST', `/${AGENT}/disable`)
    expect((await one.call).headers.get('deputy-answer')).toBe('agent_disabled')
    one.end()
    expect((await house.call(token)).headers.get('deputy-answer')).toBe('agent_disabled')
    const refused = await house.api('POST', '/v1/admin/runs', run)
    expect([refused.status, (await refused.json()) as object]).toMatchObject([
      403,
      { code: 'agent_disabled' },
    ])
  })

  test('a call that waits for its person ends, and no link is made any more', async () => {
    const tag = await house.tag('bob')
    const held = fetch(`${house.deputy.agent}/acme@api.acme.test/me`, {
      headers: { 'deputy-user': tag, prefer: 'wait=50' },
    })
    await expect
      .poll(async () => (await fetch(`http://${house.deputy.admin}/metrics`)).text())
      .toMatch(/^deputy_held_calls 1$/m)
    await agents('POST', `/${AGENT}/disable`)
    const cut = await held
    expect([cut.status, cut.headers.get('deputy-answer')]).toEqual([403, 'agent_disabled'])
    await expect(house.authorize('bob')).rejects.toMatchObject({ status: 403 })
  })
})

describe('operators', () => {
  test('one of a tenant switches it off there, sees nobody of another, and lifts nothing that is wider', async () => {
    const off = await agents('POST', `/${AGENT}/disable`, OTHERS)
    expect(off.body).toMatchObject({ owner: null, disabled: [{ tenant: 'other' }] })
    expect([await codeOf(), await codeOf('other')]).toEqual([null, 'agent_disabled'])
    const beyond = await agents('POST', `/${AGENT}/disable?tenant=acme`, OTHERS)
    expect([beyond.status, beyond.body['code']]).toEqual([403, 'operator_refused'])
    await agents('POST', `/${AGENT}/disable`)
    await agents('POST', `/${AGENT}/enable`, OTHERS)
    expect([await codeOf(), await codeOf('other')]).toEqual(['agent_disabled', 'agent_disabled'])
    await agents('POST', `/${AGENT}/disable?tenant=acme`)
    await agents('POST', `/${AGENT}/enable`)
    expect([await codeOf(), await codeOf('other')]).toEqual(['agent_disabled', null])
    const seen = await agents('GET', '', OTHERS)
    expect(JSON.stringify(seen.body)).not.toMatch(/"acme"|bob/)
    const ids = (seen.body['items'] as readonly { readonly id: string }[]).map(({ id }) => id)
    expect(ids).toEqual(['agent:quiet']) // the other is off for a tenant that they do not serve
    await agents('POST', `/${AGENT}/enable?tenant=acme`)
  })

  test('one that may not revoke switches nothing; a stranger learns nothing', async () => {
    expect((await agents('POST', `/${AGENT}/disable`, READER)).body['code']).toBe(
      'operator_refused',
    )
    expect((await agents('POST', `/${AGENT}/disable`, 'x'.repeat(40))).status).toBe(401)
    expect((await agents('GET', '', 'x'.repeat(40))).status).toBe(401)
    expect(await codeOf()).toBe(null)
  })

  test('agents without a row are switched off as well, and listed then; odd names are refused', async () => {
    const odd = encodeURIComponent('agent:"><script>')
    await agents('POST', `/${odd}/disable`)
    const { body } = await agents('GET', '')
    expect(body['items']).toMatchObject([
      { id: 'agent:"><script>', known: false, disabled: [{ tenant: null }] },
      { id: 'agent:quiet', known: true, disabled: [] },
      { id: AGENT, known: true, disabled: [] },
    ])
    await agents('POST', `/${odd}/enable`)
    const turned = await agents('POST', `/${encodeURIComponent('a\u202eb')}/disable`)
    expect([turned.status, turned.body['code']]).toEqual([400, 'request_invalid'])
  })
})

test('evidence that fails leaves it on nowhere, and whoever repeats it is recorded', async () => {
  const at = { off: new Set<string | null>(), full: true, told: [] as object[] }
  const app = new Hono<Env>()
  const gate = createGate({
    operators: [],
    signIn: {
      looksLike: () => true,
      operator: () => Promise.resolve({ name: 'desk', may: ['revoke'], tenants: ['a', 'b', 'c'] }),
    },
    onEvent: () => Promise.resolve(),
    stranger: () => undefined,
    mono: () => 0,
    log: { warn: () => undefined },
  })
  addAgentRoutes({ route: (method, path, handler) => void app.on(method, path, handler) }, gate, {
    agents: {
      about: new Map(),
      list: () => Promise.resolve([]),
      enable: () => Promise.resolve(false),
      disable: (_, tenant) => {
        if (tenant === 'a' && at.full)
          return Promise.reject(new Problem('vault_unavailable', 'a row is locked'))
        const changed = !at.off.has(tenant)
        at.off.add(tenant)
        return Promise.resolve(changed)
      },
    },
    onEvent: (_, fields) => {
      if (at.full) return Promise.reject(new Problem('audit_unavailable', 'full'))
      at.told.push(fields)
      return Promise.resolve()
    },
  })
  app.onError((error, c) => c.text(toProblem(error).code, 503))
  const off = async () =>
    (await app.request('/v1/admin/agents/x/disable', { method: 'POST' })).status
  expect([await off(), [...at.off]]).toEqual([503, ['b', 'c']])
  at.full = false
  expect([await off(), [...at.off]]).toEqual([200, ['b', 'c', 'a']])
  expect(at.told).toMatchObject([
    { tenant: 'a' },
    { tenant: 'b', repeated: true },
    { tenant: 'c', repeated: true },
  ])
})

test('it is off after a restart too', async () => {
  const setup = {
    upstream: house.provider.issuer,
    held: [{ person: 'alice', token: 'at-0123456789abcdef' }],
    config: { operators: [{ name: 'me', bearer: BEARER, may: ['revoke'] }] },
  }
  const call = async (agent: string): Promise<string | null> => {
    const headers = { 'deputy-user': 'alice' }
    const answer = await fetch(`${agent}/acme@api.acme.test/me`, { headers })
    return answer.headers.get('deputy-answer')
  }
  const first = await startDeputy(setup)
  await conforming(`${first.connect}/v1/admin/agents/laptop/disable`, {
    method: 'POST',
    headers: { authorization: `Bearer ${BEARER}` },
  })
  expect(await call(first.agent)).toBe('agent_disabled')
  await first.stop()
  const second = await startDeputy(setup, first.dir)
  try {
    expect(await call(second.agent)).toBe('agent_disabled')
  } finally {
    await second.close()
  }
})
