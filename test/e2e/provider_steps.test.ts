// What a provider wants beside a token, in a whole deputy: in words for the agent and its user, with a link that helps.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { startDeputy, type Deputy } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let deputy: Deputy
beforeEach(async () => {
  upstream = await startUpstream()
  for (const who of ['alice', 'bob']) upstream.people.set(`at-${who}`, who)
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: [
      { person: 'alice', token: 'at-alice', refresh: 'rt-alice-1', agedMs: 60_000 },
      { person: 'bob', token: 'at-bob', refresh: 'rt-bob-1', expiresIn: 1, agedMs: 60_000 },
    ],
  })
})
afterEach(async () => {
  await deputy.close()
  await upstream.close()
})

type Told = Readonly<Record<string, unknown>> & { readonly detail: string; readonly url: string }
const call = async (who: string) => {
  const answer = await fetch(`${deputy.agent}/api.acme.test/notes/1`, {
    headers: { 'deputy-user': who },
  })
  return {
    status: answer.status,
    code: answer.headers.get('deputy-answer'),
    told: (await answer.json()) as Told,
  }
}
const challenging = (value: string): void => {
  upstream.handle = (_seen, res) => {
    res.writeHead(401, { 'www-authenticate': value }).end('{"error":"of the provider"}')
  }
}

test('a step-up challenge of an API becomes a link and words, burns no refresh, and is over with the next sign-in', async () => {
  challenging(
    'Bearer error="insufficient_user_authentication", acr_values="urn:mfa", max_age="300"',
  )
  const { status, code, told } = await call('alice')
  expect([status, code]).toEqual([403, 'step_up_required'])
  expect(told).toMatchObject({
    code: 'step_up_required',
    acr_values: 'urn:mfa',
    max_age: '300',
    needs: 'provider_sign_in',
    connection: 'acme',
    detail: `To go on, sign in to your acme account again, the way acme asks for: ${told.url}`,
  })
  expect(told.url).toMatch(new RegExp(`^${deputy.connect}/connect/`))
  // The same demand shares its link.
  expect((await call('alice')).told.url).toBe(told.url)
  expect(upstream.refreshes).toHaveLength(0)
  expect(upstream.seen).toHaveLength(2)
  await expect
    .poll(() => deputy.evidence().find(({ event }) => event === 'outcome'))
    .toMatchObject({ result: 'step_up_required', sent: true, status: 401 })
  upstream.handle = null
  expect((await call('alice')).status).toBe(200)
})

test('a claims challenge (continuous access evaluation) does too, and its claims are not shown', async () => {
  const claims = Buffer.from('{"access_token":{"nbf":{"essential":true}}}').toString('base64')
  challenging(`Bearer realm="", error="insufficient_claims", claims="${claims}"`)
  const { code, told } = await call('alice')
  expect([code, told['needs'], told['claims']]).toEqual([
    'step_up_required',
    'provider_sign_in',
    undefined,
  ])
  expect(upstream.refreshes).toHaveLength(0)
})

test('any other 401 stays what it was: one refresh, and the provider’s own answer', async () => {
  challenging('Bearer error="invalid_token"')
  const { status, code } = await call('alice')
  expect([status, code]).toEqual([401, null])
  expect(upstream.refreshes).toHaveLength(1)
})

const refused = (body: object): void => {
  upstream.token = (_form, res) => {
    res.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
}
test('a refresh that only an administrator can help says so, to every caller after', async () => {
  refused({ error: 'invalid_grant', error_description: 'AADSTS90094: An administrator of X' })
  for (let n = 0; n < 2; n += 1) {
    const { status, code, told } = await call('bob')
    expect([status, code]).toEqual([403, 'reauthorization_required'])
    expect(told).toMatchObject({
      needs: 'provider_admin',
      detail: `To go on, ask an administrator of your organisation at acme to approve this application; then reconnect your acme account: ${told.url}`,
    })
    expect(JSON.stringify(told)).not.toContain('AADSTS')
  }
  expect(upstream.refreshes).toHaveLength(1)
})

test('a refresh that a stronger sign-in can help says that, with the claims kept for the link', async () => {
  const claims = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
  refused({ error: 'interaction_required', error_description: 'AADSTS50076: MFA', claims })
  const first = await call('bob')
  expect(first).toMatchObject({ code: 'reauthorization_required' })
  expect(first.told).toMatchObject({
    needs: 'provider_sign_in',
    detail: expect.stringContaining('sign in to your acme account again'),
  })
  expect(first.told['claims']).toBeUndefined()
  expect((await call('bob')).told).toMatchObject({
    url: first.told.url,
    needs: 'provider_sign_in',
  })
})

test('a grant that is simply gone needs nothing but a new consent', async () => {
  refused({ error: 'invalid_grant' })
  const { told } = await call('bob')
  expect(told.detail).toBe(`To go on, reconnect your acme account: ${told.url}`)
  expect(told['needs']).toBeUndefined()
})
