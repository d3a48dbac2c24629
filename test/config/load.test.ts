// What the configuration's files say, read together: providers, connections, variables.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { kmsGiven, load } from '../../proxy/config/load.ts'

const folder = mkdtempSync(join(tmpdir(), 'deputy-load-'))
afterAll(() => rmSync(folder, { recursive: true }))
const write = (name: string, value: object): string => {
  const path = join(folder, name)
  writeFileSync(path, stringify(value))
  return path
}
const base = {
  version: 1,
  identity: { trust: 'plain' },
  policy: { bundle: './bundle.tar.gz' },
  vault: { keys: './keys.json' },
  connect: { sign_in: 'local' },
}
const problems = async (more: object): Promise<readonly string[]> => {
  const result = await load(write('deputy.yaml', { ...base, ...more }), {})
  return 'problems' in result ? result.problems : []
}

test('a scope that the definition does not know is refused at start, where it might mean everything', async () => {
  const connection = { provider: 'gitea', hosts: ['git.corp.example'], client_id: 'i' }
  const gitea = { ...connection, client_secret: 's', scopes: ['read:user', 'repo'] }
  expect(await problems({ connections: { gitea } })).toEqual([
    expect.stringMatching(
      /^connections\.gitea\.scopes: "repo" is no scope of Gitea: one of public-only,/,
    ),
  ])
})

test('a variable that is not set is named with its file', async () => {
  write('acme.yaml', { id: 'acme', name: '${env:ACME_NAME}', hosts: ['api.acme.example'] })
  const connections = { acme: { provider: 'acme' } }
  expect((await problems({ providers: ['./acme.yaml'], connections })).join('\n')).toMatch(
    /acme\.yaml: name: the environment variable ACME_NAME is not set/,
  )
})

test('what follows from a variable that is not set, or a part that is missing, is not told beside it', async () => {
  const gitea = { provider: 'gitea', hosts: ['git.corp.example'], client_secret: 's' }
  const unset = { gitea: { ...gitea, client_id: '${env:NOWHERE}' } }
  expect(await problems({ connections: unset })).toEqual([
    expect.stringMatching(
      /^connections\.gitea\.client_id: the environment variable NOWHERE is not set/,
    ),
  ])
  expect(await problems({})).toEqual(['connections: is missing'])
})

test('a host that a provider does not serve is refused with those that it serves', async () => {
  const github = { provider: 'github', client_id: 'i', client_secret: 's' }
  const hosts = { 'api.gihub.com': 'http://127.0.0.1:1' }
  expect((await problems({ connections: { github: { ...github, hosts } } })).join()).toContain(
    'github does not serve api.gihub.com: it serves api.github.com, uploads.github.com',
  )
})

describe('words of another product are refused, and the command that writes ours is named', () => {
  const oauth2 = { client_secret: 'canary-secret', token_request: { endpoint: 'https://h.test/t' } }
  const connections = { hooli: { provider: 'hooli', client_id: 'i', client_secret: 's' } }
  const told = 'oauth2: is how another product writes a provider: `deputy import FILE` writes it'
  test.each<[string, () => object, string]>([
    ['inline', () => ({ providers: [{ id: 'hooli', oauth2 }], connections }), told],
    [
      'in a file of its own',
      () => ({ providers: [write('hooli.yaml', { id: 'hooli', oauth2 })], connections }),
      told,
    ],
    [
      'without the section',
      () => ({ providers: [{ id: 'hooli', authorization_request: {} }], connections }),
      'authorization_request: is how another product writes a provider',
    ],
    [
      'as its whole file',
      () => ({ auth: { providers: [{ id: 'hooli', oauth2 }] }, connections }),
      'auth: is no key that deputy knows: `deputy import FILE`',
    ],
  ])('%s', async (_, more, sentence) => {
    const found = (await problems(more())).join('\n')
    expect(found).toContain(sentence)
    expect(found).not.toContain('canary-secret')
  })
})

describe('the program that wraps the keys of a new ring', () => {
  const wraps = { ...base, vault: { ...base.vault, kms: 'exec:./wrap' } }
  test('is what the configuration names that serve would take', async () => {
    const path = write('wraps.yaml', wraps)
    expect((await kmsGiven({ config: path }, {}))?.program).toBe(join(folder, 'wrap'))
    expect((await kmsGiven({}, { DEPUTY_CONFIG: path }))?.program).toBe(join(folder, 'wrap'))
  })
  test('is none before there is a configuration where its place is named beforehand', async () => {
    expect(await kmsGiven({}, { DEPUTY_CONFIG: join(folder, 'none.yaml') })).toBeNull()
    await expect(kmsGiven({ config: join(folder, 'none.yaml') }, {})).rejects.toThrow(
      /does not exist/,
    )
  })
  test('is not passed over where it cannot be read', async () => {
    const path = write('odd.yaml', { ...base, vault: { ...base.vault, kms: 'exec:' } })
    await expect(kmsGiven({}, { DEPUTY_CONFIG: path })).rejects.toThrow(/is no program/)
  })
})
