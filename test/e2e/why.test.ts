// Why was it refused, and what would another policy say? Asked of the evidence that a real deputy wrote.
import { appendFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { policyDiff } from '../../proxy/commands/why/diff.ts'
import { policyExplain } from '../../proxy/commands/why/explain.ts'
import { providersShowAs, policyWhoCan } from '../../proxy/commands/why/who.ts'
import type { Loaded } from '../../proxy/config/load.ts'
import { BUNDLE, loadFolder, startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, EvidenceLine, Fields } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const WILD = fileURLToPath(new URL('../fixtures/policies/wild.tar.gz', import.meta.url))
const STUCK = fileURLToPath(new URL('../fixtures/policies/stuck.tar.gz', import.meta.url))
const LOOPS = fileURLToPath(new URL('../fixtures/policies/loops.tar.gz', import.meta.url))

let upstream: Upstream
let deputy: Deputy
let loaded: Loaded
let evidence = ''
const call = async (
  who: string,
  path: string,
  init: { method?: string; headers?: Readonly<Record<string, string>>; body?: string } = {},
): Promise<string> => {
  const before = deputy.evidence().length
  await fetch(`${deputy.agent}/${path}`, {
    ...init,
    headers: { 'deputy-user': who, ...init.headers },
  }).then((answer) => answer.text())
  const line = deputy
    .evidence()
    .slice(before)
    .find(({ event }) => event === 'decision')
  return String(line?.['exchange'])
}
const ids: Record<string, string> = {}

beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set('at-alice', 'alice')
  deputy = await startDeputy({
    upstream: upstream.origin,
    people: [
      { id: 'alice', groups: ['staff'] },
      { id: 'bob', groups: ['staff'] },
      { id: 'carol', groups: ['guests'] },
    ],
    held: [{ person: 'alice', token: 'at-alice' }],
  })
  loaded = await loadFolder(deputy.dir)
  const json = { 'content-type': 'application/json' }
  ids['read'] = await call('alice', 'api.acme.test/items/7?page=2')
  ids['note'] = await call('alice', 'api.acme.test/notes', {
    method: 'POST',
    headers: json,
    body: '{"title":"x"}',
  })
  ids['bob'] = await call('bob', 'api.acme.test/items/7')
  ids['carol'] = await call('carol', 'api.acme.test/items/7')
  ids['admin'] = await call('alice', 'api.acme.test/secret/admin')
  ids['late'] = await call('alice', 'api.acme.test/late')
  ids['trap'] = await call('alice', 'api.acme.test/contradicted')
  await deputy.stop()
  evidence = readFileSync(join(deputy.dir, 'audit.jsonl'), 'utf8')
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})

type Ran = { readonly code: number; readonly out: string; readonly err: string }
const ran = async (
  work: (io: {
    print: (line: string) => void
    complain: (line: string) => void
  }) => Promise<number>,
): Promise<Ran> => {
  const [out, err]: [string[], string[]] = [[], []]
  const code = await work({
    print: (line) => void out.push(line),
    complain: (line) => void err.push(line),
  })
  return { code, out: out.join('\n'), err: err.join('\n') }
}
const explain = (what: string, more: object = {}): Promise<Ran> =>
  ran((io) => policyExplain({ ...io, loaded, what, evidence: [], now: false, ...more }))
const diff = (candidate: string, more: object = {}): Promise<Ran> =>
  ran((io) => policyDiff({ ...io, loaded, candidate, evidence: [], now: false, ...more }))
