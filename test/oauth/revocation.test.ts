import { describe, expect, test } from 'vitest'
import type { Provider } from '../../proxy/model.ts'
import { revokeAt, type Revoked, type RevokeCalls } from '../../proxy/oauth/revocation.ts'
import type { TokenFailure } from '../../proxy/oauth/token_answer.ts'
import type { RawAnswer } from '../../proxy/oauth/body.ts'
import { connectionOf } from './fixtures.ts'

type Said = RawAnswer | TokenFailure
const says = (status: number, body: object | string = ''): RawAnswer => ({
  status,
  headers: { get: () => 'application/json' },
  body: typeof body === 'string' ? body : JSON.stringify(body),
})
const DOWN: TokenFailure = {
  kind: 'not_sent',
  error: 'ECONNREFUSED',
  description: null,
  retryAfterMs: null,
}
const OK = says(200)

/** What a provider of this style is called by, in order, and the word that comes of its answers. */
const revoke = async (change: Partial<Provider>, answers: readonly Said[], hasRefresh = true) => {
  const { provider } = connectionOf({ revoke: 'https://acme.example/revoke' }, change)
  const asked: string[] = []
  const next = (what: string): Promise<Said> => {
    asked.push(what)
    return Promise.resolve(answers[asked.length - 1] ?? DOWN)
  }
  const calls: RevokeCalls = {
    hasRefresh,
    form: next,
    holder: () => next('holder'),
    github: () => next('github'),
  }
  return { result: await revokeAt(provider, calls), asked }
}

describe('by RFC 7009', () => {
  test('the refresh token goes first, then the access token', async () => {
    expect(await revoke({}, [OK, OK])).toEqual({
      result: 'revoked',
      asked: ['refresh_token', 'access_token'],
    })
    expect(await revoke({}, [OK], false)).toEqual({ result: 'revoked', asked: ['access_token'] })
  })
  test.each<[string, Said, Revoked]>([
    ['any 2xx', says(204), 'revoked'],
    ['a token that was none', says(400, { error: 'invalid_token' }), 'already_dead'],
    ['a grant that was none', says(400, { error: 'invalid_grant' }), 'already_dead'],
    ['a kind it does not revoke', says(400, { error: 'unsupported_token_type' }), 'not_supported'],
    ['our client', says(401, { error: 'invalid_client' }), 'failed'],
    ['a page', says(503, '<html>'), 'failed'],
    ['a redirect', says(302), 'failed'],
    ['nobody', DOWN, 'failed'],
  ])('the answer of an access token alone: %s', async (_name, answer, result) => {
    expect((await revoke({}, [answer], false)).result).toBe(result)
  })
  const DEAD = says(400, { error: 'invalid_token' })
  const UNKNOWN = says(400, { error: 'unsupported_token_type' })
  test.each<[string, Said, Said, Revoked]>([
    ['refused, gone', DOWN, OK, 'failed'],
    ['not supported, gone', UNKNOWN, OK, 'not_supported'],
    ['gone, refused', OK, DOWN, 'failed'],
    ['gone, not supported', OK, UNKNOWN, 'access_outlives'],
    ['gone, dead with it', OK, DEAD, 'revoked'],
    ['dead, dead', DEAD, DEAD, 'already_dead'],
    ['dead, gone', DEAD, OK, 'revoked'],
  ])('of both: %s', async (_name, refresh, access, result) => {
    expect((await revoke({}, [refresh, access])).result).toBe(result)
  })
  test('an access token that outlives its refresh token is not asked about, and never called revoked', async () => {
    const outlives = { accessOutlivesRevoke: true }
    expect(await revoke(outlives, [OK])).toEqual({
      result: 'access_outlives',
      asked: ['refresh_token'],
    })
    expect((await revoke(outlives, [DOWN])).result).toBe('failed')
    expect((await revoke(outlives, [DEAD])).result).toBe('already_dead')
    expect((await revoke(outlives, [OK], false)).result).toBe('revoked')
  })
})

describe('in a vendor’s own way', () => {
  test.each<[Provider['revokeStyle'], Said, Revoked]>([
    ['github', says(204), 'revoked'],
    ['github', says(404), 'already_dead'],
    ['github', says(422), 'already_dead'],
    ['github', says(401), 'failed'],
    ['github', DOWN, 'failed'],
    ['bearer', says(200, { ok: true }), 'revoked'],
    ['bearer', says(200, 'fine'), 'revoked'],
    ['bearer', says(200, { ok: false, error: 'fatal_error' }), 'failed'],
    ['bearer', says(200, { ok: false, error: 'token_revoked' }), 'already_dead'],
    ['bearer', says(401), 'already_dead'],
    ['bearer', says(500), 'failed'],
    ['bearer', DOWN, 'failed'],
  ])('%s: %j', async (revokeStyle, answer, result) => {
    expect(await revoke({ revokeStyle }, [answer])).toEqual({
      result,
      asked: [revokeStyle === 'github' ? 'github' : 'holder'],
    })
  })
  test.each<[string, readonly Said[], boolean, Revoked]>([
    ['done', [OK, OK], true, 'revoked'],
    ['400 may mean anything', [says(400), OK], true, 'failed'],
    ['401 is a token no more', [says(401), says(401)], true, 'already_dead'],
    ['without a refresh token', [OK], false, 'revoked'],
    ['nobody', [DOWN], false, 'failed'],
  ])('linear: %s', async (_name, answers, hasRefresh, result) => {
    const said = await revoke({ revokeStyle: 'linear' }, answers, hasRefresh)
    expect(said.result).toBe(result)
    expect(said.asked).toEqual(hasRefresh ? ['refresh_token', 'holder'] : ['holder'])
  })
})

test.each<[string, Partial<Provider>]>([
  ['no endpoint', { revoke: null }],
  ['no way', { revokeStyle: 'none' }],
])('a provider with %s is asked nothing', async (_name, change) => {
  expect(await revoke(change, [])).toEqual({ result: 'not_supported', asked: [] })
})
