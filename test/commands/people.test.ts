// A person, and a whole tenant, given all that is kept of them and forgotten: rows, accounts at providers, and the key by
// which the evidence names them.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { auditVerify } from '../../proxy/commands/audit.ts'
import { auditQuery } from '../../proxy/commands/audit_query.ts'
import { auditWhois, whoseNames } from '../../proxy/commands/audit_whois.ts'
import { reachLocal } from '../../proxy/commands/local.ts'
import { peopleErase, type Operate } from '../../proxy/commands/operate.ts'
import { peopleExport, tenantsErase, tenantsExport } from '../../proxy/commands/people.ts'
import type { Person } from '../../proxy/model.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { loadFolder } from '../support/deputy.ts'
import { startHouse, type House } from '../support/house.ts'
import { decision, evidenceOf } from '../audit/evidence_lines.ts'

let house: House
const ends: (() => unknown)[] = []
beforeEach(async () => {
  house = await startHouse({
    tenants: ['acme', 'other'],
    config: { audit: { sink: ['file:audit.jsonl'], user_ids: 'hashed' } },
  })
})
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
  await house.close()
})

type Said = { readonly code: number; readonly out: readonly string[]; readonly err: string }
const said = async (work: (io: Operate) => Promise<number>): Promise<Said> => {
  const [out, err]: [string[], string[]] = [[], []]
  const complain = (line: string): void => void err.push(line)
  const code = await work({
    local: async () => reachLocal(await loadFolder(house.deputy.dir), complain),
    token: '',
    loginFile: join(house.deputy.dir, 'no-login'),
    print: (line) => void out.push(line),
    complain,
  })
  return { code, out, err: err.join('\n') }
}
const audit = (): string => join(house.deputy.dir, 'audit.jsonl')
const exported = async (user: string, tenant = 'acme', files = [audit()]) => {
  const { code, out, err } = await said((io) =>
    peopleExport({ ...io, user, tenant, files, without: false }),
  )
  return { code, err, doc: JSON.parse(out.join('\n')) as Doc }
}
type Doc = {
  readonly person: Person
  readonly kept: Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>
  readonly names: readonly string[]
  readonly evidence: readonly {
    readonly file: string
    readonly record: Readonly<Record<string, unknown>> & { readonly user?: { readonly id: string } }
    readonly outcome: Readonly<Record<string, unknown>> | null
  }[]
  readonly summary: Readonly<Record<string, unknown>>
}
const whois = async (name: string): Promise<Said> => {
  const loaded = await loadFolder(house.deputy.dir)
  return said(({ print, complain }) =>
    auditWhois({ loaded, hashes: [name], users: [], print, complain }),
  )
}
const decisionsBy = (name: string): number =>
  house.deputy
    .evidence()
    .filter(({ event, user }) => event === 'decision' && (user as { id: string }).id === name)
    .length

test('a person is given all that is kept, with their lines of rotated and packed files, and no token', async () => {
  await house.connect('alice', 'alice-acme')
  await house.connect('alice', 'alice-acme', { tenant: 'other' })
  await house.connect('bob', 'bob-acme')
  for (const user of ['alice', 'bob']) await (await house.call(await house.tag(user))).text()
  const { code, doc } = await exported('alice')
  expect(code).toBe(0)
  expect(doc.person).toEqual({ tenant: 'acme', realm: 'corp', id: 'alice' })
  expect(doc.kept).toMatchObject({
    credentials: [{ connection: 'acme', account: 'alice-acme', status: 'active' }],
    grants: [{ agent: 'agent:triage', connection: 'acme' }],
    flows: [{ status: 'completed' }],
    person_keys: [{ at: expect.stringMatching(/^20/) as string }],
  })
  const [name = ''] = doc.names
  expect(name).toMatch(/^hmac2:/)
  expect(doc.names.slice(1)).toEqual([expect.stringMatching(/^hmac:/), 'alice'])
  expect(doc.evidence.length).toBeGreaterThan(3)
  for (const { record } of doc.evidence)
    expect(record.user).toMatchObject({ id: name, tenant: 'acme' })
  expect(doc.evidence.filter(({ outcome }) => outcome !== null).length).toBeGreaterThan(0)
  expect(doc.summary).toMatchObject({ evidence: doc.evidence.length, unread: 0, sealed_inputs: 0 })
  const text = JSON.stringify(doc)
  for (const token of house.tokens()) expect(text).not.toContain(token)
  expect(text).not.toMatch(/"(?:sealed|token_hash|nonce)"/)
  // Nobody else is named, neither the alice of the other tenant nor bob.
  const other = await exported('alice', 'other')
  expect(other.doc.names[0]).not.toBe(name)
  expect(text).not.toContain(other.doc.names[0])
  expect(text).not.toContain('bob')

  await house.deputy.stop()
  const packed = join(house.deputy.dir, 'audit.jsonl.20260101T000000.000Z.gz')
  writeFileSync(packed, gzipSync(readFileSync(audit())))
  const old = await exported('alice', 'acme', [packed])
  expect(old.doc.evidence.length).toBeGreaterThanOrEqual(doc.evidence.length)
  expect(old.doc.evidence[0]?.file).toBe(packed)
})

