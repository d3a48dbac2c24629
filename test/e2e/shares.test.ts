// One agent that lets everything hang keeps no other agent waiting, on real sockets.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startDeputy, type Deputy } from '../support/deputy.ts'
import { AUDIENCE, startIssuer, type Issuer } from '../support/issuer.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const MANY = 300
const people = Array.from({ length: MANY }, (_, i) => `p${i}`)
const personOf = (id: string) => ({ tenant: 'default', realm: 'corp', id })
let upstream: Upstream
let issuer: Issuer
let deputy: Deputy
let tags: readonly string[]
let other: string
let beside: string

beforeAll(async () => {
  upstream = await startUpstream()
  issuer = await startIssuer()
  upstream.people.set('fresh-token-0123456789', 'bob')
  const expired = (id: string, agent: string) => ({
    person: personOf(id),
    agent,
    token: `old-${id}-0123456789`,
    refresh: `rt-${id}-1`,
    agedMs: 600_000,
    expiresIn: -1,
  })
  deputy = await startDeputy({
    upstream: upstream.origin,
    people: [...people, 'bob', 'carol'].map((id) => ({ id, realm: 'corp', groups: ['staff'] })),
    held: [
      ...people.map((id) => expired(id, 'agent-a')),
      expired('bob', 'agent-b'),
      { person: personOf('carol'), agent: 'agent-b', token: 'fresh-token-0123456789' },
      { person: personOf('carol'), agent: 'agent-a', token: 'fresh-token-0123456789' },
    ],
    config: {
      limits: { calls_per_agent: 100, calls: 1_000 },
      identity: {
        trust: 'asserted',
        issuers: [{ issuer: issuer.url, audience: AUDIENCE, realm: 'corp' }],
      },
      connect: { sign_in: { issuer: issuer.url, client_id: 'pages' } },
    },
  })
  const sign = (sub: string, agent: string) => issuer.sign({ sub, act: { sub: agent } })
  tags = await Promise.all(people.map((id) => sign(id, 'agent-a')))
  other = await sign('bob', 'agent-b')
  beside = await sign('carol', 'agent-b')
})
afterAll(async () => {
  await deputy.close()
  issuer.close()
  await upstream.close()
})

type Init = Omit<RequestInit, 'headers'> & { readonly headers?: Readonly<Record<string, string>> }
const call = (tag: string, path = '/api.acme.test/a', init: Init = {}): Promise<Response> =>
  fetch(deputy.agent + path, { ...init, headers: { 'deputy-user': tag, ...init.headers } })
/** Hundreds of one agent; ended by `leave`. */
const hanging = (one: (i: number, signal: AbortSignal) => Promise<Response>) => {
  const leave = new AbortController()
  const answers: Response[] = []
  const all = Array.from({ length: MANY }, (_, i) =>
    one(i, leave.signal).then(
      (answer) => void answers.push(answer),
      () => undefined,
    ),
  )
  return {
    answers,
    leave: async () => {
      leave.abort()
      await Promise.all(all)
    },
  }
}

test('300 refreshes at a token endpoint that never answers: another agent’s goes through', async () => {
  const asked: string[] = []
  upstream.token = (form, res) => {
    const token = form.get('refresh_token') ?? ''
    asked.push(token)
    if (!token.startsWith('rt-bob')) return
    upstream.people.set('new-token-of-bob-0123456789', 'bob')
    res.writeHead(200, { 'content-type': 'application/json' }).end(
      JSON.stringify({
        access_token: 'new-token-of-bob-0123456789',
        expires_in: 3600,
        token_type: 'bearer',
      }),
    )
  }
  const many = hanging((i, signal) => call(tags[i] ?? '', undefined, { signal }))
  await expect.poll(() => asked.length).toBe(4)
  const answer = await call(other)
  expect([answer.status, await answer.json()]).toEqual([
    200,
    expect.objectContaining({ login: 'bob' }),
  ])
  // Of the hanging ones no more were asked for meanwhile: bob did not wait for any of them.
  expect(asked.filter((token) => !token.startsWith('rt-bob'))).toHaveLength(4)
  // Who comes when nothing moves any more is told, and when to come again.
  await expect
    .poll(async () => {
      const late = await call(tags[MANY - 1] ?? '')
      const { code } = (await late.json()) as { code: string }
      return [late.status, code, late.headers.get('retry-after')]
    })
    .toEqual([503, 'share_used_up', '1'])
  await many.leave()
  upstream.token = null
})

test('300 long polls: those beyond the share are told at once, another agent’s goes through', async () => {
  const authorize = (tag: string, user: string) =>
    call(tag, '/v1/auth/authorize', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user_id: user, auth_requirement: { id: 'stream' } }),
    }).then((answer) => answer.json() as Promise<{ id: string }>)
  const { id } = await authorize(tags[0] ?? '', people[0] ?? '')
  const many = hanging((_, signal) =>
    call(tags[0] ?? '', `/v1/auth/status?id=${id}&wait=59`, { signal }),
  )
  await expect.poll(() => many.answers.length).toBe(MANY - 100)
  for (const { status, headers } of many.answers)
    expect([status, headers.get('retry-after')]).toEqual([503, '1'])
  const mine = await authorize(beside, 'carol')
  const answer = await call(beside, `/v1/auth/status?id=${mine.id}&wait=1`)
  expect([answer.status, await answer.json()]).toEqual([
    200,
    expect.objectContaining({ status: 'pending' }),
  ])
  await many.leave()
  await expect
    .poll(async () => (await call(tags[0] ?? '', `/v1/auth/status?id=${id}&wait=1`)).status)
    .toBe(200)
})

test('300 calls that hang: those beyond the share are refused, another agent’s goes through', async () => {
  upstream.handle = ({ url, who }, res) => {
    if (url !== '/hang') res.end(String(who))
  }
  const tag = await issuer.sign({ sub: 'carol', act: { sub: 'agent-a' } })
  const many = hanging((_, signal) => call(tag, '/api.acme.test/hang', { signal }))
  await expect.poll(() => many.answers.length).toBe(MANY - 100)
  for (const { status, headers } of many.answers)
    expect([status, headers.get('retry-after')]).toEqual([429, '1'])
  expect(await (await call(beside)).text()).toBe('bob')
  await many.leave()
  upstream.handle = null
})