let made = 0
/** Evidence of its own in a folder of its own. */
const written = (text: string | Buffer): string => {
  const folder = join(deputy.dir, `case-${made++}`)
  mkdirSync(folder)
  writeFileSync(join(folder, 'audit.jsonl'), text)
  return join(folder, 'audit.jsonl')
}
const lines = (): EvidenceLine[] =>
  evidence
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as EvidenceLine)
/** Tables of a candidate beside those in force. */
const tables = (more: Readonly<Record<string, Fields>>): string => {
  const folder = join(deputy.dir, `tables-${made++}`)
  cpSync(join(deputy.dir, 'tables'), folder, { recursive: true })
  for (const [name, table] of Object.entries(more))
    writeFileSync(join(folder, `${name}.json`), JSON.stringify(table))
  return folder
}
const use = (more: Fields): Fields => {
  const grants = TABLES['grants'] as unknown as Readonly<Record<string, { readonly use: Fields }>>
  return { ...grants, acme: { use: { ...grants['acme']?.use, ...more } } }
}

describe('explain of a recorded call', () => {
  test('a refusal names its rule, the nearest row with its file, and the group that would turn it', async () => {
    const { code, out, err } = await explain(ids['carol'] ?? '')
    expect(err).toBe('')
    expect(out).toContain('the file of people says what it said then')
    expect(out).toContain('no_grant: no grant covers this person, agent and operation')
    expect(out).toContain(
      `near: row grants.acme.use (${deputy.dir}/tables/grants.json) wants role: user`,
    )
    expect(out).toContain(
      'the person connects the account, and the person is in group staff (role user)',
    )
    expect(code).toBe(0)
  })
  test('an allow names its row and what holds it', async () => {
    const { code, out } = await explain(ids['note'] ?? '')
    expect(out).toContain(
      'recorded: allow, alice by laptop: acme.note (write), POST acme@api.acme.test/notes',
    )
    expect(out).toContain('covered by row grants.acme.use')
    expect(out).toContain('it would change without any of: group staff')
    expect(code).toBe(0)
  })
  test('a call without consent is turned by it alone', async () => {
    const { out } = await explain(ids['bob'] ?? '')
    expect(out).toMatch(/tried\)\n {4}the person connects the account$/m)
  })
  test('of an access that no row has, each key of a row that would turn it is told', async () => {
    const { out } = await explain(ids['admin'] ?? '')
    expect(out).toContain('wants access: read, write, delete')
    expect(out).toContain('grants.acme.use.access has admin too')
  })
  test('facts that are not known any more are undetermined; --now takes what the file says now', async () => {
    const people = join(deputy.dir, 'people.yaml')
    const before = readFileSync(people)
    writeFileSync(people, JSON.stringify({ people: [{ id: 'carol', groups: ['staff'] }] }))
    try {
      const then = await explain(ids['carol'] ?? '')
      expect(then.code).toBe(2)
      expect(then.out).toContain('undetermined: user.groups is not in the evidence')
      expect(then.out).not.toContain('would be allowed')
      const now = await explain(ids['carol'] ?? '', { now: true })
      expect(now.out).toContain('with what the file of people says now')
      expect(now.code).toBe(0)
    } finally {
      writeFileSync(people, before)
    }
  })
  test('of another source nothing is made up', async () => {
    const entitlements = { ...loaded.config.entitlements, source: 'claims' }
    const other = { ...loaded, config: { ...loaded.config, entitlements } }
    const { code, out } = await explain(ids['carol'] ?? '', { loaded: other })
    expect(code).toBe(2)
    expect(out).toContain('the source of people is no file')
  })
  test('that nobody recorded, or in the evidence of two processes, is trouble', async () => {
    expect((await explain('01JNOBODY')).err).toContain('no decision on 01JNOBODY is in')
    const second = lines().map((line) => JSON.stringify({ ...line, proc: 'P-OTHER' }))
    const files = [join(deputy.dir, 'audit.jsonl'), written(`${second.join('\n')}\n`)]
    const twice = await explain(ids['carol'] ?? '', { evidence: files })
    expect(twice.code).toBe(2)
    expect(twice.err).toContain('is in the evidence of 2 processes')
    // A copy of the same lines is the same evidence.
    const copied = [join(deputy.dir, 'audit.jsonl'), written(evidence)]
    expect((await explain(ids['carol'] ?? '', { evidence: copied })).code).toBe(0)
  })
  test('what the evidence says is not obeyed by a terminal', async () => {
    const evil = lines().map((line) =>
      line['exchange'] === ids['carol'] && line.event === 'decision'
        ? JSON.stringify({
            ...line,
            user: { ...(line['user'] as object), id: 'carol\u001b]0;x\u0007\u202e' },
          })
        : JSON.stringify(line),
    )
    const { code, out, err } = await explain(ids['carol'] ?? '', {
      evidence: [written(`${evil.join('\n')}\n`)],
    })
    expect(out).toContain('\\u001b]0;x\\u0007\\u202e')
    for (const char of ['\u001b', '\u0007', '\u202e']) expect(`${out}${err}`).not.toContain(char)
    expect(err).toContain('do not follow the line before them: the evidence was changed')
    expect(code).toBe(2)
  })
})

