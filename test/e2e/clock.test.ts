// The wall clock is set while deputy serves: nothing that has ended begins again, no call goes by a wrong clock, and it heals.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { moveClocks } from '../support/clocks.ts'
import type { Clocks } from '../support/clocks.ts'
import { CLIENT_SECRET, startDeputy } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { startHouse } from '../support/house.ts'
import { AUDIENCE, startIssuer } from '../support/issuer.ts'
import type { Issuer } from '../support/issuer.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const BEARER = 'the-operator-of-the-clock-tests-0123456789'
let upstream: Upstream
let issuer: Issuer
let deputy: Deputy
let clocks: Clocks

beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set('at-alice-0123456789', 'alice')
  issuer = await startIssuer()
})
afterAll(() => {
  issuer.close()
  return upstream.close()
})
beforeEach(async () => {
  clocks = moveClocks()
  deputy = await startDeputy({
    upstream: upstream.origin,
    people: [{ id: 'alice', realm: 'corp', groups: ['staff'], roles: ['operator-run'] }],
    held: [
      {
        person: { tenant: 'default', realm: 'corp', id: 'alice' },
        agent: 'agent-1',
        token: 'at-alice-0123456789',
        expiresIn: null,
      },
    ],
    config: {
      connections: {
        acme: {
          provider: 'acme',
          client_id: 'deputy',
          client_secret: CLIENT_SECRET,
          scopes: ['notes'],
        },
      },
      identity: {
        trust: 'asserted',
        issuers: [{ issuer: issuer.url, realm: 'corp', audience: AUDIENCE }],
      },
      connect: { sign_in: { issuer: issuer.url, client_id: 'pages' } },
      operators: [{ name: 'ops', bearer: BEARER, may: ['runs', 'revoke'] }],
    },
  })
})
afterEach(async () => {
  clocks.restore()
  await deputy.close()
})

const ask = async (tag: string): Promise<string> => {
  const response = await fetch(`${deputy.agent}/api.acme.test/a`, {
    headers: { 'deputy-user': tag },
  })
  const body = (await response.json()) as { readonly login?: string }
  return `${response.status} ${response.headers.get('deputy-answer') ?? body.login ?? ''}`
}
const mint = async (seconds: number): Promise<Response> =>
  fetch(`${deputy.connect}/v1/admin/runs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${BEARER}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      user_id: 'alice',
      agent: 'agent-1',
      connections: ['acme'],
      expires_in: seconds,
    }),
  })
const runToken = async (seconds: number): Promise<string> => {
  const answer = await mint(seconds)
  const text = await answer.text()
  expect(answer.status, text).toBe(201)
  return (JSON.parse(text) as { readonly token: string }).token
}
const sign = (seconds: number): Promise<string> => {
  const now = Math.floor(Date.now() / 1_000)
  return issuer.sign({ sub: 'alice', iat: now, exp: now + seconds })
}
const ready = async (): Promise<string> => {
  const answer = await fetch(`http://${deputy.admin}/readyz`)
  return `${answer.status} ${await answer.text()}`
}
/** Time passes, and the file of people is looked at again. */
const pass = async (ms: number): Promise<void> => {
  clocks.pass(ms)
  const tag = await sign(3_000)
  await expect.poll(() => ask(tag)).toBe('200 alice')
}

