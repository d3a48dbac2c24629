import { join } from 'node:path'
import { Octokit } from '@octokit/rest'
import { describe, expect, test } from 'vitest'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import type { OperationRow } from '../../proxy/model.ts'

const { providers } = compileProviders(
  readProviderFiles(join(import.meta.dirname, '../../providers')),
)
const every = providers.get('github')?.operations ?? []
const graphql = every.filter((row) => row.graphql !== undefined)
const rows = every.filter((row) => row.graphql === undefined)
const named = (id: string): readonly OperationRow[] => rows.filter((row) => row.id === id)

/** Octokit's own table: id → `METHOD /template`, and the host where it is not api.github.com. */
const octokit = new Map<string, { readonly call: string; readonly host: string | null }>()
for (const [scope, methods] of Object.entries(new Octokit().rest))
  for (const [name, method] of Object.entries(methods)) {
    const { method: verb, url, baseUrl } = method.endpoint.DEFAULTS
    octokit.set(`${scope}.${name}`, {
      call: `${verb} ${url.replace(/\{\?[^}]*\}$/, '').replaceAll(/\{[\w-]+\}/g, (name: string) => name.replaceAll('-', '_'))}`,
      host: baseUrl === 'https://api.github.com' ? null : new URL(baseUrl).host,
    })
  }

const call = (row: OperationRow): string => `${row.method} ${row.path.replaceAll('+}', '}')}`
/** Where page 2 of a listing lives: the same resource by number. */
const byNumber = (text: string): string =>
  text
    .replace('/repos/{owner}/{repo}', '/repositories/{repository_id}')
    .replace('/users/{username}', '/user/{account_id}')
    .replace('/orgs/{org}/teams/{team_slug}', '/organizations/{organization_id}/team/{team_id}')
    .replace('/orgs/{org}', '/organizations/{organization_id}')
/** A listing of the root folder has no path: Octokit then leaves the segment empty. An archive without a ref is the default branch's. */
const ROOT = ['contents', 'contents/', 'tarball', 'zipball'].map(
  (last) => `GET /repos/{owner}/{repo}/${last}`,
)

