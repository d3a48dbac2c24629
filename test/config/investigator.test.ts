import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { calculateJwkThumbprint, CompactEncrypt, compactDecrypt, type JWK } from 'jose'
import { describe, expect, test } from 'vitest'
import { investigatorProblem, privateKeyOf, publicKeyOf } from '../../proxy/config/investigator.ts'

type Pair = { readonly publicKey: KeyObject; readonly privateKey: KeyObject }
const EC = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const RSA = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const WEAK = generateKeyPairSync('rsa', { modulusLength: 1_024 })
const jwk = (key: KeyObject, more: object = {}): string =>
  JSON.stringify({ ...key.export({ format: 'jwk' }), ...more })

describe('the key of an investigator', () => {
  test.each<[string, Pair, string]>([
    ['P-256', EC, 'ECDH-ES+A256KW'],
    ['P-384', generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'ECDH-ES+A256KW'],
    ['P-521', generateKeyPairSync('ec', { namedCurve: 'P-521' }), 'ECDH-ES+A256KW'],
    ['X25519', generateKeyPairSync('x25519'), 'ECDH-ES+A256KW'],
    ['RSA', RSA, 'RSA-OAEP-256'],
  ])('%s seals, and its private half opens', async (_, pair, alg) => {
    const to = publicKeyOf(jwk(pair.publicKey))
    expect(to.alg).toBe(alg)
    expect(to.kid).toBe(
      await calculateJwkThumbprint(pair.publicKey.export({ format: 'jwk' }) as JWK),
    )
    const sealed = await new CompactEncrypt(Buffer.from('x'))
      .setProtectedHeader({ alg, enc: 'A256GCM' })
      .encrypt(to.key)
    const own = privateKeyOf(jwk(pair.privateKey))
    expect(own.kid).toBe(to.kid)
    const { plaintext } = await compactDecrypt(sealed, own.key)
    expect(Buffer.from(plaintext).toString()).toBe('x')
  })

  const { publicKey: ed } = generateKeyPairSync('ed25519')
  test.each<[string, string, RegExp]>([
    ['a private key', jwk(EC.privateKey), /private key.*name the public half/],
    ['a private RSA key', jwk(RSA.privateKey), /name the public half/],
    ['a shared key', '{"kty":"oct","k":"c2VjcmV0LW9mLXRoZS1yaW5n"}', /name the public half/],
    ['RSA of 1024 bits', jwk(WEAK.publicKey), /RSA key of 1024 bits: use 2048/],
    ['Ed25519', jwk(ed), /can seal nothing/],
    ['another curve', jwk(EC.publicKey, { crv: 'secp256k1' }), /can seal nothing/],
    ['use: sig', jwk(EC.publicKey, { use: 'sig' }), /for signatures/],
    ['another algorithm', jwk(RSA.publicKey, { alg: 'RSA1_5' }), /another algorithm/],
    ['half a key', '{"kty":"EC","crv":"P-256","x":"AA"}', /no whole JWK/],
    ['a path', './investigator.pub.jwk', /is no JWK/],
    ['a list', '[]', /is no JWK/],
  ])('%s is refused, and nothing of it is quoted', (_, text, why) => {
    const said = investigatorProblem(text) ?? ''
    expect(said).toMatch(why)
    for (const member of text.match(/[\w-]{16,}/g) ?? []) expect(said).not.toContain(member)
  })

  test('the public half opens nothing, and says so', () => {
    expect(() => privateKeyOf(jwk(EC.publicKey))).toThrow('is a public key, which opens nothing')
    expect(investigatorProblem(jwk(EC.publicKey))).toBeNull()
  })
})
