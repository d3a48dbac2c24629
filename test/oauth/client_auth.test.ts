import { generateKeyPairSync } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose'
import { describe, expect, test } from 'vitest'
import type { ClientAuth } from '../../proxy/model.ts'
import { authenticate, basic, type Draft } from '../../proxy/oauth/client_auth.ts'

// Characters that form encoding and plain Basic write differently.
const ID = 'client:1 ü'
const SECRET = 's3cr+et/=:%&-_.~'
const NOW = 1_800_000_000_500

const draft = async (
  method: ClientAuth,
  fields: [string, string][] = [],
  client: { readonly key?: string; readonly audience?: string } = {},
): Promise<Draft> => {
  const made: Draft = { fields, headers: {} }
  let ids = 0
  await authenticate(
    method,
    {
      id: ID,
      secret: () => {
        if (!method.includes('secret') && method !== 'raw_basic') throw new Error('not needed')
        return SECRET
      },
      key: () => {
        if (client.key === undefined) throw new Error('not needed')
        return client.key
      },
      audience: client.audience ?? 'https://issuer.example',
    },
    made,
    { now: () => NOW, randomId: () => `id-${(ids += 1)}` },
  )
  return made
}
const decoded = (header: string | undefined): string =>
  Buffer.from((header ?? '').replace('Basic ', ''), 'base64').toString()

describe('a client says who it is in one place', () => {
  test('client_secret_basic: form-encoded before they are joined (RFC 6749 2.3.1)', async () => {
    const { fields, headers } = await draft('client_secret_basic')
    expect(fields).toEqual([])
    const [id = '', password = ''] = decoded(headers['authorization']).split(':')
    expect(Object.fromEntries(new URLSearchParams(`id=${id}&password=${password}`))).toEqual({
      id: ID,
      password: SECRET,
    })
  })
  test('raw_basic: as they are', async () => {
    const { fields, headers } = await draft('raw_basic')
    expect(fields).toEqual([])
    expect(decoded(headers['authorization'])).toBe(`${ID}:${SECRET}`)
    expect(headers['authorization']).toBe(basic(ID, SECRET))
  })
  test('client_secret_post: in the form', async () => {
    const { fields, headers } = await draft('client_secret_post')
    expect(fields).toEqual([
      ['client_id', ID],
      ['client_secret', SECRET],
    ])
    expect(headers).toEqual({})
  })
  test('none: its id alone', async () => {
    expect(await draft('none')).toEqual({ fields: [['client_id', ID]], headers: {} })
  })
  test.each(['client_secret_post', 'none'] as const)(
    '%s: what the request says of it already is not said twice (RFC 9126 2.1)',
    async (method) => {
      const { fields } = await draft(method, [['client_id', ID]])
      expect(fields.filter(([name]) => name === 'client_id')).toHaveLength(1)
    },
  )
})

const pairs = {
  ec: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  p384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  p521: () => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  rsa: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ed25519: () => generateKeyPairSync('ed25519'),
}
describe('an assertion (RFC 7523)', () => {
  test.each([
    ['ec', 'pem', 'ES256'],
    ['ec', 'jwk', 'ES256'],
    ['p384', 'pem', 'ES384'],
    ['p521', 'jwk', 'ES512'],
    ['rsa', 'pem', 'RS256'],
    ['ed25519', 'jwk', 'EdDSA'],
  ] as const)(
    'with a key of kind %s as %s is signed by %s: for one audience, for a minute',
    async (kind, form, alg) => {
      const { privateKey, publicKey } = pairs[kind]()
      const named = { kid: 'k1', 'x5t#S256': 'thumb' }
      const key =
        form === 'pem'
          ? privateKey.export({ type: 'pkcs8', format: 'pem' })
          : JSON.stringify({ ...privateKey.export({ format: 'jwk' }), ...named })
      const { fields, headers } = await draft('private_key_jwt', [], { key })
      expect(headers).toEqual({})
      const sent = Object.fromEntries(fields)
      expect(sent).toMatchObject({
        client_id: ID,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      })
      const jwt = sent['client_assertion'] ?? ''
      const { payload } = await jwtVerify(jwt, publicKey, { currentDate: new Date(NOW) })
      const seconds = Math.floor(NOW / 1_000)
      expect(payload).toEqual({
        iss: ID,
        sub: ID,
        aud: 'https://issuer.example',
        jti: 'id-1',
        iat: seconds,
        exp: seconds + 60,
      })
      expect(decodeProtectedHeader(jwt)).toEqual({
        alg,
        typ: 'JWT',
        ...(form === 'jwk' ? named : {}),
      })
    },
  )

  test('a key that names its algorithm is used by it', async () => {
    const { privateKey } = pairs.rsa()
    const key = JSON.stringify({ ...privateKey.export({ format: 'jwk' }), alg: 'PS256' })
    const { fields } = await draft('private_key_jwt', [], { key })
    expect(decodeProtectedHeader(Object.fromEntries(fields)['client_assertion'] ?? '').alg).toBe(
      'PS256',
    )
  })

  test('is for the audience that the definition names', async () => {
    const key = pairs.ec().privateKey.export({ type: 'pkcs8', format: 'pem' })
    const { fields } = await draft('private_key_jwt', [], { key: `\n${key}\n`, audience: 'urn:x' })
    expect(decodeJwt(Object.fromEntries(fields)['client_assertion'] ?? '').aud).toBe('urn:x')
  })

  test.each(['', 'no key', '{', '{"kty":"EC"}'])(
    '%j is no key, and nothing is sent',
    async (key) => {
      const fields: [string, string][] = []
      await expect(draft('private_key_jwt', fields, { key })).rejects.toThrow()
      expect(fields).toEqual([])
    },
  )
})
