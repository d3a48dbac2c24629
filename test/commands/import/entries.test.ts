// A whole file in another product's words: what becomes of each entry, and what is told of it.
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { importFile } from '../../../proxy/commands/import/entries.ts'
import type { Imported } from '../../../proxy/commands/import/entries.ts'
import { readProviderFiles } from '../../../proxy/commands/providers.ts'
import { compileProviders } from '../../../proxy/providers/parse.ts'

const folder = fileURLToPath(new URL('../../../providers', import.meta.url))
const { providers: shipped } = compileProviders(readProviderFiles(folder))
const run = (raw: unknown): Imported => {
  const found = importFile(raw, { name: 'engine.yaml', shipped })
  if (found === null) throw new Error('nothing was imported')
  return found
}
const file = (...providers: readonly unknown[]): Imported => run({ auth: { providers } })
const github = {
  id: 'default-github',
  description: 'The default GitHub provider',
  enabled: true,
  type: 'oauth2',
  provider_id: 'github',
  client_id: '${env:GITHUB_CLIENT_ID}',
  client_secret: '${env:GITHUB_CLIENT_SECRET}',
}
const oauth2 = {
  authorize_request: { endpoint: 'https://hooli.example/authorize' },
  token_request: { endpoint: 'https://hooli.example/token', auth_method: 'client_secret_basic' },
}
const hooli = { id: 'hooli', type: 'oauth2', client_id: 'i', client_secret: 's', oauth2 }

describe('an entry of a provider that ships', () => {
  test('becomes a connection, variables as they are', () => {
    const found = file({ ...github, scopes: ['repo'] })
    expect(Object.fromEntries(found.connections)).toEqual({
      'default-github': {
        provider: 'github',
        client_id: '${env:GITHUB_CLIENT_ID}',
        client_secret: '${env:GITHUB_CLIENT_SECRET}',
        scopes: ['repo'],
      },
    })
    expect([found.providers, found.left, found.notes]).toEqual([[], [], []])
  })

  test('may have its client and scopes in `oauth2`; what else stands there is told', () => {
    const { client_id, client_secret, ...rest } = github
    const inner = { client_id, client_secret, scopes: 'repo read:org', scope_delimiter: ',' }
    const found = file({ ...rest, oauth2: inner })
    expect(found.connections.get('default-github')).toMatchObject({
      client_id,
      scopes: ['repo', 'read:org'],
    })
    expect(found.left).toEqual([
      expect.stringContaining('engine.yaml: auth.providers.0.oauth2.scope_delimiter: github ships'),
    ])
  })

  test('of which deputy has none, or that is odd, is told at its place', () => {
    const found = file(
      github,
      { ...github, id: 'b', provider_id: 'spotify' },
      { ...github, id: 'c', type: 'saml' },
      { ...github, binding: 'x', colour: 'red', id: 'd' },
      'text',
      github,
      { ...github, id: '??' },
    )
    expect([...found.connections.keys()]).toEqual(['default-github', 'd'])
    expect(found.left.map((line) => line.slice('engine.yaml: auth.providers.'.length))).toEqual([
      expect.stringMatching(/^1\.provider_id: spotify is no provider that ships with deputy/),
      '2.type: must be oauth2: the entry is left out',
      '3.colour: is nothing that deputy knows here',
      '4: is no provider: keys and values stand here',
      '5.id: default-github is named twice: the entry is left out',
      '6.id: is missing: the entry is left out',
    ])
  })

  test('that is switched off is left out and named, and nothing is lost by that', () => {
    const found = file({ ...github, enabled: false }, { ...github, status: 'inactive' }, hooli)
    expect([...found.connections.keys()]).toEqual(['hooli'])
    expect(found.left).toEqual([])
    expect(found.notes.slice(0, 2)).toEqual([
      'engine.yaml: auth.providers.0.enabled: the entry is off and left out',
      'engine.yaml: auth.providers.1.status: the entry is off and left out',
    ])
  })

  test.each([
    ['is kept elsewhere', { exists: true, editable: true }, 'notes'],
    ['is missing', undefined, 'notes'],
    ['is put in by words that deputy does not know', '${vault:github/secret}', 'left'],
  ] as const)('whose secret %s gets a variable to set', (_, client_secret, where) => {
    const found = file({ ...github, scopes: [], client_secret })
    const entry = found.connections.get('default-github')
    expect(entry?.['client_secret']).toBe('${env:DEFAULT_GITHUB_CLIENT_SECRET}')
    expect(found[where]).toEqual([
      expect.stringMatching(/client_secret: .*DEFAULT_GITHUB_CLIENT_SECRET/),
    ])
  })

  test('names a host where people host it themselves, and no scope that is none', () => {
    const found = file({ ...github, provider_id: 'gitea', scopes: ['read:user', 'repo'] })
    expect(found.connections.get('default-github')).toMatchObject({
      hosts: ['gitea.example.com'],
      scopes: ['read:user'],
    })
    expect(found.left).toEqual([expect.stringContaining('scopes: repo is no scope of Gitea')])
    expect(found.notes.join()).toContain('connections.default-github.hosts')
  })
})

