// Run tokens: a job acts for its person while nobody is there, and stops within a second.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Octokit } from '@octokit/rest'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startDeputy } from '../support/deputy.ts'
import { BACKEND, READER, startHouse } from '../support/house.ts'
import type { House } from '../support/house.ts'
import { paced } from '../support/pace.ts'

let house: House
beforeAll(async () => {
  house = await startHouse({ accessTtl: 3 })
  await house.connect('alice', 'alice-acme')
})
afterAll(() => house.close())
beforeEach(() => house.people((rows) => rows))

type Run = { readonly id: string; readonly token: string }
const BODY = {
  user_id: 'alice',
  agent: 'agent:triage',
  connections: ['acme'],
  expires_in: 600,
}
const mint = async (more: object = {}): Promise<Run> => {
  const answer = await house.api('POST', '/v1/admin/runs', { ...BODY, ...more })
  const body = (await answer.json()) as Run
  if (answer.status !== 201) throw new Error(`${answer.status} ${JSON.stringify(body)}`)
  return body
}
const answerOf = async (call: Promise<Response>) => {
  const response = await call
  const body = (await response.json()) as Record<string, unknown>
  return { status: response.status, body, code: response.headers.get('deputy-answer') }
}
const decisions = () => house.deputy.evidence().filter(({ event }) => event === 'decision')
/** Polls until a call is refused; the time that took, ms. */
const refusedAfter = async (token: string): Promise<number> => {
  const began = performance.now()
  while ((await house.call(token)).ok) await sleep(20)
  return performance.now() - began
}

test('a run acts as its person after the access token has expired, and the evidence names it each time', async () => {
  const { id, token } = await mint()
  expect(token).toMatch(/^dpr_[A-Za-z0-9_-]{43}$/)
  const before = house.provider.requests.filter(({ path }) => path === '/token').length
  expect(await answerOf(house.call(token))).toMatchObject({
    status: 200,
    body: { sub: 'alice-acme' },
  })
  await sleep(3_200)
  expect(await answerOf(house.call(token))).toMatchObject({
    status: 200,
    body: { sub: 'alice-acme' },
  })
  const after = house.provider.requests.filter(({ path }) => path === '/token').length
  expect(after).toBeGreaterThan(before)
  const mine = decisions().filter(({ run }) => run === id)
  expect(mine).toHaveLength(2)
  expect(mine[0]).toMatchObject({
    user: { id: 'alice', tenant: 'acme', realm: 'corp', verified: true },
    agent: { id: 'agent:triage' },
    decision: { effect: 'allow' },
  })
})

test('an SDK takes it as its key, with or without a scheme, and the provider never sees it', async () => {
  const { token } = await mint()
  house.provider.requests.length = 0
  const octokit = new Octokit({
    baseUrl: `${house.deputy.agent}/acme@api.acme.test`,
    auth: token,
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
  })
  expect((await octokit.request('GET /me')).data).toMatchObject({ sub: 'alice-acme' })
  for (const value of [token, `Bearer ${token}`, `Basic ${btoa(`x:${token}`)}`]) {
    const at = `${house.deputy.agent}/acme@api.acme.test/me`
    expect((await fetch(at, { headers: { authorization: value } })).status).toBe(200)
  }
  expect(JSON.stringify(house.provider.requests)).not.toContain('dpr_')
})

test('revoked: the next call is refused at once, also one in flight ends', async () => {
  const { id, token } = await mint()
  expect((await house.call(token)).status).toBe(200)
  let arrived = (): void => {}
  const there = new Promise<void>((resolve) => (arrived = resolve))
  let go = (): void => {}
  house.provider.before = ({ path }) =>
    path !== '/me' ? undefined : (arrived(), new Promise<void>((resolve) => (go = resolve)))
  const running = house.call(token).then(
    ({ status }) => status,
    () => 'cut',
  )
  await there
  house.provider.before = () => {}
  expect((await house.api('DELETE', `/v1/admin/runs/${id}`)).status).toBe(204)
  expect(await running).not.toBe(200)
  go()
  expect(await answerOf(house.call(token))).toMatchObject({ status: 401, code: 'unauthenticated' })
  expect((await house.api('DELETE', `/v1/admin/runs/${id}`)).status).toBe(204)
  const ended = house.deputy
    .evidence()
    .filter(({ event, run }) => event === 'run.revoked' && run === id)
  expect(ended).toMatchObject([{ operator: 'backend', user: { id: 'alice' } }])
})

