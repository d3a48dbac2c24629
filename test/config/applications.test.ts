import { describe, expect, test } from 'vitest'
import { naming } from '../../proxy/config/backend.ts'
import { parseConfig } from '../../proxy/config/parse.ts'
import { oddities } from '../../proxy/config/rules.ts'

const ISSUER = { issuer: 'https://idp.test', audience: 'deputy', realm: 'corp' }
const WORKLOAD = {
  name: 'nightly',
  issuer: 'https://cluster.test',
  match: { '/sub': 'x' },
  agent: 'agent:crm',
}
const [A, B, C] = ['a', 'b', 'c'].map((letter) => letter.repeat(40))
const row = (more: object = {}): object => ({
  name: 'crm',
  bearer: A,
  agent: 'agent:crm',
  people: ['*@acme.example'],
  ...more,
})
const config = (more: object = {}): object => ({
  version: 1,
  identity: { trust: 'asserted', issuers: [ISSUER] },
  entitlements: { source: 'file', file: './people.yaml' },
  policy: { bundle: './b.tar.gz' },
  connections: { acme: { provider: 'acme' } },
  vault: { keys: './keys.json' },
  connect: { verifier: { url: 'https://app.example/verify', key: 'v'.repeat(32) } },
  applications: [row()],
  ...more,
})
const problemsOf = (value: object): readonly string[] => {
  const parsed = parseConfig(value)
  return 'problems' in parsed ? parsed.problems : []
}
const parsed = (value: object) => {
  const result = parseConfig(value)
  if ('problems' in result) throw new Error(result.problems.join('\n'))
  return result.config
}

test('a row is taken; its keys print nothing', () => {
  const { applications } = parsed(config({ applications: [row({ bearer: [A, B] })] }))
  expect(applications[0]?.bearer).toHaveLength(2)
  expect(JSON.stringify(applications)).not.toMatch(/aaaa|bbbb|"data"/)
})
test('no issuer is needed where an application names people', () => {
  expect(problemsOf(config({ identity: { trust: 'asserted' } }))).toEqual([])
  expect(problemsOf(config({ identity: { trust: 'asserted' }, applications: [] }))).toEqual([
    expect.stringMatching(/^identity\.issuers: .*or a row of applications/),
  ])
})

describe('the realm of its people', () => {
  const realms = (more: object) => naming(parsed(config(more))).realms
  const signIn = { sign_in: { issuer: 'https://pages.test', client_id: 'deputy', realm: 'staff' } }
  test('is its own, that of who signs in, that of the first issuer, or that of identity', () => {
    expect(realms({})).toEqual(['corp'])
    expect(realms({ connect: signIn })).toEqual(['corp', 'staff'])
    expect(realms({ applications: [row({ realm: 'x' })], connect: signIn })).toEqual(['corp', 'x'])
    expect(realms({ identity: { trust: 'asserted', realm: 'r' } })).toEqual(['r'])
  })
  test('and its tenants are known too', () => {
    expect(naming(parsed(config({ applications: [row({ tenants: ['acme'] })] }))).tenants).toEqual([
      'default',
      'acme',
    ])
  })
})

test('a key that comes unencrypted over a network is told', () => {
  const told = (more: object = {}) =>
    oddities(parsed(config({ listeners: { agent: '0.0.0.0:7410' }, ...more })))
  expect(told()).toEqual([expect.stringMatching(/^listeners\.agent: keys of applications come/)])
  expect(told({ applications: [] })).toEqual([])
  expect(told({ listeners: {} })).toEqual([])
})

test.each<[string, object, RegExp]>([
  ['under plain', { identity: { trust: 'plain' } }, /^applications: identity\.trust is plain, so/],
  [
    'with claims',
    { entitlements: { source: 'claims', max_age: { write: '5m', delete: '5m', admin: '5m' } } },
    /^applications: they name people without an assertion/,
  ],
  [
    'a short key',
    { applications: [row({ bearer: 'short' })] },
    /^applications\.0\.bearer: must be a key of 32 to 512/,
  ],
  ['a key with a colon', { applications: [row({ bearer: `${A}:x` })] }, /^applications\.0\.bearer/],
  [
    'a key like a run token',
    { applications: [row({ bearer: `dpr_${A}` })] },
    /^applications\.0\.bearer/,
  ],
  ['three keys', { applications: [row({ bearer: [A, B, C] })] }, /a list of two at most/],
  [
    'nobody',
    { applications: [row({ people: [] })] },
    /^applications\.0\.people: needs one pattern/,
  ],
  [
    'no key',
    { applications: [row({ bearer: undefined })] },
    /^applications\.0\.bearer: nothing is the key/,
  ],
  [
    'a name twice',
    { applications: [row(), row({ bearer: B })] },
    /^applications\.1\.name: crm is there twice/,
  ],
  [
    'one key for two',
    { applications: [row(), row({ name: 'x' })] },
    /^applications\.1\.bearer: is the same secret as applications\.0\.bearer/,
  ],
  [
    'a key twice',
    { applications: [row({ bearer: [A, A] })] },
    /^applications\.0\.bearer\.1: is the same secret as applications\.0\.bearer\.0/,
  ],
  [
    'an operator’s bearer',
    { operators: [{ name: 'o', bearer: A, may: ['runs'] }] },
    /^applications\.0\.bearer: is the same secret as operators\.0\.bearer/,
  ],
  [
    'the verifier’s key',
    { applications: [row({ bearer: 'v'.repeat(32) })] },
    /^connect\.verifier\.key: is the same secret/,
  ],
  [
    'two kinds of key',
    { workloads: [WORKLOAD], applications: [row({ workload: 'nightly' })] },
    /^applications\.0\.workload: the bearer is the key already/,
  ],
  [
    'a workload that is not there',
    { applications: [row({ bearer: undefined, workload: 'x' })] },
    /^applications\.0\.workload: no row of workloads is called x/,
  ],
  [
    'another agent than the workload’s',
    {
      workloads: [WORKLOAD],
      applications: [row({ bearer: undefined, workload: 'nightly', agent: 'other' })],
    },
    /^applications\.0\.agent: is other, but the token/,
  ],
])('refused: %s', (_what, more, sentence) => {
  expect(problemsOf(config(more))).toContainEqual(expect.stringMatching(sentence))
})
