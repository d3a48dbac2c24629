// Which keys of a row of workloads go together.
import { expect, test } from 'vitest'
import { parseConfig } from '../../proxy/config/parse.ts'
import { trustDomainOf } from '../../proxy/config/workload.ts'

const base = {
  version: 1,
  identity: { trust: 'plain' },
  policy: { bundle: './bundle.tar.gz' },
  connections: { github: { provider: 'github' } },
  vault: { keys: './keys.json' },
  connect: { sign_in: 'local' },
}
const issuer = 'https://kubernetes.default.svc'
const token = { name: 'a', issuer, match: { '/sub': 'a' }, agent: 'a' }
const spiffe = {
  name: 'a',
  spiffe: 'spiffe://corp',
  match: { '/sub': 'a' },
  agent: 'a',
  jwks: './b',
}
const certificate = { name: 'a', certificate: { uri: 'spiffe://corp/a' }, agent: 'a' }
const review = { server: issuer }
const tls = { listen: '127.0.0.1:0', cert: './a.crt', key: './a.key' }

const problems = (workloads: readonly object[], agentTls?: object): string => {
  const parsed = parseConfig({
    ...base,
    workloads,
    ...(agentTls === undefined ? {} : { listeners: { agent_tls: agentTls } }),
  })
  return 'problems' in parsed ? parsed.problems.join('\n') : ''
}

test.each<[string, readonly object[], RegExp, object?]>([
  ['a token', [token], /^$/],
  ['a token that the cluster is asked about', [{ ...token, token_review: review }], /^$/],
  ['a token of a trust domain', [spiffe], /^$/],
  ['a certificate', [certificate], /^$/, { ...tls, client_ca: './ca' }],
  [
    'all of them',
    [token, { ...spiffe, name: 'b' }, { ...certificate, name: 'c' }],
    /^$/,
    { ...tls, client_ca: './ca' },
  ],
  [
    'nothing',
    [{ name: 'a', match: { '/sub': 'a' }, agent: 'a' }],
    /^workloads\.0: needs exactly one of/,
  ],
  ['two kinds', [{ ...token, spiffe: 'spiffe://corp' }], /^workloads\.0: needs exactly one of/],
  [
    'a question about no issuer',
    [{ ...spiffe, token_review: review }],
    /token_review: needs the issuer/,
  ],
  [
    'a question and keys',
    [{ ...token, jwks: './a', token_review: review }],
    /has token_review and keys/,
  ],
  [
    'a trust domain without keys',
    [{ ...spiffe, jwks: undefined }],
    /^workloads\.0\.spiffe: needs the bundle/,
  ],
  ['no trust domain', [{ ...spiffe, spiffe: 'spiffe://corp/a' }], /is no SPIFFE trust domain/],
  [
    'a certificate with claims',
    [{ ...certificate, match: { '/sub': 'a' } }],
    /stands alone/,
    { ...tls, client_ca: './ca' },
  ],
  [
    'a certificate of any name',
    [{ ...certificate, certificate: {} }],
    /needs one name at least/,
    { ...tls, client_ca: './ca' },
  ],
  [
    'a certificate that nobody asks for',
    [certificate],
    /^workloads\.0\.certificate: no client shows one/,
    tls,
  ],
  [
    'authorities of nobody',
    [token],
    /client_ca: no row of workloads has certificate/,
    { ...tls, client_ca: './ca' },
  ],
  ['no claim', [{ ...token, match: {} }], /^workloads\.0\.match: needs one claim/],
  [
    'a long memory',
    [{ ...token, token_review: { ...review, cache: '11s' } }],
    /must be 10s or less/,
  ],
  [
    'a plain server',
    [{ ...token, token_review: { server: 'http://api.example' } }],
    /plain http to another machine/,
  ],
  [
    'two questions of one issuer',
    [
      { ...token, token_review: review },
      { ...token, name: 'b' },
    ],
    /another audience, max_age, token_review or other keys/,
  ],
  [
    'two lives of one trust domain',
    [spiffe, { ...spiffe, name: 'b', max_age: '5m' }],
    /names the trust domain of workloads\.0/,
  ],
])('a row may have %s, or says why not', (_, workloads, said, agentTls) => {
  expect(problems(workloads, agentTls)).toMatch(said)
})

test('a trust domain is what SPIFFE calls one', () => {
  expect(trustDomainOf('spiffe://corp.example')).toBe('corp.example')
  for (const text of ['corp', 'spiffe://', 'spiffe://Corp', 'spiffe://corp/', 'https://corp'])
    expect(trustDomainOf(text)).toBeNull()
})
