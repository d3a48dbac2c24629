// An identity provider pushes people and groups; what it says decides the next call, and ends what runs.
import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { secret } from '../../proxy/secret.ts'
import { readRing } from '../../proxy/vault/ring_file.ts'
import { createSealer, newKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { QUIET } from '../support/log.ts'
import { postgres } from '../support/postgres.ts'
import { AGENT, prepareFolder, startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
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

const server = await postgres()
let upstream: Upstream
let deputy: Deputy
const config: Fields = {
  entitlements: { source: 'scim', scim: { bearer: [BEARER, SECOND], trust_push: true } },
  connect: { sign_in: 'local', hold: '60s' },
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
  db.exec(
    `INSERT INTO scim_resources VALUES ('other', 'local', 'User', 'theirs', 'mallory', 'mallory', NULL, 1, '{"userName":"mallory"}', 1, 1)`,
  )
  // As a deputy leaves it that stopped in the middle of a DELETE: deactivated, and nothing else yet.
  put.run('0-crashed', 'runner-crashed', 'runner-crashed', '{"active":false}')
  for (const id of ['running', 'left', 'crashed'])
    db.exec(
      `INSERT INTO runs (token_hash, id, tenant, realm, user_id, agent, connections, created_by, created_at, expires_at)
        VALUES ('${id}', '${id}', 'default', 'local', 'runner-${id}', 'laptop', '["acme"]', 'test', 1, 99999999999999)`,
    )
  db.exec('COMMIT')
  db.close()
  deputy = await startDeputy(setup, dir)
})
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

test('a name of other bytes than UTF-8 is nobody: two of them would become one', async () => {
  const answer = await fetch(`${deputy.connect}/scim/v2/Users`, {
    method: 'POST',
    headers: { authorization: `Bearer ${BEARER}`, 'content-type': 'application/scim+json' },
    body: new Uint8Array(
      Buffer.from(
        '{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"al\xffce"}',
        'latin1',
      ),
    ),
  })
  expect(answer.status).toBe(400)
  expect(await answer.json()).toMatchObject({ scimType: 'invalidSyntax' })
})

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

describe('what else ends, and whom it does not reach', () => {
  const sql = (text: string): readonly Fields[] => {
    const db = new DatabaseSync(join(deputy.dir, 'deputy.db'))
    try {
      return db.prepare(text).all()
    } finally {
      db.close()
    }
  }
  const revoked = (run: string): unknown =>
    sql(`SELECT revoked_at AS at FROM runs WHERE id = '${run}'`)[0]?.['at']
  test.each([
    ['running', 'PATCH'],
    ['left', 'DELETE'],
  ])('runs of %s end with a %s before it is answered', async (run, method) => {
    const id = await user(`runner-${run}`)
    expect(revoked(run)).toBeNull()
    const body = { schemas: [PATCH], Operations: [{ op: 'replace', value: { active: false } }] }
    await scim(method, `/Users/${id}`, method === 'PATCH' ? body : undefined)
    expect(revoked(run)).toEqual(expect.any(Number))
    expect(deputy.evidence()).toContainEqual(
      expect.objectContaining({ event: 'run.revoked', run, cause: 'scim' }),
    )
  })
  test('a call that waits for its person ends when the person is deactivated', async () => {
    const id = await user('carol')
    await group('staff', id).catch(() => null)
    const [staff] = (await scim('GET', '/Groups?filter=displayName eq "staff"')).body[
      'Resources'
    ] as readonly Fields[]
    await patch(`/Groups/${String(staff?.['id'])}`, {
      op: 'add',
      path: 'members',
      value: [{ value: id }],
    })
    const held = fetch(`${deputy.agent}/~carol/api.acme.test/a`)
    await expect.poll(() => sql(`SELECT 1 FROM flows WHERE user_id = 'carol'`).length).toBe(1)
    await patch(`/Users/${id}`, { op: 'replace', path: 'active', value: false })
    expect((await held).status).toBe(403)
  })
  test('somebody of another tenant is not seen and not touched', async () => {
    const theirs = (): readonly Fields[] =>
      sql(`SELECT * FROM scim_resources WHERE tenant = 'other'`)
    const before = theirs()
    const body = { schemas: [USER], userName: 'x', active: false }
    for (const [method, given] of [
      ['GET', undefined],
      ['PUT', body],
      ['PATCH', { schemas: [PATCH], Operations: [{ op: 'replace', value: { active: false } }] }],
      ['DELETE', undefined],
    ] as const)
      expect((await scim(method, '/Users/theirs', given)).status).toBe(404)
    const found = await scim('GET', '/Users?filter=userName eq "mallory"')
    expect(found.body['totalResults']).toBe(0)
    const mixed = await group('mixed', 'theirs')
    expect((await scim('GET', `/Groups/${mixed}`)).body['members']).toBeUndefined()
    expect(theirs()).toEqual(before)
    // The same name is free here.
    await user('mallory')
  })
  test('who was named before there was such a user gets nothing when there is', async () => {
    const early = await group('early', 'not-there-yet')
    const id = await user('late', { id: 'not-there-yet' })
    expect(id).not.toBe('not-there-yet')
    expect((await scim('GET', `/Groups/${early}`)).body['members']).toBeUndefined()
    expect((await scim('GET', `/Users/${id}`)).body['groups']).toBeUndefined()
  })
  test('a resource whose schemas do not name its kind is refused', async () => {
    const { status } = await scim('POST', '/Users', { schemas: [], userName: 'none' })
    expect(status).toBe(400)
  })
})

describe('a DELETE that was cut off', () => {
  test('ends what is left when it comes again', async () => {
    const run = (): unknown => {
      const db = new DatabaseSync(join(deputy.dir, 'deputy.db'), { readOnly: true })
      try {
        return db.prepare(`SELECT revoked_at AS at FROM runs WHERE id = 'crashed'`).get()?.['at']
      } finally {
        db.close()
      }
    }
    expect(run()).toBeNull()
    expect((await scim('DELETE', '/Users/0-crashed')).status).toBe(204)
    expect(run()).toEqual(expect.any(Number))
    expect((await scim('GET', '/Users/0-crashed')).status).toBe(404)
  })
})

describe('joined with a directory that is asked', () => {
  test('each can withdraw at once, and groups of both count', async () => {
    let answer: Fields = { id: 'alice', active: true, groups: [] }
    let asked = 0
    const directory = createServer((_req, res) => {
      asked += 1
      res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    })
    await new Promise<void>((resolve) => directory.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(directory.address() as AddressInfo).port}/{id}`
    const both = await startDeputy({
      upstream: upstream.origin,
      held: [{ person: 'alice', token: TOKEN }],
      config: {
        entitlements: {
          sources: ['scim', 'http'],
          http: { preset: 'none', url, id: '/id', active: '/active', groups: '/groups' },
          scim: { bearer: BEARER, trust_push: true },
        },
      },
    })
    const alone = deputy
    deputy = both
    try {
      expect(await call()).toEqual(DENIED)
      const id = await user('alice')
      expect(await call()).toEqual(DENIED) // in no group
      const staff = await group('staff', id)
      expect(await call()).toEqual(FINE)
      answer = { ...answer, active: false }
      expect(await call()).toEqual(DENIED)
      answer = { ...answer, active: true, groups: ['staff'] }
      await scim('DELETE', `/Groups/${staff}`)
      expect(await call()).toEqual(FINE)
      await patch(`/Users/${id}`, { op: 'replace', path: 'active', value: false })
      expect(await call()).toEqual(DENIED)
      await patch(`/Users/${id}`, { op: 'replace', path: 'active', value: true })
      expect(await call()).toEqual(FINE)
      const before = asked
      expect(await call()).toEqual(FINE)
      expect(asked).toBe(before + 1)
      directory.closeAllConnections()
      directory.close()
      expect(await call()).toEqual([503, 'entitlements_unavailable'])
    } finally {
      deputy = alone
      directory.closeAllConnections()
      directory.close()
      await both.close()
    }
  })
})

describe('joined with a file', () => {
  test('active only if both say so', async () => {
    const both = await startDeputy({
      upstream: upstream.origin,
      held: [{ person: 'alice', token: TOKEN }],
      config: {
        entitlements: {
          sources: ['scim', 'file'],
          file: './people.yaml',
          scim: { bearer: BEARER, trust_push: true },
        },
      },
    })
    const alone = deputy
    deputy = both
    try {
      expect(await call()).toEqual(DENIED)
      const alice = await user('alice')
      expect(await call()).toEqual(FINE)
      await patch(`/Users/${alice}`, { op: 'replace', path: 'active', value: false })
      expect(await call()).toEqual(DENIED)
    } finally {
      deputy = alone
      await both.close()
    }
  })
})

describe.skipIf('absent' in server)('two deputies on one PostgreSQL', () => {
  test('deactivated at one: within a second the stream of the other is cut, and its next call refused', async () => {
    if ('absent' in server) return
    const direct = await server.fresh()
    const keys = join(mkdtempSync(join(tmpdir(), 'scim-')), 'keys.json')
    writeFileSync(keys, newKeyRing(Date.now(), randomBytes), { mode: 0o600 })
    const store = await openPostgres(direct, { log: QUIET })
    const vault = createVault({
      store,
      sealer: createSealer(await readRing(keys), () => readRing(keys)),
      clock: { now: () => Date.now(), mono: () => performance.now() },
      randomId: randomUUID,
    })
    await vault.connect({
      person: { tenant: 'default', realm: 'local', id: 'alice' },
      agent: AGENT,
      connection: 'acme',
      provider: 'acme',
      account: { id: 'alice', label: 'alice' },
      tokens: { access: secret(TOKEN), refresh: null, scopes: ['notes'], expiresIn: 3600 },
      scopes: ['notes'],
    })
    const setup = {
      upstream: upstream.origin,
      config: { ...config, vault: { store: direct, keys } },
    }
    const [one, other] = [await startDeputy(setup), await startDeputy(setup)]
    const alone = deputy
    deputy = one
    try {
      const alice = await user('alice')
      await group('staff', alice)
      upstream.handle = (_seen, res) => void res.writeHead(200).write('begun')
      const answer = await fetch(`${other.agent}/~alice/api.acme.test/a`)
      upstream.handle = null
      expect(answer.status).toBe(200)
      const ended = answer.text().then(
        () => 'whole',
        () => 'cut',
      )
      await patch(`/Users/${alice}`, { op: 'replace', path: 'active', value: false })
      const began = performance.now()
      deputy = other
      expect(await call()).toEqual(DENIED)
      expect(await ended).toBe('cut')
      const took = Math.round(performance.now() - began)
      process.stderr.write(`cut at the other replica after ${took} ms\n`)
    } finally {
      deputy = alone
      upstream.handle = null
      await Promise.all([one.close(), other.close()])
      await store.close()
    }
  }, 120_000)
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
  test('a zero byte, which not every store can hold, is refused in a text and in an address', async () => {
    const named = (userName: string) => scim('POST', '/Users', { schemas: [USER], userName })
    expect(await named('a\0b')).toMatchObject({ status: 400, body: { scimType: 'invalidValue' } })
    expect((await named('a\\u0000b')).status).toBe(201)
    for (const path of ['/Users/%00', '/Users?filter=userName%20eq%20%22%00%22'])
      expect((await scim('GET', path)).status).toBe(400)
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
    const members = async (): Promise<unknown> =>
      (await scim('GET', `/Groups/${all}`)).body['members']
    const added = await patch(`/Groups/${all}`, { op: 'add', path: 'members', value })
    expect([added.status, added.body]).toEqual([204, {}])
    expect(await members()).toHaveLength(10_000)
    const gone = ids.slice(1).map((id) => ({ op: 'remove', path: `members[value eq "${id}"]` }))
    expect((await patch(`/Groups/${all}`, ...gone)).body['members']).toHaveLength(1)
    expect(await members()).toHaveLength(1)
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
    })
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