test('an erased person is linked to their evidence by nobody any more; it verifies, and they come back as somebody new', async () => {
  await house.connect('alice', 'alice-acme')
  await house.connect('bob', 'bob-acme')
  await (await house.call(await house.tag('alice'))).text()
  await (await house.call(await house.tag('bob'))).text()
  const [name = ''] = (await exported('alice')).doc.names
  expect(await whois(name)).toMatchObject({ code: 0, out: [`${name}\talice\tacme\tcorp`] })
  const before = decisionsBy(name)
  expect(before).toBeGreaterThan(0)

  const erased = await said((io) => peopleErase({ ...io, user: 'alice', tenant: 'acme' }))
  expect(erased).toMatchObject({ code: 0, out: ['alice\tacme\talice-acme\trevoked'] })
  expect(erased.err).toContain('no key is left that links it to the person')
  expect(house.provider.requests.filter(({ path }) => path === '/token/revocation')).not.toEqual([])

  // The record of it names nobody in clear, and is the last under that name.
  const record = house.deputy.evidence().findLast(({ event }) => event === 'person.erased')
  expect(record).toMatchObject({ user: { id: name, tenant: 'acme' }, evidence: 'unlinkable' })
  const evidence = readFileSync(audit(), 'utf8')
  expect(evidence).not.toContain('alice')
  expect((await whois(name)).err).toMatch(/was erased at 20.*no key is left/)
  const loaded = await loadFolder(house.deputy.dir)
  const led = await whoseNames(loaded, [], ['alice'], () => {})
  expect(led.map((one) => one.name)).not.toContain(name)
  expect(evidence).not.toContain(led[0]?.name)

  // Bob is found by his id as before.
  const found = await said(async ({ print, complain }) => {
    const names = await whoseNames(loaded, [], ['bob'], complain)
    const filter = { names: names.map((one) => one.name), effect: 'allow' }
    const how = { format: 'jsonl', limit: 10, summary: false } as const
    return auditQuery({ files: [audit()], filter, ...how, print, complain })
  })
  expect(found.code).toBe(0)

  // Who comes back is somebody whom no line knows.
  const back = await house.call(await house.tag('alice'))
  expect(back.headers.get('deputy-answer')).toBe('consent_required')
  const [anew = ''] = (await exported('alice')).doc.names
  expect(anew).toMatch(/^hmac2:/)
  expect(anew).not.toBe(name)
  expect(decisionsBy(name)).toBe(before)
  expect(decisionsBy(anew)).toBeGreaterThan(0)

  await house.deputy.stop()
  const keys = join(house.deputy.dir, 'keys.json')
  const { code } = await said(({ print }) => auditVerify({ files: [audit()], keys, print }))
  expect(code).toBe(0)
})