describe('the catalogue of GitHub against Octokit’s own table', () => {
  test('nearly every id is a method of Octokit: the specification is newer than its client', () => {
    const ids = [...new Set(rows.map((row) => row.id))]
    const fresh = ids.filter((id) => !octokit.has(id))
    expect(ids.length).toBeGreaterThan(1_100)
    expect(fresh.length).toBeLessThan(ids.length / 4)
  })

  test('every id has Octokit’s method, path and host', () => {
    const missing = [...octokit].filter(
      ([id, { call: want, host }]) =>
        named(id).length > 0 && !named(id).some((row) => call(row) === want && row.host === host),
    )
    // These stand below /orgs in the newer specification.
    expect(missing.map(([id]) => id)).toEqual([
      'dependabot.repositoryAccessForOrg',
      'dependabot.setRepositoryAccessDefaultLevel',
      'dependabot.updateRepositoryAccessForOrg',
    ])
  })

  test('a row with another path than Octokit’s is a numeric alias that only reads, or the root folder', () => {
    const strange = rows.filter((row) => {
      const want = octokit.get(row.id)?.call
      if (call(row) === want || want === undefined || row.id.startsWith('dependabot.')) return false
      return !(row.method === 'GET' && (call(row) === byNumber(want) || ROOT.includes(call(row))))
    })
    expect(strange.map(call)).toEqual([])
  })

  test('no method of Octokit that destroys or writes is listed as a read', () => {
    const harmless = new Set(['markdown.render', 'markdown.renderRaw'])
    const wrong = rows.filter((row) => row.access === 'read' && row.method !== 'GET')
    expect(wrong.filter((row) => !harmless.has(row.id)).map((row) => row.id)).toEqual([])
    const readers = rows.filter((row) => row.method === 'GET' && row.access !== 'read')
    expect(readers.every((row) => row.access === 'admin')).toBe(true)
  })

  test('it holds at least 300 rows of more than 250 operations, of all four kinds', () => {
    expect(rows.length).toBeGreaterThanOrEqual(300)
    expect(new Set(rows.map((row) => row.id)).size).toBeGreaterThan(250)
    expect(new Set(rows.map((row) => row.access))).toEqual(
      new Set(['read', 'write', 'delete', 'admin']),
    )
  })

  test('settings, rights, hooks, keys, secrets and what starts code elsewhere is admin', () => {
    const touchy =
      /webhook|deploykey|publicsshkey|secret|variable|dispatch|rerun|addcollaborator|removecollaborator|updatebranchprotection|deletebranchprotection|transfer/i
    const wrong = rows.filter((row) => touchy.test(row.id) && row.access !== 'admin')
    expect(wrong.map((row) => row.id)).toEqual([])
    expect(named('repos.update')[0]?.access).toBe('admin')
  })

  test('what a person is asked for first suffices for a private repository', () => {
    const onRepo = rows.filter((row) => row.path.startsWith('/repos/'))
    expect(onRepo.filter((row) => row.scopes[0]?.includes('public_repo'))).toEqual([])
    expect(named('issues.create')[0]?.scopes).toEqual([['repo'], ['public_repo']])
    expect(named('repos.delete')[0]?.scopes).toEqual([['delete_repo']])
  })

  test('a file’s path, a branch, a tag, a ref and a label may hold slashes', () => {
    for (const [id, param] of [
      ['repos.getContent', '{path+}'],
      ['repos.createOrUpdateFileContents', '{path+}'],
      ['repos.getBranch', '{branch+}'],
      ['repos.getBranchProtection', '{branch+}'],
      ['repos.getReleaseByTag', '{tag+}'],
      ['git.updateRef', '{ref+}'],
      ['issues.removeLabel', '{name+}'],
    ] as const)
      expect(named(id).some((row) => row.path.includes(param))).toBe(true)
  })

  test('large bodies are let through for files, blobs, trees and release assets only', () => {
    expect(rows.filter((row) => row.upload).map((row) => row.id)).toEqual([
      'repos.createOrUpdateFileContents',
      'repos.uploadReleaseAsset',
      'git.createBlob',
      'git.createTree',
    ])
    expect(named('repos.uploadReleaseAsset')[0]?.host).toBe('uploads.github.com')
  })

  test('the app’s own endpoints are not in the catalogue', () => {
    expect(rows.filter((row) => /^\/(?:graphql|applications|app)(?:\/|$)/.test(row.path))).toEqual(
      [],
    )
  })

  test('every root field of GraphQL is, and no mutation is a read', () => {
    expect(graphql.length).toBeGreaterThan(260)
    expect(graphql.filter((row) => row.access === 'read').map((row) => row.graphql)).toEqual(
      graphql.map((row) => row.graphql).filter((field) => field?.startsWith('query ')),
    )
  })

  test('what introspection asks for is a read that needs no scope; at Linear it is a read, too', () => {
    const asked = ['query __schema', 'query __type', 'query __typename']
    for (const name of ['github', 'linear']) {
      const rows = providers.get(name)?.operations ?? []
      const found = rows.filter((row) => asked.includes(row.graphql ?? ''))
      expect(found.map((row) => row.access)).toEqual(['read', 'read', 'read'])
    }
    const schema = graphql.filter(({ id }) => id === 'graphql.schema')
    expect(schema.map(({ scopes }) => scopes)).toEqual([[[]], [[]], [[]]])
  })
})

test('a GitHub App has the same operations, and none of them asks for a scope', () => {
  const app = providers.get('github_app')
  expect(app?.operations.length).toBe(every.length)
  expect(app?.operations.every((row) => JSON.stringify(row.scopes) === '[[]]')).toBe(true)
  expect(app).toMatchObject({
    scopeParam: null,
    rotation: 'always',
    lostResponse: 'no',
    token: 'https://github.com/login/oauth/access_token',
  })
})
