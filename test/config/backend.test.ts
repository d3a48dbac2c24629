// Rules between values: how operators and the application's backend are reached, and that no secret stands for two.
import { describe, expect, test } from 'vitest'
import { parseConfig } from '../../proxy/config/parse.ts'

const KEY = (letter: string): string => letter.repeat(32)
const base = (more: object = {}): object => ({
  version: 1,
  identity: { trust: 'asserted', issuers: [{ issuer: 'https://idp.test', audience: 'deputy' }] },
  policy: { bundle: './bundle.tar.gz' },
  connections: { github: { provider: 'github' } },
  vault: { keys: './keys.json' },
  connect: { verifier: { url: 'https://app.test/verify', key: KEY('v') } },
  operators: [{ name: 'backend', bearer: KEY('a'), may: ['runs', 'revoke'] }],
  ...more,
})
const problems = (more: object): string => {
  const parsed = parseConfig(base(more))
  return 'problems' in parsed ? parsed.problems.join('\n') : 'fine'
}
const operator = (more: object = {}) => ({ name: 'two', bearer: KEY('b'), may: ['runs'], ...more })

test('a verifier, a webhook and operators on loopback are fine', () => {
  expect(problems({})).toBe('fine')
  const notify = { webhook: 'https://app.test/hook', key: 'k' }
  expect(
    problems({ connect: { sign_in: { issuer: 'https://idp.test', client_id: 'x' }, notify } }),
  ).toBe('fine')
})

describe('where the console of operators is', () => {
  const PEOPLE = { source: 'file', file: './people.yaml' }
  const apart = (listen: string, signIn: object): object => ({
    listeners: { operators: listen },
    entitlements: PEOPLE,
    operators_sign_in: { issuer: 'https://sso.test', client_id: 'ops', ...signIn },
  })
  test.each([
    ['a listener, and no address', apart('0.0.0.0:7413', {}), 'fine'],
    ['a listener, and its address', apart('0.0.0.0:7413', { url: 'https://ops.test' }), 'fine'],
    [
      'an address without a listener',
      { ...apart('127.0.0.1:7413', { url: 'https://ops.test' }), listeners: {} },
      'operators_sign_in.url: is not read, because without listeners.operators',
    ],
    [
      'the address of the pages',
      {
        ...apart('127.0.0.1:7413', { url: 'https://deputy.test' }),
        connect: {
          url: 'https://deputy.test/',
          verifier: { url: 'https://app.test/verify', key: KEY('v') },
        },
      },
      'operators_sign_in.url: is connect.url',
    ],
    [
      'plain http to another machine',
      apart('0.0.0.0:7413', { url: 'http://ops.test' }),
      'operators_sign_in.url: http://ops.test is plain http',
    ],
  ])('%s', (_name, more, problem) => expect(problems(more)).toContain(problem))
})

test('every tenant that identity names has a row, and every row is of such a tenant', () => {
  const issuer = { issuer: 'https://idp.test', audience: 'deputy' }
  const asserted = {
    trust: 'asserted',
    issuers: [{ ...issuer, tenant: '/tenant', tenants: ['north', 'south'] }],
  }
  const of = (tenants: object) => problems({ identity: asserted, tenants })
  expect(of({ north: { people: 1 }, south: {} })).toBe('fine')
  expect(of({ north: {} })).toContain('tenants: has no row for south, which identity names')
  expect(of({ north: {}, south: {}, west: {} })).toContain('tenants.west: identity names no such')
  expect(of({ north: { calls_per_minute: 0 }, south: {} })).toContain('calls_per_minute')
})

test.each([
  [
    'operators where anybody reaches the pages',
    { listeners: { connect: '0.0.0.0:7412' } },
    'listeners.operators: the connect listener is not on loopback',
  ],
  [
    'operators without any listener',
    { listeners: { connect: 'off' }, connect: { url: 'https://deputy.test' } },
    'listeners.operators: listeners.connect is off',
  ],
  [
    'a listener without operators',
    { listeners: { operators: '127.0.0.1:7413' }, operators: [] },
    'operators: listeners.operators is named',
  ],
  [
    'two operators of one name',
    { operators: [operator(), operator({ bearer: KEY('c') })] },
    'operators.1.name: two is there twice',
  ],
  [
    'two operators of one bearer',
    { operators: [operator(), operator({ name: 'three' })] },
    'operators.1.bearer: is the same secret as operators.0.bearer',
  ],
  [
    'a bearer that stands twice in one list',
    { operators: [operator({ bearer: [KEY('b'), KEY('b')] })] },
    'operators.0.bearer: is the same secret as operators.0.bearer',
  ],
  [
    'three bearers of one operator',
    { operators: [operator({ bearer: [KEY('b'), KEY('c'), KEY('d')] })] },
    'operators.0.bearer: must be one secret, or a list of two',
  ],
  [
    'an operator with the name of a person',
    { operators: [operator({ name: 'sso:ada' })] },
    'operators.0.name: must not begin with sso:',
  ],
  [
    'operators whose tokens are tags of people',
    { operators_sign_in: { issuer: 'https://idp.test', client_id: 'deputy' } },
    'operators_sign_in.audience: tags of people of this issuer are for deputy too',
  ],
  [
    'an operator with the verifier’s key',
    { operators: [operator({ bearer: KEY('v') })] },
    'connect.verifier.key: is the same secret as operators.0.bearer',
  ],
  [
    'a bearer that is too short',
    { operators: [operator({ bearer: 'short' })] },
    'operators.0.bearer: must be 32 bytes or more',
  ],
  [
    'runs while entitlements come from claims',
    {
      entitlements: {
        source: 'claims',
        max_age: { read: '5m', write: '5m', delete: '5m', admin: '5m' },
      },
    },
    'operators.0.may: runs go on without an assertion',
  ],
  ['nobody at the page', { connect: {} }, 'connect.sign_in: the pages must know who is there'],
  [
    'a verifier in the clear',
    { connect: { verifier: { url: 'http://app.test/verify', key: KEY('v') } } },
    'connect.verifier.url: is plain http',
  ],
  [
    'a webhook in the clear',
    {
      connect: {
        verifier: { url: 'https://app.test/verify', key: KEY('v') },
        notify: { webhook: 'http://app.test/hook', key: 'k' },
      },
    },
    'connect.notify.webhook: is plain http',
  ],
  [
    'half a key of Standard Webhooks',
    { connect: { notify: { webhook: 'https://app.test/hook', key: 'whsec_c2hvcnQ=' } } },
    'connect.notify.key: is no key of Standard Webhooks',
  ],
])('%s is refused, with what to do', (_name, more, said) => {
  expect(problems(more)).toContain(said)
})

test('no secret, and no digest of one, is in the configuration that is printed', () => {
  const notify = { webhook: 'https://app.test/hook', key: 'canary-hook' }
  const verifier = { url: 'https://app.test/verify', key: KEY('v') }
  const parsed = parseConfig(base({ connect: { verifier, notify } }))
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  const printed = JSON.stringify(parsed.config)
  expect(printed).not.toContain('canary-hook')
  expect(JSON.parse(printed)).toMatchObject({
    operators: [{ bearer: ['[redacted]'] }],
    connect: { verifier: { key: '[redacted]' } },
  })
})