/** The same deputy by tables whose rows say few keys, and name their roles themselves. */
const short = (): Loaded => {
  const data = tables({
    group_roles: { staff: ['user'], guests: ['guest'] },
    role_grants: {},
    grants: {
      acme: {
        own: { operations: ['*'], roles: ['guest'], path: ['it*', '**'] },
        all: { operations: ['*'], roles: ['user'], access: ['read', 'write'] },
      },
    },
    agents: { other: [{ access: ['read'] }], laptop: [{ access: ['read'] }] },
  })
  return { ...loaded, config: { ...loaded.config, policy: { ...loaded.config.policy, data } } }
}

describe('of rows that leave keys out, and name their roles', () => {
  test('explain tells what they lack, and nothing that they do not ask for', async () => {
    const named = { user: 'carol', agent: 'laptop', loaded: short() }
    const { out } = await explain('GET /api.acme.test/late', named)
    expect(out).toMatch(/near: row grants\.acme\.own \(.*\) wants path: \/it\*\/\*\*$/m)
    expect(out).toMatch(/near: row grants\.acme\.all \(.*\) wants role: user$/m)
    expect(out).toContain('grants.acme.own.path is /late')
    expect(out).toContain('the person is in group staff (role user)')
    const allowed = await explain('GET /api.acme.test/items/7', named)
    expect(allowed.out).toContain('covered by row grants.acme.own')
  })
  test('explain names the ceiling that is in the way', async () => {
    const body = join(deputy.dir, 'body.json')
    writeFileSync(body, '{"title":"x"}')
    const named = { user: 'alice', agent: 'laptop', body, loaded: short() }
    const { out } = await explain('POST /api.acme.test/notes', named)
    expect(out).toMatch(/tried\)\n {4}agents\.laptop has a row for write of acme\.note$/m)
  })
  test('who-can counts whom they name, and the agents that a ceiling names', async () => {
    const { out } = await ran((io) =>
      policyWhoCan({ ...io, loaded: short(), operation: 'acme.get', connection: 'acme' }),
    )
    expect(out).toContain('3 can acme.get (read) at acme, 0 cannot')
    expect(out).toContain('alice through laptop, other')
  })
})

describe('explain of a call that is named', () => {
  test('asks as the call itself would, with its body', async () => {
    const body = join(deputy.dir, 'body.json')
    writeFileSync(body, '{"title":"x"}')
    const named = { user: 'carol', agent: 'laptop', body }
    const { code, out } = await explain('POST /api.acme.test/notes', named)
    expect(out).toContain('deny: acme.note (write) at acme')
    expect(out).toMatch(/tried\)\n {4}the person is in group staff \(role user\)$/m)
    expect(code).toBe(0)
    writeFileSync(body, '{"title":"x"}}')
    expect((await explain('POST /api.acme.test/notes', named)).code).toBe(2)
  })
  test('takes for granted what it is told of the account, and says so', async () => {
    const { out } = await explain('GET /api.acme.test/items/7', { user: 'bob', agent: 'laptop' })
    expect(out).toContain('taken for granted: the account is connected')
    expect(out).toContain('allow: acme.get')
  })
  test.each([
    ['GET /api.nowhere.test/x', /serves "api.nowhere.test"/],
    ['GET /api.acme.test/a/../b', /./],
  ])('%s is refused as deputy would', async (what, why) => {
    const { code, err } = await explain(what, { user: 'bob', agent: 'laptop' })
    expect([code, err]).toEqual([2, expect.stringMatching(why)])
  })
})