test('the person loses their group: the run is refused within a second', async () => {
  const { token } = await mint()
  expect((await house.call(token)).status).toBe(200)
  house.people((rows) => rows.map((row) => ({ ...row, groups: [] })))
  expect(await refusedAfter(token)).toBeLessThan(paced(1_000))
  expect(await answerOf(house.call(token))).toMatchObject({ status: 403, code: 'policy_denied' })
  house.people((rows) => rows)
  await expect.poll(async () => (await house.call(token)).status).toBe(200)
})

test('a run that is over is refused', async () => {
  const { token } = await mint({ expires_in: 1 })
  await sleep(1_050)
  expect(await answerOf(house.call(token))).toMatchObject({
    status: 401,
    body: { detail: 'The run is over.' },
  })
})

describe('reach', () => {
  test('another connection is refused whatever policy says, and the evidence tells why', async () => {
    const { id, token } = await mint()
    expect(await answerOf(house.call(token, 'second'))).toMatchObject({
      status: 403,
      code: 'policy_denied',
      body: { reasons: ['run_scope'] },
    })
    expect(decisions().find(({ run }) => run === id)).toMatchObject({
      decision: { effect: 'deny', reasons: ['run_scope'] },
    })
  })
  test('another operation is refused; a listed one and one of a listed family pass', async () => {
    const write = await mint({ operations: ['acme.me.write'] })
    expect(await answerOf(house.call(write.token))).toMatchObject({
      status: 403,
      body: { reasons: ['run_scope'] },
    })
    for (const operations of [['acme.me.read'], ['acme.me.*']])
      expect((await house.call((await mint({ operations })).token)).status).toBe(200)
  })
  test('a run asks for links only within its connections', async () => {
    const { token } = await mint()
    const client = house.client(house.deputy.agent, token)
    const second = client.auth.start('alice', 'second', { scopes: ['openid'] })
    await expect(second).rejects.toMatchObject({ status: 403 })
    const held = await client.auth.authorize({
      user_id: 'alice',
      auth_requirement: { id: 'acme', oauth2: { scopes: ['openid'] } },
    })
    expect(held).toMatchObject({ status: 'completed' })
  })
  test('a run of some operations asks its person only for what those need', async () => {
    const { token } = await mint({ operations: ['acme.me.read'] })
    const events = (name: string) => house.deputy.evidence().filter(({ event }) => event === name)
    const begun = events('consent.started').length
    const client = house.client(house.deputy.agent, token)
    const ask = (scopes: string[]) => client.auth.start('alice', 'acme', { scopes })
    for (const scopes of [['notes'], ['openid', 'mail']])
      await expect(ask(scopes)).rejects.toMatchObject({
        status: 403,
        error: { reasons: ['run_scope'] },
      })
    expect(events('consent.decided').at(-1)).toMatchObject({
      decision: { effect: 'deny', reasons: ['run_scope'] },
    })
    expect(await ask(['openid'])).toMatchObject({ status: 'completed' })
    const tools = (tool_name: string) => client.tools.authorize({ tool_name, user_id: 'alice' })
    await expect(tools('acme@acme.me.write')).rejects.toMatchObject({
      status: 403,
      error: { reasons: ['run_scope'] },
    })
    expect(await tools('acme@acme.me.read')).toMatchObject({ status: 'completed' })
    expect(events('consent.started')).toHaveLength(begun)
    // Without a list of operations the run may ask for what its connection may.
    const all = house.client(house.deputy.agent, (await mint()).token)
    expect(await all.auth.start('alice', 'acme', { scopes: ['notes'] })).toMatchObject({
      status: 'pending',
    })
  })
})

