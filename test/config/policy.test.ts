import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { bundleKeyOf } from '../../proxy/config/policy.ts'
import { parseConfig } from '../../proxy/config/parse.ts'
import { ecPair, rsaPair } from '../support/bundles.ts'

const [ec, rsa] = [ecPair(), rsaPair()]
const keys = { prod: ec.pem }
const URL = 'https://bundles.test/deputy.tar.gz'
const problems = (policy: object): string => {
  const parsed = parseConfig({
    version: 1,
    identity: { trust: 'plain' },
    entitlements: { source: 'file', file: './people.yaml' },
    policy,
    connections: { github: { provider: 'github' } },
    vault: { keys: './keys.json' },
    connect: { sign_in: 'local' },
  })
  return 'problems' in parsed ? parsed.problems.join('\n') : ''
}

test.each<[object]>([
  [{ bundle: './b.tar.gz' }],
  [{ bundle: './b.tar.gz', data: './t' }],
  [{ bundle: './b.tar.gz', verification: { keys } }],
  [{ bundle: './b', verification: { keys, scope: 'prod' }, data: './t', data_unsigned: true }],
  [{ bundle: URL, verification: { keys: { a: rsa.pem, b: ec.pem } }, allow_rollback: true }],
  [{ bundle: URL, unsigned: true, data: './t' }],
  [{ bundle: './b', shadow: './s.tar.gz' }],
  [{ bundle: URL, unsigned: true, bundle_auth: { bearer: 'b' }, bundle_poll: '30s' }],
  [{ bundle: 'http://127.0.0.1:8000/b', unsigned: true }],
  [{ bundle: 'http://bundles.test/b', unsigned: true, insecure: true }],
])('%j is carried out', (policy) => {
  expect(problems(policy)).toBe('')
})

test.each<[object, RegExp]>([
  [{ bundle: URL }, /^policy\.verification: a bundle from a URL must be verified/],
  [{ bundle: 'HTTPS://bundles.test/b' }, /^policy\.verification: a bundle from a URL/],
  [{ bundle: 'http://bundles.test/b', unsigned: true }, /is plain http to another machine/],
  [{ bundle: 'https://user:word@bundles.test/b', unsigned: true }, /^policy\.bundle: is no http/],
  [{ bundle: 'https://', unsigned: true }, /^policy\.bundle: is no http/],
  [{ bundle: URL, unsigned: true, verification: { keys } }, /^policy\.unsigned: .*keep one/],
  [{ bundle: './b', unsigned: true }, /^policy\.unsigned: policy\.bundle is a file/],
  [{ bundle: URL, verification: { keys }, data: './t' }, /^policy\.data: these tables have no sig/],
  [{ bundle: './b', verification: { keys }, data: './t' }, /^policy\.data: these tables/],
  [{ bundle: './b', data: './t', data_unsigned: true }, /^policy\.data_unsigned: .*remove it/],
  [{ bundle: URL, verification: { keys }, data_unsigned: true }, /^policy\.data_unsigned: /],
  [{ bundle: './b', allow_rollback: true }, /^policy\.allow_rollback: only a signed bundle/],
  [{ bundle: './b', bundle_auth: { bearer: 'b' } }, /^policy\.bundle_auth: policy\.bundle is a f/],
  [{ bundle: './b', bundle_poll: '1m' }, /^policy\.bundle_poll: policy\.bundle is a file/],
  [{ bundle: './b', insecure: true }, /^policy\.insecure: policy\.bundle is a file/],
  [
    { bundle: './b', shadow: URL },
    /^policy\.shadow: .+ not built in this version of deputy: remove it$/,
  ],
  [{ bundle: URL, unsigned: true, bundle_poll: '10ms' }, /must be 1s or more/],
  [{ bundle: URL, verification: { keys: {} } }, /must name one key at least/],
  [{ bundle: URL, verification: { keys: { a: 'hush' } } }, /keys\.a: is no public key in PEM/],
  [{ bundle: URL, verification: { keys, alg: 'none' } }, /alg/],
])('%j is refused', (policy, said) => {
  expect(problems(policy)).toMatch(said)
})

describe('a key verifies what its kind can', () => {
  test.each([
    ['P-256', ec, ['ES256']],
    ['P-384', ecPair('P-384'), ['ES384']],
    ['P-521', ecPair('P-521'), ['ES512']],
    ['RSA', rsa, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']],
  ])('%s', (_name, { pem }, algorithms) => {
    expect(bundleKeyOf(pem)).toMatchObject({ algorithms })
  })
  const { publicKey: x } = generateKeyPairSync('x25519')
  test.each([
    ['a shared secret', 'hush', /a shared secret \(HS256\) is not taken/],
    ['a private key', ec.privateKey.export({ type: 'pkcs8', format: 'pem' }), /the public half/],
    ['a damaged one', ec.pem.replace(/[A-Z]/g, 'A'), /is no public key/],
    ['a short RSA key', rsaPair(1024).pem, /of 1024 bits/],
    ['another curve', ecPair('secp256k1').pem, /of a kind that signs no bundles/],
    ['a key that signs nothing', x.export({ type: 'spki', format: 'pem' }), /of a kind that signs/],
  ])('%s is refused, and not quoted', (_name, pem, said) => {
    const told = bundleKeyOf(pem)
    expect(told).toMatch(said)
    expect(told).not.toContain('hush,')
  })
})
