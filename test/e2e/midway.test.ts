// What happens to a call, or to the next one, when something changes in the middle: a No, a revocation, a person who left.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { startDeputy, type Deputy, type Fields, type Held } from '../support/deputy.ts'
import { paced } from '../support/pace.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const OPERATOR = 'operator-bearer-000000000000000000000'
let upstream: Upstream
let deputy: Deputy
beforeEach(async () => {
  upstream = await startUpstream()
})
afterEach(async () => {
  await deputy.close()
  await upstream.close()
})
const start = async (held: readonly Held[]): Promise<void> => {
  deputy = await startDeputy({
    upstream: upstream.origin,
    config: { operators: [{ name: 'me', bearer: OPERATOR, may: ['revoke'] }] },
    held,
  })
}
const ask = (who = 'alice') =>
  fetch(`${deputy.agent}/api.acme.test/notes/1`, { headers: { 'deputy-user': who } })
const call = async (who?: string) => {
  const answer = await ask(who)
  return {
    status: answer.status,
    code: answer.headers.get('deputy-answer'),
    told: (await answer.json()) as Fields,
  }
}
const authorize = async (): Promise<Fields> => {
  const answer = await fetch(`${deputy.agent}/v1/auth/authorize`, {
    method: 'POST',
    headers: { 'deputy-user': 'alice', 'content-type': 'application/json' },
    body: JSON.stringify({
      user_id: 'alice',
      auth_requirement: { id: 'acme', oauth2: { scopes: ['notes'] } },
    }),
  })
  return (await answer.json()) as Fields
}

test('after a No the next answers say so and offer no link, until somebody asks on purpose', async () => {
  await start([])
  const first = await call()
  expect(first.code).toBe('consent_required')
  const browser = createBrowser()
  const asked = await browser.open(String(first.told['url']))
  const code = readFileSync(join(deputy.dir, '.deputy-code'), 'utf8').trim()
  const page = await browser.submit(asked, { code })
  expect((await browser.submit(page, { answer: 'no' })).text).toContain('Nothing was connected')
  const { code: said, told } = await call()
  expect(said).toBe('consent_required')
  expect(told).not.toHaveProperty('url')
  const at = Date.parse(String(told['declined_at']))
  expect(Math.abs(Date.now() - at)).toBeLessThan(paced(30_000))
  expect(Date.parse(String(told['ask_after'])) - at).toBe(3_600_000)
  expect(told['detail']).toContain(`at ${String(told['declined_at'])}`)
  const begun = await authorize()
  expect(begun).toMatchObject({ status: 'pending', url: expect.stringContaining('/connect/') })
  expect((await call()).told).toMatchObject({ url: expect.stringContaining('/connect/') })
})

test('a grant that is revoked while its token is refreshed ends the call in a problem document', async () => {
  await start([
    { person: 'alice', token: 'at-alice', refresh: 'rt-alice-1', expiresIn: 1, agedMs: 60_000 },
  ])
  const arrived = Promise.withResolvers<void>()
  const answers = Promise.withResolvers<void>()
  upstream.token = async (_form, res) => {
    arrived.resolve()
    await answers.promise
    res.writeHead(503).end()
  }
  const flying = call()
  await arrived.promise
  const revoked = await fetch(`${deputy.connect}/v1/admin/users/alice/connections`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${OPERATOR}` },
  })
  expect(await revoked.text()).toContain('acme')
  const { status, code, told } = await flying
  answers.resolve()
  expect([status, code]).toEqual([403, 'consent_required'])
  expect(told).toMatchObject({
    title: expect.any(String),
    url: expect.stringContaining('/connect/'),
  })
  expect(upstream.seen).toEqual([])
})

test.each([
  ['set inactive', [{ id: 'alice', groups: ['staff'], active: false }]],
  ['removed', []],
])(
  'a stream ends within two seconds when its person is %s, and nobody else’s does',
  async (_how, alice) => {
    await start(
      ['alice', 'bob'].map((person) => ({ person, token: `at-${person}`, expiresIn: null })),
    )
    upstream.handle = (_seen, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.write('data: one\n\n')
    }
    const streams = await Promise.all(
      ['alice', 'bob'].map(async (who) => {
        const reader = (await ask(who)).body?.getReader()
        await reader?.read()
        return reader
      }),
    )
    const began = performance.now()
    const people = [...alice, { id: 'bob', groups: ['staff'] }]
    writeFileSync(join(deputy.dir, 'people.yaml'), JSON.stringify({ people }))
    const bob = { over: false }
    const theirs = streams[1]?.read().finally(() => (bob.over = true))
    await expect(streams[0]?.read()).rejects.toThrow()
    expect(performance.now() - began).toBeLessThan(paced(2_000))
    expect(bob.over).toBe(false)
    await streams[1]?.cancel()
    await theirs
    expect((await call('alice')).code).toBe('policy_denied')
  },
)

test('while a refresh rests, a 401 is told as refresh_in_progress, not as the provider’s own', async () => {
  await start([{ person: 'alice', token: 'at-alice', refresh: 'rt-alice-1', agedMs: 60_000 }])
  upstream.token = (_form, res) => void res.writeHead(503, { 'retry-after': '20' }).end()
  upstream.handle = (_seen, res) => void res.writeHead(401).end('{}')
  for (let n = 0; n < 2; n += 1) {
    const { status, code, told } = await call()
    expect([status, code]).toEqual([503, 'refresh_in_progress'])
    expect(told['retry_after']).toBeGreaterThan(0)
  }
  expect(upstream.refreshes).toHaveLength(1)
})