describe('diff', () => {
  test('of the policy in force with itself changes nothing', async () => {
    const { code, out, err } = await diff(BUNDLE)
    expect(err).toBe('')
    expect(out).toContain('7 the same, 0 would change, 0 undetermined')
    expect(code).toBe(0)
  })
  test('of tables that take away lists allow → deny first, by rule', async () => {
    const data = tables({ grants: use({ access: ['read', 'admin'] }) })
    const { code, out } = await diff(BUNDLE, { data })
    expect(code).toBe(1)
    expect(out).toMatch(
      /1 × allow → deny: no_grant comes\n.*acme\.note.*\n1 × deny → allow: no_grant goes\n.*acme\.admin/,
    )
  })
  test('of a policy that traps for one call tells of that one, and of the others what they are', async () => {
    const { code, out } = await diff(WILD)
    expect(code).toBe(1)
    expect(out).toMatch(/allow → error: policy_error comes\n(?:.*\n)?.*\/contradicted/)
    expect(out).toMatch(/1 × consent_required → allow: connection_missing goes\n.*bob/)
    expect(out).toContain('0 undetermined')
  })
  test('of a policy that never ends for one call ends', async () => {
    const { code, out } = await diff(STUCK)
    expect(code).toBe(1)
    expect(out).toMatch(/1 × allow → error: policy_timeout comes\n.*\/late/)
    expect(out).toContain('0 undetermined')
  })
  test('of one that may not serve is trouble', async () => {
    const { code, err } = await diff(LOOPS)
    expect([code, err]).toEqual([2, expect.stringContaining('policy_timeout')])
    expect((await diff(join(deputy.dir, 'nothing.tar.gz'))).code).toBe(2)
  })
  test('where no time has a decision nothing is proved', async () => {
    const { code, err } = await diff(BUNDLE, { to: '2020-01-01' })
    expect([code, err]).toEqual([2, expect.stringContaining('there is no decision of that time')])
    expect((await diff(BUNDLE, { from: 'yesterday' })).err).toContain('is no time')
  })
  test('a pointer that a row looks at is undetermined, since the evidence has no bodies', async () => {
    const data = tables({ group_roles: { staff: ['user'], '/title': ['user'] } })
    const { out } = await diff(BUNDLE, { data })
    expect(out).toContain('1 × request.body.json/title')
    expect(out).toContain('6 the same, 0 would change, 1 undetermined')
  })
  test('packed and rotated evidence counts; a torn end, another version and another deputy’s are told', async () => {
    const cut = evidence.trimEnd().split('\n')
    const half = Math.floor(cut.length / 2)
    const later = written(`${cut.slice(half).join('\n')}\n`)
    writeFileSync(`${later}.1.gz`, gzipSync(`${cut.slice(0, half).join('\n')}\n`))
    expect((await diff(BUNDLE, { evidence: [later] })).out).toContain('7 the same')
    appendFileSync(later, '{"v":1,"proc"')
    const torn = await diff(BUNDLE, { evidence: [later] })
    expect([torn.code, torn.err]).toEqual([0, expect.stringContaining('torn')])
    const next = written(evidence)
    appendFileSync(next, '{"v":2,"event":"decision"}\n')
    const other = await diff(BUNDLE, { evidence: [next] })
    expect([other.code, other.err]).toEqual([2, expect.stringContaining('1 lines are no evidence')])
    const foreign = evidence.replaceAll('"connection":"acme"', '"connection":"theirs"')
    const theirs = await diff(BUNDLE, { evidence: [written(foreign)] })
    expect(theirs.code).toBe(2)
    expect(theirs.out).toContain('connection (theirs of acme is not configured here)')
  })
  test('what was left out or changed in the evidence is trouble', async () => {
    const forged = evidence.replace('"effect":"deny"', '"effect":"allow"')
    const { code, err } = await diff(BUNDLE, { evidence: [written(forged)] })
    expect([code, err]).toEqual([2, expect.stringContaining('the evidence was changed')])
  })
  test('each thing that is wrong with a candidate has a line of its own', async () => {
    const folder = join(deputy.dir, 'empty')
    mkdirSync(folder)
    const { code, err } = await diff(folder)
    expect(code).toBe(2)
    expect(err.split('\n')).toEqual([
      `${folder}: the policy bundle cannot be used:`,
      '- there is no .manifest',
      '- there is no policy.wasm: build it with -t wasm',
    ])
  })
  test('whoever looks is told how far it is', async () => {
    const told: number[] = []
    await diff(BUNDLE, { progress: (n: number) => void told.push(n) })
    expect(told.at(-1)).toBe(lines().length)
  })
})

