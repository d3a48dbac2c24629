// Export, erasure and names of the evidence on a whole deputy: hostile ids, operators of other tenants, lost keys, an
// erasure that is killed half-way, and one that goes on during calls.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, describe, expect, test } from 'vitest'
import { auditVerify } from '../../proxy/commands/audit.ts'
import { auditWhois } from '../../proxy/commands/audit_whois.ts'
import { reachLocal } from '../../proxy/commands/local.ts'
import { peopleErase, type Operate } from '../../proxy/commands/operate.ts'
import { peopleExport, tenantsExport } from '../../proxy/commands/people.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { loadFolder, prepareFolder, providersAt, startChild, until } from '../support/deputy.ts'
import { startHouse, type House } from '../support/house.ts'
import { startUpstream } from '../support/upstream.ts'

const NORTH = 'canary-north-bearer-0000000000000000000'
const ALL = 'canary-all-bearer-000000000000000000000'
const HASHED = { sink: ['file:audit.jsonl'], user_ids: 'hashed' }
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

const startTwo = async (): Promise<House> => {
  const house = await startHouse({
    tenants: ['north', 'south'],
    config: {
      audit: HASHED,
      operators: [
        { name: 'all', bearer: ALL, may: ['runs', 'connections', 'revoke'] },
        { name: 'north', bearer: NORTH, may: ['connections', 'revoke'], tenants: ['north'] },
      ],
    },
  })
  ends.push(house.close)
  return house
}
type Said = { readonly code: number; readonly out: readonly string[]; readonly err: string }
const saidIn = async (dir: string, work: (io: Operate) => Promise<number>): Promise<Said> => {
  const [out, err]: [string[], string[]] = [[], []]
  const complain = (line: string): void => void err.push(line)
  const code = await work({
    local: async () => reachLocal(await loadFolder(dir), complain),
    token: '',
    loginFile: join(dir, 'no-login'),
    print: (line) => void out.push(line),
    complain,
  })
  return { code, out, err: err.join('\n') }
}
const verified = async (dir: string): Promise<number> =>
  (
    await saidIn(dir, ({ print }) =>
      auditVerify({ files: [join(dir, 'audit.jsonl')], keys: join(dir, 'keys.json'), print }),
    )
  ).code
const hostile = 'a/b a%2Fb % ?x=1 #x ;x a\\b * __proto__ constructor <b> "q" it\'s {"$ne":1}'
  .split(' ')
  .concat('a b', 'e\u0301', '\u{1f600}', 'x\u200by', 'x'.repeat(256))

describe('an id', () => {
  test.each(['.', '..'])('that is a step in a path (%s) is nobody’s', async (id) => {
    const house = await startTwo()
    const answer = await house.call(await house.tag(id))
    expect(answer.headers.get('deputy-answer')).toBe('unauthenticated')
    const erased = await saidIn(house.deputy.dir, (io) =>
      peopleErase({ ...io, user: 'x', tenant: id }),
    )
    expect(erased.code).toBe(1)
    for (const path of [`/v1/admin/users/${id}`, `/v1/admin/agents/${id}/disable`])
      expect((await house.api('GET', path, undefined, ALL)).status).toBe(404)
    const listed = await house.api('GET', '/v1/admin/people?tenant=north', undefined, ALL)
    expect(await listed.json()).toEqual({ items: [] })
  })

  test('however it is written is exported and erased, byte for byte, and leaves no key', async () => {
    const house = await startTwo()
    const { dir } = house.deputy
    house.people((rows) => [
      ...rows,
      ...hostile.map((id) => ({ id, tenant: 'north', realm: 'corp', groups: ['staff'] })),
    ])
    for (const id of hostile) await (await house.call(await house.tag(id))).text()
    const files = [join(dir, 'audit.jsonl')]
    const whole = await saidIn(dir, (io) =>
      tenantsExport({ ...io, tenant: 'north', files, without: false }),
    )
    // Nothing in it moves a cursor, and it is one document.
    // oxlint-disable-next-line no-control-regex -- that is what must not be there
    expect(whole.out.join('')).not.toMatch(/[\0-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e]/)
    const doc = JSON.parse(whole.out.join('\n')) as {
      readonly people: readonly { readonly person: { readonly id: string } }[]
    }
    expect(doc.people.map(({ person }) => person.id).toSorted()).toEqual(hostile.toSorted())
    for (const user of hostile) {
      const given = await saidIn(dir, (io) =>
        peopleExport({ ...io, user, tenant: 'north', files, without: false }),
      )
      const { person, names } = JSON.parse(given.out.join('\n')) as {
        readonly person: object
        readonly names: readonly string[]
      }
      expect(person).toEqual({ tenant: 'north', realm: 'corp', id: user })
      expect(names[0]).toMatch(/^hmac2:/)
      const erased = await saidIn(dir, (io) => peopleErase({ ...io, user, tenant: 'north' }))
      expect([user, erased.code, erased.err]).toEqual([
        user,
        0,
        expect.stringContaining('no key is left'),
      ])
    }
    const evidence = readFileSync(join(dir, 'audit.jsonl'), 'utf8')
    for (const id of hostile.filter(({ length }) => length > 3))
      expect(evidence).not.toContain(JSON.stringify(id))
    await house.deputy.stop()
    expect(await verified(dir)).toBe(0)
    const store = await openSqlite(join(dir, 'deputy.db'))
    ends.push(() => store.close())
    expect(await store.personKeys.page('', 100)).toEqual([])
  })
})

