import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { testProvider } from '../../proxy/commands/quirks.ts'
import { compileProviders, parseProvider } from '../../proxy/providers/parse.ts'
import type { Provider } from '../../proxy/model.ts'

const dir = join(import.meta.dirname, '../../providers')
const { providers } = compileProviders(readProviderFiles(dir))
const withOAuth = [...providers].filter(([, { credential }]) => credential === 'oauth2')
const shipped: readonly (readonly [string, Provider])[] = withOAuth.flatMap(
  ([id, provider]): (readonly [string, Provider])[] =>
    provider.slots?.size
      ? [...provider.slots].map(([slot, one]) => [`${id} (slot ${slot})`, one])
      : [[id, provider]],
)

const run = async (provider: Provider) => {
  const lines: string[] = []
  const result = await testProvider(provider, (line) => void lines.push(line))
  return { ...result, lines }
}
const acme = {
  id: 'acme',
  issuer: 'https://acme.example',
  authorize: 'https://acme.example/authorize',
  token: 'https://acme.example/token',
  userinfo: 'https://acme.example/me',
  account: { id: '/id', label: '/mail' },
  hosts: ['api.acme.example'],
}
const own = (changes: object): Provider => {
  const parsed = parseProvider({ ...acme, ...changes }, 'acme.yaml')
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  return parsed.provider
}

describe('the scripted provider', () => {
  test('plays every shipped provider, and each slot of one that has several', () => {
    expect(shipped.map(([name]) => name)).toEqual([
      'gitea',
      'github',
      'github_app',
      'google',
      'hubspot',
      'linear',
      'microsoft',
      'notion',
      'salesforce',
      'slack (slot user)',
      'slack (slot bot)',
    ])
  })

  test.each(shipped)('%s deals with every quirk that applies to it', async (name, provider) => {
    const { passed, failed, lines } = await run(provider)
    expect(failed).toEqual([])
    expect(passed).toBeGreaterThan(name === 'github' ? 40 : 68)
    const has = (start: string) => lines.some((line) => line.startsWith(`ok      ${start}`))
    expect(has('slots:')).toBe(name.startsWith('slack'))
    expect(has('host from the token:')).toBe(name === 'salesforce')
    expect(has('revocation: there is none')).toBe(['gitea', 'microsoft', 'notion'].includes(name))
  })

  test('has nothing to play where people paste keys, and says so', async () => {
    const keyed = [...providers].filter(([, { credential }]) => credential === 'api_key')
    expect(keyed.map(([id]) => id)).toEqual(['anthropic', 'notion_key', 'openai', 'stripe'])
    for (const [, provider] of keyed) {
      const { passed, failed, lines } = await run(provider)
      expect([passed, failed]).toEqual([0, []])
      expect(lines.join()).toMatch(/API key/)
    }
  })

  test('a plain definition of one’s own needs no example', async () => {
    expect((await run(own({ revoke: 'https://acme.example/revoke' }))).failed).toEqual([])
  })

  test('signed assertions, pushed requests, JSON requests, resources and repeated scopes get through', async () => {
    const provider = own({
      client_auth: 'private_key_jwt',
      par: 'https://acme.example/par',
      resource: ['https://api.acme.example/'],
      token_format: 'json',
      scope: { repeat: ['token', 'refresh'] },
      example: { token: { ...OAUTH }, client_auth: ['private_key_jwt'], pkce: 'required' },
    })
    expect((await run(provider)).failed).toEqual([])
  })
})

const OAUTH = {
  access_token: '{access_token}',
  refresh_token: '{refresh_token}',
  expires_in: '{expires_in}',
  scope: '{scope}',
  token_type: 'Bearer',
}