describe('who can', () => {
  test('names people, agents, rows and what is left to do', async () => {
    const who = (operation: string): Promise<Ran> =>
      ran((io) => policyWhoCan({ ...io, loaded, operation, connection: 'acme' }))
    const { code, out } = await who('acme.get')
    expect(out).toContain('alice through laptop: once connected; row use')
    expect(out).toContain('bob through laptop')
    expect(out).not.toContain('carol')
    expect(out).toContain('2 can acme.get (read) at acme, 1 cannot')
    expect(code).toBe(0)
    expect((await who('acme.admin')).code).toBe(1)
    expect((await who('acme.nothing')).err).toContain('acme has no operation acme.nothing')
  })
  test('where tags name agents, those that nothing names may too, and no setting is one', async () => {
    const agents = { laptop: [{ access: ['read'] }], '*': [{ access: ['read'] }] }
    const asserted = (all: Loaded): Loaded => ({
      ...all,
      config: { ...all.config, identity: { ...all.config.identity, trust: 'asserted' } },
    })
    const who = async (all: Loaded): Promise<string> =>
      (
        await ran((io) =>
          policyWhoCan({ ...io, loaded: asserted(all), operation: 'acme.get', connection: 'acme' }),
        )
      ).out
    expect(await who(loaded)).toContain('alice through any agent: once connected')
    const data = tables({ agents })
    const policy = { ...loaded.config.policy, data }
    expect(await who({ ...loaded, config: { ...loaded.config, policy } })).toContain(
      'alice through laptop, any other agent: once connected',
    )
    const { code, err } = await explain('GET /api.acme.test/items/7', {
      user: 'alice',
      loaded: asserted(loaded),
    })
    expect([code, err]).toEqual([2, 'name the person with --user, and the agent with --agent'])
  })
  test('of a source that is no file tells by groups', async () => {
    const entitlements = { ...loaded.config.entitlements, source: 'scim' as const }
    const other = { ...loaded, config: { ...loaded.config, entitlements } }
    const { out } = await ran((io) =>
      policyWhoCan({ ...io, loaded: other as Loaded, operation: 'acme.get', connection: 'acme' }),
    )
    expect(out).toContain('whoever is in group staff through laptop')
  })
  test('what one person may do is asked as a list', async () => {
    const as = (user: string): Promise<Ran> =>
      ran((io) => providersShowAs({ ...io, loaded, id: 'acme', user }))
    const { code, out } = await as('alice')
    expect(out).toContain('acme.note (write) through laptop')
    expect(out).not.toContain('acme.admin')
    expect(code).toBe(0)
    expect((await as('carol')).code).toBe(1)
    expect((await as('mallory')).err).toContain('mallory is not in the file of people')
  })
})
