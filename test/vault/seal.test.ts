import { createSecretKey, hkdfSync, randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import { compactDecrypt } from 'jose'
import { describe, expect, test } from 'vitest'
import { secret } from '../../proxy/secret.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import type { Bound } from '../../proxy/vault/seal.ts'

const ringText = (): string => newKeyRing(Date.UTC(2026, 10, 22), randomBytes)
const sealer = createSealer(parseKeyRing(ringText()))
const bound: Bound = {
  purpose: 'credential',
  tenant: 'acme',
  realm: 'corp',
  id: 'alice',
  connection: 'github',
  slot: 'default',
  generation: 3,
}

describe('sealing', () => {
  test('what was sealed opens again for the same owner, and a null member stays absent', async () => {
    const text = await sealer.seal({ access: secret('gho_1'), refresh: null }, bound)
    const opened = await sealer.open(text, { ...bound })
    expect(opened.get('access')?.reveal()).toBe('gho_1')
    expect(opened.has('refresh')).toBe(false)
    expect(text).not.toContain('gho_1')
    expect(inspect(opened)).not.toContain('gho_1')
  })

  test.each([
    { tenant: 'evil' },
    { realm: 'other' },
    { id: 'bob' },
    { connection: 'gitlab' },
    { slot: 'bot' },
    { generation: 4 },
    { purpose: 'session' },
    { further: 'x' },
  ])('a row copied to %o does not open', async (change) => {
    const text = await sealer.seal({ access: secret('gho_1') }, bound)
    await expect(sealer.open(text, { ...bound, ...change })).rejects.toThrow('belongs to')
  })

  test('a header that was rewritten to name another owner does not open', async () => {
    const [, ...rest] = (await sealer.seal({ access: secret('gho_1') }, bound)).split('.')
    const [other] = (await sealer.seal({ access: secret('x') }, { ...bound, id: 'bob' })).split('.')
    await expect(sealer.open([other, ...rest].join('.'), { ...bound, id: 'bob' })).rejects.toThrow()
  })

  test('each tenant has a key of its own, derived from the ring: no other opens what is sealed for it', async () => {
    const ring = parseKeyRing(ringText())
    const text = await createSealer(ring).seal({ access: secret('gho_1') }, bound)
    const keyOf = (tenant: string) =>
      createSecretKey(
        Buffer.from(
          hkdfSync('sha256', ring.current.key, '', JSON.stringify(['deputy tenant', tenant]), 32),
        ),
      )
    expect((await compactDecrypt(text, keyOf('acme'))).plaintext.length).toBeGreaterThan(0)
    for (const key of [ring.current.key, keyOf('evil')])
      await expect(compactDecrypt(text, key)).rejects.toThrow('decryption operation failed')
  })

  test('after a rotation old keys open and the new one seals', async () => {
    const old = JSON.parse(ringText())
    const next = JSON.parse(ringText())
    const text = await createSealer(parseKeyRing(JSON.stringify(old))).seal(
      { a: secret('1') },
      bound,
    )
    const both = { ...next, keys: [...old.keys, ...next.keys] }
    const rotated = createSealer(parseKeyRing(JSON.stringify(both)))
    expect((await rotated.open(text, bound)).get('a')?.reveal()).toBe('1')
    const fresh = await rotated.seal({ a: secret('2') }, bound)
    expect(Buffer.from(fresh.split('.')[0] ?? '', 'base64url').toString()).toContain(next.current)
  })

  test('a ring without the key says which key is missing', async () => {
    const text = await createSealer(parseKeyRing(ringText())).seal({ a: secret('1') }, bound)
    await expect(sealer.open(text, bound)).rejects.toThrow(
      /key "seal-20261122-\w+", which the key ring/,
    )
  })

  test('texts are bound to their purpose', async () => {
    const text = await sealer.sealText('session', { id: 's1' }, 'hello')
    expect(await sealer.openText('session', { id: 's1' }, text)).toBe('hello')
    await expect(sealer.openText('flow', { id: 's1' }, text)).rejects.toThrow()
    await expect(sealer.open(text, { purpose: 'session', id: 's1' })).rejects.toThrow(
      'sealed text: not made by seal',
    )
  })

  test('a signature verifies for its text and its key only', () => {
    const { kid, signature } = sealer.sign('anchor 1')
    expect(sealer.verify('anchor 1', kid, signature)).toBe(true)
    expect(sealer.verify('anchor 2', kid, signature)).toBe(false)
    expect(sealer.verify('anchor 1', 'other', signature)).toBe(false)
  })

  test('a hash depends on the purpose and cannot be shifted between purpose and text', () => {
    expect(sealer.hmac('user', 'alice')).toBe(sealer.hmac('user', 'alice'))
    expect(sealer.hmac('user', 'alice')).not.toBe(sealer.hmac('path', 'alice'))
    expect(sealer.hmac('a', 'bc')).not.toBe(sealer.hmac('ab', 'c'))
  })
})

describe('the key ring', () => {
  const change = (
    edit: (ring: { version: unknown; current: unknown; keys: Record<string, unknown>[] }) => void,
  ) => {
    const ring = JSON.parse(ringText())
    edit(ring)
    return JSON.stringify(ring)
  }
  test.each([
    ['no JSON', () => 'secret-key-material', 'not a JSON object'],
    ['another version', () => change((r) => (r.version = 2)), 'version must be 1'],
    [
      'a current key that is not there',
      () => change((r) => (r.current = 'x')),
      'current must be the kid of a seal key',
    ],
    [
      'a short key',
      () => change((r) => (r.keys[0] = { ...r.keys[0], k: 'AAAA' })),
      'keys.0: k must be 32 bytes',
    ],
    [
      'another algorithm',
      () => change((r) => (r.keys[0] = { ...r.keys[0], alg: 'dir' })),
      'keys.0: alg must be A256KW',
    ],
    [
      'an unknown use',
      () => change((r) => (r.keys[0] = { ...r.keys[0], use: 'enc' })),
      'keys.0: use must be',
    ],
    [
      'a broken signing key',
      () => change((r) => (r.keys[1] = { ...r.keys[1], d: 'AA' })),
      'keys.1: kty, crv, x and d',
    ],
    [
      'a kid that is there twice',
      () => change((r) => r.keys.push({ ...r.keys[2] })),
      'is there twice',
    ],
    ['no hash key', () => change((r) => r.keys.pop()), 'none with use hash'],
  ])('is refused with %s', (_name, text, message) => {
    const read = () => parseKeyRing(text())
    expect(read).toThrow(message)
    expect(read).not.toThrow('secret-key-material')
  })

  test('names every problem at once', () => {
    const text = change((r) => {
      r.version = 7
      r.keys[0] = { ...r.keys[0], k: '' }
    })
    expect(() => parseKeyRing(text)).toThrow(
      /version must be 1; keys\.0: k must be 32 bytes.*; current must be/,
    )
  })
})
