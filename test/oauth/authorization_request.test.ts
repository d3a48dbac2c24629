import { expect, test } from 'vitest'
import type { Provider } from '../../proxy/model.ts'
import { authorizationUrl } from '../../proxy/oauth/authorization_request.ts'
import { connectionOf, REDIRECT } from './fixtures.ts'

const AT = { authorize: 'https://acme.example/authorize?tenant=t1' }
const ask = { redirectUri: REDIRECT, state: 's', challenge: 'c', scopes: ['repo'] }
const url = (change: Partial<Provider> = {}, more: object = {}): URLSearchParams =>
  authorizationUrl(connectionOf(AT, change), { ...ask, ...more }).searchParams

test('says who asks for what, where to come back to, and how to prove it (RFC 6749 4.1.1, RFC 7636 4.3)', () => {
  const link = authorizationUrl(connectionOf(AT), ask)
  expect(link.origin + link.pathname).toBe('https://acme.example/authorize')
  expect(Object.fromEntries(link.searchParams)).toEqual({
    tenant: 't1',
    response_type: 'code',
    client_id: 'deputy-client_1',
    redirect_uri: REDIRECT,
    state: 's',
    scope: 'repo',
    code_challenge: 'c',
    code_challenge_method: 'S256',
  })
  expect(link.href).not.toContain('the-client-secret')
})

test('what the definition or the moment adds never replaces what deputy says itself', () => {
  const params = url(
    {
      authorizeParams: { prompt: 'consent', state: 'theirs', scope: 'all', response_type: 'token' },
    },
    { extra: { claims: 'x', redirect_uri: 'https://evil.test/', code_challenge: 'weak' } },
  )
  expect(Object.fromEntries(params)).toMatchObject({
    prompt: 'consent',
    claims: 'x',
    state: 's',
    scope: 'repo',
    response_type: 'code',
    redirect_uri: REDIRECT,
    code_challenge: 'c',
  })
  expect(params.getAll('state')).toEqual(['s'])
})

test.each<[string, Partial<Provider>, object, string | null]>([
  ['those that the definition always asks for', { scopeAlways: ['offline'] }, {}, 'offline repo'],
  ['each once', { scopeAlways: ['repo'] }, {}, 'repo'],
  [
    'with the separator of the provider',
    { scopeSeparator: ',' },
    { scopes: ['repo', 'openid'] },
    'repo,openid',
  ],
  ['nothing where none is asked', {}, { scopes: [] }, null],
  ['nothing where the provider knows none', { scopeParam: null }, {}, null],
])('scopes: %s', (_name, change, more, scope) => {
  expect(url(change, more).get('scope')).toBe(scope)
})

test('a provider may call them otherwise', () => {
  const params = url({ scopeParam: 'user_scope' })
  expect([params.get('user_scope'), params.get('scope')]).toEqual(['repo', null])
})

test.each<[string, Partial<Provider>, object, string | null]>([
  ['where the provider knows none', { pkce: false }, {}, null],
  ['where the flow has none', {}, { challenge: null }, null],
])('no challenge %s', (_name, change, more, challenge) => {
  const params = url(change, more)
  expect([params.get('code_challenge'), params.has('code_challenge_method')]).toEqual([
    challenge,
    false,
  ])
})

test('a nonce only where there is one (OpenID Connect Core 3.1.2.1)', () => {
  expect(url({}, { nonce: 'n' }).get('nonce')).toBe('n')
  for (const nonce of [null, undefined, '']) expect(url({}, { nonce }).has('nonce')).toBe(false)
})

test('every resource by itself (RFC 8707 2.1)', () => {
  const resource = ['https://a.example/', 'https://b.example/']
  expect(url({ resource }).getAll('resource')).toEqual(resource)
})

test('nothing is asked that the connection may not ask for', () => {
  expect(() => url({}, { scopes: ['repo', 'admin', 'gist'] })).toThrow(
    'connections.acme.scopes does not list admin, gist',
  )
})

test('a provider without the endpoint is named; one whose issuer has to say it may come back', () => {
  expect(() => authorizationUrl(connectionOf({}), ask)).toThrow(
    'connections.acme: provider acme has no authorize endpoint',
  )
})