describe('an operator of north', () => {
  test('exports, lists and erases nobody of south, by no way to say it; of strangers nobody gets a key', async () => {
    const house = await startTwo()
    await house.connect('alice', 'alice-acme', { tenant: 'south' })
    const ask = (method: string, path: string) => house.api(method, path, undefined, NORTH)
    for (const [method, path] of [
      ['GET', '/v1/admin/users/alice?tenant=south&realm=corp'],
      ['DELETE', '/v1/admin/users/alice?tenant=south&realm=corp'],
      ['DELETE', '/v1/admin/users/alice/connections?tenant=south&realm=corp'],
      ['GET', '/v1/admin/people?tenant=south'],
      ['DELETE', '/v1/admin/tenants/south'],
      ['DELETE', '/v1/admin/tenants/%73outh'],
    ] as const) {
      const answer = await ask(method, path)
      const text = await answer.text()
      expect([answer.status, method, path]).toEqual([403, method, path])
      expect(text).not.toMatch(/alice-acme|credential/)
    }
    for (const twice of ['tenant=north&tenant=south', 'tenant=south&tenant=north'])
      expect((await ask('GET', `/v1/admin/users/alice?${twice}&realm=corp`)).status).toBe(400)
    // Without a tenant it is one of theirs.
    const own = await ask('GET', '/v1/admin/users/alice?realm=corp')
    expect(await own.json()).toMatchObject({ tenant: 'north', kept: {}, names: ['alice'] })
    for (let i = 0; i < 20; i += 1)
      for (const [method, more] of [
        ['GET', ''],
        ['DELETE', ''],
        ['DELETE', '/connections'],
      ] as const)
        await ask(method, `/v1/admin/users/stranger-${i}${more}?tenant=north&realm=corp`)
    const people = await house.api('GET', '/v1/admin/people?tenant=north', undefined, ALL)
    expect(await people.json()).toEqual({ items: [] })
    expect((await house.call(await house.tag('alice', 'south'))).status).toBe(200)
    // By its socket alone a name is told.
    const whois = await house.api('POST', '/v1/admin/whois', { names: [] }, ALL)
    expect(whois.status).toBe(404)
  })
})

describe('a key that the ring does not open', () => {
  test('keeps nobody else from being found, is told, and its person is erased all the same', async () => {
    const house = await startTwo()
    const { dir } = house.deputy
    for (const [user, account] of [
      ['alice', 'alice-acme'],
      ['bob', 'bob-acme'],
    ] as const)
      await house.connect(user, account)
    await house.deputy.stop()
    const db = new DatabaseSync(join(dir, 'deputy.db'))
    db.prepare('UPDATE person_keys SET sealed = ? WHERE user_id = ?').run('lost', 'bob')
    db.close()
    const loaded = await loadFolder(dir)
    const whois = (of: { readonly hashes?: string[]; readonly users?: string[] }) =>
      saidIn(dir, ({ print, complain }) =>
        auditWhois({ loaded, hashes: of.hashes ?? [], users: of.users ?? [], print, complain }),
      )
    const [found = ''] = (await whois({ users: ['alice'] })).out
    expect(found).toMatch(/^hmac2:\S+\talice\tnorth\tcorp$/)
    const nobody = await whois({ hashes: [`hmac2:${'a'.repeat(43)}`] })
    expect([nobody.code, nobody.err]).toEqual([
      1,
      expect.stringContaining('unless it is one of 1 whose key the ring does not open'),
    ])
    const files = [join(dir, 'audit.jsonl')]
    const given = await saidIn(dir, (io) =>
      peopleExport({ ...io, user: 'bob', tenant: 'north', files, without: false }),
    )
    expect([given.code, given.err]).toEqual([
      1,
      expect.stringContaining('lines under that name are not in here'),
    ])
    expect(JSON.parse(given.out.join('\n'))).toMatchObject({
      kept: { credentials: [{ account: 'bob-acme' }] },
    })
    const erased = await saidIn(dir, (io) => peopleErase({ ...io, user: 'bob', tenant: 'north' }))
    expect([erased.code, erased.out]).toEqual([0, ['bob\tacme\tbob-acme\trevoked']])
    const again = await saidIn(dir, (io) => peopleErase({ ...io, user: 'bob', tenant: 'north' }))
    expect(again.err).toContain('nothing is kept of this person')
    expect(await verified(dir)).toBe(0)
  })
})