describe('minting', () => {
  test('policy decides: nobody gets a run for a person without the role', async () => {
    const answer = await answerOf(
      house.api('POST', '/v1/admin/runs', { ...BODY, user_id: 'carol' }),
    )
    expect(answer).toMatchObject({ status: 403, code: 'policy_denied' })
    expect(house.deputy.evidence().findLast(({ event }) => event === 'run.decided')).toMatchObject({
      operator: 'backend',
      user: { id: 'carol' },
      operation: { id: 'deputy.run' },
      decision: { effect: 'deny', reasons: ['no_grant'] },
    })
    const stranger = await house.api('POST', '/v1/admin/runs', { ...BODY, user_id: 'nobody' })
    expect(stranger.status).toBe(403)
  })
  test.each([
    ['a run longer than runs.max', { expires_in: 86_401 }, 'runs.max'],
    [
      'a run that ended before',
      { expires_in: undefined, expires_at: '2020-01-01T00:00:00Z' },
      'future',
    ],
    ['no end', { expires_in: undefined }, 'expires_in'],
    ['two ends', { expires_at: '2099-01-01T00:00:00Z' }, 'expires_in'],
    ['no connection', { connections: [] }, 'connections'],
    ['an unknown connection', { connections: ['toString'] }, 'toString'],
    ['an unknown operation', { operations: ['acme.me.raed'] }, 'raed'],
    ['an unknown member', { scope: 'all' }, 'scope'],
    ['an unknown realm', { realm: 'elsewhere' }, 'realm'],
    ['a control character in the agent', { agent: 'a\u0000b' }, 'agent'],
  ])('%s is 400', async (_name, more, said) => {
    const answer = await answerOf(house.api('POST', '/v1/admin/runs', { ...BODY, ...more }))
    expect([answer.status, answer.code]).toEqual([400, 'request_invalid'])
    expect(answer.body['detail']).toContain(said)
  })
  test('an operator without may: runs, and one of another tenant, mint nothing', async () => {
    const answer = await answerOf(house.api('POST', '/v1/admin/runs', BODY, READER))
    expect(answer).toMatchObject({ status: 403, code: 'operator_refused' })
  })
  test('the list shows runs, never their tokens', async () => {
    const { id, token } = await mint()
    const { status, body } = await answerOf(
      house.api('GET', '/v1/admin/runs?user_id=alice&limit=1'),
    )
    expect([status, body['page_count']]).toEqual([200, 1])
    expect(body['items']).toMatchObject([
      { id, user_id: 'alice', created_by: 'backend', revoked_at: null },
    ])
    expect(JSON.stringify(body)).not.toContain(token.slice(4))
  })
})

describe('tags', () => {
  test('a run beside another tag is two tags; a wrong, cut or changed token is nobody', async () => {
    const { token } = await mint()
    const other = await mint()
    const at = `${house.deputy.agent}/acme@api.acme.test/me`
    const jwt = await house.tag('alice')
    for (const slot of [jwt, other.token])
      expect(
        (await fetch(at, { headers: { 'deputy-user': token, authorization: `Bearer ${slot}` } }))
          .status,
      ).toBe(401)
    const wrong = [
      'dpr_',
      token.slice(0, -1),
      `${token}x`,
      `dpr_${'A'.repeat(43)}`,
      token.toUpperCase(),
    ]
    for (const value of wrong) expect((await house.call(value)).status).toBe(401)
  })
  test('it is never stored, logged or written into evidence', async () => {
    const { token } = await mint()
    await house.call(token)
    await fetch(`${house.deputy.agent}/~${token}/acme@api.acme.test/me`)
    const kept = readdirSync(house.deputy.dir)
      .filter((name) => /deputy\.db|audit/.test(name))
      .map((name) => readFileSync(join(house.deputy.dir, name), 'latin1'))
    for (const text of [...kept, house.deputy.logged()]) expect(text).not.toContain(token.slice(4))
  })
})

test('under plain a run token works too, is verified, and is no name', async () => {
  const deputy = await startDeputy({
    upstream: house.provider.issuer,
    config: { operators: [{ name: 'me', bearer: BACKEND, may: ['runs'] }] },
    people: [{ id: 'alice', groups: ['staff'], roles: ['operator-run'] }],
    held: [{ person: 'alice', token: 'at-alice', agent: 'job' }],
  })
  try {
    const minted = await fetch(`${deputy.connect}/v1/admin/runs`, {
      method: 'POST',
      headers: { authorization: BACKEND, 'content-type': 'application/json' },
      body: JSON.stringify({ ...BODY, agent: 'job' }),
    })
    const { token } = (await minted.json()) as Run
    const at = `${deputy.agent}/acme@api.acme.test/me`
    const tagged = (headers: Record<string, string>, url = at) => fetch(url, { headers })
    // The answer is the provider's own: it does not know what was seeded.
    expect((await tagged({ authorization: token })).headers.get('deputy-answer')).toBe(null)
    expect(deputy.evidence().find(({ event }) => event === 'decision')).toMatchObject({
      user: { id: 'alice', verified: true },
      agent: { id: 'job' },
    })
    expect((await tagged({ authorization: token, 'deputy-user': 'alice' })).status).toBe(401)
    expect((await tagged({}, `${deputy.agent}/~${token}/acme@api.acme.test/me`)).status).toBe(401)
    expect(JSON.stringify(deputy.evidence())).not.toContain(token.slice(4))
  } finally {
    await deputy.close()
  }
})