test('calls of an erased person that are on their way are cut', async () => {
  await house.connect('alice', 'alice-acme')
  const tag = await house.tag('alice')
  let arrived = (): void => {}
  const reached = new Promise<void>((resolve) => (arrived = resolve))
  const { promise: cut, resolve: go } = Promise.withResolvers<void>()
  house.provider.before = async ({ path }) => {
    if (path !== '/me') return
    arrived()
    await cut
  }
  ends.push(go)
  const call = house.call(tag)
  await reached
  await said((io) => peopleErase({ ...io, user: 'alice', tenant: 'acme' }))
  const answer = await call
  // Cut, and told what a person could do about it.
  expect(answer.headers.get('deputy-answer')).toBe('consent_required')
  await expect
    .poll(() => house.deputy.evidence().findLast(({ event }) => event === 'outcome'))
    .toMatchObject({ result: 'reauthorization_required' })
})

test('nobody by this name is said, and leaves no trace; hostile ids are somebody, byte for byte', async () => {
  for (const user of ['nobody', "'; DROP TABLE grants; --", 'a/../b?x=1#y', 'al\u0131ce', '%00%2f'])
    for (const work of [
      (io: Operate) => peopleErase({ ...io, user, tenant: 'acme' }),
      (io: Operate) =>
        peopleExport({ ...io, user, tenant: 'acme', files: [audit()], without: false }),
    ]) {
      const { code, err } = await said(work)
      expect([user, code, err]).toEqual([user, 1, expect.stringContaining('--realm')])
    }
  for (const user of ['a\u0000b', 'a\u202eb']) {
    const control = await said((io) => peopleErase({ ...io, user, tenant: 'acme' }))
    expect([control.code, control.err]).toEqual([1, expect.stringContaining('control characters')])
  }
  // Two tenants have an alice: which is meant must be said.
  expect((await said((io) => peopleErase({ ...io, user: 'alice' }))).err).toContain(
    'tenant: is missing',
  )
  expect(readFileSync(audit(), 'utf8')).not.toContain('nobody@')
  await house.deputy.stop()
  const store = await openSqlite(join(house.deputy.dir, 'deputy.db'))
  ends.push(() => store.close())
  expect(await store.personKeys.page('', 10)).toEqual([])
})

test('an erasure that was cut off is done by whoever asks again', async () => {
  await house.connect('alice', 'alice-acme')
  const { DatabaseSync } = await import('node:sqlite')
  const reader = new DatabaseSync(join(house.deputy.dir, 'deputy.db'), { readOnly: true })
  ends.push(() => reader.isOpen && reader.close())
  // It keeps the log of changes, in which she still stands, from being emptied.
  reader.exec('BEGIN')
  reader.prepare('SELECT count(*) FROM credentials').get()
  const cut = await said((io) => peopleErase({ ...io, user: 'alice', tenant: 'acme' }))
  expect([cut.code, cut.err]).toEqual([1, expect.stringContaining('503')])
  reader.close()
  const again = await said((io) => peopleErase({ ...io, user: 'alice', tenant: 'acme' }))
  expect(again.err).toContain('nothing is kept of this person')
  const bytes = ['deputy.db', 'deputy.db-wal'].map((name) =>
    readFileSync(join(house.deputy.dir, name), 'latin1'),
  )
  expect(bytes.join('')).not.toContain('acmecorpalice')
})

