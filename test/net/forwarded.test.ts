// Whom a proxy speaks for: believed from trusted ones only, outwards until the first that is not.
import type { IncomingMessage } from 'node:http'
import { expect, test } from 'vitest'
import { createForwarded } from '../../proxy/net/forwarded.ts'
import { cpuMs } from '../support/pace.ts'

type Headers = Readonly<Record<string, readonly string[]>>
const from = (remoteAddress: string, headers: Headers): IncomingMessage =>
  ({ socket: { remoteAddress }, headersDistinct: headers }) as unknown as IncomingMessage
const { address, host } = createForwarded(['10.0.0.0/8', '192.0.2.7', '2001:db8:1::/48'])

test.each<[string, string, Headers, string]>([
  ['nobody said anything', '10.1.1.1', {}, '10.1.1.1'],
  [
    'a stranger says something',
    '203.0.113.9',
    { 'x-forwarded-for': ['198.51.100.1'] },
    '203.0.113.9',
  ],
  [
    'a stranger says it as the RFC has it',
    '203.0.113.9',
    { forwarded: ['for=198.51.100.1'] },
    '203.0.113.9',
  ],
  ['a trusted one', '10.1.1.1', { 'x-forwarded-for': ['198.51.100.1'] }, '198.51.100.1'],
  ['mapped into IPv6', '::ffff:10.1.1.1', { 'x-forwarded-for': ['198.51.100.1'] }, '198.51.100.1'],
  [
    'a client that lies to it',
    '10.1.1.1',
    { 'x-forwarded-for': ['192.0.2.1, 198.51.100.1'] },
    '198.51.100.1',
  ],
  [
    'a client that lies in a header of its own',
    '10.1.1.1',
    { 'x-forwarded-for': ['192.0.2.1', '198.51.100.1'] },
    '198.51.100.1',
  ],
  [
    'a chain of trusted ones',
    '10.1.1.1',
    { 'x-forwarded-for': ['192.0.2.1, 198.51.100.1, 192.0.2.7'] },
    '198.51.100.1',
  ],
  [
    'the RFC, quoted, with a port',
    '10.1.1.1',
    { forwarded: ['for="[2001:db8:2::1]:4711";proto=https'] },
    '2001:db8:2::1',
  ],
  [
    'the RFC before the older header',
    '10.1.1.1',
    { forwarded: ['for=198.51.100.1'], 'x-forwarded-for': ['192.0.2.1'] },
    '198.51.100.1',
  ],
  [
    'commas inside quotes',
    '10.1.1.1',
    { forwarded: ['for=192.0.2.1;by="a,for=1.1.1.1", for=198.51.100.1'] },
    '198.51.100.1',
  ],
  ['one that hides', '10.1.1.1', { forwarded: ['for=_hidden'] }, '10.1.1.1'],
  ['nonsense', '10.1.1.1', { 'x-forwarded-for': ['<script>'] }, '10.1.1.1'],
  [
    'a trusted one of IPv6',
    '2001:db8:1::9',
    { 'x-forwarded-for': ['198.51.100.1:80'] },
    '198.51.100.1',
  ],
])('%s', (_what, peer, headers, expected) => {
  expect(address(from(peer, headers))).toBe(expected)
})

test('the name that it was asked for, of the nearest trusted proxy only', () => {
  const said = { 'x-forwarded-host': ['evil.test, apps.example'] }
  expect(host(from('10.1.1.1', said))).toBe('apps.example')
  expect(host(from('203.0.113.9', said))).toBe(null)
  expect(
    host(from('10.1.1.1', { forwarded: ['host=a.test, for=1.2.3.4;host="apps.example:443"'] })),
  ).toBe('apps.example:443')
  expect(host(from('10.1.1.1', {}))).toBe(null)
})

test('without trusted proxies nothing is believed', () => {
  const none = createForwarded([])
  expect(none.address(from('127.0.0.1', { 'x-forwarded-for': ['198.51.100.1'] }))).toBe('127.0.0.1')
  expect(none.host(from('127.0.0.1', { 'x-forwarded-host': ['apps.example'] }))).toBe(null)
})

test('a header without an end of its names is read in a time that grows with its length', () => {
  const forwarded = [`for=198.51.100.1;${'x'.repeat(200_000)}`]
  const took = cpuMs(() => expect(address(from('10.1.1.1', { forwarded }))).toBe('198.51.100.1'))
  expect(took).toBeLessThan(1_000)
})
