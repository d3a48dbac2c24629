// An identity provider pushes people and groups; what it says decides the next call, and ends what runs.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { prepareFolder, startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const BEARER = 'canary-scim-bearer-0123456789abcdef0123'
const SECOND = 'canary-scim-second-0123456789abcdef0123'
const TOKEN = 'at-alice-0123456789abcdef'
const TOOLS = process.env['DEPUTY_SCIM'] ?? join(homedir(), '.cache/deputy-ci/scim-1/bin')
const missing = existsSync(join(TOOLS, 'scim2')) ? null : `${TOOLS} lacks scim2: .ci/run makes it`
if (missing !== null && process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)
if (missing !== null) process.stderr.write(`SKIPPED: ${missing}\n`)
const BULK = Array.from({ length: 10_000 }, (_, i) => `bulk${i}`)
const USER = 'urn:ietf:params:scim:schemas:core:2.0:User'
const GROUP = 'urn:ietf:params:scim:schemas:core:2.0:Group'
const PATCH = 'urn:ietf:params:scim:api:messages:2.0:PatchOp'

let upstream: Upstream
let deputy: Deputy
const config: Fields = {
  entitlements: { source: 'scim', scim: { bearer: [BEARER, SECOND], trust_push: true } },
}
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  const setup = {
    upstream: upstream.origin,
    held: [{ person: 'alice', token: TOKEN }],
    config,
  }
  const dir = await prepareFolder(setup)
  const db = new DatabaseSync(join(dir, 'deputy.db'))
  db.exec('BEGIN')
  const put = db.prepare(
    `INSERT INTO scim_resources VALUES ('default', 'local', 'User', ?, ?, ?, NULL, 1, ?, 1, 1)`,
  )
  for (const name of BULK) put.run(`0-${name}`, name, name, JSON.stringify({ userName: name }))
  db.exec('COMMIT')
  db.close()
  deputy = await startDeputy(setup, dir)
}, 60_000)
afterAll(async () => {
  await deputy?.close()
  await upstream?.close()
})

