import { expect, test } from 'vitest'
import { createDirect, noProxyProblem } from '../../proxy/net/no_proxy.ts'

test.each([
  ['git.corp', ['git.corp', 'GIT.CORP.', 'a.git.corp'], ['xgit.corp', 'corp']],
  ['.corp', ['git.corp', 'a.b.corp'], ['corp', 'corp.example']],
  ['*.corp', ['git.corp'], ['corp']],
  ['localhost', ['localhost'], ['localhost.evil']],
  ['*', ['anything.example', '10.0.0.1'], []],
])('%s goes round the proxy for itself alone', (entry, inside, outside) => {
  expect(noProxyProblem(entry)).toBe(null)
  const direct = createDirect([entry])
  for (const host of inside) expect(direct.host(host, 443), host).toBe(true)
  for (const host of outside) expect(direct.host(host, 443), host).toBe(false)
})

test('a port narrows an entry', () => {
  const direct = createDirect(['git.corp:8443'])
  expect(direct.host('git.corp', 8443)).toBe(true)
  expect(direct.host('git.corp', 443)).toBe(false)
})

test('a network counts for addresses of its family, one address too', () => {
  const direct = createDirect(['10.1.0.0/16', 'fd12::/16', '192.0.2.7', '[fd99::1]'])
  for (const address of ['10.1.2.3', 'fd12::9', '192.0.2.7', 'fd99::1'])
    expect(direct.address(address), address).toBe(true)
  for (const address of ['10.2.0.1', 'fd13::9', '192.0.2.8', 'fd99::2', 'git.corp'])
    expect(direct.address(address), address).toBe(false)
  expect(direct.host('10.1.2.3', 443)).toBe(false)
})

test('networks of IPv6 hold no address of IPv4', () => {
  const direct = createDirect(['::/0', '::ffff:0:0/96'])
  expect(direct.address('8.8.8.8')).toBe(false)
  expect(direct.address('2001:db8::1')).toBe(true)
  expect(createDirect(['10.0.0.0/8']).address('::ffff:10.1.2.3')).toBe(true)
})

test.each([
  '10.1.0',
  '10.1.0:443',
  '0x7f.0x1',
  'git.corp:0',
  'http://git.corp',
  'git corp',
  '',
  '10.1.0.0/33',
  '10.1.0.0/x',
  'a/b',
  'git.corp:x',
  '-a',
  'git.corp:99999',
  '10.0.0.0/8/8',
])('an entry that nobody would understand is refused: %j', (entry) => {
  expect(noProxyProblem(entry)).toMatch(/is no host, address or network: write/)
  expect(() => createDirect([entry])).toThrow('is no host')
})
