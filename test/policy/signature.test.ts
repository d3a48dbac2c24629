import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { OPA_VERSION, findOpa } from '../../proxy/commands/policy.ts'
import { unpackBundle, type BundleFiles } from '../../proxy/policy/bundle.ts'
import { createVerifier, refuseUntimely } from '../../proxy/policy/signature.ts'
import { archive, ecPair, filesOf, listed, rsaPair, signed } from '../support/bundles.ts'
import type { Files, Pair, Signer } from '../support/bundles.ts'

const places = { named: process.env['DEPUTY_OPA'], path: process.env['PATH'], home: homedir() }
const opa = await findOpa(places).catch(() => null)
const needs = opa === null ? ` (SKIPPED: needs opa ${OPA_VERSION}, name it with DEPUTY_OPA)` : ''
const folder = mkdtempSync(join(tmpdir(), 'deputy-signature-'))
afterAll(() => rmSync(folder, { recursive: true }))

const [mine, other, rsa] = [ecPair(), ecPair(), rsaPair()]
const files = filesOf('r1', { grants: {} })
const verify = createVerifier({ keys: { prod: mine.pem } })
const entries = (of: Files): BundleFiles =>
  Object.entries(of).map(([name, value]) => [`/${name}`, Buffer.from(value)])
const by = (pair: Pair, more: Partial<Signer> = {}): Promise<Files> =>
  signed(files, { alg: 'ES256', key: pair.privateKey, ...more })

describe.skipIf(opa === null)(`a bundle that opa signs${needs}`, () => {
  // Every way to write something that a parser would change: order, spaces, numbers, escapes, a key of prototypes.
  const ODD =
    '{ "deputy_data": {"t":{"z":1.0,"a":[1e3,-0,"<&>\\u2028é\\u0007\\b\\f\u007f\\/"],"\\ud83d\\ude00":1,"\uffee":2,"__proto__":{"b":[],"a":{}}}} }'
  const keys: Readonly<Record<string, Pair>> = {
    RS: rsa,
    PS: rsa,
    ES256: mine,
    ES384: ecPair('P-384'),
    ES512: ecPair('P-521'),
  }
  const pairOf = (alg: string): Pair => keys[alg] ?? keys[alg.slice(0, 2)] ?? mine
  beforeAll(() => {
    mkdirSync(join(folder, 'src/deputy'), { recursive: true })
    writeFileSync(
      join(folder, 'src/deputy/a.rego'),
      'package deputy\n\ndecision := {"allow": false}\n',
    )
    writeFileSync(join(folder, 'src/.manifest'), '{"roots":["deputy","deputy_data"]}')
    writeFileSync(join(folder, 'src/data.json'), ODD)
    writeFileSync(join(folder, 'claims.json'), '{"iat":1764400000,"exp":1964400000,"scope":"prod"}')
  })
  /** Builds and signs `src`. */
  const build = (alg: string, key: string, ...more: readonly string[]): Promise<BundleFiles> => {
    const compile = 'build -t wasm -e deputy/decision -b src -o b.tar.gz'.split(' ')
    const args = [...compile, '--signing-alg', alg, '--signing-key', key, ...more]
    execFileSync(opa ?? 'opa', args, { cwd: folder, stdio: 'pipe' })
    return unpackBundle(readFileSync(join(folder, 'b.tar.gz')))
  }
  const keyFile = (pair: Pair): string => {
    const path = join(folder, 'key.pem')
    writeFileSync(path, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }))
    return path
  }
  const built = (alg: string): Promise<BundleFiles> =>
    build(alg, keyFile(pairOf(alg)), '--claims-file', 'claims.json')
  test.each('RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512'.split(' '))(
    'with %s is verified, by the key of its kind alone',
    async (alg) => {
      const read = await built(alg)
      const check = createVerifier({ keys: { one: pairOf(alg).pem }, scope: 'prod' })
      expect(await check(read)).toEqual({
        key: 'one',
        issuedAt: 1_764_400_000_000,
        expiresAt: 1_964_400_000_000,
      })
      const foreign = createVerifier({ keys: { one: other.pem }, scope: 'prod' })
      await expect(foreign(read)).rejects.toThrow(
        /no key of policy\.verification is one|not by one/,
      )
    },
  )
  test('with Ed25519 is verified, which opa’s command writes', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    const pem = publicKey.export({ type: 'spki', format: 'pem' })
    const read = await build('EdDSA', keyFile({ pem, privateKey }))
    expect(await createVerifier({ keys: { ed: pem } })(read)).toEqual({
      key: 'ed',
      issuedAt: null,
      expiresAt: null,
    })
  })
  test('with a P-256 key for ES384, which opa does without complaint, is refused', async () => {
    const read = await build('ES384', keyFile(mine))
    await expect(verify(read)).rejects.toThrow(/its algorithm is "ES384"/)
  })
  test('by `opa sign` in its folder, YAML too, is verified; from outside it the names are others', async () => {
    const at = join(folder, 'dir')
    mkdirSync(join(at, 'deputy_data'), { recursive: true })
    writeFileSync(join(at, '.manifest'), '{"roots": ["deputy", "deputy_data"], "revision": "y"}')
    writeFileSync(
      join(at, 'deputy_data/data.yaml'),
      'grants:\n  b: [1, 2.5, yes]\n  a: {x: null}\n',
    )
    writeFileSync(join(at, 'policy.wasm'), 'not hashed as a document')
    const key = keyFile(mine)
    const read = (sign: string): BundleFiles =>
      ['.manifest', 'deputy_data/data.yaml', 'policy.wasm']
        .map((name): [string, Uint8Array] => [name, readFileSync(join(at, name))])
        .concat([['.signatures.json', readFileSync(sign)]])
    const sign = (cwd: string, bundle: string): void =>
      void execFileSync(
        opa ?? 'opa',
        ['sign', '--signing-alg', 'ES256', '--signing-key', key, '--bundle', bundle, '-o', folder],
        { cwd, stdio: 'pipe' },
      )
    sign(at, '.')
    expect((await verify(read(join(folder, '.signatures.json')))).key).toBe('prod')
    sign(folder, 'dir')
    await expect(verify(read(join(folder, '.signatures.json')))).rejects.toThrow(
      /dir\/\.manifest.* was signed and is not there \(sign from within the folder/,
    )
  })
})

