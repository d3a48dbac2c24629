// What cannot change while deputy runs is named, key by key.
import { expect, test } from 'vitest'
import { needRestart } from '../../proxy/config/fixed.ts'
import { parseConfig } from '../../proxy/config/parse.ts'
import type { Config } from '../../proxy/config/schema.ts'

const BASE = {
  version: 1,
  listeners: { agent_tls: { listen: '127.0.0.1:0', cert: './a.crt', key: './a.key' } },
  identity: { trust: 'asserted', issuers: [{ issuer: 'https://idp.test', audience: 'deputy' }] },
  entitlements: { source: 'file', file: './people.yaml' },
  policy: { bundle: './bundle.tar.gz' },
  connections: { github: { provider: 'github', client_id: 'a', client_secret: 'b' } },
  vault: { keys: './keys.json' },
  connect: { sign_in: { issuer: 'https://idp.test', client_id: 'pages' } },
}
const configOf = (over: object): Config => {
  const parsed = parseConfig({ ...BASE, ...over })
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  return parsed.config
}

test.each<[string, object, readonly string[]]>([
  ['nothing', {}, []],
  ['limits and connections', { limits: { calls: 5 }, connections: BASE.connections }, []],
  ['the log', { telemetry: { log_level: 'debug' } }, []],
  [
    'a certificate by other names',
    { listeners: { agent_tls: { listen: '127.0.0.1:0', cert: './b.crt', key: './b.key' } } },
    [],
  ],
  ['TLS gone', { listeners: {} }, ['listeners.agent_tls']],
  [
    'an address',
    { listeners: { ...BASE.listeners, admin: '127.0.0.1:9' } },
    ['listeners.admin.port'],
  ],
  ['state', { state: './elsewhere' }, ['state']],
  [
    'the vault and the evidence',
    { vault: { keys: './other.json' }, audit: { sink: ['stdout'], required: false } },
    ['vault.keys', 'audit.sink'],
  ],
  ['where people are', { connect: { ...BASE.connect, url: 'https://a.test' } }, ['connect.url']],
  ['headers', { limits: { headers: '64KiB' } }, ['limits.headers']],
])('%s', (_what, over, named) => {
  expect(needRestart(configOf({}), configOf(over))).toEqual(named)
})

test('where the console is', () => {
  const at = (url: string): Config => {
    const signIn = { issuer: 'https://idp.test', client_id: 'ops', url }
    return configOf({ listeners: { operators: '127.0.0.1:7413' }, operators_sign_in: signIn })
  }
  expect(needRestart(at('https://a.test'), at('https://b.test'))).toEqual(['operators_sign_in.url'])
})

test('the one-time code of a laptop comes and goes with a restart only', () => {
  const plain = { identity: { trust: 'plain' }, listeners: {} }
  const local = configOf({ ...plain, connect: { sign_in: 'local' } })
  const idp = configOf(plain)
  expect(needRestart(local, idp)).toEqual(['connect.sign_in'])
  expect(needRestart(local, local)).toEqual([])
})
