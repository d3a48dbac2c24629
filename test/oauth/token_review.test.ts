// An API server that is asked about tokens, and the ways in which it does not answer. test/cluster/tokens.test.ts has a real one.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { UnsecuredJWT } from 'jose'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createReviewedTokens } from '../../proxy/oauth/token_review.ts'
import { Problem } from '../../proxy/problem.ts'

const NOW = 1_800_000_000
const ISSUER = 'https://kubernetes.default.svc'
const SUBJECT = 'system:serviceaccount:agents:triage'
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-review-'))
  writeFileSync(join(folder, 'token'), 'own-1\n')
})
afterEach(() => rmSync(folder, { recursive: true }))

type Body = { readonly spec: { readonly token: string; readonly audiences: readonly string[] } }
type Asked = { readonly url: string; readonly authorization: string; readonly body: Body }
const USER = {
  username: SUBJECT,
  uid: 'u1',
  extra: {
    'authentication.kubernetes.io/pod-name': ['one'],
    'authentication.kubernetes.io/pod-uid': ['p1'],
  },
}
const yes = (more: object = {}) => ({
  status: { authenticated: true, audiences: ['deputy'], user: USER, ...more },
})
const world = (cache = 0) => {
  const asked: Asked[] = []
  const state = {
    s: NOW,
    answer: (): Response | Promise<Response> => Response.json(yes(), { status: 201 }),
  }
  const warned: string[] = []
  const quiet = () => undefined
  const tokens = createReviewedTokens({
    issuers: [
      {
        issuer: ISSUER,
        audience: 'deputy',
        maxAge: 3_600_000,
        review: {
          where: 'workloads.0.token_review',
          server: 'https://api.test',
          ca: null,
          tokenFile: join(folder, 'token'),
          cache,
        },
      },
    ],
    what: 'workload’s token',
    denied: (detail, cause) => new Problem('workload_unauthenticated', detail, { cause }),
    fetch: (url, init) => {
      const authorization = new Headers(init?.headers).get('authorization') ?? ''
      const sent = typeof init?.body === 'string' ? init.body : ''
      const at = url instanceof Request ? url.url : url.toString()
      asked.push({ url: at, authorization, body: JSON.parse(sent) as Body })
      return Promise.resolve(state.answer())
    },
    clock: { now: () => state.s * 1_000, mono: () => state.s * 1_000 },
    log: {
      debug: quiet,
      info: quiet,
      error: quiet,
      warn: (fields) => void warned.push(JSON.stringify(fields)),
    },
    read: (claims, _, { expiresAt }) => ({ claims, expiresAt }),
  })
  return { tokens, asked, state, warned }
}
/** The API server alone looks at its signature. */
const token = (claims: object = {}): string =>
  `${new UnsecuredJWT({ iss: ISSUER, aud: ['deputy'], sub: 'what it says of itself', iat: NOW, exp: NOW + 600, ...claims }).encode()}sig`
const said = async (work: () => unknown): Promise<unknown> => {
  try {
    return await work()
  } catch (error) {
    if (error instanceof Problem) return `${error.code}: ${error.message}`
    throw error
  }
}

test('what the API server says counts, at the places where a token has it', async () => {
  const { tokens, asked } = world()
  const mine = token()
  expect(await tokens.of(mine)).toEqual({
    claims: {
      sub: SUBJECT,
      user: USER,
      'kubernetes.io': {
        namespace: 'agents',
        serviceaccount: { name: 'triage', uid: 'u1' },
        pod: { name: 'one', uid: 'p1' },
        node: {},
      },
    },
    expiresAt: (NOW + 600) * 1_000,
  })
  expect(asked).toEqual([
    {
      url: 'https://api.test/apis/authentication.k8s.io/v1/tokenreviews',
      authorization: 'Bearer own-1',
      body: {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token: mine, audiences: ['deputy'] },
      },
    },
  ])
})

test('each call asks, as whom deputy is by then', async () => {
  const { tokens, asked, state } = world()
  const mine = token()
  await tokens.of(mine)
  writeFileSync(join(folder, 'token'), 'own-2')
  state.answer = () =>
    Response.json({ status: { error: 'service account agents/triage has been deleted' } })
  expect(await said(() => tokens.of(mine))).toBe(
    'workload_unauthenticated: the cluster does not accept the workload’s token: service account agents/triage has been deleted',
  )
  expect(asked.map(({ authorization }) => authorization)).toEqual(['Bearer own-1', 'Bearer own-2'])
})

test('who comes while one is asked waits for the next question, all of them for the same', async () => {
  const { tokens, asked, state } = world()
  const open: ((answer: Response) => void)[] = []
  state.answer = () => new Promise<Response>((resolve) => void open.push(resolve))
  const mine = token()
  const calls = [1, 2, 3, 4].map(() => said(() => tokens.of(mine)))
  await expect.poll(() => open).toHaveLength(1)
  open[0]?.(Response.json(yes()))
  expect(await calls[0]).toMatchObject({ claims: { sub: SUBJECT } })
  await expect.poll(() => open).toHaveLength(2)
  // It was deleted between the two.
  open[1]?.(Response.json({ status: { authenticated: false } }))
  for (const call of calls.slice(1)) expect(await call).toMatch(/^workload_unauthenticated/)
  expect(asked).toHaveLength(2)
})