describe('an entry with requests of its own', () => {
  test('becomes a definition and a connection; where its API is, is a guess and said so', () => {
    const found = file(hooli)
    expect(found.left).toEqual([])
    expect(found.connections.get('hooli')).toEqual({
      provider: 'hooli',
      client_id: 'i',
      client_secret: 's',
      scopes: [],
    })
    expect(found.providers).toMatchObject([{ id: 'hooli', hosts: ['hooli.example'] }])
    expect(found.notes.join('\n')).toMatch(/providers\.hooli\.hosts and operations .* a guess/)
    const info = { ...oauth2, user_info: { endpoint: 'https://api.hooli.example/me' } }
    expect(file({ ...hooli, oauth2: info }).providers).toMatchObject([
      { hosts: ['api.hooli.example'] },
    ])
  })

  test('may have them in itself, and endpoints with variables', () => {
    const { oauth2: _, ...rest } = hooli
    const token_request = { endpoint: '${env:HOOLI:-https://hooli.example}/token' }
    const found = file({ ...rest, ...oauth2, token_request, hosts: ['a.test'], token: 'https://b' })
    expect(found.left).toEqual([])
    expect(found.providers).toMatchObject([{ hosts: ['a.test'], token: 'https://b' }])
  })

  test('of the name of one that ships gets another, so that it does not take its place', () => {
    const found = file(github, { ...hooli, id: 'GitHub' })
    expect([...found.connections].map(([name, { provider }]) => [name, provider])).toEqual([
      ['default-github', 'github'],
      ['github-own', 'github-own'],
    ])
    expect(found.notes.join()).toContain('1.id: is github-own at deputy')
  })

  test('that makes no provider is left out with all that is wrong; the others are written', () => {
    const plain = { ...oauth2, token_request: { endpoint: 'http://hooli.example/token' } }
    const found = file({ ...hooli, id: 'bad', oauth2: plain }, hooli, {
      ...hooli,
      id: 'empty',
      oauth2: { token_request: {} },
    })
    expect([...found.connections.keys()]).toEqual(['hooli'])
    expect(found.providers).toHaveLength(1)
    expect(found.left.join('\n')).toMatch(/providers\.0: token: plain http goes to loopback only/)
    expect(found.left.join('\n')).toMatch(/providers\.0: is left out/)
    expect(found.left.join('\n')).toMatch(/providers\.2: is left out: its requests cannot be read/)
  })
})

test('of a whole file everything but providers is told', () => {
  const found = run({
    $schema: 's',
    api: {},
    auth: { providers: [github], sessions: 1 },
    tools: {},
  })
  expect(found.left).toEqual([
    'engine.yaml: auth.sessions: is left out: only providers are carried over',
    'engine.yaml: api: is left out: only providers are carried over',
    'engine.yaml: tools: is left out: only providers are carried over',
  ])
})

test('one entry alone and a list under `providers` are read as well; anything else is nothing', () => {
  expect([...run(github).connections.keys()]).toEqual(['default-github'])
  expect([...run({ providers: [hooli] }).connections.keys()]).toEqual(['hooli'])
  for (const nothing of [[], 'x', null, {}, { auth: {} }, { id: 'hooli' }])
    expect(importFile(nothing, { name: 'x', shipped })).toBeNull()
})