test('an erasure that is killed while a provider does not answer is finished by the next, and nothing is left', async () => {
  const upstream = await startUpstream()
  ends.push(upstream.close)
  let asked = 0
  let hangs = true
  upstream.handle = ({ url }, res) => {
    if (url.startsWith('/revoke')) asked += 1
    if (!hangs) res.end('{}')
  }
  const [acme, ...others] = providersAt(upstream.origin)
  const setup = {
    upstream: upstream.origin,
    held: ['alice', 'bob'].map((person) => ({
      person,
      token: `token-of-${person}-0123456789`,
      refresh: `refresh-of-${person}-0123456789`,
    })),
    config: {
      providers: [{ ...acme, revoke: `${upstream.origin}/revoke` }, ...others],
      operators: [{ name: 'all', bearer: ALL, may: ['runs', 'connections', 'revoke'] }],
      audit: HASHED,
    },
  }
  const dir = await prepareFolder(setup)
  const erase = (connect: string): Promise<Response> =>
    fetch(`${connect}/v1/admin/users/alice?tenant=default&realm=local`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${ALL}` },
    })
  const first = await startChild(setup, dir)
  const cut = erase(first.connect).then(
    (answer) => answer.status,
    () => 'cut',
  )
  await until(() => asked > 0, 'the provider is asked to revoke')
  await first.kill()
  expect(await cut).toBe('cut')
  hangs = false
  const second = await startChild(setup, dir)
  ends.push(second.close)
  const again = await erase(second.connect)
  expect([again.status, await again.json()]).toMatchObject([200, { left: 0 }])
  await second.stop()
  expect(await verified(dir)).toBe(0)
  const evidence = readFileSync(join(dir, 'audit.jsonl'), 'utf8')
  expect(evidence).not.toContain('alice')
  expect(evidence).toContain('"person.erased"')
  const store = await openSqlite(join(dir, 'deputy.db'))
  ends.push(() => store.close())
  expect(Object.keys(await store.kept({ tenant: 'default', realm: 'local', id: 'alice' }))).toEqual(
    ['person_epochs'],
  )
  // Of bob nothing went.
  expect(await store.kept({ tenant: 'default', realm: 'local', id: 'bob' })).toHaveProperty(
    'credentials',
  )
})

test('during an erasure calls are answered, no line has the id, and what they left is erased by the next', async () => {
  const house = await startTwo()
  const { dir } = house.deputy
  await house.connect('alice', 'alice-acme')
  const tag = await house.tag('alice')
  const going = new AbortController()
  const answers: number[] = []
  /** Of calls that began when all was erased. */
  const late: number[] = []
  const CUT = 0
  let erased = false
  const calling = Array.from({ length: 4 }, async () => {
    while (!going.signal.aborted) {
      const mine = erased ? late : answers
      // A call that the erasure cuts has no answer.
      const status = await house.call(tag).then(
        (answer) =>
          answer.text().then(
            () => answer.status,
            () => CUT,
          ),
        () => CUT,
      )
      mine.push(status)
    }
  })
  await expect.poll(() => answers.length).toBeGreaterThan(10)
  for (let i = 0; i < 3; i += 1)
    await saidIn(dir, (io) => peopleErase({ ...io, user: 'alice', tenant: 'north' }))
  erased = true
  await expect.poll(() => late.length).toBeGreaterThan(10)
  going.abort()
  await Promise.all(calling)
  expect(late.filter((status) => status === 200)).toEqual([])
  expect([...answers, ...late].filter((status) => status >= 500)).toEqual([])
  await saidIn(dir, (io) => peopleErase({ ...io, user: 'alice', tenant: 'north' }))
  await house.deputy.stop()
  expect(readFileSync(join(dir, 'audit.jsonl'), 'utf8')).not.toContain('"alice"')
  expect(await verified(dir)).toBe(0)
  const store = await openSqlite(join(dir, 'deputy.db'))
  ends.push(() => store.close())
  expect(await store.personKeys.page('', 10)).toEqual([])
})