describe('set back by two minutes', () => {
  test('what has ended stays ended, and nothing else goes by that clock until it is right', async () => {
    const [assertion, run] = [await sign(60), await runToken(60)]
    const [unseen, long] = [await sign(60), await runToken(3_000)]
    for (const tag of [assertion, run, long]) expect(await ask(tag)).toBe('200 alice')
    await pass(90_000)
    const fresh = await sign(3_000)
    clocks.set(-120_000)
    for (const tag of [assertion, unseen, run]) expect(await ask(tag)).toBe('401 unauthenticated')
    for (const tag of [fresh, long, await sign(3_000)])
      expect(await ask(tag)).toBe('503 clock_wrong')
    expect(await ready()).toMatch(
      /^503 \[-\] clock the wall clock is 120 s behind .* restart deputy/,
    )
    const metrics = await (await fetch(`http://${deputy.admin}/metrics`)).text()
    expect(metrics).toMatch(/^deputy_clock_lead_seconds -1(?:19|20)\./m)
    expect((await mint(60)).status).toBe(503)
    clocks.set(120_000)
    expect(await ready()).toBe('200 ok')
    for (const tag of [fresh, long]) expect(await ask(tag)).toBe('200 alice')
    for (const tag of [assertion, unseen, run]) expect(await ask(tag)).toBe('401 unauthenticated')
  })
  test('by less than a minute: ready, and what has ended stays ended', async () => {
    const [assertion, run] = [await sign(60), await runToken(60)]
    await pass(70_000)
    clocks.set(-45_000)
    for (const tag of [assertion, run]) expect(await ask(tag)).toBe('401 unauthenticated')
    expect(await ready()).toBe('200 ok')
    expect(await ask(await sign(3_000))).toBe('200 alice')
  })
  test('to 1970', async () => {
    const tag = await sign(3_000)
    expect(await ask(tag)).toBe('200 alice')
    clocks.set(-Date.now())
    expect(await ask(tag)).toBe('503 clock_wrong')
    expect(await ready()).toContain('503 [-] clock')
  })
})

describe('set forward by a day', () => {
  test('nothing is let through, minted or begun by it, and it is no fault of the tag; back again all is well', async () => {
    const [tag, run] = [await sign(3_000), await runToken(3_000)]
    expect(await ask(tag)).toBe('200 alice')
    clocks.set(86_400_000)
    for (const each of [tag, run, await sign(3_000)])
      expect(await ask(each)).toBe('503 clock_wrong')
    expect((await mint(60)).status).toBe(503)
    const page = await fetch(`${deputy.connect}/connections`, { redirect: 'manual' })
    expect([page.status, await page.text()]).toEqual([503, expect.stringContaining('ahead')])
    expect(await ready()).toMatch(/^503 \[-\] clock the wall clock is 86400 s ahead/)
    clocks.set(-86_400_000)
    expect(await ready()).toBe('200 ok')
    for (const each of [tag, run]) expect(await ask(each)).toBe('200 alice')
  })
  test('a minute later it is believed: a machine that stood still was set right', async () => {
    clocks.set(86_400_000)
    await expect
      .poll(() => deputy.logged())
      .toContain('no call is let through: the wall clock is 86400 s ahead')
    clocks.pass(61_000)
    await expect.poll(ready).toBe('200 ok')
    const tag = await sign(3_000)
    await expect.poll(() => ask(tag)).toBe('200 alice')
    await expect.poll(() => deputy.logged()).toContain('the clocks agree again')
  })
})

test('a call that waits for its person does not go on by a clock that went wrong meanwhile', async () => {
  const house = await startHouse()
  try {
    const { url = '' } = await house.authorize('alice')
    const waiting = fetch(`${house.deputy.agent}/acme@api.acme.test/me`, {
      headers: { 'deputy-user': await house.tag('alice'), prefer: 'wait=30' },
    })
    const metrics = async (): Promise<string> =>
      (await fetch(`http://${house.deputy.admin}/metrics`)).text()
    await expect.poll(metrics).toMatch(/^deputy_held_calls 1$/m)
    clocks.set(-120_000)
    const came = await house.walk(createBrowser(), url, 'alice-acme')
    const flow_id = came.searchParams.get('flow_id') ?? ''
    await house
      .verifier()
      .post('/v1/auth/confirm_user', { body: { flow_id, user_id: 'alice', tenant: 'acme' } })
    const answer = await waiting
    expect([answer.status, answer.headers.get('deputy-answer')]).toEqual([503, 'clock_wrong'])
    clocks.set(120_000)
    expect((await house.call(await house.tag('alice'))).status).toBe(200)
  } finally {
    await house.close()
  }
})

test('nothing is swept away as old by a clock that is ahead', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const house = await startHouse()
  try {
    await house.connect('alice', 'alice-acme')
    const run = { user_id: 'alice', agent: 'agent:triage', connections: ['acme'], expires_in: 600 }
    const minted = await house.api('POST', '/v1/admin/runs', run)
    const { token } = (await minted.json()) as { readonly token: string }
    clocks.set(100 * 86_400_000)
    vi.advanceTimersByTime(61_000)
    clocks.set(-100 * 86_400_000)
    expect((await house.call(token)).status).toBe(200)
  } finally {
    vi.useRealTimers()
    await house.close()
  }
})