describe('a signature', () => {
  test('is verified by the key that it names, or by any that fits', async () => {
    const both = createVerifier({ keys: { old: other.pem, new: mine.pem, rsa: rsa.pem } })
    expect((await both(entries(await by(mine)))).key).toBe('new')
    expect((await both(entries(await by(mine, { kid: 'new' })))).key).toBe('new')
    expect((await both(entries(await by(mine, { claims: { keyid: 'new' } })))).key).toBe('new')
    await expect(both(entries(await by(mine, { kid: 'old' })))).rejects.toThrow(/it is not by old/)
    await expect(both(entries(await by(mine, { claims: { keyid: 'old' } })))).rejects.toThrow(
      /is by the key "new" and says "old"/,
    )
    // As `opa build` has it without a claims file.
    expect((await both(entries(await by(mine, { kid: 'default' })))).key).toBe('new')
    await expect(verify(entries(await by(other, { kid: 'default' })))).rejects.toThrow(
      /it is not by prod/,
    )
  })

  const rows = Object.entries(files).map(([name, value]) => listed(name, value))
  const [first, ...rest] = rows
  const cases: readonly (readonly [string, () => Promise<Files>, RegExp])[] = [
    ['none', () => Promise.resolve(files), /there is none \(\.signatures\.json\)/],
    ['of another key', () => by(other), /it is not by prod/],
    [
      'of a shared secret that is our public key',
      () => signed(files, { alg: 'HS256', key: Buffer.from(mine.pem) }),
      /its algorithm is "HS256", and no key/,
    ],
    [
      'that says alg none',
      async () => {
        const head = Buffer.from('{"alg":"none"}').toString('base64url')
        const body = Buffer.from(JSON.stringify({ files: rows })).toString('base64url')
        return {
          ...files,
          '.signatures.json': JSON.stringify({ signatures: [`${head}.${body}.`] }),
        }
      },
      /its algorithm is "none"/,
    ],
    ['for another scope', () => by(mine, { claims: { scope: 'test' } }), /scope is "test", and ""/],
    [
      'with a file that was not signed',
      async () => ({ ...(await by(mine)), 'x.rego': '' }),
      /x\.rego is there and was not signed/,
    ],
    [
      'with a file that is gone',
      () => by(mine, { files: [...rows, listed('y.rego', '')] }),
      /y\.rego was signed and is not there/,
    ],
    [
      'with a file that was changed',
      async () => ({ ...(await by(mine)), 'data.json': '{"deputy_data":{"grants":{"x":{}}}}' }),
      /signed as data\.json was changed/,
    ],
    [
      'that lists a file twice',
      () => by(mine, { files: [...rows, first] }),
      /lists \.manifest twice/,
    ],
    [
      'by MD5',
      () => by(mine, { files: [{ ...first, algorithm: 'MD5' }, ...rest] }),
      /is hashed with MD5/,
    ],
    [
      'that lists a path outside',
      () => by(mine, { files: [{ ...first, name: '../.manifest' }, ...rest] }),
      /without name, hash and algorithm/,
    ],
    ['that lists nothing', () => by(mine, { claims: { files: 'all' } }), /it lists no files/],
    ['whose times are texts', () => by(mine, { claims: { iat: 'now' } }), /iat is no time/],
    [
      'of a plugin',
      async () => {
        const { '.signatures.json': file = '' } = await by(mine)
        return {
          ...files,
          '.signatures.json': JSON.stringify({ ...JSON.parse(String(file)), plugin: 'kms' }),
        }
      },
      /names the plugin "kms"/,
    ],
    [
      'twice',
      async () => {
        const { '.signatures.json': file = '' } = await by(mine)
        const { signatures } = JSON.parse(String(file)) as { signatures: readonly string[] }
        return {
          ...files,
          '.signatures.json': JSON.stringify({ signatures: [...signatures, ...signatures] }),
        }
      },
      /exactly one signature/,
    ],
    [
      'that is no JWS',
      () => Promise.resolve({ ...files, '.signatures.json': '{"signatures":["a.b"]}' }),
      /cannot be read/,
    ],
    [
      'whose document has a key twice',
      async () => ({
        ...(await by(mine)),
        'data.json': '{"deputy_data":{},"deputy_data":{"grants":{}}}',
      }),
      /is there twice/,
    ],
  ]
  test.each(cases)('%s is refused', async (_name, make, message) => {
    await expect(verify(entries(await make()))).rejects.toThrow(message)
  })

  test('with extensions that nobody understands is refused', async () => {
    const { CompactSign } = await import('jose')
    const token = await new CompactSign(Buffer.from(JSON.stringify({ files: rows })))
      .setProtectedHeader({ alg: 'ES256', crit: ['urgent'], urgent: true })
      .sign(createPrivateKey(mine.privateKey.export({ type: 'pkcs8', format: 'pem' })), {
        crit: { urgent: true },
      })
    const made = { ...files, '.signatures.json': JSON.stringify({ signatures: [token] }) }
    await expect(verify(entries(made))).rejects.toThrow(/extensions \(crit\)/)
  })
  test('counts only for names that are there once', async () => {
    const made = entries(await by(mine))
    await expect(verify([...made, ['data.json', Buffer.from('{}')]])).rejects.toThrow(
      /data\.json is there twice/,
    )
    await expect(verify([...made, ['a/../b', Buffer.from('')]])).rejects.toThrow(
      /not a name inside/,
    )
  })
  test('is checked over the archive that carries it', async () => {
    const made = await unpackBundle(await archive(await by(mine, { claims: { iat: 5 } })))
    expect(await verify(made)).toEqual({ key: 'prod', issuedAt: 5_000, expiresAt: null })
  })
  test('by a key that is none is refused before anything is read', () => {
    expect(() => createVerifier({ keys: { a: 'secret' } })).toThrow(
      /policy\.verification\.keys\.a: is no public key/,
    )
  })
})

describe('the time of a signature', () => {
  const NOW = 1_000_000_000_000
  const of = (issuedAt: number | null, expiresAt: number | null = null) => ({
    key: 'k',
    issuedAt,
    expiresAt,
  })
  test.each([
    [of(NOW), null],
    [of(NOW + 59_000), null],
    [of(null, NOW - 59_000), null],
    [of(NOW), NOW],
    [of(null), null],
  ])('%j after %j is taken', (signed, floor) => {
    expect(() => refuseUntimely(signed, NOW, floor)).not.toThrow()
  })
  test.each([
    [of(NOW + 61_000), null, /which is still to come/],
    [of(null, NOW - 61_000), null, /it ended at/],
    [of(NOW - 1_000), NOW, /before the one in use/],
    [of(null), NOW, /does not say when it was made/],
  ])('%j after %j is refused', (signed, floor, message) => {
    expect(() => refuseUntimely(signed, NOW, floor)).toThrow(message)
  })
})
