// Names of workloads and the keys of a trust domain, as the SPIFFE documents have them.
import { expect, test } from 'vitest'
import { domainOfId, svidKeys, svidType } from '../../proxy/oauth/spiffe.ts'

test.each<[unknown, string | null]>([
  ['spiffe://corp.example/agents/triage', 'corp.example'],
  ['spiffe://corp/a', 'corp'],
  ['spiffe://corp', null],
  ['spiffe://corp/', null],
  ['spiffe://corp/a/', null],
  ['spiffe://corp//a', null],
  ['spiffe://corp/../a', null],
  ['spiffe://corp/./a', null],
  ['spiffe://corp/%61', null],
  ['spiffe://Corp/a', null],
  ['spiffe://user@corp/a', null],
  ['spiffe://corp:80/a', null],
  ['spiffe://corp/a?b', null],
  ['https://corp/a', null],
  [7, null],
])('%s is of the trust domain %s', (id, domain) => {
  expect(domainOfId(id)).toBe(domain)
})

test('of a bundle only the named keys that sign tokens are taken', () => {
  const key = (use: string | undefined, kid: string | undefined) => ({ kty: 'EC', use, kid })
  const bundle = {
    keys: [
      key('jwt-svid', 'a'),
      key('x509-svid', undefined),
      key('sig', 'b'),
      key('jwt-svid', undefined),
    ],
    spiffe_sequence: 1,
    spiffe_refresh_hint: 300,
  }
  expect(svidKeys(bundle)).toEqual({ keys: [{ kty: 'EC', use: 'sig', kid: 'a' }] })
  expect(() => svidKeys({})).toThrow('needs a member keys')
})

test('a token says that it is a JWT, or nothing', () => {
  expect([undefined, 'JWT', 'JOSE', 'at+jwt', 'jwt', 7].map(svidType)).toEqual([
    true,
    true,
    true,
    false,
    false,
    false,
  ])
})
