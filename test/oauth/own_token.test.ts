// Deputy's own token: got once for all who need it, renewed before its end and when it is refused.
import { generateKeyPairSync } from 'node:crypto'
import { decodeJwt } from 'jose'
import { beforeEach, expect, test } from 'vitest'
import { createOwnToken, type OwnCredentials, type OwnToken } from '../../proxy/oauth/own_token.ts'
import { secret } from '../../proxy/secret.ts'

const URL_AT = 'https://idp.test/token'
const pem = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey.export({
  type: 'pkcs8',
  format: 'pem',
})
const client: OwnCredentials = {
  kind: 'client',
  url: URL_AT,
  auth: 'client_secret_post',
  id: 'reader',
  secret: secret('canary-own-secret'),
  key: null,
  scope: 'read',
}
let mono: number
let asked: URLSearchParams[]
let answer: () => Response
const own = (credentials: OwnCredentials = client): OwnToken =>
  createOwnToken(credentials, {
    fetch: (_, init) => {
      asked.push(new URLSearchParams(typeof init?.body === 'string' ? init.body : ''))
      return Promise.resolve(answer())
    },
    clock: { now: () => 1_000_000, mono: () => mono },
  })
beforeEach(() => {
  mono = 0
  asked = []
  answer = () => Response.json({ access_token: `t${asked.length}`, expires_in: 300 })
})

test('is got once for all who ask at once, and kept until shortly before its end', async () => {
  const token = own()
  expect(await Promise.all([token(null), token(null)])).toEqual(['Bearer t1', 'Bearer t1'])
  mono = 269_999
  expect(await token(null)).toBe('Bearer t1')
  mono = 270_000
  expect(await token(null)).toBe('Bearer t2')
  expect(Object.fromEntries(asked[0] ?? [])).toEqual({
    grant_type: 'client_credentials',
    scope: 'read',
    client_id: 'reader',
    client_secret: 'canary-own-secret',
  })
})

test('that was refused is got anew, once for all who saw it refused', async () => {
  const token = own()
  await token(null)
  expect(await Promise.all([token('Bearer t1'), token('Bearer t1')])).toEqual([
    'Bearer t2',
    'Bearer t2',
  ])
  expect(await token('Bearer t1')).toBe('Bearer t2')
  expect(asked).toHaveLength(2)
})

test('that is not given is told without what was sent, and asked for again', async () => {
  const token = own()
  answer = () =>
    Response.json(
      { error: 'invalid_client', error_description: 'canary-own-secret' },
      { status: 401 },
    )
  await expect(token(null)).rejects.toThrow(`${URL_AT} gives no token (401, invalid_client)`)
  answer = () => new Response('<html>canary-own-secret', { status: 200 })
  await expect(token(null)).rejects.toThrow(`${URL_AT} gives no token (200)`)
  answer = () => Response.json({ access_token: 'later' })
  expect(await token(null)).toBe('Bearer later')
})

test('is a bearer as it stands, or none', async () => {
  const bearer = own({ kind: 'bearer', scheme: 'SSWS', token: secret('x') })
  expect(await bearer(null)).toBe('SSWS x')
  expect(await own({ kind: 'none' })(null)).toBeNull()
  expect(asked).toEqual([])
})

test('is got with a key, by the client itself or by a service account for an administrator', async () => {
  await own({ ...client, auth: 'private_key_jwt', secret: null, key: secret(pem) })(null)
  expect(decodeJwt(asked[0]?.get('client_assertion') ?? '')).toMatchObject({
    iss: 'reader',
    aud: URL_AT,
  })
  await own({
    kind: 'account',
    url: URL_AT,
    id: 'sa@x.test',
    key: secret(pem),
    scope: 'dir',
    subject: 'admin@x.test',
  })(null)
  expect(decodeJwt(asked[1]?.get('assertion') ?? '')).toEqual({
    iss: 'sa@x.test',
    sub: 'admin@x.test',
    scope: 'dir',
    aud: URL_AT,
    iat: 1_000,
    exp: 1_300,
  })
})