test('a tenant is given and erased whole, and the other keeps what it has', async () => {
  for (const [user, tenant] of [
    ['alice', 'acme'],
    ['bob', 'acme'],
    ['alice', 'other'],
  ] as const)
    await house.connect(user, `${user}-acme`, { tenant })
  await house.api('POST', '/v1/admin/agents/agent:triage/disable?tenant=acme')
  const whole = await said((io) =>
    tenantsExport({ ...io, tenant: 'acme', files: [audit()], without: false }),
  )
  const doc = JSON.parse(whole.out.join('\n')) as {
    readonly people: readonly { readonly person: Person; readonly kept: object }[]
    readonly evidence: readonly {
      readonly record: { readonly user: { readonly tenant: string } }
    }[]
  }
  expect(whole.code).toBe(0)
  expect(doc.people.map(({ person }) => person.id)).toEqual(['alice', 'bob'])
  expect(doc.people[0]?.kept).toMatchObject({ credentials: [{ account: 'alice-acme' }] })
  expect(doc.evidence.length).toBeGreaterThan(0)
  expect(new Set(doc.evidence.map(({ record }) => record.user.tenant))).toEqual(new Set(['acme']))

  const early = await house.api('DELETE', '/v1/admin/tenants/acme')
  expect([early.status, await early.text()]).toEqual([400, expect.stringContaining('erase each')])
  const erased = await said((io) => tenantsErase({ ...io, tenant: 'acme' }))
  expect(erased).toMatchObject({
    code: 0,
    out: [
      'alice\tacme\talice-acme\trevoked',
      'alice\tcorp\terased',
      'bob\tacme\tbob-acme\trevoked',
      'bob\tcorp\terased',
    ],
    err: expect.stringContaining('2 people of acme') as string,
  })
  expect(house.deputy.evidence().at(-1)).toMatchObject({
    event: 'tenant.erased',
    tenant: 'acme',
    agents: 1,
    operator: 'local',
  })
  // Repeated, it finds nobody, and says so.
  expect(await said((io) => tenantsErase({ ...io, tenant: 'acme' }))).toMatchObject({
    code: 0,
    out: [],
    err: expect.stringContaining('0 people of acme') as string,
  })
  const none = await said((io) =>
    tenantsExport({ ...io, tenant: 'acme', files: [], without: true }),
  )
  expect([none.code, none.err]).toEqual([1, expect.stringContaining('nothing is kept')])
  expect((await exported('alice', 'other')).doc.kept).toMatchObject({
    credentials: [{ account: 'alice-acme' }],
  })
  expect((await house.call(await house.tag('alice', 'other'))).status).toBe(200)
})

test('without the files of the evidence nothing is given, unless that is wanted', async () => {
  const lacking = await said((io) =>
    peopleExport({ ...io, user: 'alice', tenant: 'acme', files: null, without: false }),
  )
  expect(lacking).toMatchObject({
    code: 1,
    out: [],
    err: expect.stringContaining('--evidence') as string,
  })
})

test('a hundred thousand lines take no more memory than a few; what others said, and what they are, is told apart', async () => {
  const file = join(house.deputy.dir, 'many.jsonl')
  const at = '2026-11-28T00:00:00.000Z'
  const user = { id: 'alice', realm: 'corp', tenant: 'acme' }
  const all = evidenceOf([
    ...Array.from(
      { length: 100_000 },
      (_, i) =>
        [
          at,
          'decision',
          { ...decision({ exchange: `x${i}`, user: 'alice', effect: 'deny' }), input: 'sha256:0' },
        ] as const,
    ),
    [at, 'decision', decision({ exchange: 'y', user: 'bob' })],
    [at, 'approval.given', { user: { ...user, id: 'bob' }, by: user, agent: 'a' }],
    [at, 'approval.given', { user: { ...user, id: 'bob' }, by: { ...user, tenant: 'other' } }],
    [
      at,
      'approval.used',
      { user: { ...user, id: 'bob' }, approvers: [{ name: 'n', id: 'alice' }] },
    ],
    [at, 'decision', { ...decision({ exchange: 'z' }), user: { ...user, realm: 'elsewhere' } }],
  ])
  writeFileSync(file, `${all.join('\n')}\n`)
  let [lines, longest, most] = [0, 0, 0]
  const last: string[] = []
  // What is held counts, and not what a busy machine has not collected yet.
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const held = (): number => {
    gc()
    return process.memoryUsage().heapUsed
  }
  const before = held()
  const { code } = await said((io) =>
    peopleExport({
      ...io,
      user: 'alice',
      tenant: 'acme',
      files: [file],
      without: false,
      print: (line) => {
        lines += 1
        longest = Math.max(longest, line.length)
        last.push(line)
        if (last.length > 6) last.shift()
        if (lines % 5_000 === 0) most = Math.max(most, held() - before)
      },
    }),
  )
  expect(code).toBe(0)
  expect(lines).toBeGreaterThan(100_000)
  expect(longest).toBeLessThan(4_096)
  // All lines at once would be more than a hundred MB of objects.
  expect(most).toBeLessThan(60 * 1024 ** 2)
  expect(JSON.parse(`{${last.at(-1) ?? ''}`)).toMatchObject({
    summary: { evidence: 100_002, sealed_inputs: 100_000 },
  })
  expect(last.join('\n')).not.toContain('bob')
  expect(last.join('\n')).toContain('(another person)')
}, 120_000)