type Answer = { readonly status: number; readonly body: Fields; readonly headers: Headers }
const scim = async (
  method: string,
  path: string,
  body?: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> => {
  const answer = await fetch(`${deputy.connect}/scim/v2${path}`, {
    method,
    headers: {
      authorization: `Bearer ${BEARER}`,
      'content-type': 'application/scim+json',
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  return {
    status: answer.status,
    body: text === '' ? {} : (JSON.parse(text) as Fields),
    headers: answer.headers,
  }
}
const made = async (path: string, body: Fields): Promise<string> => {
  const { status, body: got } = await scim('POST', path, body)
  expect([status, got]).toEqual([201, expect.objectContaining({ id: expect.any(String) })])
  return String(got['id'])
}
const patch = (path: string, ...Operations: readonly object[]): Promise<Answer> =>
  scim('PATCH', path, { schemas: [PATCH], Operations })
const user = (userName: string, more: Fields = {}): Promise<string> =>
  made('/Users', { schemas: [USER], userName, active: true, ...more })
const group = (displayName: string, ...ids: readonly string[]): Promise<string> =>
  made('/Groups', {
    schemas: [GROUP],
    displayName,
    members: ids.map((value) => ({ value })),
  })
const call = async (method = 'GET'): Promise<readonly [number, string]> => {
  const answer = await fetch(`${deputy.agent}/~alice/api.acme.test/a`, { method })
  const text = await answer.text()
  const code: unknown = answer.ok ? 'ok' : (JSON.parse(text) as Fields)['code']
  return [answer.status, String(code)]
}
const FINE = [200, 'ok']
const DENIED = [403, 'policy_denied']

describe('what is pushed decides', () => {
  let alice = ''
  let team = ''
  test('nobody is known until somebody is pushed, nested groups count', async () => {
    expect(await call()).toEqual(DENIED)
    alice = await user('alice')
    team = await group('team', alice)
    await group('staff', team)
    expect(await call()).toEqual(FINE)
    const { body } = await scim('GET', `/Users/${alice}`)
    expect(body['groups']).toMatchObject([
      { display: 'team', type: 'direct' },
      { display: 'staff', type: 'indirect' },
    ])
  })
  test('a member who is removed is refused with the next call', async () => {
    await patch(`/Groups/${team}`, { op: 'Remove', path: `members[value eq "${alice}"]` })
    expect(await call()).toEqual(DENIED)
    await patch(`/Groups/${team}`, { op: 'Add', path: 'members', value: [{ value: alice }] })
    expect(await call()).toEqual(FINE)
    // As Entra ID has it.
    await patch(`/Groups/${team}`, { op: 'Remove', path: 'members', value: [{ value: alice }] })
    expect(await call()).toEqual(DENIED)
    await patch(`/Groups/${team}`, { op: 'add', value: { members: [{ value: alice }] } })
    expect(await call()).toEqual(FINE)
  })
  test.each([
    ['Okta', { op: 'replace', value: { active: false } }],
    ['Entra ID', { op: 'Replace', path: 'active', value: 'False' }],
  ])('who is deactivated as %s does it is refused, and the evidence says so', async (_, off) => {
    const before = deputy.evidence().length
    expect((await patch(`/Users/${alice}`, off)).body['active']).toBe(false)
    expect(await call()).toEqual(DENIED)
    const lines = deputy.evidence().slice(before)
    expect(lines).toContainEqual(
      expect.objectContaining({ event: 'entitlement.invalidated', cause: 'scim', source: 'scim' }),
    )
    await patch(`/Users/${alice}`, { op: 'replace', path: 'active', value: true })
    expect(await call()).toEqual(FINE)
  })
  test('a stream of somebody who is deactivated is cut', async () => {
    upstream.handle = (_seen, res) => void res.writeHead(200).write('begun')
    const answer = await fetch(`${deputy.agent}/~alice/api.acme.test/a`)
    upstream.handle = null
    const ended = answer.text().then(
      () => 'whole',
      () => 'cut',
    )
    await patch(`/Users/${alice}`, { op: 'replace', path: 'active', value: false })
    expect(await ended).toBe('cut')
    await patch(`/Users/${alice}`, { op: 'replace', path: 'active', value: true })
  })
  test('the bearer of SCIM opens nothing else, and nothing else opens SCIM', async () => {
    for (const path of ['/v1/runs', '/v1/admin/user_connections', '/v1/connections']) {
      const other = await fetch(`${deputy.connect}${path}`, {
        headers: { authorization: `Bearer ${BEARER}` },
      })
      expect([401, 404]).toContain(other.status)
    }
    const none = await scim('GET', '/Users', undefined, { authorization: 'Bearer x' })
    expect(none.status).toBe(401)
    const second = await scim('GET', '/Users', undefined, { authorization: `Bearer ${SECOND}` })
    expect(second.status).toBe(200)
  })
  test('who is deleted is nobody', async () => {
    expect((await scim('DELETE', `/Users/${alice}`)).status).toBe(204)
    expect(await call()).toEqual(DENIED)
    expect((await scim('GET', `/Groups/${team}`)).body['members']).toBeUndefined()
  })
})

describe('bad input, and much of it', () => {
  test('a taken name is 409, whatever its case', async () => {
    await user('taken')
    const { status, body } = await scim('POST', '/Users', { schemas: [USER], userName: 'TAKEN' })
    expect([status, body['scimType'], body['status']]).toEqual([409, 'uniqueness', '409'])
  })
  test.each([
    `${'('.repeat(500)}userName eq "x"${')'.repeat(500)}`,
    'x'.repeat(3_000),
    Array.from({ length: 60 }, () => 'userName pr').join(' or '),
    'userName eq',
    'userName zz "x"',
    '__proto__ eq "x"',
    'userName eq "x" garbage',
    'emails[type eq "work"',
  ])('a filter that is hostile or broken is refused: %#', async (filter) => {
    const { status, body } = await scim('GET', `/Users?filter=${encodeURIComponent(filter)}`)
    expect([status, body['scimType']]).toEqual([400, 'invalidFilter'])
  })
  test('two clients at once lose nothing, and a stale If-Match is refused', async () => {
    const ids = await Promise.all(Array.from({ length: 20 }, (_, i) => user(`many${i}`)))
    const crowd = await group('crowd')
    await Promise.all(
      ids.map((value) =>
        patch(`/Groups/${crowd}`, { op: 'add', path: 'members', value: [{ value }] }),
      ),
    )
    const { body, headers } = await scim('GET', `/Groups/${crowd}`)
    expect(body['members']).toHaveLength(20)
    await patch(`/Groups/${crowd}`, { op: 'replace', path: 'displayName', value: 'crew' })
    const stale = { 'if-match': headers.get('etag') ?? '' }
    expect((await scim('DELETE', `/Groups/${crowd}`, undefined, stale)).status).toBe(412)
  })
  test('10,000 members in one PATCH', async () => {
    const ids = BULK.map((name) => `0-${name}`)
    const all = await group('everybody')
    const value = ids.map((id) => ({ value: id }))
    const began = performance.now()
    const added = await patch(`/Groups/${all}`, { op: 'add', path: 'members', value })
    expect([added.status, added.body['members']]).toEqual([200, expect.any(Array)])
    expect(added.body['members']).toHaveLength(10_000)
    const gone = ids.slice(1).map((id) => ({ op: 'remove', path: `members[value eq "${id}"]` }))
    expect((await patch(`/Groups/${all}`, ...gone)).body['members']).toHaveLength(1)
    process.stderr.write(`10,000 members in and out: ${Math.round(performance.now() - began)} ms\n`)
  }, 120_000)
})

describe.skipIf(missing !== null)(
  `foreign checkers${missing === null ? '' : ` (SKIPPED: ${missing})`}`,
  () => {
    const run = promisify(execFile)
    let empty: Deputy
    beforeAll(async () => {
      empty = await startDeputy({ upstream: upstream.origin, config })
    }, 60_000)
    afterAll(() => empty.close())
    test('scim2 test finds nothing', async () => {
      const { stdout } = await run(
        join(TOOLS, 'scim2'),
        ['-u', `${empty.connect}/scim/v2`, 'test', '--verbose'],
        { env: { ...process.env, SCIM_CLI_HEADERS: `Authorization: Bearer ${BEARER}` } },
      ).catch((error: unknown) => error as { readonly stdout: string })
      expect(stdout.match(/^SUCCESS/gm)?.length).toBeGreaterThan(125)
      expect(stdout.split('\n').filter((line) => /ERROR|CRITICAL|DEVIATION/.test(line))).toEqual([])
    }, 120_000)
    test('scim-sanity finds nothing', async () => {
      const { stdout } = await run(join(TOOLS, 'scim-sanity'), [
        'probe',
        `${empty.connect}/scim/v2`,
        '--token',
        BEARER,
        '--i-accept-side-effects',
        '--compat',
      ]).catch((error: unknown) => error as { readonly stdout: string })
      expect(stdout).toMatch(/28 passed/)
      expect(stdout).not.toMatch(/FAIL/)
    }, 120_000)
  },
)
