// What an issuer signed, once it verified. test/pipeline/identify.test.ts and workload.test.ts have the ways in which it may not.
import { generateKeyPairSync } from 'node:crypto'
import { SignJWT } from 'jose'
import { afterEach, expect, test } from 'vitest'
import { createIssuerKeys } from '../../proxy/oauth/issuer_keys.ts'
import { createSignedTokens } from '../../proxy/oauth/signed_token.ts'
import { Problem } from '../../proxy/problem.ts'

const NOW = 1_800_000_000
const KEY = generateKeyPairSync('ed25519')
const open: { close: () => void }[] = []
afterEach(() => open.splice(0).forEach((one) => one.close()))

const world = () => {
  const quiet = () => undefined
  const asked: string[] = []
  const clock = { now: () => NOW * 1_000, mono: () => NOW * 1_000 }
  const fetch = (url: string | URL | Request) => {
    asked.push(url instanceof Request ? url.url : url.toString())
    const keys = [{ ...KEY.publicKey.export({ format: 'jwk' }), kid: 'k1' }]
    return Promise.resolve(Response.json({ keys }))
  }
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
  const tokens = createSignedTokens({
    issuers: ['a', 'b'].map((name) => ({
      issuer: `https://${name}.example`,
      jwksUri: `https://${name}.example/keys`,
      jwksFile: null,
      audience: `for-${name}`,
    })),
    what: 'paper',
    where: 'the drawer',
    foreign: 'holds no paper of ours',
    denied: (detail) => new Problem('unauthenticated', detail),
    maxAge: 60_000,
    keysOf: (source) => {
      const keys = createIssuerKeys(source, { grace: 60_000, fetch, clock, log })
      open.push(keys)
      return keys
    },
    clock,
    read: ({ sub }, { issuer }, times) => ({ sub, issuer, times }),
  })
  return { tokens, asked }
}
const sign = (claims: Readonly<Record<string, unknown>> = {}): Promise<string> =>
  new SignJWT({
    iss: 'https://a.example',
    aud: 'for-a',
    sub: 's',
    iat: NOW,
    exp: NOW + 60,
    ...claims,
  })
    .setProtectedHeader({ alg: 'EdDSA', kid: 'k1' })
    .sign(KEY.privateKey)
const said = async (token: string) => {
  try {
    return await world().tokens.of(token)
  } catch (error) {
    return error instanceof Error ? error.message : error
  }
}

test('is read with its issuer and its times, once', async () => {
  const { tokens, asked } = world()
  const token = await sign()
  const first = await tokens.of(token)
  expect(first).toEqual({
    sub: 's',
    issuer: 'https://a.example',
    times: { issuedAt: NOW * 1_000, expiresAt: (NOW + 60) * 1_000 },
  })
  expect(tokens.of(token)).toBe(first)
  expect(asked).toEqual(['https://a.example/keys'])
})

test('is refused in the words of whoever asks', async () => {
  expect(await said(await sign({ iss: 'https://c.example' }))).toBe(
    'the drawer holds no paper of ours',
  )
  expect(await said('x'.repeat(16_385))).toBe('the drawer is too long')
  expect(await said(await sign({ exp: NOW }))).toMatch(/^the paper (has expired|does not verify)/)
  expect(await said(await sign({ exp: NOW + 61 }))).toMatch(/^the paper lives longer than/)
  expect(await said(await sign({ iat: NOW + 61, exp: NOW + 70 }))).toMatch(/^the paper was issued/)
})

test('is meant by one issuer for its own audience', async () => {
  const { tokens } = world()
  expect(tokens.meant(await sign())).toBe(true)
  expect(tokens.meant(await sign({ aud: ['x', 'for-a'] }))).toBe(true)
  expect(tokens.meant(await sign({ iss: 'https://b.example' }))).toBe(false)
  expect(tokens.meant('a.b')).toBe(false)
})
