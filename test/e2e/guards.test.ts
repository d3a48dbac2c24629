// What no agent does at GitHub, whatever the tables say, in a whole deputy: at a server of one's own, in words, and at `validate`.
import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { validate } from '../../proxy/commands/validate/command.ts'
import { loadFolder, startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const wide = {
  kinds: ['rest', 'asset'],
  access: ['read', 'write', 'delete', 'admin'],
  operations: ['*'],
  max_entitlement_age_s: 300,
}
const with_ = (name: string, value: Fields): Fields => ({ ...TABLES[name], ...value })
const tables = (row: Fields = wide): Record<string, Fields> => ({
  ...TABLES,
  grants: with_('grants', { ghe: { all: row } }),
  role_grants: with_('role_grants', { ghe: { user: ['all'] } }),
  providers: with_('providers', {
    ghe: { hosts: ['git.corp.test'], assets: [], inspect_body: [] },
  }),
})

let upstream: Upstream
let deputy: Deputy
const start = async (): Promise<void> => {
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: [{ person: 'alice', connection: 'corp', token: 'at-alice', scopes: ['repo'] }],
    tables: tables(),
    config: {
      providers: [
        { id: 'base', extends: 'github', hosts: [] },
        {
          id: 'ghe',
          extends: 'base',
          hosts: { 'git.corp.test': 'https://git.corp.test' },
          assets: [],
        },
      ],
      connections: {
        corp: {
          provider: 'ghe',
          client_id: 'deputy',
          client_secret: 'x',
          scopes: ['repo', 'delete_repo'],
          hosts: { 'git.corp.test': upstream.origin },
        },
      },
    },
  })
}
beforeEach(async () => {
  upstream = await startUpstream()
  upstream.people.set('at-alice', 'alice')
  await start()
})
afterEach(async () => {
  await deputy.close()
  await upstream.close()
})

const call = async (method: string, path: string, body?: object) => {
  const answer = await fetch(`${deputy.agent}/git.corp.test/${path}`, {
    method,
    headers: { 'deputy-user': 'alice', 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const told = (await answer.json()) as { detail?: string; message?: string; reasons?: string[] }
  return { status: answer.status, code: answer.headers.get('deputy-answer'), told }
}

test('a definition that extends GitHub over another one is guarded like GitHub, and the agent reads why', async () => {
  expect((await call('GET', 'repos/acme/app/issues')).status).toBe(200)
  const refused: readonly (readonly [string, string, string])[] = [
    ['DELETE', 'repos/acme/app', 'github_repo_delete'],
    ['DELETE', 'api/v3/repos/acme/app', 'github_repo_delete'],
    ['PUT', 'repos/acme/app/actions/secrets/A', 'github_protected'],
    ['POST', 'user/emails', 'github_protected'],
    ['DELETE', 'repos/acme/app/branches/main/protection', 'github_protected'],
    ['PUT', 'repos/acme/app/pulls/7/merge', 'github_merge'],
    ['DELETE', 'repos/acme/app/git/refs/heads/main', 'github_force_push'],
  ]
  for (const [method, path, reason] of refused) {
    const { status, code, told } = await call(method, path)
    expect([path, status, code, told.reasons]).toEqual([path, 403, 'policy_denied', [reason]])
  }
  const { told } = await call('DELETE', 'repos/acme/app')
  const sentence =
    'The security policy does not allow this call: agents do not delete or give away repositories (github_repo_delete).'
  expect([told.detail, told.message]).toEqual([sentence, sentence])
  expect(upstream.seen.map(({ method }) => method)).toEqual(['GET'])
})

test('a review passes by what its body says, and so does moving a branch', async () => {
  const review = (event: unknown) => call('POST', 'repos/acme/app/pulls/7/reviews', { event })
  expect((await review('COMMENT')).status).toBe(200)
  expect((await review(undefined)).status).toBe(200)
  expect((await review('APPROVE')).told.reasons).toEqual(['github_approve'])
  expect((await review(['COMMENT'])).told.reasons).toEqual(['github_approve'])
  const move = (force: unknown) =>
    call('PATCH', 'repos/acme/app/git/refs/heads/main', { sha: 'a', force })
  expect((await move(undefined)).status).toBe(200)
  expect((await move(false)).status).toBe(200)
  expect((await move(true)).told.reasons).toEqual(['github_force_push'])
  expect(upstream.seen).toHaveLength(4)
})

test('what the table guards leaves to agents they do, at that provider', async () => {
  const path = join(deputy.dir, 'tables/guards.json')
  writeFileSync(path, JSON.stringify({ github: { merge: true } }))
  const merge = () => call('PUT', 'repos/acme/app/pulls/7/merge')
  await expect.poll(() => deputy.logged().split('policy loaded').length).toBe(3)
  expect((await merge()).told.reasons).toEqual(['github_merge'])
  writeFileSync(path, JSON.stringify({ ghe: { merge: true } }))
  await expect.poll(async () => (await merge()).status).toBe(200)
  expect((await call('DELETE', 'repos/acme/app')).code).toBe('policy_denied')
})

test('the authorization API says why, too', async () => {
  const answer = await fetch(`${deputy.agent}/v1/tools/authorize`, {
    method: 'POST',
    headers: { 'deputy-user': 'alice', 'content-type': 'application/json' },
    body: JSON.stringify({ tool_name: 'pulls.merge', user_id: 'alice' }),
  })
  expect(await answer.json()).toMatchObject({
    code: 'policy_denied',
    detail: expect.stringContaining('agents do not merge (github_merge)') as string,
  })
})

describe('deputy validate', () => {
  const validated = async (): Promise<readonly [number, string]> => {
    const said: string[] = []
    const print = (line: string): void => void said.push(line)
    const code = await validate({ loaded: await loadFolder(deputy.dir), print, complain: print })
    return [code, said.join('\n')]
  }
  const write = (name: string, value: Fields): void =>
    writeFileSync(join(deputy.dir, `tables/${name}.json`), JSON.stringify(value))

  test('is fine with right tables', async () => {
    expect(await validated()).toEqual([0, expect.stringContaining(': fine; policy ')])
  })

  test.each<[string, Fields, string]>([
    ['a wrong row', { ...wide, access: ['reed'] }, 'ghe.all.access.0: must be one of read, write'],
    [
      'a path that never matches',
      { ...wide, path: ['repositories', 'acme', 'x', 'y', 'z', '**'] },
      'ghe.all.path: no operation of ghe fits',
    ],
    ['an operation that there is not', { ...wide, operations: ['isues.*'] }, 'has no "isues.*"'],
  ])('refuses %s with file, row and member', async (_name, row, what) => {
    write('grants', tables(row)['grants'] ?? {})
    const [code, said] = await validated()
    expect(code).toBe(78)
    expect(said).toContain(`${join(deputy.dir, 'tables/grants.json')}: `)
    expect(said).toContain(what)
  })

  test('refuses a file that is no table', async () => {
    appendFileSync(join(deputy.dir, 'tables/grant.json'), '{}')
    expect(await validated()).toEqual([78, expect.stringContaining('there is no table "grant"')])
  })
})
