import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { AnswerRules } from '../../proxy/model.ts'
import { readTokenAnswer } from '../../proxy/oauth/token_answer.ts'
import type { TokenAnswer } from '../../proxy/oauth/token_answer.ts'
import { RULES } from './fixtures.ts'
import { cpuMs } from '../support/pace.ts'

const NOW = Date.UTC(2026, 10, 22, 12)
const read = (
  body: unknown,
  options: { status?: number; headers?: Record<string, string>; rules?: Partial<AnswerRules> } = {},
): TokenAnswer =>
  readTokenAnswer(
    { ...RULES, ...options.rules },
    {
      status: options.status ?? 200,
      headers: new Headers(options.headers ?? { 'content-type': 'application/json' }),
      body: typeof body === 'string' || body === null ? body : JSON.stringify(body),
    },
    NOW,
  )
/** Tokens as plain values, to compare. */
const plain = (answer: TokenAnswer) =>
  answer.kind === 'tokens'
    ? {
        access: answer.tokens.access.reveal(),
        refresh: answer.tokens.refresh?.reveal() ?? null,
        scopes: answer.tokens.scopes,
        expiresIn: answer.tokens.expiresIn,
      }
    : answer
const good = { access_token: 'at', token_type: 'Bearer' }

test('a member under an escaped name is that member, whatever objects were parsed before', () => {
  for (let i = 0; i < 50; i++) JSON.parse('{"token_type":"Bearer","access_tok\\\\u":"x"}')
  expect(plain(read('{"token_type":"Bearer","access_tok\\u0065n":"at"}'))).toMatchObject({
    access: 'at',
  })
})

describe('a good answer', () => {
  const tokens = { access: 'at', refresh: null, scopes: null, expiresIn: null }
  test.each<[string, unknown, Parameters<typeof read>[1], object]>([
    [
      'is read as it is',
      { ...good, refresh_token: 'rt', scope: 'b a', expires_in: 3600 },
      {},
      { refresh: 'rt', scopes: ['a', 'b'], expiresIn: 3600 },
    ],
    ['may lack a token type', { access_token: 'at' }, {}, {}],
    ['may have a provider’s own token type', { ...good, token_type: 'user' }, {}, {}],
    ['may come with status 201', good, { status: 201 }, {}],
    ['may come as text/plain', good, { headers: { 'content-type': 'text/plain' } }, {}],
    [
      'may be form-encoded',
      'access_token=at&scope=repo%2Cgist&token_type=bearer',
      {
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        rules: { scopeSeparator: ',' },
      },
      { scopes: ['gist', 'repo'] },
    ],
    [
      'may be form-encoded under a wrong content type',
      'access_token=at&token_type=bearer',
      { headers: { 'content-type': 'text/html' } },
      {},
    ],
    [
      'may list scopes in an array',
      { ...good, scope: ['b', 'a', 'b', 7] },
      {},
      { scopes: ['a', 'b'] },
    ],
    [
      'may separate scopes by comma and blank',
      { ...good, scope: 'a, b' },
      { rules: { scopeSeparator: ',' } },
      { scopes: ['a', 'b'] },
    ],
    ['may say that no scope was given', { ...good, scope: '' }, {}, { scopes: [] }],
    ['may say nothing of scopes', { ...good, scope: null }, {}, {}],
    ['with a null refresh token has none', { ...good, refresh_token: null }, {}, {}],
    ['with an empty refresh token has none', { ...good, refresh_token: '' }, {}, {}],
    ['may have a lifetime in text', { ...good, expires_in: '28800' }, {}, { expiresIn: 28800 }],
    [
      'may have a lifetime with a fraction',
      { ...good, expires_in: 3599.9 },
      {},
      { expiresIn: 3599 },
    ],
    ['may have no lifetime', { ...good, expires_in: null }, {}, {}],
    ['with a negative lifetime has none', { ...good, expires_in: -1 }, {}, {}],
    [
      'without a lifetime gets the assumed one',
      good,
      { rules: { assumeTtl: 3600 } },
      { expiresIn: 3600 },
    ],
    [
      'with lifetime 0 gets the assumed one',
      { ...good, expires_in: 0 },
      { rules: { assumeTtl: 60 } },
      { expiresIn: 60 },
    ],
    [
      'with lifetime 0 lives for ever where that is so',
      { ...good, expires_in: 0 },
      { rules: { assumeTtl: 60, zeroIsNever: true } },
      {},
    ],
    [
      'may name the end in seconds',
      { ...good, expires_at: NOW / 1000 + 90 },
      {},
      { expiresIn: 90 },
    ],
    [
      'may name the end in milliseconds',
      { ...good, expires_at: NOW + 90_000 },
      {},
      { expiresIn: 90 },
    ],
    [
      'may name the end as a date',
      { ...good, expires_at: '2026-11-22T12:01:30Z' },
      {},
      { expiresIn: 90 },
    ],
    [
      'may nest the token',
      { ok: true, authed_user: { access_token: 'at', scope: 'a,b' } },
      {
        rules: {
          accessToken: ['/authed_user/access_token'],
          scope: ['/authed_user/scope'],
          scopeSeparator: ',',
        },
      },
      { scopes: ['a', 'b'] },
    ],
    ['may carry an empty error', { ...good, error: null }, {}, {}],
  ])('%s', (_name, body, options, expected) => {
    expect(plain(read(body, options))).toEqual({ ...tokens, ...expected })
  })

  test('keeps a large numeric account id exact', () => {
    const raw = {
      status: 200,
      headers: new Headers(),
      body: '{"access_token":"at","user":{"id":12345678901234567890,"name":"Al"}}',
    }
    const answer = readTokenAnswer(RULES, raw, NOW, { id: '/user/id', label: '/user/name' })
    expect(answer).toMatchObject({
      kind: 'tokens',
      account: { id: '12345678901234567890', label: 'Al' },
    })
  })

  test('prints no token', () => {
    expect(
      inspect(read({ access_token: 'at-secret', refresh_token: 'rt-secret' }), { depth: 9 }),
    ).not.toContain('-secret')
  })
})