test('invented tokens leave room for those that were good before', async () => {
  const { tokens, state } = world()
  const mine = token()
  await tokens.of(mine)
  const open: ((answer: Response) => void)[] = []
  state.answer = () => new Promise<Response>((resolve) => void open.push(resolve))
  const invented = Array.from({ length: 64 }, (_, n) =>
    said(() => tokens.of(token({ jti: String(n) }))),
  )
  expect(await Promise.race(invented)).toMatch(/^workload_unavailable: too many/)
  const known = said(() => tokens.of(mine))
  await expect.poll(() => open).toHaveLength(49)
  open.forEach((answer) => answer(Response.json(yes())))
  expect(await known).toMatchObject({ claims: { sub: SUBJECT } })
  await Promise.all(invented)
})

test('with a cache a yes counts for so long, and a no for nobody', async () => {
  const { tokens, asked, state } = world(2_000)
  const mine = token()
  const first = await tokens.of(mine)
  expect(tokens.of(mine)).toBe(first)
  state.s += 2
  await tokens.of(mine)
  tokens.forget()
  await tokens.of(mine)
  expect(asked).toHaveLength(3)
  state.answer = () => Response.json({ status: { authenticated: false } })
  const other = token({ jti: 'other' })
  for (const _ of [1, 2]) expect(await said(() => tokens.of(other))).toMatch(/^workload_unauth/)
  expect(asked).toHaveLength(5)
})

test.each<[string, () => string, RegExp]>([
  ['of another issuer', () => token({ iss: 'https://other.test' }), /of no issuer here/],
  ['for another audience', () => token({ aud: 'vault' }), /is not for deputy/],
  ['that has ended', () => token({ iat: NOW - 60, exp: NOW }), /has expired/],
  ['without an end', () => token({ exp: undefined }), /has no exp/],
  ['of a long life', () => token({ exp: NOW + 3_601 }), /longer than its max_age \(3600 s\)/],
  ['of later', () => token({ iat: NOW + 120 }), /issued in the future/],
  ['that is none', () => 'nonsense', /of no issuer here/],
  ['that is too long', () => token({ pad: 'x'.repeat(20_000) }), /too long/],
])('a token %s is not shown to anybody', async (_, make, reason) => {
  const { tokens, asked } = world()
  const answer = await said(() => tokens.of(make()))
  expect(answer).toMatch(/^workload_unauthenticated/)
  expect(answer).toMatch(reason)
  expect(asked).toEqual([])
})

test.each<[string, object, RegExp]>([
  ['no audience', { audiences: undefined }, /is not for deputy/],
  ['another audience', { audiences: ['vault'] }, /is not for deputy/],
  ['perhaps', { authenticated: 'true' }, /does not accept/],
])('an answer of %s is a no', async (_, more, reason) => {
  const { tokens, state } = world()
  state.answer = () => Response.json(yes(more))
  expect(await said(() => tokens.of(token()))).toMatch(reason)
})

test.each<[string, () => Response | Promise<Response>, RegExp]>([
  ['cannot be reached', () => Promise.reject(new Error('away')), /cannot be asked/],
  ['does not know deputy', () => new Response('', { status: 401 }), /may not create tokenreviews/],
  ['does not let deputy ask', () => new Response('', { status: 403 }), /system:auth-delegator/],
  ['fails', () => new Response('', { status: 500 }), /answers 500/],
  [
    'sends deputy elsewhere',
    () => new Response('', { status: 302, headers: { location: 'https://other.test' } }),
    /answers 302/,
  ],
  ['answers no JSON', () => new Response('<html>', { status: 201 }), /./],
  ['answers nothing', () => Response.json({}, { status: 201 }), /without a status/],
  [
    'answers too much',
    () => new Response(`"${'x'.repeat(300_000)}"`, { status: 201 }),
    /more than 256 kB/,
  ],
])('where the API server %s nobody is let in, and the log has why', async (_, answer, reason) => {
  const { tokens, state, warned } = world()
  state.answer = answer
  for (const _ of [1, 2])
    expect(await said(() => tokens.of(token()))).toBe(
      'workload_unavailable: the cluster cannot be asked about the workload’s token now',
    )
  expect(warned).toEqual([expect.stringMatching(reason)])
  expect(warned.join()).not.toContain('own-1')
  state.answer = () => Response.json(yes())
  expect(await said(() => tokens.of(token()))).toMatchObject({ claims: { sub: SUBJECT } })
})

test('a pipe in place of its own token is not waited for', async () => {
  const { tokens, asked, warned } = world()
  unlinkSync(join(folder, 'token'))
  execFileSync('mkfifo', [join(folder, 'token')])
  expect(await said(() => tokens.of(token()))).toMatch(/^workload_unavailable/)
  writeFileSync(join(folder, 'empty'), '')
  expect(warned.join()).toContain('is no file: a pipe is there')
  expect(asked).toEqual([])
})

test('questions at once are bounded', async () => {
  const { tokens, state } = world()
  state.answer = () => new Promise<Response>(() => {})
  const calls = Array.from({ length: 65 }, (_, i) =>
    said(() => tokens.of(token({ jti: String(i) }))),
  )
  expect(await calls[64]).toMatch(/^workload_unavailable: too many/)
})

test('what is meant for deputy is known without asking', () => {
  const { tokens, asked } = world()
  expect([token(), token({ aud: 'vault' }), 'x'].map(tokens.meant)).toEqual([true, false, false])
  expect([token(), token({ iss: 'x' })].map(tokens.issuedBy)).toEqual([true, false])
  expect(asked).toEqual([])
})