describe('a bad answer', () => {
  test.each<[string, unknown, Parameters<typeof read>[1], object]>([
    [
      'invalid_grant is dead',
      { error: 'invalid_grant' },
      { status: 400 },
      { kind: 'dead', error: 'invalid_grant' },
    ],
    [
      'an error under status 200 is an error (GitHub)',
      { error: 'bad_refresh_token', error_description: 'gone' },
      {},
      { kind: 'dead', error: 'bad_refresh_token', description: 'gone' },
    ],
    ['an error beats a token', { ...good, error: 'invalid_grant' }, {}, { kind: 'dead' }],
    [
      'ok:false is an error (Slack)',
      { ok: false, error: 'token_revoked' },
      {},
      { kind: 'dead', error: 'token_revoked' },
    ],
    ['ok:false with a limit is busy', { ok: false, error: 'ratelimited' }, {}, { kind: 'busy' }],
    [
      'a form-encoded error is read',
      'error=bad_refresh_token&error_description=x',
      {},
      { kind: 'dead' },
    ],
    [
      'a word under status is read (HubSpot)',
      { status: 'BAD_REFRESH_TOKEN', message: 'missing or unknown' },
      { status: 400 },
      { kind: 'dead' },
    ],
    [
      'a word in a list is read (Fitbit)',
      { errors: [{ errorType: 'invalid_grant' }], success: false },
      { status: 400 },
      { kind: 'dead' },
    ],
    [
      'a word in an object is read',
      { error: { code: 'invalid_grant', message: 'x' } },
      { status: 400 },
      { kind: 'dead' },
    ],
    [
      'a phrase without a word is read (X)',
      { error: 'invalid_request', error_description: 'Value passed for the token was invalid.' },
      { status: 400 },
      { kind: 'dead' },
    ],
    [
      'the provider file’s words come first',
      { error: 'gone_fishing' },
      { status: 400, rules: { errors: { gone_fishing: 'invalid_grant' } } },
      { kind: 'dead', error: 'gone_fishing' },
    ],
    [
      'a whole description of the provider file says more than the word beside it (Gitea)',
      { error: 'unauthorized_client', error_description: 'token was already used' },
      { status: 400, rules: { errors: { 'token was already used': 'invalid_grant' } } },
      { kind: 'dead', error: 'unauthorized_client' },
    ],
    [
      'another description beside that word is not it',
      { error: 'unauthorized_client', error_description: 'invalid client secret' },
      { status: 400, rules: { errors: { 'token was already used': 'invalid_grant' } } },
      { kind: 'our_fault' },
    ],
    [
      'interaction_required is a step of the person',
      { error: 'interaction_required' },
      { status: 400 },
      { kind: 'step' },
    ],
    [
      'invalid_rapt is a step of the person (Google)',
      { error: 'invalid_grant', error_subtype: 'invalid_rapt' },
      { status: 400 },
      { kind: 'step' },
    ],
    [
      'AADSTS90094 is a step of an administrator (Microsoft)',
      {
        error: 'invalid_grant',
        error_description: 'AADSTS90094: An administrator of Acme has set a policy.',
        error_codes: [90094],
      },
      { status: 400 },
      { kind: 'step', step: 'admin' },
    ],
    [
      'AADSTS65001 is a consent that is missing (Microsoft)',
      {
        error: 'invalid_grant',
        error_description: 'AADSTS65001: The user or administrator has not consented.',
        suberror: 'consent_required',
      },
      { status: 400 },
      { kind: 'step', step: 'consent' },
    ],
    [
      'AADSTS50076 is a sign-in, with the claims that it must bring (Microsoft)',
      {
        error: 'invalid_grant',
        error_description: 'AADSTS50076: you must use multi-factor authentication',
        suberror: 'basic_action',
        claims: '{"access_token": {"acrs": {"essential": true, "value": "c1"}}}',
      },
      { status: 400 },
      {
        kind: 'step',
        step: 'sign_in',
        claims: '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}',
      },
    ],
    [
      'interaction_required that needs consent is no sign-in',
      { error: 'interaction_required', error_description: 'AADSTS65001: not consented' },
      { status: 400 },
      { kind: 'step', step: 'consent' },
    ],
    [
      'admin_policy_enforced is a step of an administrator (Google)',
      { error: 'admin_policy_enforced' },
      { status: 400 },
      { kind: 'step', step: 'admin' },
    ],
    [
      'an app that is not installed is a step of an administrator (Salesforce)',
      { error: 'invalid_client', error_description: 'app must be installed into org' },
      { status: 400 },
      { kind: 'step', step: 'admin' },
    ],
    [
      'a user whom no administrator approved is one too (Salesforce)',
      {
        error: 'invalid_app_access',
        error_description: 'user is not admin approved to access this app',
      },
      { status: 400 },
      { kind: 'step', step: 'admin' },
    ],
    [
      'an address that the organisation does not let in is no dead grant (Salesforce)',
      { error: 'invalid_grant', error_description: 'ip restricted' },
      { status: 400 },
      { kind: 'transient' },
    ],
    [
      'a loop that the provider throttles is busy (Microsoft)',
      { error: 'invalid_grant', error_description: 'AADSTS50196: a client request loop' },
      { status: 400 },
      { kind: 'busy' },
    ],
    [
      'an expired refresh token is dead whatever else is said (Microsoft)',
      { error: 'interaction_required', error_description: 'AADSTS700082: expired' },
      { status: 400 },
      { kind: 'dead' },
    ],
    [
      'invalid_client is our fault',
      { error: 'invalid_client' },
      { status: 401, headers: { 'www-authenticate': 'Basic' } },
      { kind: 'our_fault' },
    ],
    [
      'incorrect_client_credentials is our fault (GitHub)',
      { error: 'incorrect_client_credentials' },
      {},
      { kind: 'our_fault' },
    ],
    [
      'a sender-constrained token is our fault',
      { ...good, token_type: 'DPoP' },
      {},
      { kind: 'our_fault' },
    ],
    [
      '429 is busy, for the seconds it says',
      {},
      { status: 429, headers: { 'retry-after': '7' } },
      { kind: 'busy', retryAfterMs: 7_000 },
    ],
    [
      '429 is busy, until the date it says',
      'slow',
      { status: 429, headers: { 'retry-after': 'Sun, 22 Nov 2026 12:00:30 GMT' } },
      { kind: 'busy', retryAfterMs: 30_000 },
    ],
    [
      'a date that has passed means now',
      'slow',
      { status: 429, headers: { 'retry-after': 'Sun, 22 Nov 2026 11:00:00 GMT' } },
      { kind: 'busy', retryAfterMs: 0 },
    ],
    [
      'a Retry-After that is neither is none',
      'slow',
      { status: 429, headers: { 'retry-after': 'soon' } },
      { kind: 'busy', retryAfterMs: null },
    ],
    ['409 is busy (Airtable)', {}, { status: 409 }, { kind: 'busy' }],
    [
      'a parallel refresh is busy (Salesforce)',
      { error: 'invalid_grant', error_description: 'Token request is already being processed' },
      { status: 400 },
      { kind: 'busy' },
    ],
    [
      'a refused address or hour is no dead grant (Salesforce)',
      { error: 'invalid_grant', error_description: 'ip restricted or invalid login hours' },
      { status: 400 },
      { kind: 'transient' },
    ],
    [
      '503 with Retry-After is busy',
      '',
      { status: 503, headers: { 'retry-after': '1' } },
      { kind: 'busy' },
    ],
    ['503 without is transient', '', { status: 503 }, { kind: 'transient' }],
    [
      '500 is transient whatever it says',
      { error: 'invalid_grant' },
      { status: 500 },
      { kind: 'transient' },
    ],
    [
      'a gateway’s 504 says nothing of the provider',
      '<html>',
      { status: 504 },
      { kind: 'unknown' },
    ],
    [
      '403 without a word is no dead grant',
      '<html>blocked</html>',
      { status: 403 },
      { kind: 'transient', error: 'http_403' },
    ],
    [
      '404 in JSON without a known word is no dead grant',
      { message: 'Not Found' },
      { status: 404 },
      { kind: 'transient', error: 'http_404' },
    ],
    ['a redirect is not followed', '', { status: 302 }, { kind: 'transient', error: 'http_302' }],
    [
      '200 with HTML is a lost answer',
      '<html>Welcome</html>',
      {},
      { kind: 'unknown', error: 'unreadable_answer' },
    ],
    ['204 is a lost answer', '', { status: 204 }, { kind: 'unknown' }],
    ['200 that was too long to read is not to be asked for again', null, {}, { kind: 'unread' }],
    [
      '200 with broken JSON is not to be asked for again',
      '{"access_token":"at',
      {},
      { kind: 'unread' },
    ],
    [
      '200 with a key twice is not to be asked for again',
      '{"access_token":"a","access_token":"b"}',
      {},
      { kind: 'unread' },
    ],
    [
      '200 with a token that is no text is not to be asked for again',
      { access_token: { a: 1 } },
      {},
      { kind: 'unread', error: 'no_token' },
    ],
    [
      '200 without a token is not to be asked for again',
      { scope: 'a' },
      {},
      { kind: 'unread', error: 'no_token' },
    ],
    ['200 with a byte-order mark', '\uFEFF{"access_token":"a"}', {}, { kind: 'unread' }],
    [
      '400 in words that no one knows refuses (Dex)',
      {
        error: 'invalid_request',
        error_description:
          'Refresh token is invalid or has already been claimed by another client.',
      },
      { status: 400 },
      { kind: 'refused', error: 'invalid_request' },
    ],
    ['500 in words that no one knows', { error: 'oops' }, { status: 500 }, { kind: 'transient' }],
    ['429 in words that no one knows', { error: 'oops' }, { status: 429 }, { kind: 'busy' }],
    ['408 in words that no one knows', { error: 'oops' }, { status: 408 }, { kind: 'transient' }],
    [
      '400 that says server_error',
      { error: 'server_error' },
      { status: 400 },
      { kind: 'transient' },
    ],
    [
      'a word that is a sentence is not passed on',
      { error: 'Something went\nvery wrong' },
      { status: 400 },
      { kind: 'refused', error: 'http_400' },
    ],
  ])('%s', (_name, body, options, expected) => {
    expect(read(body, options)).toMatchObject(expected)
  })

  test('passes on no claims request that is none, and none beside an error that no sign-in can help', () => {
    const step = { error: 'interaction_required' }
    const all = [
      read({ ...step, claims: 'x' }, { status: 400 }),
      read({ ...step, claims: '[]' }, { status: 400 }),
      read({ ...step, claims: JSON.stringify({ a: 'x'.repeat(5_000) }) }, { status: 400 }),
      read({ error: 'invalid_grant', claims: '{"a":1}' }, { status: 400 }),
    ]
    expect(all.map((answer) => 'claims' in answer)).toEqual([false, false, false, false])
  })

  test('gives a description that is one short line without anything like a token', () => {
    const answer = read(
      {
        error: 'invalid_grant',
        error_description: `bad\ntoken: gho_${'a'.repeat(36)} \u202e${'x y '.repeat(200)}`,
      },
      { status: 400 },
    )
    if (answer.kind === 'tokens') throw new Error('no failure')
    expect(answer.description).toMatch(/^bad token: \[…\] +x y/)
    expect(answer.description?.length).toBeLessThanOrEqual(200)
  })

  test('that is 256 KiB of key=value pairs is read in no time', () => {
    expect(cpuMs(() => read(`${'a=&'.repeat(80_000)} `, {}))).toBeLessThan(500)
  })
})
